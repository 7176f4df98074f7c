"""The checks of lesson 01, tried on what learners get wrong, on other right answers, on cheats."""

import pytest
from checking import Answers, Misconception, trials

MASKED_MEAN = Answers(
    "01.1",
    misconceptions=(
        Misconception(
            "the plain mean",
            "Padding is counted as steps: short clips shrink, and by how much hangs on their neighbours.",
            edit="""
def masked_mean(stream, mask):
    return stream.mean(dim=1)
""",
        ),
        Misconception(
            "padding set to zero, and still counted",
            "The sum is right, the count is not: the mask belongs into both.",
            edit="""
def masked_mean(stream, mask):
    return stream.masked_fill(~mask[..., None], 0.0).mean(dim=1)
""",
        ),
        Misconception(
            "multiplied by the mask",
            "Right for numbers; 0 * NaN is NaN, and padding may hold anything.",
            edit=("stream.masked_fill(~mask[..., None], 0.0)", "stream * mask[..., None]"),
        ),
        Misconception(
            "an empty clip divides by zero",
            "0 / 0 is NaN, and one NaN spoils the whole network at the next step.",
            edit=(".clamp(min=1)", ""),
        ),
        Misconception(
            "one more is counted, to be safe",
            "max(count, 1) keeps every other clip as it is; count + 1 shrinks them all.",
            edit=(".clamp(min=1)", ".add(1)"),
        ),
        Misconception(
            "one count for the whole batch",
            "Each clip has a length of its own, and would depend on its neighbours again.",
            edit=("mask.sum(dim=1).clamp(min=1)", "mask.sum().expand(len(mask))"),
        ),
        Misconception(
            "the mask is read the other way round",
            "In this course True is a step that is real.",
            edit=("~mask[..., None]", "mask[..., None]"),
        ),
        Misconception(
            "the mean over the features",
            "Time is dim 1 of (batch, time, features); features are kept apart.",
            edit="""
def masked_mean(stream, mask):
    return stream.masked_fill(~mask[..., None], 0.0).mean(dim=-1)
""",
        ),
        Misconception(
            "the first steps are taken to be the real ones",
            "A mask may have gaps: a face that was lost for a while.",
            edit="""
def masked_mean(stream, mask):
    rows = [clip[: max(int(real.sum()), 1)] for clip, real in zip(stream, mask)]
    return torch.stack([row.mean(dim=0) for row in rows])
""",
        ),
        Misconception(
            "padding guessed from the values",
            "A real step may be zero, and padding may hold anything: only the mask knows.",
            edit="""
def masked_mean(stream, mask):
    real = (stream != 0).any(dim=-1)
    kept = stream.masked_fill(~real[..., None], 0.0)
    return kept.sum(dim=1) / real.sum(dim=1).clamp(min=1)[:, None]
""",
        ),
        Misconception(
            "zeros written into the caller's stream",
            "masked_fill_ ends in an underscore: it changes the argument itself.",
            edit=("stream.masked_fill(", "stream.detach().masked_fill_("),
        ),
        Misconception(
            "the mean of the whole batch",
            "Without dim=1 all clips are averaged into one.",
            edit="""
def masked_mean(stream, mask):
    return stream[mask].mean(dim=0).expand(len(stream), -1)
""",
        ),
    ),
    alternatives=(
        """
def masked_mean(stream, mask):
    clean = torch.where(mask.unsqueeze(-1), stream, torch.zeros_like(stream))
    weight = mask.to(stream.dtype)
    weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.einsum("bt,btd->bd", weight, clean)
""",
        """
def masked_mean(stream, mask):
    rows = []
    for clip, real in zip(stream, mask):
        kept = clip[real]
        rows.append(kept.mean(dim=0) if len(kept) else clip.new_zeros(clip.shape[-1]))
    return torch.stack(rows)
""",
        """
def masked_mean(stream, mask):
    hidden = stream.masked_fill(~mask[..., None], float("nan"))
    return hidden.nanmean(dim=1).masked_fill(~mask.any(dim=1, keepdim=True), 0.0)
""",
    ),
    constant="torch.zeros(args[0].shape[0], args[0].shape[2])",
    cheats={
        "the library's masked mean": """
from mmlib.layers import masked_mean as ready
def masked_mean(stream, mask):
    return ready(stream, mask)
""",
        "the library's pooling": """
from mmlib.layers import pool
def masked_mean(stream, mask):
    return pool(stream, mask, "mean")
""",
    },
)

