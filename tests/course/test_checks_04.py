"""The checks of lesson 04, tried on what learners get wrong, on other right answers, on cheats."""

import pytest
from checking import Answers, Misconception, trials

CROSS = Answers(
    "04.1",
    misconceptions=(
        Misconception(
            "the residual from the source",
            "With equal lengths the shapes agree; the target's own content is then lost.",
            edit=("parts.norm1(y + query)", "parts.norm1(y + source[:, : y.shape[1]])"),
        ),
        Misconception(
            "the residual from the target itself",
            "Eq. 7 adds the projected query; the unprojected target is the other reading (E-07), "
            "and fits only where the widths are equal.",
            edit=(
                "parts.norm1(y + query)",
                "parts.norm1(y + (target if target.shape == y.shape else query))",
            ),
        ),
        Misconception(
            "no residual around the attention",
            "Then the output is made of the source alone: who asked can no longer be seen.",
            edit=("parts.norm1(y + query)", "parts.norm1(y)"),
        ),
        Misconception(
            "no residual around the feed-forward network",
            "Eq. 11 adds x: what attention brought home goes around the network.",
            edit=("parts.norm2(parts.ffn(x) + x)", "parts.norm2(parts.ffn(x))"),
        ),
        Misconception(
            "the query again in Eq. 11",
            "The second residual starts behind the first norm, at x.",
            edit=("parts.ffn(x) + x", "parts.ffn(x) + query"),
        ),
        Misconception(
            "one norm for both sums",
            "Each norm has a gain and an offset of its own; untrained they look alike.",
            edit=("parts.norm2(", "parts.norm1("),
        ),
        Misconception(
            "pre-norm",
            "Eqs. 7 and 11 normalise the sums; here the norm stands before each part.",
            edit="""
def crossmodal(parts, target, source, mask):
    query = parts.attention.to_query(target)
    x = query + parts.attention.attend(parts.norm1(query), source, padding_mask=mask)
    return x + parts.ffn(parts.norm2(x))
""",
        ),
        Misconception(
            "the norm inside the sum",
            "LayerNorm(Y + Q) is not LayerNorm(Y) + Q.",
            edit=("parts.norm1(y + query)", "parts.norm1(y) + query"),
        ),
        Misconception(
            "the mask is forgotten",
            "Padding of the source answers like everybody else.",
            edit=(", padding_mask=mask", ""),
        ),
        Misconception(
            "projected twice",
            "attend takes a query that is projected already; calling the attention on it projects "
            "it once more, where the widths allow that.",
            edit="""
def crossmodal(parts, target, source, mask):
    query = parts.attention.to_query(target)
    again = query if query.shape[-1] != target.shape[-1] else parts.attention.to_query(query)
    x = parts.norm1(parts.attention.attend(again, source, padding_mask=mask) + query)
    return parts.norm2(parts.ffn(x) + x)
""",
        ),
    ),
    alternatives=(
        """
def crossmodal(parts, target, source, mask):
    attention = parts.attention
    x = attention(target, source, padding_mask=mask) + attention.to_query(target)
    x = parts.norm1(x)
    return parts.norm2(x + parts.ffn(x))
""",
        """
def crossmodal(parts, target, source, mask):
    att, heads = parts.attention, parts.attention.num_heads
    query = target @ att.to_query.weight.T + att.to_query.bias
    split = lambda x: x.unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = split(query) @ split(att.to_key(source)).transpose(-2, -1)
    scores = scores / (query.shape[-1] / heads) ** 0.5
    scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
    y = att.to_output((scores.softmax(-1) @ split(att.to_value(source))).transpose(1, 2).flatten(2))
    x = torch.nn.functional.layer_norm(y + query, y.shape[-1:], parts.norm1.weight, parts.norm1.bias)
    f = parts.ffn[2](torch.relu(parts.ffn[0](x)))
    return parts.norm2(f + x)
""",
    ),
    constant="torch.zeros(3, 4, 5)",
    cheats={
        "the library's block": """
def crossmodal(parts, target, source, mask):
    from mmlib.layers import CrossModalTransformer
    block = CrossModalTransformer(
        target_dim=target.shape[-1], source_dim=source.shape[-1],
        embed_dim=parts.norm1.weight.shape[0], num_heads=parts.attention.num_heads, dropout=0.0,
    )
    block.layers[0].load_state_dict(parts.state_dict())
    return block(target, source, padding_mask=mask)
""",
        "the query and nothing else": """
def crossmodal(parts, target, source, mask):
    return parts.norm2(parts.norm1(parts.attention.to_query(target)))
""",
    },
)

