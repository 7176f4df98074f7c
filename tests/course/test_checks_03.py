"""The checks of lesson 03, tried on what learners get wrong, on other right answers, on cheats."""

import pytest
from checking import Answers, Misconception, trials

CROSS = Answers(
    "03.1",
    misconceptions=(
        Misconception(
            "the roles are swapped",
            "Keys and values come from the stream that answers; here the query answers itself.",
            edit="""
def cross_attend(query, context, to_query, to_key, to_value, mask):
    asked, keys, values = context @ to_key, query @ to_query, query @ to_query
    weights = (asked @ keys.transpose(-2, -1) / asked.shape[-1] ** 0.5).softmax(dim=-1)
    return weights @ values, weights
""",
        ),
        Misconception(
            "the mask hides queries",
            "It is the context's mask: it belongs to the columns of the scores, not to the rows.",
            edit=(
                "~mask[:, None, :]",
                "torch.nn.functional.pad(~mask, (0, 64))[:, : query.shape[1], None]",
            ),
        ),
        Misconception(
            "the mask is forgotten",
            "Padding answers like everybody else; shout into it and the output moves.",
            edit="""
def cross_attend(query, context, to_query, to_key, to_value, mask):
    asked, keys, values = query @ to_query, context @ to_key, context @ to_value
    weights = (asked @ keys.transpose(-2, -1) / asked.shape[-1] ** 0.5).softmax(dim=-1)
    return weights @ values, weights
""",
        ),
        Misconception(
            "the mask is read the other way round",
            "In this course True is a step that is real.",
            edit=("absent = ~mask[:, None, :]", "absent = mask[:, None, :]"),
        ),
        Misconception(
            "masked after the softmax only",
            "The padded steps have had their share already: rows sum to less than one.",
            edit=("    scores = scores.masked_fill(absent, torch.finfo(scores.dtype).min)\n", ""),
        ),
        Misconception(
            "softmax over the queries",
            "Each question shares out one unit of attention; the frames do not.",
            edit=("softmax(dim=-1)", "softmax(dim=-2)"),
        ),
        Misconception(
            "minus infinity and nothing else",
            "Right until a stream is missing: a row of -inf is NaN after the softmax.",
            edit="""
def cross_attend(query, context, to_query, to_key, to_value, mask):
    asked, keys, values = query @ to_query, context @ to_key, context @ to_value
    scores = asked @ keys.transpose(-2, -1) / asked.shape[-1] ** 0.5
    weights = scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(dim=-1)
    return weights @ values, weights
""",
        ),
        Misconception(
            "the missing stream is averaged",
            "Equal scores give equal weights: an absent stream then brings home its padding.",
            edit=("softmax(dim=-1).masked_fill(absent, 0.0)", "softmax(dim=-1)"),
        ),
        Misconception(
            "scaled by the width before the projection",
            "The dot product runs over the projected features; their number sets its spread.",
            edit=("asked.shape[-1] ** 0.5", "query.shape[-1] ** 0.5"),
        ),
        Misconception(
            "values are not projected by their own matrix",
            "Keys say who fits, values say what is taken home; they need not even be equally wide.",
            edit=("context @ to_value", "context @ to_key"),
        ),
    ),
    alternatives=(
        """
def cross_attend(query, context, to_query, to_key, to_value, mask):
    scores = torch.einsum("bqi,id,bkj,jd->bqk", query, to_query, context, to_key)
    scores = scores * to_query.shape[1] ** -0.5 + (~mask[:, None]).to(query.dtype) * -1e9
    weights = torch.exp(scores - scores.amax(-1, keepdim=True)) * mask[:, None]
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-30)
    return torch.einsum("bqk,bkj,jv->bqv", weights, context, to_value), weights
""",
        """
def cross_attend(query, context, to_query, to_key, to_value, mask):
    outs, rows = [], []
    for asks, answers, real in zip(query, context, mask):
        weights = torch.zeros(len(asks), len(answers), dtype=asks.dtype, device=asks.device)
        if real.any():
            scores = asks @ to_query @ (answers[real] @ to_key).T / to_key.shape[1] ** 0.5
            weights[:, real] = torch.softmax(scores, dim=1)
        rows.append(weights)
        outs.append(weights @ (answers @ to_value))
    return torch.stack(outs), torch.stack(rows)
""",
    ),
    constant="torch.zeros(2, 5, 17), torch.full((2, 5, 7), 1 / 7)",
    cheats={
        "torch's attention after all": """
def cross_attend(query, context, to_query, to_key, to_value, mask):
    attend = torch.nn.functional.scaled_dot_product_attention
    asked, keys = query @ to_query, context @ to_key
    eye = torch.eye(context.shape[1]).expand(len(context), -1, -1)
    weights = attend(asked, keys, eye, attn_mask=mask[:, None]).nan_to_num()
    return weights @ (context @ to_value), weights
""",
    },
)