BALANCED = Answers(
    "01.2",
    misconceptions=(
        Misconception(
            "rows and columns swapped",
            "Rows are the true classes: dividing by the columns gives precision.",
            edit=("counts.sum(dim=1), counts.sum(dim=0)", "counts.sum(dim=0), counts.sum(dim=1)"),
        ),
        Misconception(
            "accuracy in place of balanced accuracy",
            "Hits over all clips give each clip a vote, not each class.",
            edit=("return recall.mean()", "return hits.sum() / support.sum()"),
        ),
        Misconception(
            "the F1 of the averages",
            "First the F1 of each class, then the mean.",
            edit="""
def balanced_and_macro(counts):
    counts = counts.double()
    hits, support, named = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    recall = hits[support > 0] / support[support > 0]
    precision = hits[support > 0] / named[support > 0].clamp(min=1)
    p, r = precision.mean(), recall.mean()
    return r, 2 * p * r / (p + r) if p + r > 0 else p * 0
""",
        ),
        Misconception(
            "weighted F1 in place of macro F1",
            "Macro gives each class the same vote, however rare it is.",
            edit=("f1.mean()", "(f1 * support[votes]).sum() / support.sum()"),
        ),
        Misconception(
            "absent classes vote in balanced accuracy",
            "Their recall is 0/0: nobody asked, so nobody failed.",
            edit=("occurs, votes = support > 0,", "occurs, votes = support >= 0,"),
        ),
        Misconception(
            "an absent class that is named has no vote in F1",
            "Naming what is not there is a mistake, and its F1 is 0.",
            edit=("support + named > 0", "support > 0"),
        ),
        Misconception(
            "a class that is never named has no vote in F1",
            "It was missed entirely: its F1 is 0, and leaving it out flatters the model.",
            edit=("support + named > 0", "(support > 0) & (named > 0)"),
        ),
        Misconception(
            "precision times recall without the two",
            "The harmonic mean is 2PR/(P+R): with equal parts it must give them back.",
            edit=("2 * hits[votes]", "hits[votes]"),
        ),
        Misconception(
            "the other order",
            "Balanced accuracy first, then macro F1, as the exercise says.",
            edit=("return recall.mean(), f1.mean()", "return f1.mean(), recall.mean()"),
        ),
        Misconception(
            "per cent",
            "A share lies between 0 and 1; a score without its unit is the most ordinary bug.",
            edit=("return recall.mean(), f1.mean()", "return 100 * recall.mean(), 100 * f1.mean()"),
        ),
        Misconception(
            "the arithmetic mean of precision and recall",
            "F1 is the harmonic mean, which is near the smaller of the two.",
            edit="""
def balanced_and_macro(counts):
    counts = counts.double()
    hits, support, named = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    recall, precision = hits / support.clamp(min=1), hits / named.clamp(min=1)
    votes = support + named > 0
    return recall[support > 0].mean(), ((precision + recall) / 2)[votes].mean()
""",
        ),
    ),
    alternatives=(
        """
def balanced_and_macro(counts):
    recalls, f1s = [], []
    for c in range(len(counts)):
        hits = counts[c, c].item()
        row, column = counts[c].sum().item(), counts[:, c].sum().item()
        if row:
            recalls.append(hits / row)
        if row or column:
            f1s.append(2 * hits / (row + column))
    return sum(recalls) / len(recalls), sum(f1s) / len(f1s)
""",
        """
def balanced_and_macro(counts):
    counts = counts.double()
    hits = torch.diagonal(counts)
    recall = hits / counts.sum(1)
    precision = torch.nan_to_num(hits / counts.sum(0))
    known = torch.nan_to_num(recall)
    f1 = torch.nan_to_num(2 * precision * known / (precision + known))
    votes = (counts.sum(0) + counts.sum(1)).bool()
    return [recall.nanmean(), f1[votes].mean()]
""",
    ),
    constant="(0.625, 0.6)",
    cheats={
        "the report of the library": """
def balanced_and_macro(counts):
    pairs = counts.nonzero().repeat_interleave(counts[counts > 0], dim=0)
    report = classification_report(pairs[:, 1], pairs[:, 0], len(counts))
    return report["balanced_accuracy"], report["macro_f1"]
""",
    },
)