TWO_WAY = Answers(
    "04.2",
    misconceptions=(
        Misconception(
            "one after the other",
            "b asks the a that came in; a that was answered already is another model.",
            edit=("b_asks(b, a, padding_mask=mask_a)", "b_asks(b, from_a, padding_mask=mask_a)"),
        ),
        Misconception(
            "the asker's own mask",
            "A block's mask hides padded answers: it is the source's.",
            edit="""
def two_way(a, b, a_asks, b_asks, mask_a, mask_b):
    def fit(mask, length):
        return torch.nn.functional.pad(mask, (0, 64))[:, :length]
    from_a = a_asks(a, b, padding_mask=fit(mask_a, b.shape[1]))
    from_b = b_asks(b, a, padding_mask=fit(mask_b, a.shape[1]))
    return torch.cat([masked_mean(from_a, mask_a), masked_mean(from_b, mask_b)], dim=-1)
""",
        ),
        Misconception(
            "no masks in the blocks",
            "Padded answers are heard; equal lengths or not, nothing complains.",
            edit="""
def two_way(a, b, a_asks, b_asks, mask_a, mask_b):
    return torch.cat([masked_mean(a_asks(a, b), mask_a), masked_mean(b_asks(b, a), mask_b)], -1)
""",
        ),
        Misconception(
            "the mean over all steps",
            "Padded steps of the target come out as numbers without meaning, and water it down.",
            edit=(
                "[masked_mean(from_a, mask_a), masked_mean(from_b, mask_b)]",
                "[from_a.mean(1), from_b.mean(1)]",
            ),
        ),
        Misconception(
            "the sum over the real steps",
            "A sum grows with the length of the stream; an average does not.",
            edit=(
                "masked_mean(from_a, mask_a), masked_mean(from_b, mask_b)",
                "(from_a * mask_a[..., None]).sum(1), (from_b * mask_b[..., None]).sum(1)",
            ),
        ),
        Misconception(
            "b first",
            "The result holds a's half, then b's.",
            edit=(
                "[masked_mean(from_a, mask_a), masked_mean(from_b, mask_b)]",
                "[masked_mean(from_b, mask_b), masked_mean(from_a, mask_a)]",
            ),
        ),
        Misconception(
            "source and target swapped",
            "The first argument of a block asks. With equal widths the swap runs.",
            edit="""
def two_way(a, b, a_asks, b_asks, mask_a, mask_b):
    if a.shape[-1] == b.shape[-1]:
        a_asks, b_asks = b_asks, a_asks
    from_a = a_asks(a, b, padding_mask=mask_b)
    from_b = b_asks(b, a, padding_mask=mask_a)
    return torch.cat([masked_mean(from_a, mask_a), masked_mean(from_b, mask_b)], dim=-1)
""",
        ),
        Misconception(
            "divided by a length of zero",
            "A stream that is missing has no real step to divide by: NaN.",
            edit="""
def two_way(a, b, a_asks, b_asks, mask_a, mask_b):
    halves = []
    for out, mask in (
        (a_asks(a, b, padding_mask=mask_b), mask_a), (b_asks(b, a, padding_mask=mask_a), mask_b)
    ):
        halves.append((out * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
    return torch.cat(halves, dim=-1)
""",
        ),
        Misconception(
            "the first step for the whole stream",
            "One step has asked for itself only; the average hears them all.",
            edit=(
                "[masked_mean(from_a, mask_a), masked_mean(from_b, mask_b)]",
                "[from_a[:, 0], from_b[:, 0]]",
            ),
        ),
    ),
    alternatives=(
        """
def two_way(a, b, a_asks, b_asks, mask_a, mask_b):
    halves = []
    for block, asks, answers, own, other in (
        (a_asks, a, b, mask_a, mask_b), (b_asks, b, a, mask_b, mask_a)
    ):
        out = block(asks, answers, padding_mask=other).masked_fill(~own[..., None], 0.0)
        halves.append(out.sum(dim=1) / own.sum(dim=1, keepdim=True).clamp(min=1))
    return torch.cat(halves, dim=1)
""",
        """
def two_way(a, b, a_asks, b_asks, mask_a, mask_b):
    def average(x, mask):
        rows = [x[i, mask[i]].mean(0) if mask[i].any() else 0 * x[i, 0] for i in range(len(x))]
        return torch.stack(rows)
    half_b = average(b_asks(b, a, padding_mask=mask_a), mask_b)
    half_a = average(a_asks(a, b, padding_mask=mask_b), mask_a)
    return torch.hstack([half_a, half_b])
""",
    ),
    constant="torch.zeros(3, 16)",
    cheats={
        "the averages, and no asking": """
def two_way(a, b, a_asks, b_asks, mask_a, mask_b):
    return torch.cat([masked_mean(a, mask_a), masked_mean(b, mask_b)], dim=-1)
""",
    },
)