ASKS = Answers(
    "03.2",
    misconceptions=(
        Misconception(
            "the larger gradient wins",
            "A residual path, or a loud stream, makes a gradient any size; which steps it reaches "
            "is what counts.",
            edit=("gradient[:, 1:].abs().sum()", "-gradient.abs().sum()"),
        ),
        Misconception(
            "the smaller gradient wins",
            "The same slip the other way round.",
            edit=("gradient[:, 1:].abs().sum()", "gradient.abs().sum()"),
        ),
        Misconception(
            "the gradient of the whole output",
            "Over all output steps both streams are reached everywhere.",
            edit=("layer(first, second)[:, 0]", "layer(first, second)"),
        ),
        Misconception(
            "the answer is turned round",
            "The stream that is reached everywhere answers; the one reached at one step asks.",
            edit=("elsewhere[0] < elsewhere[1]", "elsewhere[0] > elsewhere[1]"),
        ),
        Misconception(
            "one sample for one step",
            "`[0]` is the first sample; the time axis is the second: `[:, 0]`.",
            edit=("layer(first, second)[:, 0]", "layer(first, second)[0]"),
        ),
        Misconception(
            "looks at the step itself",
            "At its own step both streams have a gradient; the difference lies elsewhere.",
            edit=("gradient[:, 1:]", "gradient[:, :1]"),
        ),
        Misconception(
            "whichever stream moves the output",
            "Both do. Ask which steps of the output move.",
            edit="""
def who_asks(layer, first, second):
    with torch.no_grad():
        moved = (layer(first + torch.randn_like(first), second) - layer(first, second)).abs().sum()
        other = (layer(first, second + torch.randn_like(second)) - layer(first, second)).abs().sum()
    return "first" if moved > other else "second"
""",
        ),
        Misconception(
            "leaves its marks on the caller's tensors",
            "requires_grad_() and .grad stay behind, and the same tensor given twice has one .grad.",
            edit="""
def who_asks(layer, first, second):
    first.requires_grad_(), second.requires_grad_()
    (layer(first, second)[:, 0] * torch.randn(first.shape[-1])).sum().backward()
    elsewhere = [stream.grad[:, 1:].abs().sum() for stream in (first, second)]
    return "first" if elsewhere[0] < elsewhere[1] else "second"
""",
        ),
    ),
    alternatives=(
        """
def who_asks(layer, first, second):
    with torch.no_grad():
        changed = first.clone()
        changed[:, 1] = torch.randn_like(first[:, 1]) * first.std() * 3
        moved = (layer(changed, second) - layer(first, second))[:, 0].abs().amax()
    return "second" if moved > 1e-6 else "first"
""",
        """
def who_asks(layer, first, second):
    def of_last(one, other):
        return layer(one, other)[0, -1]
    jacobian = torch.autograd.functional.jacobian(of_last, (first.detach(), second.detach()))
    reached = [(j[:, 0].abs().sum((0, 2)) > 0).sum() for j in jacobian]
    return ("first", "second")[int(reached[1] < reached[0])]
""",
    ),
    constant='"first"',
    cheats={
        "always the second": 'def who_asks(layer, first, second):\n    return "second"',
        "looks inside": """
def who_asks(layer, first, second):
    return "first" if "query" in str(layer) else "second"
""",
    },
)

LAG = Answers(
    "03.3",
    misconceptions=(
        Misconception(
            "sums instead of means",
            "Long diagonals add up more entries: small lags win whatever the map says.",
            edit=("mean.diagonal(offset).mean()", "mean.diagonal(offset).sum()"),
        ),
        Misconception(
            "the sign is turned round",
            "An answer that comes later has the larger column: key minus query.",
            edit=("mean.diagonal(offset)", "mean.diagonal(-offset)"),
        ),
        Misconception(
            "the place in the list",
            "argmax counts from the first offset tried, which is -max_lag.",
            edit=("return offsets[int(heights.argmax())]", "return int(heights.argmax())"),
        ),
        Misconception(
            "lags are never negative",
            "If the answer comes first, the offset is below zero.",
            edit=("range(-max_lag, max_lag + 1)", "range(0, max_lag + 1)"),
        ),
        Misconception(
            "agreement and disagreement alike",
            "An anti-correlation is no lag: keep the sign.",
            edit=("mean.diagonal(offset).mean()", "mean.diagonal(offset).mean().abs()"),
        ),
        Misconception(
            "the last lag is left out",
            "range stops before its end.",
            edit="""
def recover_lag(maps, max_lag):
    mean = maps.mean(dim=0)
    heights = [mean.diagonal(k).mean().item() for k in range(-max_lag, max_lag)]
    return max(range(-max_lag, max_lag), key=lambda k: heights[k + max_lag]) if len(maps) else 0
""",
        ),
        Misconception(
            "the single tallest entry",
            "One noisy cell, or a corner, beats a whole diagonal.",
            edit="""
def recover_lag(maps, max_lag):
    row, column = divmod(int(maps.mean(0).argmax()), maps.shape[2])
    return column - row
""",
        ),
        Misconception(
            "rolled round the edge",
            "A circular shift joins the end of the clip to its beginning.",
            edit="""
def recover_lag(maps, max_lag):
    mean = maps.mean(0)
    steps = torch.arange(mean.shape[0])
    heights = [mean[steps, (steps + k) % mean.shape[1]].mean() for k in range(-max_lag, max_lag + 1)]
    return int(torch.stack(heights).argmax()) - max_lag
""",
        ),
        Misconception(
            "max_lag is not looked at",
            "The corner is a diagonal of one entry: its mean is whatever that entry happens to be.",
            edit=(
                "range(-max_lag, max_lag + 1)",
                "range(1 - maps.shape[1], maps.shape[2])",
            ),
        ),
    ),
    alternatives=(
        """
def recover_lag(maps, max_lag):
    rows, columns = torch.meshgrid(
        torch.arange(maps.shape[1]), torch.arange(maps.shape[2]), indexing="ij"
    )
    offset = columns - rows
    best = max(range(-max_lag, max_lag + 1), key=lambda k: maps[:, offset == k].mean().item())
    return best
""",
        """
def recover_lag(maps, max_lag):
    total, tq, tk = {}, maps.shape[1], maps.shape[2]
    for q in range(tq):
        for k in range(max(0, q - max_lag), min(tk, q + max_lag + 1)):
            total.setdefault(k - q, []).append(float(maps[:, q, k].sum()) / len(maps))
    return max(total, key=lambda lag: sum(total[lag]) / len(total[lag]))
""",
        """
def recover_lag(maps, max_lag):
    lags = torch.arange(-max_lag, max_lag + 1)
    heights = torch.tensor(
        [torch.diagonal(maps, int(k), dim1=1, dim2=2).mean().item() for k in lags]
    )
    return lags[heights.argmax()]
""",
    ),
    constant="4",
    cheats={"the largest lag": "def recover_lag(maps, max_lag):\n    return max_lag"},
)