TWO_F1S = Answers(
    "01.3",
    misconceptions=(
        Misconception(
            "the averages first, for both",
            "The first number is a mean of F1s: F1 class by class, and only then the mean.",
            edit=("return mean_of_f1s, f1_of_means", "return f1_of_means, f1_of_means"),
        ),
        Misconception(
            "the mean of F1s, for both",
            "The second number puts the two weighted means into the formula once.",
            edit=("return mean_of_f1s, f1_of_means", "return mean_of_f1s, mean_of_f1s"),
        ),
        Misconception(
            "the other order",
            "First the mean of the F1s, then the F1 of the means.",
            edit=("return mean_of_f1s, f1_of_means", "return f1_of_means, mean_of_f1s"),
        ),
        Misconception(
            "the weights are forgotten",
            "Every class then counts the same: that is the macro average.",
            edit=("support / support.sum()", "torch.full_like(precision, 1 / len(support))"),
        ),
        Misconception(
            "the weights do not sum to one",
            "A weighted mean divides by the sum of its weights.",
            edit=("support / support.sum()", "support / support.max()"),
        ),
        Misconception(
            "0 / 0 for a class without a hit",
            "Where both are 0, F1 counts as 0; one NaN makes the whole mean NaN.",
            edit=(".clamp(min=1e-12)", ""),
        ),
        Misconception(
            "classes without a hit are left out",
            "They were missed, and a mean that leaves them out flatters the model.",
            edit="""
def two_f1s(precision, recall, support):
    kept = precision + recall > 0
    if not kept.any():
        return 0.0, 0.0
    precision, recall, support = precision[kept], recall[kept], support[kept]
    weight = support / support.sum()
    p, r = (weight * precision).sum(), (weight * recall).sum()
    return (weight * 2 * precision * recall / (precision + recall)).sum(), 2 * p * r / (p + r)
""",
        ),
        Misconception(
            "the arithmetic mean in place of the harmonic",
            "F1 is 2PR/(P+R), near the smaller of the two.",
            edit=("2 * p * r / (p + r).clamp(min=1e-12)", "(p + r) / 2"),
        ),
        Misconception(
            "a small number is added to every denominator",
            "1e-2 moves every class; clamp changes only what is zero.",
            edit=("(p + r).clamp(min=1e-12)", "(p + r + 1e-2)"),
        ),
    ),
    alternatives=(
        """
def two_f1s(precision, recall, support):
    f1 = torch.nan_to_num(2 * precision * recall / (precision + recall))
    total = support.sum()
    p, r = precision @ support.to(precision) / total, recall @ support.to(recall) / total
    return f1 @ support.to(f1) / total, torch.nan_to_num(2 * p * r / (p + r))
""",
        """
def two_f1s(precision, recall, support):
    def f1(p, r):
        return 0.0 if p + r == 0 else 2 / (1 / p + 1 / r) if p * r else 0.0
    rows = list(zip(precision.tolist(), recall.tolist(), support.tolist()))
    total = sum(n for _, _, n in rows)
    p, r = sum(p * n for p, _, n in rows) / total, sum(r * n for _, r, n in rows) / total
    return sum(n * f1(p, r) for p, r, n in rows) / total, f1(p, r)
""",
    ),
    constant="(2 / 3, 35 / 48)",
)