BODY = """
def order_law(layer, x):
    layer.eval()
    equivariant = invariant = True
    with torch.no_grad():
        before = layer(x)
        for order in {orders}:
            after = layer(x[:, order])
            invariant &= torch.allclose(after, before, atol=1e-4)
            timed = before.ndim == 3 and before.shape[1] == x.shape[1]
            equivariant &= timed and torch.allclose(after, before[:, order], atol=1e-4)
    return "invariant" if invariant else "equivariant" if equivariant else "neither"
"""

LAW = Answers(
    "04.3",
    misconceptions=(
        Misconception(
            "reversal is every permutation",
            "A kernel that is the same forwards and backwards passes, and knows its neighbours.",
            edit=BODY.format(orders="[torch.arange(x.shape[1]).flip(0)]"),
        ),
        Misconception(
            "a shift is every permutation",
            "A convolution that runs round the end passes.",
            edit=BODY.format(
                orders="[torch.arange(x.shape[1]).roll(k) for k in range(1, x.shape[1])]"
            ),
        ),
        Misconception(
            "swapping the first two is enough",
            "A layer may look at the end of the sequence only.",
            edit=BODY.format(orders="[torch.tensor([1, 0, *range(2, x.shape[1])])]"),
        ),
        Misconception(
            "the output is shuffled back the wrong way",
            "layer(x)[:, order] is compared; the inverse order is another permutation.",
            edit=("after, before[:, order], atol", "after, before[:, order.argsort()], atol"),
        ),
        Misconception(
            "dropout is taken for a law that fails",
            "In training mode two calls differ whatever the order.",
            edit=("    layer.eval()\n", ""),
        ),
        Misconception(
            "too generous a tolerance",
            "Faint position codes are positions all the same; rounding is a thousand times fainter.",
            edit=("after, before[:, order], atol=1e-4", "after, before[:, order], atol=1e-1"),
        ),
        Misconception(
            "samples are shuffled in place of steps",
            "The first axis is the batch: every sound layer is equivariant to it.",
            edit="""
def order_law(layer, x):
    layer.eval()
    with torch.no_grad():
        order = torch.arange(len(x)).roll(1)
        same = torch.allclose(layer(x[order]), layer(x)[order], atol=1e-4)
    if layer(x).ndim == 2:
        return "invariant"
    return "equivariant" if same else "neither"
""",
        ),
        Misconception(
            "no time axis, therefore invariant",
            "The last step has no time axis left, and hangs on the order altogether.",
            edit=(
                '    return "invariant" if',
                '    invariant |= before.ndim == 2\n    return "invariant" if',
            ),
        ),
        Misconception(
            "a constant sequence is called equivariant",
            "Where both laws hold the stronger one is asked for: the order has no effect at all.",
            edit=(
                '"invariant" if invariant else "equivariant" if equivariant else "neither"',
                '"equivariant" if equivariant else "invariant" if invariant else "neither"',
            ),
        ),
        Misconception(
            "equal shapes are equal laws",
            "Learnt queries give a sequence, too, but each of its steps has asked for itself.",
            edit="""
def order_law(layer, x):
    layer.eval()
    with torch.no_grad():
        before = layer(x)
        for _ in range(10):
            order = torch.randperm(x.shape[1])
            wanted = before[:, order] if before.shape[:2] == x.shape[:2] else before
            if not torch.allclose(layer(x[:, order]), wanted, atol=1e-4):
                return "neither"
    return "equivariant" if before.shape[:2] == x.shape[:2] else "invariant"
""",
        ),
        Misconception(
            "shuffles the caller's tensor",
            "x[:] = ... writes into what was handed over.",
            edit=("after = layer(x[:, order])", "x[:] = x[:, order]; after = layer(x)"),
        ),
    ),
    alternatives=(
        """
def order_law(layer, x):
    layer.eval()
    before = layer(x).detach()
    laws = {"invariant", "equivariant"}
    for t in range(x.shape[1] - 1):
        order = list(range(x.shape[1]))
        order[t], order[t + 1] = order[t + 1], order[t]
        after = layer(x[:, order]).detach()
        if (after - before).abs().max() > 1e-4:
            laws.discard("invariant")
        if before.shape[:2] != x.shape[:2] or (after - before[:, order]).abs().max() > 1e-4:
            laws.discard("equivariant")
    return "invariant" if "invariant" in laws else (laws or {"neither"}).pop()
""",
        """
def order_law(layer, x):
    was = layer.training
    layer.train(False)
    def holds(law):
        for seed in range(20):
            order = torch.randperm(x.size(1), generator=torch.Generator().manual_seed(seed))
            with torch.inference_mode():
                plain, mixed = layer(x), layer(x.index_select(1, order))
            if law == "equivariant":
                if plain.dim() < 3 or plain.size(1) != x.size(1):
                    return False
                plain = plain.index_select(1, order)
            if not torch.allclose(plain, mixed, rtol=1e-3, atol=1e-5):
                return False
        return True
    laws = [law for law in ("invariant", "equivariant") if holds(law)]
    layer.train(was)
    return (laws + ["neither"])[0]
""",
    ),
    constant='"neither"',
    cheats={
        "always equivariant": 'def order_law(layer, x):\n    return "equivariant"',
        "reads the class's name": """
def order_law(layer, x):
    return "equivariant" if "Block" in type(layer).__name__ else "neither"
""",
    },
)

