"""The checks of lesson 02, tried on what learners get wrong, on other right answers, on cheats."""

import pytest
from checking import Answers, Misconception, trials

SOFTMAX = Answers(
    "02.1",
    misconceptions=(
        Misconception(
            "nothing is taken away before exp",
            "Correct on paper; exp(101) does not fit into 32 bits, and inf / inf is NaN.",
            edit=("scores - scores.amax(dim=-1, keepdim=True)", "scores"),
        ),
        Misconception(
            "the maximum counts masked keys too",
            "A loud padded key then pushes every real score down to exp(-1000) = 0.",
            edit="""
def masked_softmax(scores, mask):
    scores = scores - scores.amax(dim=-1, keepdim=True)
    weights = scores.masked_fill(~mask, float("-inf")).exp()
    return weights / weights.sum(dim=-1, keepdim=True)
""",
        ),
        Misconception(
            "one maximum for the whole tensor",
            "Rows far below the loudest one underflow; each row needs its own maximum.",
            edit=("scores.amax(dim=-1, keepdim=True)", "scores.max()"),
        ),
        Misconception(
            "masked after the softmax",
            "The masked keys have had their share already: the rest sums to less than one.",
            edit="""
def masked_softmax(scores, mask):
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return weights / weights.sum(dim=-1, keepdim=True) * mask
""",
        ),
        Misconception(
            "a masked score is set to zero",
            "exp(0) is 1, not 0: the padded key gets a good share.",
            edit=('float("-inf")', "0.0"),
        ),
        Misconception(
            "the mask is read the other way round",
            "In this course True is a key that may be seen.",
            edit=("~mask", "mask"),
        ),
        Misconception(
            "softmax over the queries",
            "The weights of one query sum to one, not those of one key.",
            edit="""
def masked_softmax(scores, mask):
    scores = scores.masked_fill(~mask, float("-inf"))
    weights = (scores - scores.amax(dim=-2, keepdim=True)).exp()
    return weights / weights.sum(dim=-2, keepdim=True)
""",
        ),
        Misconception(
            "written into the caller's scores",
            "masked_fill_ ends in an underscore: it changes the argument itself.",
            edit=("scores.masked_fill(", "scores.detach().masked_fill_("),
        ),
    ),
    alternatives=(
        """
def masked_softmax(scores, mask):
    scores = torch.where(mask, scores, torch.tensor(-torch.inf, device=scores.device))
    return torch.exp(scores - torch.logsumexp(scores, dim=-1, keepdim=True))
""",
        """
def masked_softmax(scores, mask):
    mask = mask.expand_as(scores)
    lowest = torch.finfo(scores.dtype).min
    top = torch.where(mask, scores, torch.full_like(scores, lowest)).max(dim=-1, keepdim=True)
    powers = torch.exp((scores - top.values).clamp(max=0)) * mask
    return powers / powers.sum(-1, keepdim=True)
""",
        """
def masked_softmax(scores, mask):
    shifted = scores + torch.zeros_like(scores).masked_fill(~mask, -1e9)
    shifted = shifted - shifted.max(-1, keepdim=True)[0].detach()
    powers = shifted.exp()
    return torch.einsum("...k,...->...k", powers, 1 / powers.sum(-1))
""",
    ),
    constant="torch.full_like(args[0], 1 / args[0].shape[-1])",
    cheats={
        "torch.softmax after all": """
def masked_softmax(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)
""",
        "functional softmax after all": """
def masked_softmax(scores, mask):
    return torch.nn.functional.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)
""",
        "attention with an identity for values": """
def masked_softmax(scores, mask):
    return scores.masked_fill(~mask, float("-inf")).softmax(-1)
""",
    },
)

