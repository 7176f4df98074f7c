"""EmbraceNet against its definition: docking, one draw a feature and sample, who is there."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.layers import EmbraceNet

B, C = 7, 5
DIMS = {"text": 11, "audio": 3, "vision": 2}  # all sizes differ, and not in sorted order
NAMES = ("audio", "text", "vision")


def net(dim: int = C, **options) -> EmbraceNet:
    torch.manual_seed(0)
    return EmbraceNet(input_dims=DIMS, embracement_dim=dim, **options)


def inputs(batch: int = B, seed: int = 1) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, width, generator=draw) for name, width in DIMS.items()}


def docked(layer: EmbraceNet, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """Dock by hand: (B, c, M), in the sorted order of names."""
    return torch.stack(
        [F.linear(x[n], layer.docking[n].weight, layer.docking[n].bias).relu() for n in NAMES], -1
    )


def draws(
    layer: EmbraceNet, x: dict[str, torch.Tensor], times: int = 400, **options
) -> torch.Tensor:
    """How often each modality was drawn for each sample: (B, M)."""
    torch.manual_seed(2)
    layer.train()
    found = [layer(x, return_choice=True, **options)[1] for _ in range(times)]
    return torch.stack(found).mean((0, 2))


def within_chance(share: torch.Tensor, p: torch.Tensor, n: int) -> bool:
    return bool(((share - p).abs() <= 5 * (p * (1 - p) / n).sqrt() + 1e-9).all())


def test_docking_is_a_dense_layer_and_a_relu():
    torch.manual_seed(0)
    layer = EmbraceNet(input_dims={"audio": 3}, embracement_dim=C)
    x = torch.randn(B, 3)
    expected = F.linear(x, layer.docking["audio"].weight, layer.docking["audio"].bias).relu()
    for mode in (True, False):
        assert torch.allclose(layer.train(mode)({"audio": x}), expected, atol=1e-6)
    assert (expected == 0).any() and (expected > 0).any()


def test_in_training_each_feature_comes_from_one_modality():
    layer, x = net().train(), inputs()
    fused, choice = layer(x, return_choice=True)
    assert fused.shape == (B, C) and choice.shape == (B, C, 3)
    assert ((choice == 0) | (choice == 1)).all() and (choice.sum(-1) == 1).all()
    assert torch.allclose(fused, (docked(layer, x) * choice).sum(-1), atol=1e-6)


def test_every_feature_and_sample_is_drawn_for_itself():
    _, choice = net(dim=64).train()(inputs(), return_choice=True)
    drawn = choice.argmax(-1)
    assert all(len(row.unique()) == 3 for row in drawn), "features of one sample differ"
    assert all(len(column.unique()) > 1 for column in drawn.T[:20]), "samples differ"


def test_all_modalities_are_drawn_alike_by_default():
    share = draws(net(dim=64), inputs(), 100)
    assert within_chance(share, torch.full_like(share, 1 / 3), 6400)


def test_draws_follow_the_probabilities_whatever_they_sum_to():
    p = torch.tensor([1.0, 5.0, 4.0])
    share = draws(net(dim=64), inputs(), 100, probabilities=p)
    assert within_chance(share, (p / 10).expand(B, 3), 6400)


def test_probabilities_may_differ_by_sample():
    p = torch.rand(B, 3, generator=torch.Generator().manual_seed(3)) + 0.05
    share = draws(net(dim=64), inputs(), 100, probabilities=p)
    assert within_chance(share, p / p.sum(-1, keepdim=True), 6400)
    assert not torch.allclose(share[0], share[1], atol=0.05)


def test_who_is_absent_gives_its_share_to_the_others_in_proportion():
    p, there = torch.tensor([0.2, 0.3, 0.5]), torch.ones(B, 3, dtype=torch.bool)
    there[2, 1] = False
    there[4, :2] = False
    expected = torch.stack([p] * B)
    expected[2] = torch.tensor([0.2 / 0.7, 0.0, 0.5 / 0.7])
    expected[4] = torch.tensor([0.0, 0.0, 1.0])
    share = draws(net(dim=64), inputs(), 100, probabilities=p, availability=there)
    assert within_chance(share, expected, 6400)
    _, given_back = net().eval()(inputs(), probabilities=p, availability=there, return_choice=True)
    assert torch.allclose(given_back, expected[:, None].expand(B, C, 3))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_probability_zero_is_never_drawn(data):
    rows = data.draw(
        st.lists(st.tuples(*[st.sampled_from([0.0, 1e-30, 0.1, 1 / 3, 0.7])] * 3), min_size=1)
    )
    p = torch.tensor(rows)
    p[:, 1] += (p.sum(-1) == 0).float()
    layer = net(dim=50).train()
    _, choice = layer(inputs(len(p)), probabilities=p, return_choice=True)
    assert not (choice.any(1) & (p == 0)).any()


class _AlmostOne:
    """Stands in for `torch.rand`: the largest number below one that it can give."""

    def __call__(self, shape, **kwargs):
        return torch.full(tuple(shape), 1 - 2**-24, **kwargs)


@pytest.mark.parametrize("p", [(0.1, 0.7, 0.0), (1 / 3, 1 / 3, 0.0), (0.3, 0.0, 0.0)])
def test_the_rarest_draw_still_hits_what_is_there(monkeypatch, p):
    monkeypatch.setattr(torch, "rand", _AlmostOne())
    _, choice = net().train()(inputs(), probabilities=torch.tensor(p), return_choice=True)
    last = max(k for k in range(3) if p[k] > 0)
    assert (choice.argmax(-1) == last).all() and (choice.sum(-1) == 1).all()


def test_evaluation_gives_the_mean_over_the_draws():
    layer, x = net(dim=13), inputs()
    p, there = torch.tensor([0.2, 0.5, 0.3]), torch.ones(B, 3, dtype=torch.bool)
    there[0, 0] = there[3, 2] = False
    options = {"probabilities": p, "availability": there}
    expected = layer.eval()(x, **options)
    share = p * there
    share = share / share.sum(-1, keepdim=True)
    by_hand = (docked(layer, x) * share[:, None]).sum(-1)
    assert torch.allclose(expected, by_hand, atol=1e-6)
    torch.manual_seed(4)
    layer.train()
    drawn = torch.stack([layer(x, **options).detach() for _ in range(3000)])
    error = drawn.std(0) / 3000**0.5
    assert ((drawn.mean(0) - expected).abs() <= 5 * error + 1e-6).all()
    assert drawn.std(0).max() > 0.1


def test_expected_evaluation_draws_nothing_and_sampled_evaluation_does():
    x, before = inputs(), torch.get_rng_state()
    layer = net(dim=31).eval()
    before = torch.get_rng_state()
    assert torch.equal(layer(x), layer(x))
    assert torch.equal(torch.get_rng_state(), before)
    sampling = net(dim=31, evaluation="sample").eval()
    one, two = (sampling(x, return_choice=True) for _ in range(2))
    assert not torch.equal(one[0], two[0])
    assert torch.allclose(one[0], (docked(sampling, x) * one[1]).sum(-1), atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_what_stands_in_an_absent_modality_reaches_no_output_and_no_gradient(training, bad):
    there = torch.ones(B, 3, dtype=torch.bool)
    there[1, 0] = there[1, 2] = there[5, 1] = False
    results = []
    for fill in (0.0, bad):
        layer, x = net().train(training), inputs()
        for row, column in (~there).nonzero().tolist():
            x[NAMES[column]][row] = fill
        x = {name: value.requires_grad_() for name, value in x.items()}
        torch.manual_seed(6)
        fused = layer(x, availability=there)
        fused.square().sum().backward()
        results.append(
            [fused, *(v.grad for v in x.values()), *(p.grad for p in layer.parameters())]
        )
    for zeros, filled in zip(*results, strict=True):
        assert torch.isfinite(filled).all() and torch.equal(zeros, filled)
    for row, column in (~there).nonzero().tolist():
        assert (x[NAMES[column]].grad[row] == 0).all()


def test_gradients_reach_only_what_was_drawn():
    layer, x = net().train(), inputs()
    x = {name: value.requires_grad_() for name, value in x.items()}
    fused, choice = layer(x, return_choice=True)
    fused[2, 3].backward()
    winner = NAMES[int(choice[2, 3].argmax())]
    assert fused[2, 3] > 0
    for name in NAMES:
        touched = layer.docking[name].weight.grad.abs().sum(1) > 0
        assert touched.tolist() == [i == 3 and name == winner for i in range(C)], name
        assert (x[name].grad.abs().sum(1) > 0).tolist() == [
            i == 2 and name == winner for i in range(B)
        ]


def test_learnt_probabilities_get_a_gradient_from_the_expected_value():
    layer, x = net().eval(), inputs()
    logits = torch.zeros(B, 3, requires_grad=True)
    layer(x, probabilities=logits.softmax(-1)).sum().backward()
    assert (logits.grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_a_sample_without_any_modality_is_named(training):
    there = torch.ones(B, 3, dtype=torch.bool)
    there[2] = there[6] = False
    with pytest.raises(ValueError, match=r"sample 2, 6 of 7.*on_empty='zeros'"):
        net().train(training)(inputs(), availability=there)
    with pytest.raises(ValueError, match=r"sample 0, 1, 2, 3, 4, 5, 6 of 7"):
        net().train(training)(inputs(), probabilities=torch.zeros(3))


@pytest.mark.parametrize("training", [True, False])
def test_or_becomes_zeros_and_leaves_the_others_alone(training):
    there = torch.ones(B, 3, dtype=torch.bool)
    there[2] = False
    layer, x = net(on_empty="zeros").train(training), inputs()
    for value in x.values():
        value[2] = float("nan")
    with torch.no_grad():
        for name in NAMES:  # an offset must not speak for those who are not there
            layer.docking[name].bias += 1.0
    fused, choice = layer(x, availability=there, return_choice=True)
    assert (fused[2] == 0).all() and (choice[2] == 0).all()
    assert torch.allclose(choice[there.all(1)].sum(-1), torch.ones(B - 1, C))
    assert torch.allclose(fused[[0, 6]], (docked(layer, x) * choice).sum(-1)[[0, 6]], atol=1e-6)
    fused.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


def test_the_only_one_there_must_have_a_probability():
    there = torch.zeros(B, 3, dtype=torch.bool)
    there[:, 1] = True
    there[4, 0] = True
    with pytest.raises(ValueError, match="sample 0, 1, 2, 3, 5, 6 of 7"):
        net()(inputs(), availability=there, probabilities=torch.tensor([1.0, 0.0, 1.0]))


@pytest.mark.parametrize("training", [True, False])
def test_a_modality_left_out_is_absent_for_all(training):
    layer, x = net().train(training), inputs()
    there = torch.tensor([[True, False, True]]).expand(B, 3)
    fewer = {name: value for name, value in x.items() if name != "text"}
    outputs = []
    for given_, options in ((x, {"availability": there}), (fewer, {})):
        torch.manual_seed(7)
        outputs.append(layer(given_, **options))
    assert torch.equal(*outputs)
    there = torch.ones(B, 3, dtype=torch.bool)
    there[3] = torch.tensor([False, True, False])  # it has only what was left out
    with pytest.raises(ValueError, match="sample 3 of 7"):
        layer(fewer, availability=there)


def test_modalities_stand_in_the_sorted_order_of_their_names():
    layer, x = net().eval(), inputs()
    only_text = torch.tensor([0.0, 1.0, 0.0])
    expected = docked(layer, x)[..., 1]
    turned = dict(reversed(x.items()))
    for given_ in (x, turned):
        assert torch.allclose(layer(given_, probabilities=only_text), expected, atol=1e-6)
    assert layer.names == NAMES


@pytest.mark.parametrize("training", [True, False])
def test_lists_and_arrays_say_the_same_as_tensors(training):
    layer, x = net().train(training), inputs()
    shares = [[0, 1, 3]] * 4 + [[2, 0, 1]] * 3
    there = [[True, True, False]] + [[True, True, True]] * 6
    every = {
        "lists": (shares, there),
        "arrays": (np.array(shares), np.array(there)),
        "tensors": (torch.tensor(shares), torch.tensor(there)),
    }
    found = {}
    for kind, (p, who) in every.items():
        torch.manual_seed(7)
        found[kind] = layer(x, probabilities=p, availability=who)
    assert torch.equal(found["lists"], found["tensors"])
    assert torch.equal(found["arrays"], found["tensors"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_dtype_and_device_follow_the_inputs(dtype, training, device):
    layer = net().to(device, dtype).train(training)
    x = {name: value.to(device, dtype) for name, value in inputs().items()}
    there = torch.ones(B, 3, dtype=torch.bool)
    there[1, 0] = False
    for options in ({}, {"availability": there}, {"probabilities": torch.tensor([0.2, 0.3, 0.5])}):
        fused, choice = layer(x, return_choice=True, **options)
        assert fused.dtype == choice.dtype == dtype
        assert fused.device.type == choice.device.type == device.type
        by_hand = (docked(layer, x) * choice).sum(-1)
        assert torch.allclose(fused, by_hand, rtol=0.02, atol=0.02)


def test_draws_take_place_where_the_inputs_are():
    layer = net(on_empty="zeros").to("meta").train()
    x = {name: value.to("meta") for name, value in inputs().items()}
    there = torch.ones(B, 3, dtype=torch.bool, device="meta")
    for options in ({}, {"availability": there}):
        assert layer(x, **options).device.type == "meta"


def test_half_precision_draws_as_finely_as_full():
    """A bfloat16 number in [0, 1) is one of 256: an event of one in a thousand needs more."""
    layer = net(dim=2000).to(torch.bfloat16)
    x = {name: value.to(torch.bfloat16) for name, value in inputs(17).items()}
    p = torch.tensor([0.001, 0.4, 0.599])
    share = draws(layer, x, 1, probabilities=p).double().mean(0)
    torch.manual_seed(8)
    _, choice = layer(x, probabilities=p, return_choice=True)
    share = choice.float().mean((0, 1))
    assert within_chance(share, p, 34_000)


def test_autocast_agrees_with_full_precision(device):
    layer = net(dim=31).to(device).eval()
    x = {name: value.to(device) for name, value in inputs().items()}
    with torch.autocast(device.type, dtype=torch.bfloat16):
        half = layer(x, probabilities=torch.tensor([0.2, 0.3, 0.5]))
        drawn, choice = layer.train()(x, return_choice=True)
    full = layer.eval()(x, probabilities=torch.tensor([0.2, 0.3, 0.5]))
    assert half.dtype == torch.bfloat16 and torch.allclose(half.float(), full, atol=0.05)
    assert torch.allclose(drawn.float(), (docked(layer, x) * choice).sum(-1), atol=0.05)


@pytest.mark.parametrize("training", [True, False])
def test_it_compiles_as_one_graph(training):
    layer, x = net(on_empty="zeros").train(training), inputs()
    there = torch.ones(B, 3, dtype=torch.bool)
    there[1] = False
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    for options in ({}, {"availability": there}):
        torch.manual_seed(9)
        expected = layer(x, **options)
        torch.manual_seed(9)
        assert torch.allclose(compiled(x, **options), expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"probabilities": torch.tensor([0.5, -0.1, 0.6])},
            "not negative, but go from -0.1 to 0.6",
        ),
        ({"probabilities": torch.tensor([0.5, float("nan"), 0.6])}, "finite"),
        ({"probabilities": torch.tensor([0.5, float("inf"), 0.6])}, "finite"),
        ({"probabilities": torch.rand(2)}, r"shape \(2,\), expected \(3,\) or \(7, 3\)"),
        ({"probabilities": torch.rand(3, B)}, r"shape \(3, 7\), expected"),
        ({"probabilities": [0.5, float("nan"), 0.6]}, "finite"),
        ({"probabilities": [0.5, -0.1, 0.6]}, "not negative, but go from -0.1 to 0.6"),
        ({"probabilities": [[0.2, 0.3, 0.5]] * 2}, r"shape \(2, 3\), expected \(3,\) or \(7, 3\)"),
        ({"probabilities": [[0.2, 0.3, 0.5], [0.5, 0.5]]}, "came as list .*rows are equally long"),
        ({"probabilities": ["a", "b", "c"]}, "came as list of which torch makes no tensor"),
        ({"probabilities": {"audio": 1.0}}, "came as dict"),
        ({"probabilities": torch.ones(3, dtype=torch.complex64)}, "expected real numbers"),
        ({"probabilities": [0, 0, 0]}, "sample 0, 1, 2, 3, 4, 5, 6 of 7"),
        ({"probabilities": [[1, 1, 2]] * 4 + [[0, 0, 0]] + [[0, 0, 1]] * 2}, "sample 4 of 7"),
        ({"availability": [[True, False, True]] * 6}, r"bool of shape \(6, 3\), expected"),
        ({"availability": [[1, 0, 1]] * B}, "int64 .*expected torch.bool"),
        ({"availability": [[True], [True, False]]}, "availability came as list"),
        ({"availability": [[False] * 3] + [[True] * 3] * 6}, "sample 0 of 7"),
        ({"availability": torch.ones(B, 3)}, "float32 .*expected torch.bool"),
        ({"availability": torch.ones(3, B).bool()}, r"\(3, 7\), expected torch.bool of \(7, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(change, says):
    with pytest.raises(ValueError, match=says):
        net()(inputs(), **change)


def test_inputs_that_do_not_fit_are_refused_by_name():
    layer, x = net(), inputs()
    with pytest.raises(ValueError, match=r"audio has shape \(7, 4, 3\), expected \(7, 3\)"):
        layer(x | {"audio": torch.randn(B, 4, 3)})
    with pytest.raises(ValueError, match=r"vision has shape \(6, 2\), expected \(7, 2\)"):
        layer(x | {"vision": torch.randn(6, 2)})
    with pytest.raises(ValueError, match="face came; expected some of audio, text, vision"):
        layer(x | {"face": torch.randn(B, 2)})
    with pytest.raises(ValueError, match="nothing came"):
        layer({})


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="evaluation='mean' is unknown"):
        net(evaluation="mean")
    with pytest.raises(ValueError, match="on_empty='ignore' is unknown"):
        net(on_empty="ignore")
    with pytest.raises(ValueError, match="input_dims is empty"):
        EmbraceNet(input_dims={})
    with pytest.raises(ValueError, match="audio=0, embracement_dim=-2; expected at least 1"):
        EmbraceNet(input_dims={"audio": 0, "text": 3}, embracement_dim=-2)