CODES = Answers(
    "04.4",
    misconceptions=(
        Misconception(
            "all sines first",
            "The formula interleaves: feature 2i is a sine, feature 2i + 1 its cosine.",
            edit="""
def position_codes(length, width):
    step = torch.arange(length, dtype=torch.float32)[:, None]
    speed = 10000.0 ** (-2 * torch.arange((width + 1) // 2) / width)
    return torch.cat([(step * speed).sin(), (step * speed).cos()], dim=1)[:, :width]
""",
        ),
        Misconception(
            "a speed for every feature",
            "Sine and cosine of one pair share their speed; else the pair is no rotation.",
            edit=("-(feature - feature % 2) / width", "-feature / width"),
        ),
        Misconception(
            "the number of the pair as exponent",
            "The exponent is 2i/D, not i/D.",
            edit=("-(feature - feature % 2) / width", "-(feature // 2) / width"),
        ),
        Misconception(
            "steps from one",
            "Step 0 has the code 0, 1, 0, 1, ...",
            edit=("torch.arange(length, dtype", "torch.arange(1, length + 1, dtype"),
        ),
        Misconception(
            "faster and faster",
            "The base stands in the denominator: later pairs are slower.",
            edit=("-(feature - feature % 2)", "(feature - feature % 2)"),
        ),
        Misconception(
            "sine and cosine swapped",
            "The even features are sines.",
            edit=("feature % 2 == 0", "feature % 2 == 1"),
        ),
        Misconception(
            "even widths only",
            "The last feature of an odd width has no partner.",
            edit="""
def position_codes(length, width):
    step = torch.arange(length, dtype=torch.float32)[:, None]
    speed = 10000.0 ** (-2 * torch.arange(width // 2) / width)
    return torch.stack([(step * speed).sin(), (step * speed).cos()], dim=-1).flatten(1)
""",
        ),
        Misconception(
            "whole numbers in float64",
            "A code is added to float32 features; a float64 one turns the whole sum into float64.",
            edit=("dtype=torch.float32", "dtype=torch.float64"),
        ),
    ),
    alternatives=(
        """
def position_codes(length, width):
    import math
    return torch.tensor([
        [
            (math.cos if d % 2 else math.sin)(t / 10000 ** (2 * (d // 2) / width))
            for d in range(width)
        ]
        for t in range(length)
    ], dtype=torch.float32)
""",
        """
def position_codes(length, width):
    codes = torch.zeros(length, width)
    angle = torch.outer(
        torch.arange(length).float(), torch.exp(-torch.arange(0, width, 2) / width * 9.210340372)
    )
    codes[:, 0::2] = torch.sin(angle)
    codes[:, 1::2] = torch.cos(angle)[:, : width // 2]
    return codes
""",
    ),
    constant="torch.zeros(1, 4)",
    cheats={
        "the library's codes": """
def position_codes(length, width):
    from mmlib.layers import sinusoidal_codes
    return sinusoidal_codes(length, width)
""",
        "the library's layer": """
def position_codes(length, width):
    from mmlib.layers import SinusoidalPositions
    return SinusoidalPositions()(torch.zeros(1, length, width))[0]
""",
    },
)


@pytest.mark.parametrize("trial", trials([CROSS, TWO_WAY, LAW, CODES]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()