SATURATION = Answers(
    "02.2",
    misconceptions=(
        Misconception(
            "divided by d",
            "The spread then falls like 1 / sqrt(d): wide attention cannot choose any more.",
            edit=("query.shape[-1] ** 0.5", "query.shape[-1]"),
        ),
        Misconception(
            "divided by the root of the number of keys",
            "A longer sequence does not make a single dot product larger.",
            edit=("query.shape[-1] ** 0.5", "key.shape[0] ** 0.5"),
        ),
        Misconception(
            "multiplied by the root of d",
            "The spread grows with the root of d already.",
            edit=("scores / query", "scores * query"),
        ),
        Misconception(
            "scaled is ignored",
            "Both settings are asked for, so that they can be compared.",
            edit=("if scaled:", "if True:"),
        ),
        Misconception(
            "divided by the measured spread",
            "Right on average, but then every query's weights depend on all the other queries.",
            edit=("scores / query.shape[-1] ** 0.5", "scores / scores.std()"),
        ),
        Misconception(
            "the mean weight in place of the slope",
            "The weights of a query average to one over the number of keys, whatever they are.",
            edit=("(weights * (1 - weights)).mean()", "weights.mean()"),
        ),
        Misconception(
            "variance in place of spread",
            "The variance of a dot product is d; its spread is the root of that.",
            edit=("scores.std()", "scores.var()"),
        ),
        Misconception(
            "softmax over the queries",
            "Each query shares itself out over the keys: the last axis.",
            edit=("dim=-1", "dim=0"),
        ),
    ),
    alternatives=(
        """
def saturation(query, key, scaled):
    d = query.size(1)
    scores = torch.einsum("qd,kd->qk", query, key) * (d ** -0.5 if scaled else 1)
    w = scores.softmax(1)
    return scores.std(), (w - w ** 2).mean()
""",
        """
def saturation(query, key, scaled):
    if scaled:
        query = query / torch.tensor(float(query.shape[-1])).sqrt()
    scores = query.matmul(key.t())
    weights = torch.exp(scores - scores.logsumexp(dim=-1, keepdim=True))
    slope = sum(float((w * (1 - w)).sum()) for w in weights) / weights.numel()
    return float(((scores - scores.mean()) ** 2).mean().sqrt()), slope
""",
    ),
    constant="torch.tensor(1.0), torch.tensor(0.07)",
)

HEADS = Answers(
    "02.3",
    misconceptions=(
        Misconception(
            "view without transpose",
            "The shape is right; the content cuts the time axis into pieces and calls them heads.",
            edit="""
def in_heads(query, key, value, num_heads, attend):
    split = [x.view(x.shape[0], num_heads, x.shape[1], -1) for x in (query, key, value)]
    out = attend(*split)
    return out.transpose(1, 2).reshape(query.shape)
""",
        ),
        Misconception(
            "every H-th feature",
            "(d h) gives head 0 the features 0, H, 2H ...; heads are blocks of neighbours.",
            edit="""
def in_heads(query, key, value, num_heads, attend):
    split = [rearrange(x, "b t (d h) -> b h t d", h=num_heads) for x in (query, key, value)]
    return rearrange(attend(*split), "b h t d -> b t (d h)")
""",
        ),
        Misconception(
            "merged without transposing back",
            "reshape reads the numbers in the order (head, time), so the heads lie one after another.",
            edit="""
def in_heads(query, key, value, num_heads, attend):
    split = [rearrange(x, "b t (h d) -> b h t d", h=num_heads) for x in (query, key, value)]
    return attend(*split).reshape(query.shape)
""",
        ),
        Misconception(
            "merged in the other order",
            "The pattern of the merge is the reverse of the split, brackets included.",
            edit=("b h t d -> b t (h d)", "b h t d -> b t (d h)"),
        ),
        Misconception(
            "each head a call of its own",
            "The sum is right; one call for all heads is what makes attention fast.",
            edit="""
def in_heads(query, key, value, num_heads, attend):
    parts = zip(*(x.chunk(num_heads, dim=-1) for x in (query, key, value)), strict=True)
    return torch.cat([attend(*[x[:, None] for x in part])[:, 0] for part in parts], dim=-1)
""",
        ),
        Misconception(
            "time and heads swapped",
            "Attention compares over the axis before the last: that has to be time.",
            edit="""
def in_heads(query, key, value, num_heads, attend):
    split = [rearrange(x, "b t (h d) -> b t h d", h=num_heads) for x in (query, key, value)]
    return rearrange(attend(*split), "b t h d -> b t (h d)")
""",
        ),
        Misconception(
            "heads folded into the batch",
            "attend was promised (B, H, T, D / H); a mask (B, 1, 1, Tk) would no longer fit.",
            edit="""
def in_heads(query, key, value, num_heads, attend):
    split = [rearrange(x, "b t (h d) -> (b h) t d", h=num_heads) for x in (query, key, value)]
    return rearrange(attend(*split), "(b h) t d -> b t (h d)", h=num_heads)
""",
        ),
        Misconception(
            "the heads averaged",
            "Each head's answer keeps its place; an average would throw away what heads are for.",
            edit="""
def in_heads(query, key, value, num_heads, attend):
    split = [rearrange(x, "b t (h d) -> b h t d", h=num_heads) for x in (query, key, value)]
    return attend(*split).mean(dim=1).repeat(1, 1, num_heads)
""",
        ),
    ),
    alternatives=(
        """
def in_heads(query, key, value, num_heads, attend):
    def split(x):
        batch, time, features = x.shape
        return x.view(batch, time, num_heads, features // num_heads).transpose(1, 2)
    out = attend(split(query), split(key), split(value))
    return out.transpose(1, 2).flatten(2)
""",
        """
def in_heads(query, key, value, num_heads, attend):
    split = [torch.stack(x.chunk(num_heads, dim=-1), dim=1) for x in (query, key, value)]
    out = attend(*split)
    return torch.cat(list(out.unbind(1)), dim=-1)
""",
    ),
    constant="torch.zeros_like(args[0])",
    cheats={
        "attends without heads": """
def in_heads(query, key, value, num_heads, attend):
    return attend(query[:, None], key[:, None], value[:, None])[:, 0]
""",
    },
)