MIXES = Answers(
    "03.4",
    misconceptions=(
        Misconception(
            "compares the shapes",
            "All shapes fit; that is why the fault went unseen.",
            edit="""
def mixes_samples(layer, query, context):
    return layer(query, context).shape != query.shape
""",
        ),
        Misconception(
            "looks at the sample that changed",
            "Its own output may move; the others' may not.",
            edit=("torch.arange(len(query)) != i", "torch.arange(len(query)) == i"),
        ),
        Misconception(
            "changes the query only",
            "A leak may run through the context as well.",
            edit=("changed_context[i] = torch.randn_like(context[i])", "pass"),
        ),
        Misconception(
            "changes the context only",
            "A leak may run through the query as well.",
            edit=("changed_query[i] = torch.randn_like(query[i])", "pass"),
        ),
        Misconception(
            "adds a constant",
            "A layer norm takes the mean away: a shift of all features alike is invisible behind it.",
            edit="""
def mixes_samples(layer, query, context):
    layer.eval()
    with torch.no_grad():
        together = layer(query, context)
        for i in range(len(query)):
            others = torch.arange(len(query)) != i
            moved_query, moved_context = query.clone(), context.clone()
            moved_query[i] += 1.0
            moved_context[i] += 1.0
            if not torch.allclose(layer(moved_query, moved_context)[others], together[others], atol=1e-5):
                return True
    return False
""",
        ),
        Misconception(
            "changes the first sample only",
            "The leak may start at any sample.",
            edit=("for i in range(len(query))", "for i in range(1)"),
        ),
        Misconception(
            "dropout is taken for a leak",
            "In training mode two runs of a sound layer differ.",
            edit=("    layer.eval()\n", ""),
        ),
        Misconception(
            "writes into the caller's batch",
            "Without a copy the second comparison starts from changed streams.",
            edit=("query.clone(), context.clone()", "query, context"),
        ),
        Misconception(
            "the gradient of everything",
            "Summed over the batch, each sample has a gradient through its own output.",
            edit="""
def mixes_samples(layer, query, context):
    layer.eval()
    query = query.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((layer(query, context) ** 2).sum(), query)
    return bool((gradient[1:] != 0).any())
""",
        ),
    ),
    alternatives=(
        """
def mixes_samples(layer, query, context):
    layer.eval()
    with torch.no_grad():
        together = layer(query, context)
        alone = [layer(query[i : i + 1], context[i : i + 1]) for i in range(len(query))]
    return not torch.allclose(together, torch.cat(alone), atol=1e-5)
""",
        """
def mixes_samples(layer, query, context):
    layer.eval()
    inputs = [stream.detach().clone().requires_grad_() for stream in (query, context)]
    output = layer(*inputs)
    for i in range(len(output)):
        own = (output[i] * torch.randn_like(output[i])).sum()
        for gradient in torch.autograd.grad(own, inputs, retain_graph=True):
            reached = gradient.abs().flatten(1).sum(1)
            reached[i] = 0
            if (reached > 1e-9).any():
                return True
    return False
""",
    ),
    constant="True",
    cheats={
        "never": "def mixes_samples(layer, query, context):\n    return False",
        "reads the class's name": """
def mixes_samples(layer, query, context):
    return "First" in type(layer).__name__ or "Neighbour" in type(layer).__name__
""",
    },
)


@pytest.mark.parametrize("trial", trials([CROSS, ASKS, LAG, MIXES]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()