OF_BATCHES = Answers(
    "01.4",
    misconceptions=(
        Misconception(
            "the mean of the batches' scores",
            "A rare class is absent from most batches; the result hangs on the batch size.",
            edit="""
def macro_f1_of_batches(batches, num_classes):
    scores = [classification_report(p, t, num_classes)["macro_f1"] for p, t in batches]
    return sum(scores) / len(scores)
""",
        ),
        Misconception(
            "the mean weighed by batch size",
            "That mends accuracy, a mean over clips; F1 is none.",
            edit="""
def macro_f1_of_batches(batches, num_classes):
    total, clips = 0.0, 0
    for p, t in batches:
        total += len(t) * classification_report(p, t, num_classes)["macro_f1"]
        clips += len(t)
    return total / clips
""",
        ),
        Misconception(
            "the batches are gone through twice",
            "A generator, and many a loader, is empty the second time.",
            edit="""
def macro_f1_of_batches(batches, num_classes):
    prediction = torch.cat([p for p, _ in batches])
    target = torch.cat([t for _, t in batches])
    return classification_report(prediction, target, num_classes)["macro_f1"]
""",
        ),
        Misconception(
            "only the last batch is scored",
            "The counts are set anew in every round, not added up.",
            edit="""
def macro_f1_of_batches(batches, num_classes):
    for p, t in batches:
        counts = confusion_matrix(p, t, num_classes)
    return use("01.2")(counts)[1]
""",
        ),
        Misconception(
            "rates are added in place of counts",
            "A row divided by its sum has forgotten how many clips it stands for.",
            edit="""
def macro_f1_of_batches(batches, num_classes):
    rates = torch.zeros(num_classes, num_classes, dtype=torch.float64)
    for p, t in batches:
        counts = confusion_matrix(p, t, num_classes).double()
        rates += counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    return use("01.2")(rates)[1]
""",
        ),
        Misconception(
            "the size of the table is guessed from each batch",
            "A batch without the last class gives a smaller table, and the sum fails.",
            edit=("confusion_matrix(p, t, num_classes)", "confusion_matrix(p, t)"),
        ),
        Misconception(
            "balanced accuracy in place of macro F1",
            "The pair of 01.2 has macro F1 second.",
            edit=("(counts)[1]", "(counts)[0]"),
        ),
        Misconception(
            "every class of num_classes has a vote",
            "A class that neither occurs nor is named has no F1.",
            edit="""
def macro_f1_of_batches(batches, num_classes):
    counts = sum(confusion_matrix(p, t, num_classes) for p, t in batches).double()
    f1 = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1)).clamp(min=1)
    return f1.mean()
""",
        ),
        Misconception(
            "per class means over batches",
            "Averaging the classes' F1 batch by batch is the same slip one level down.",
            edit="""
def macro_f1_of_batches(batches, num_classes):
    rows = [per_class(p, t, num_classes)["f1"] for p, t in batches]
    return torch.stack(rows).mean(dim=0).mean()
""",
        ),
    ),
    alternatives=(
        """
def macro_f1_of_batches(batches, num_classes):
    both = [torch.stack([p, t]) for p, t in batches]
    prediction, target = torch.cat(both, dim=1)
    return classification_report(prediction, target, num_classes)["macro_f1"]
""",
        """
def macro_f1_of_batches(batches, num_classes):
    hits, sums = torch.zeros(num_classes), torch.zeros(num_classes)
    for p, t in batches:
        hits += torch.bincount(t[p == t], minlength=num_classes)
        sums += torch.bincount(t, minlength=num_classes)
        sums += torch.bincount(p, minlength=num_classes)
    return (2 * hits[sums > 0] / sums[sums > 0]).mean()
""",
    ),
    constant="11 / 15",
)


@pytest.mark.parametrize("trial", trials([MASKED_MEAN, BALANCED, TWO_F1S, OF_BATCHES]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()
