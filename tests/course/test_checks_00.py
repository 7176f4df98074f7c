"""The checks of lesson 00 tell mistakes from right answers; the mistakes are the instructor's notes."""

import pytest
from checking import Answers, Misconception, Trial, trials

ANSWERS = [
    Answers(
        "00.1",
        misconceptions=(
            Misconception(
                "one pair of channels forgotten",
                "Words and face may agree while the voice stands alone; two comparisons are needed.",
                edit=("(words != voice) | (voice != face)", "words != face"),
            ),
            Misconception(
                "only the words against the voice",
                "The face is a channel too: it may be the odd one out.",
                edit=("(words != voice) | (voice != face)", "words != voice"),
            ),
            Misconception(
                "all three have to differ",
                "`&` asks for clips in which both comparisons differ; one odd channel is enough.",
                edit=("|", "&"),
            ),
            Misconception(
                "agreement in place of disagreement",
                "The function's name says which of the two is True.",
                edit=("(words != voice) | (voice != face)", "(words == voice) & (voice == face)"),
            ),
            Misconception(
                "places in place of a mask",
                "`nonzero` gives the numbers of the clips; a mask has one truth for each clip.",
                edit=(
                    "(words != voice) | (voice != face)",
                    "((words != voice) | (voice != face)).nonzero().flatten()",
                ),
            ),
            Misconception(
                "numbers in place of truths",
                "A mask is boolean. An integer 0/1 tensor picks rows 0 and 1 when it is an index.",
                edit=(
                    "(words != voice) | (voice != face)",
                    "((words != voice) | (voice != face)).long()",
                ),
            ),
            Misconception(
                "one truth for all clips",
                "`any` folds the clips into a single answer; each clip needs its own.",
                edit=(
                    "(words != voice) | (voice != face)",
                    "((words != voice) | (voice != face)).any()",
                ),
            ),
            Misconception(
                "a chained comparison",
                "Python reads a != b != c as `(a != b) and (b != c)`, and `and` needs one truth.",
                edit=("(words != voice) | (voice != face)", "words != voice != face"),
            ),
        ),
        alternatives=(
            "def disagree(words, voice, face):\n    return ~((words == voice) & (words == face))",
            (
                "def disagree(words, voice, face):\n"
                "    shown = torch.stack([words, voice, face])\n"
                "    return shown.amin(0) != shown.amax(0)"
            ),
            (
                "def disagree(words, voice, face):\n"
                "    rows = zip(words.tolist(), voice.tolist(), face.tolist())\n"
                "    return torch.tensor([len(set(row)) > 1 for row in rows])"
            ),
        ),
        constant="torch.tensor([False, True, True, True, True])",
    ),
    Answers(
        "00.2",
        misconceptions=(
            Misconception(
                "the winner among the clips",
                "`dim=0` runs over clips; the classes, among which a winner is sought, are last.",
                edit=("dim=-1", "dim=0"),
            ),
            Misconception(
                "the winner of the whole table",
                "Without `dim`, argmax flattens the logits and finds one place for all clips.",
                edit=("logits.argmax(dim=-1)", "logits.argmax()"),
            ),
            Misconception(
                "the smallest logit",
                "A logit is a score, not a distance: the largest wins.",
                edit=("argmax", "argmin"),
            ),
            Misconception(
                "a count in place of a share",
                "The sum grows with the number of clips; the share does not.",
                edit=(".mean()", ".sum()"),
            ),
            Misconception(
                "a percentage",
                "An accuracy is a number between 0 and 1.",
                edit=(".mean()", ".mean() * 100"),
            ),
            Misconception(
                "the error in place of the accuracy",
                "`!=` counts the wrong clips.",
                edit=("winners == labels", "winners != labels"),
            ),
            Misconception(
                "confidence in place of accuracy",
                "How sure a model is of the true class does not say how often that class wins.",
                edit="def accuracy(logits, labels):\n"
                "    return logits.softmax(-1).gather(1, labels[:, None]).mean()",
            ),
            Misconception(
                "one truth for each clip",
                "Accuracy is one number for all clips: take the mean.",
                edit=(".float().mean()", ".float()"),
            ),
        ),
        alternatives=(
            (
                "def accuracy(logits, labels):\n"
                "    right = logits.topk(1, dim=1).indices.squeeze(1).eq(labels)\n"
                "    return right.sum().item() / len(labels)"
            ),
            (
                "def accuracy(logits, labels):\n"
                "    right = 0\n"
                "    for row, label in zip(logits, labels):\n"
                "        right += int(row[label] == row.max())\n"
                "    return right / len(labels)"
            ),
            (
                "def accuracy(logits, labels):\n"
                "    return (logits.softmax(-1).max(-1).indices == labels).double().mean()"
            ),
        ),
        constant="torch.tensor(0.5)",
    ),
]


@pytest.mark.parametrize("trial", trials(ANSWERS), ids=str)
def test_the_check_judges_rightly(trial: Trial) -> None:
    trial.run()