EMPTY_ROW = Answers(
    "02.4",
    misconceptions=(
        Misconception(
            "minus infinity all along a row",
            "The softmax of a row of -inf is NaN: 0 / 0.",
            edit="""
def attention(query, key, value, mask):
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)
    return weights @ value, weights
""",
        ),
        Misconception(
            "uniform over padding",
            "A finite lowest score alone makes an empty row an average over padding.",
            edit=(".masked_fill(~mask, 0.0)", ""),
        ),
        Misconception(
            "NaN wiped away afterwards",
            "The output is clean, but the softmax's slope was taken at NaN: so are the gradients.",
            edit="""
def attention(query, key, value, mask):
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    added = torch.zeros_like(scores).masked_fill(~mask, float("-inf"))
    weights = torch.nan_to_num(torch.softmax(scores + added, dim=-1))
    return weights @ value, weights
""",
        ),
        Misconception(
            "only a batch that is empty altogether is cared for",
            "One empty row among full ones is the usual case.",
            edit="""
def attention(query, key, value, mask):
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    if not mask.any():
        weights = scores * 0
    else:
        weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)
    return weights @ value, weights
""",
        ),
        Misconception(
            "the weights are only multiplied by the mask",
            "The masked keys took part in the sum: what is left does not sum to one.",
            edit=(".masked_fill(~mask, torch.finfo(scores.dtype).min)", " + 0"),
        ),
        Misconception(
            "the output is cleared where any key is masked",
            "A row is empty where no key is left: any, not all.",
            edit="""
def attention(query, key, value, mask):
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1).masked_fill(~mask, 0.0)
    weights = weights * mask.all(dim=-1, keepdim=True)
    return weights @ value, weights
""",
        ),
        Misconception(
            "the root of d is forgotten",
            "Without the division the softmax is too cold; see exercise 02.2.",
            edit=(" / query.shape[-1] ** 0.5", ""),
        ),
        Misconception(
            "divided by the root of the number of keys",
            "d is the width of a query.",
            edit=("query.shape[-1] ** 0.5", "key.shape[-2] ** 0.5"),
        ),
        Misconception(
            "the mask is read the other way round",
            "In this course True is a key that may be seen.",
            edit="""
def attention(query, key, value, mask):
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1).masked_fill(mask, 0.0)
    return weights @ value, weights
""",
        ),
    ),
    alternatives=(
        """
def attention(query, key, value, mask):
    scores = torch.einsum("...qd,...kd->...qk", query, key) * query.shape[-1] ** -0.5
    empty = ~mask.any(dim=-1, keepdim=True)
    weights = torch.softmax(scores.masked_fill(~(mask | empty), float("-inf")), dim=-1)
    weights = weights.masked_fill(empty, 0.0)
    return weights @ value, weights
""",
        """
def attention(query, key, value, mask):
    scores = query @ key.mT / query.size(-1) ** 0.5
    top = scores.masked_fill(~mask, -1e30).amax(-1, keepdim=True).clamp(min=-1e20).detach()
    powers = (scores - top).clamp(max=0).exp() * mask
    weights = powers / powers.sum(-1, keepdim=True).clamp(min=1e-12)
    return torch.matmul(weights, value), weights
""",
        """
def attention(query, key, value, mask):
    scores = query / query.shape[-1] ** 0.5 @ key.transpose(-1, -2)
    weights = torch.where(mask, torch.softmax(torch.where(mask, scores, -1e9), -1), 0.0)
    return weights @ value, weights
""",
    ),
    constant="torch.zeros(2, 3, 5, 13), torch.zeros(2, 3, 5, 11)",
    cheats={
        "the library's attention": """
from mmlib.layers import scaled_dot_product_attention
def attention(query, key, value, mask):
    return scaled_dot_product_attention(query, key, value, mask=mask, return_weights=True)
""",
        "torch's attention": """
def attention(query, key, value, mask):
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(~mask, -1e9)
    return torch.nan_to_num(out), torch.softmax(scores, -1).masked_fill(~mask, 0)
""",
    },
)


@pytest.mark.parametrize("trial", trials([SOFTMAX, SATURATION, HEADS, EMPTY_ROW]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()
