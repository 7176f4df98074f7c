"""The crossmodal EmbraceNet: its pairs against six transformers, its product, who is absent."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mmlib.data import FeatureSet
from mmlib.layers import CrossModalTransformer, EmbraceNet
from mmlib.systems import CrossModalEmbraceNet, CrossModalEmbraceNetConfig, build
from mmlib.systems.embracenet import CrossModalPairs

B, E = 5, 12
LENGTHS = {"text": 7, "audio": 13, "vision": 3}
WIDTHS = {"text": 11, "audio": 2, "vision": 5}  # all sizes differ
NAMES = tuple(WIDTHS)
TINY = CrossModalEmbraceNetConfig(
    streams=NAMES, widths=tuple(WIDTHS.values()), num_outputs=4, embed_dim=E, num_heads=3,
    ffn_dim=17, dropout=0.0, embracement_dim=19,
)  # fmt: skip


def tiny(**changes) -> CrossModalEmbraceNet:
    torch.manual_seed(0)
    return CrossModalEmbraceNet(config=replace(TINY, **changes)).eval()


def streams(lengths: dict[str, int] = LENGTHS, seed: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {n: torch.randn(B, t, WIDTHS[n], generator=draw) for n, t in lengths.items()}


def holes(x: dict[str, Tensor], seed: int = 2) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    masks = {n: torch.rand(v.shape[:2], generator=draw) < 0.6 for n, v in x.items()}
    for mask in masks.values():
        mask[:, 1] = True
    return masks


def transformers(pairs: CrossModalPairs, **options) -> dict[tuple[str, str], nn.Module]:
    """As many separate crossmodal transformers as there are pairs, with the same weights."""
    found = {}
    for pair in pairs.pairs:
        at, answer = pairs.pairs.index(pair), pairs.answers.index(pair)
        other = CrossModalTransformer(
            target_dim=E, source_dim=E, num_heads=3, ffn_dim=17, dropout=0.0,
            layers=len(pairs.layers), **options,
        )  # fmt: skip
        for mine, theirs in zip(pairs.layers, other.layers, strict=True):
            linears = {
                theirs.attention.to_query: (mine.to_query, at, slice(None)),
                theirs.attention.to_key: (mine.to_key_value, answer, slice(0, E)),
                theirs.attention.to_value: (mine.to_key_value, answer, slice(E, None)),
                theirs.attention.to_output: (mine.to_output, at, slice(None)),
                theirs.ffn[0]: (mine.widen, at, slice(None)),
                theirs.ffn[2]: (mine.narrow, at, slice(None)),
            }
            for linear, (stack, number, part) in linears.items():
                linear.weight.data = stack.weight.data[number, :, part].T.clone()
                linear.bias.data = stack.bias.data[number, 0, part].clone()
            for norm, stack in ((theirs.norm1, mine.norm1), (theirs.norm2, mine.norm2)):
                norm.weight.data = stack.weight.data[at, 0].clone()
                norm.bias.data = stack.bias.data[at, 0].clone()
        found[pair] = other
    return found


def crossing(names: tuple[str, ...] = NAMES, **options) -> CrossModalPairs:
    torch.manual_seed(3)
    pairs = CrossModalPairs(
        names=names, embed_dim=E, num_heads=3, ffn_dim=17, dropout=0.0, **options
    )
    with torch.no_grad():  # offsets and gains are zeros and ones at first, and would hide a mix-up
        for name, parameter in pairs.named_parameters():
            if "bias" in name or "norm" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    return pairs


@pytest.mark.parametrize("lengths", [(7, 13, 3), (7, 7, 7), (7, 7, 3), (3, 7, 7), (7, 3, 7)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_pairs_equal_six_separate_crossmodal_transformers(lengths, masked):
    pairs = crossing()
    draw = torch.Generator().manual_seed(4)
    states = {n: torch.randn(B, t, E, generator=draw) for n, t in zip(NAMES, lengths, strict=True)}
    masks = holes(states) if masked else {}
    outputs, weights = pairs(states, masks, return_weights=True)
    singles = transformers(pairs)
    assert len(singles) == 6 and set(weights) == set(singles)
    for (target, source), other in singles.items():
        expected, seen = other(
            states[target], states[source], padding_mask=masks.get(source), return_weights=True
        )
        mine = outputs[target][pairs.sources[target].index(source)]
        assert torch.allclose(mine, expected, atol=1e-5), (target, source)
        assert torch.allclose(weights[target, source], seen, atol=1e-5), (target, source)
        assert torch.allclose(pairs(states, masks)[0][target], outputs[target], atol=1e-5)


@pytest.mark.parametrize("residual", ["query", "input"])
@pytest.mark.parametrize("layers", [1, 3])
def test_layers_and_residuals_are_those_of_the_separate_transformers(residual, layers):
    pairs = crossing(layers=layers, residual=residual)
    states = {n: torch.randn(B, t, E) for n, t in LENGTHS.items()}
    outputs, _ = pairs(states)
    for (target, source), other in transformers(pairs, residual=residual).items():
        mine = outputs[target][pairs.sources[target].index(source)]
        assert torch.allclose(mine, other(states[target], states[source]), atol=1e-5)


def test_gradients_too_are_those_of_the_separate_transformers():
    pairs = crossing(layers=2)
    states = {n: torch.randn(B, t, E) for n, t in LENGTHS.items()}
    masks = holes(states)
    singles = transformers(pairs)
    sum(out.sin().sum() for out in pairs(states, masks)[0].values()).backward()
    for number, (target, source) in enumerate(pairs.pairs):
        other = singles[target, source]
        out = other(states[target], states[source], padding_mask=masks[source])
        out.sin().sum().backward()
        for mine, theirs in zip(pairs.layers, other.layers, strict=True):
            answer = pairs.answers.index((target, source))
            value = mine.to_key_value.weight.grad[answer, :, E:].T
            assert torch.allclose(value, theirs.attention.to_value.weight.grad, atol=1e-4)
            widen = mine.widen.weight.grad[number].T
            assert torch.allclose(widen, theirs.ffn[0].weight.grad, atol=1e-4)


@pytest.mark.parametrize(
    ("lengths", "attentions", "products"),
    [((7, 7, 7), [6], 5), ((7, 13, 3), [1] * 6, 15), ((7, 7, 3), [1, 1, 1, 1, 2], 10)],
)
def test_streams_of_one_length_go_through_one_operation(monkeypatch, lengths, attentions, products):
    """Six transformers one by one need 36 products and six attentions."""
    from mmlib.systems.embracenet import crossing as module

    calls: dict[str, list[int]] = {"attention": [], "product": []}

    def counted(name, real):
        def call(first, *args, **kwargs):
            calls[name].append(len(first))
            return real(first, *args, **kwargs)

        return call

    attention, product = module.scaled_dot_product_attention, torch.baddbmm
    monkeypatch.setattr(module, "scaled_dot_product_attention", counted("attention", attention))
    monkeypatch.setattr(torch, "baddbmm", counted("product", product))
    crossing()({n: torch.randn(B, t, E) for n, t in zip(NAMES, lengths, strict=True)})
    assert sorted(calls["attention"]) == [pairs * B for pairs in attentions]
    assert len(calls["product"]) == products


def test_each_target_is_the_product_of_what_its_sources_make_of_it():
    model, x = tiny(), streams()
    masks = holes(x)
    states = {name: model.project[name](x[name] * masks[name][..., None]) for name in NAMES}
    targets, there = model.enrich(x, masks)
    assert there.all() and there.shape == (B, 3)
    singles = transformers(model.crossing)
    for target in NAMES:
        product = torch.ones(B, LENGTHS[target], E)
        for source in NAMES:
            if source != target:
                out = singles[target, source](
                    states[target], states[source], padding_mask=masks[source]
                )
                product = product * out
        mask = masks[target][..., None]
        mean = (product * mask).sum(1) / mask.sum(1)
        assert torch.allclose(targets[target], mean, atol=1e-5)


@pytest.mark.parametrize(("how", "step"), [("first", 0), ("last", -1)])
def test_pooling_takes_the_first_or_last_real_step(how, step):
    model, whole = tiny(pool=how), tiny()
    x = streams()
    masks = holes(x)
    states = {name: model.project[name](x[name] * masks[name][..., None]) for name in NAMES}
    enriched, _ = model.crossing(states, masks)
    product = enriched["text"].prod(0)
    expected = torch.stack(
        [row[mask][step] for row, mask in zip(product, masks["text"], strict=True)]
    )
    assert torch.allclose(model.enrich(x, masks)[0]["text"], expected, atol=1e-5)
    assert not torch.allclose(model.enrich(x, masks)[0]["text"], whole.enrich(x, masks)[0]["text"])


def test_the_labelled_step_stands_beside_the_pooled_ones():
    model, x = tiny(label_step=2), streams()
    masks = holes(x)
    masks["text"][:, 2] = True
    masks["text"][4, 2] = False
    states = {name: model.project[name](x[name] * masks[name][..., None]) for name in NAMES}
    product = model.crossing(states, masks)[0]["text"].prod(0)
    targets, _ = model.enrich(x, masks)
    assert targets["text"].shape == (B, 2 * E)
    assert torch.allclose(targets["text"][:4, E:], product[:4, 2], atol=1e-5)
    assert (targets["text"][4, E:] == 0).all(), "where it is not real there is nothing to say"
    assert torch.allclose(targets["text"][:, :E], tiny_mean(product, masks["text"]), atol=1e-5)


def tiny_mean(x: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([row[real].mean(0) for row, real in zip(x, mask, strict=True)])


def test_what_is_fused_is_the_expected_embracement_at_evaluation_and_a_draw_in_training():
    model, x = tiny(), streams()
    targets, there = model.enrich(x)
    output = model(**x)
    assert torch.equal(output.embedding, model.embrace(targets, availability=there))
    assert torch.equal(output.logits, model.classifier(output.embedding))
    docks = torch.stack([model.embrace.docking[n](targets[n]).relu() for n in sorted(NAMES)])
    torch.manual_seed(5)
    drawn = model.train()(**x).embedding
    nearest = (docks - drawn).abs().amin(0)
    assert nearest.max() < 1e-6 and not torch.allclose(drawn, output.embedding, atol=1e-3)


def test_winners_say_which_modality_each_feature_came_from():
    model, x = tiny(embracement_dim=40), streams()
    masks = {name: torch.ones(v.shape[:2], dtype=torch.bool) for name, v in x.items()}
    masks["text"][1] = False
    masks["audio"][2] = masks["vision"][2] = False
    for mask in masks.values():
        mask[4] = False
    torch.manual_seed(6)
    won = model.winners(**x, masks=masks)
    assert won.shape == (B, 40) and set(won[0].tolist()) == {0, 1, 2}
    assert set(won[1].tolist()) == {0, 2} and set(won[2].tolist()) == {1}
    assert set(won[4].tolist()) == {-1}
    assert model.embrace.evaluation == "expected" and not model.training
    with pytest.raises(ValueError, match="fusion='concat' draws nothing"):
        tiny(fusion="concat").winners(**x)


@pytest.mark.parametrize("fusion", ["embrace", "concat"])
@pytest.mark.parametrize("absent", ["skip", "multiply"])
def test_an_absent_stream_is_one_left_out_masked_out_or_said_to_be_absent(fusion, absent):
    model, x = tiny(fusion=fusion, absent=absent, label_step=1), streams()
    masks = holes(x)
    fewer = {name: value for name, value in x.items() if name != "audio"}
    silent = {name: m & (name != "audio") for name, m in masks.items()}
    garbage = x | {"audio": torch.full_like(x["audio"], float("nan"))}
    there = torch.tensor([[False, True, True]]).expand(B, 3)  # audio, text, vision
    with torch.no_grad():
        expected = model(**fewer, masks={n: masks[n] for n in fewer})
        for found in (
            model(**x, masks=silent),
            model(**garbage, masks=silent),
            model(**garbage, masks=masks, availability=there),
        ):
            assert torch.allclose(found.logits, expected.logits, atol=1e-5)
        assert not torch.allclose(model(**x, masks=masks).logits, expected.logits, atol=1e-3)


@pytest.mark.parametrize("absent", ["skip", "multiply"])
def test_an_absent_source_leaves_the_product_or_stays_with_an_attention_of_zero(absent):
    model, x = tiny(absent=absent), streams()
    masks = {name: torch.ones(v.shape[:2], dtype=torch.bool) for name, v in x.items()}
    masks["vision"][2] = False
    states = {name: model.project[name](x[name] * masks[name][..., None]) for name in NAMES}
    enriched, _ = model.crossing(states, masks)
    from_audio, from_vision = enriched["text"]
    targets, there = model.enrich(x, masks)
    assert there[2].tolist() == [True, True, False]
    product = from_audio * from_vision
    expected = (from_audio if absent == "skip" else product)[2].mean(0)
    assert torch.allclose(targets["text"][2], expected, atol=1e-5)
    assert torch.allclose(targets["text"][1], product[1].mean(0), atol=1e-5)


def test_a_stream_alone_keeps_its_own_way_around_the_attention():
    model, x = tiny(), streams()
    alone = {"text": x["text"]}
    louder = {"text": 3 * x["text"]}
    with torch.no_grad():
        one, two = model(**alone), model(**louder)
    assert torch.isfinite(one.logits).all() and not torch.allclose(one.logits, two.logits)
    assert not torch.allclose(one.logits[0], one.logits[1])


@pytest.mark.parametrize("fusion", ["embrace", "concat"])
@pytest.mark.parametrize("training", [True, False])
def test_a_sample_without_any_stream_has_an_output_that_depends_on_nothing(fusion, training):
    model, x = tiny(fusion=fusion).train(training), streams()
    masks = {name: torch.ones(v.shape[:2], dtype=torch.bool) for name, v in x.items()}
    for name, mask in masks.items():
        mask[3] = False
        x[name][3] = float("nan")
    output = model(**x, masks=masks)
    assert (output.embedding[3] == 0).all()
    assert torch.equal(output.logits[3], model.classifier.bias)
    output.logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_two_streams_have_one_crossmodal_transformer_a_target_and_no_product():
    config = replace(TINY, streams=("text", "vision"), widths=(11, 5))
    torch.manual_seed(0)
    model = CrossModalEmbraceNet(config=config).eval()
    x = {name: value for name, value in streams().items() if name != "audio"}
    assert model.crossing.pairs == (("text", "vision"), ("vision", "text"))
    targets, _ = model.enrich(x)
    single = transformers(model.crossing)["vision", "text"]
    expected = single(model.project["vision"](x["vision"]), model.project["text"](x["text"]))
    assert torch.allclose(targets["vision"], expected.mean(1), atol=1e-5)


@pytest.mark.parametrize("name", ["embracenet", "crossmodal"])
def test_a_single_stream_asks_itself_so_that_it_can_be_tried_beside_the_fusion(name):
    torch.manual_seed(0)
    model = build(name, replace(TINY, streams=("audio",), widths=(2,), modality_dropout=0.5))
    x = streams()["audio"]
    assert model.crossing.pairs == (("audio", "audio"),)
    assert model.train()(audio=x).logits.shape == (B, 4)
    changed = x.clone()
    changed[1] += 1.0
    one, two = (model.eval()(audio=value).logits for value in (x, changed))
    assert torch.allclose(one[0], two[0]) and not torch.allclose(one[1], two[1])


def test_with_one_source_step_every_weight_is_one_and_attention_teaches_nothing():
    """E-12: a softmax over one number is 1, whatever the query asks and the key says."""
    model = tiny(streams=("text", "vision"), widths=(11, 5), residual="input")
    x = {"text": torch.randn(B, 7, 11), "vision": torch.randn(B, 1, 5)}
    maps = model.attention_maps(**x)
    assert (maps["text", "vision"] == 1).all() and maps["text", "vision"].shape == (B, 3, 7, 1)
    assert maps["vision", "text"].std() > 1e-3
    model(**x).logits.square().sum().backward()
    (layer,) = model.crossing.layers
    text_asks = model.crossing.pairs.index(("text", "vision"))
    vision_answers = model.crossing.answers.index(("text", "vision"))
    key, value = layer.to_key_value.weight.grad[vision_answers].chunk(2, dim=-1)
    assert key.abs().max() < 1e-7 and value.abs().max() > 1e-4
    query = layer.to_query.weight.grad
    assert query[text_asks].abs().max() < 1e-7 and query[1 - text_asks].abs().max() > 1e-6


def test_attention_maps_have_each_pairs_own_length_and_look_at_real_steps():
    model, x = tiny(dropout=0.5).train(), streams()
    masks = holes(x)
    maps = model.attention_maps(**x, masks=masks)
    assert model.training and set(maps) == set(model.crossing.pairs)
    for (target, source), weights in maps.items():
        assert weights.shape == (B, 3, LENGTHS[target], LENGTHS[source])
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)
        assert (weights * ~masks[source][:, None, None]).abs().max() == 0


def test_positions_tell_order_and_nothing_else_does():
    x = streams()
    turned = {name: value.flip(1) for name, value in x.items()}
    with torch.no_grad():
        for positions, same in ((None, True), ("sinusoidal", False)):
            model = tiny(positions=positions)
            one, two = model(**x).logits, model(**turned).logits
            assert torch.allclose(one, two, atol=1e-5) == same


def test_modality_dropout_takes_streams_away_in_training_only():
    model, x = tiny(modality_dropout=0.5), streams()
    seen = []
    model.embrace.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["availability"]), with_kwargs=True
    )
    torch.manual_seed(7)
    for _ in range(40):
        model.train()(**x)
    share = torch.stack(seen).float().mean()
    assert 0.4 < share < 0.75 and torch.stack(seen).any(-1).all(), "never the last one"
    seen.clear()
    model.eval()(**x)
    assert seen[0].all()


def test_the_config_comes_from_the_data():
    x = streams()
    classes = FeatureSet(x, {}, torch.arange(B) % 3, ("a", "b", "c"), label_step=2)
    config = CrossModalEmbraceNetConfig.for_dataset(classes)
    assert config.streams == NAMES and config.widths == (11, 2, 5)
    assert (config.num_outputs, config.task, config.label_step) == (3, "classification", 2)
    numbers = FeatureSet(x, {}, torch.randn(B, 2), None)
    config = CrossModalEmbraceNetConfig.for_dataset(numbers, scale="paper")
    assert (config.num_outputs, config.task, config.embed_dim) == (2, "regression", 256)
    prediction = build("embracenet", config).eval()(**x)
    assert prediction._fields == ("prediction", "embedding") and prediction[0].shape == (B, 2)
    steps = FeatureSet(x, {}, torch.randn(B, 13, 2), None)
    with pytest.raises(ValueError, match="each of 13 steps .*one vector a sample"):
        CrossModalEmbraceNetConfig.for_dataset(steps)
    with pytest.raises(ValueError, match="scale is 'large'"):
        CrossModalEmbraceNetConfig.for_dataset(classes, scale="large")


def test_the_crossmodal_transformer_alone_concatenates():
    model = build("crossmodal", TINY)
    assert model.config.fusion == "concat" and model.embrace is None
    assert not any(isinstance(part, EmbraceNet) for part in model.modules())
    x = streams()
    targets, _ = model.eval().enrich(x)
    joined = torch.cat([targets[name] for name in sorted(NAMES)], dim=-1)
    assert torch.allclose(model(**x).embedding, model.join(joined).relu(), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fusion": "sum"}, "fusion='sum' is unknown"),
        ({"absent": "ignore"}, "absent='ignore' is unknown"),
        ({"streams": ("text", "text", "audio")}, "expected different streams"),
        ({"streams": ("text", "audio")}, "expected different streams"),
        ({"streams": ("text", "text"), "widths": (11,)}, "expected different streams"),
        ({"num_heads": 5}, "embed_dim=12 cannot be split over num_heads=5"),
        (
            {"streams": ("text", "audio", "smell")},
            "stream 'smell' is unknown; expected some of text",
        ),
        ({"widths": (11, 0, 5)}, "widths is 0, expected at least 1"),
        ({"layers": 0}, "layers is 0, expected at least 1"),
        ({"embracement_dim": 0}, "embracement_dim is 0, expected at least 1"),
        ({"label_step": -1}, "label_step is -1, expected a step from 0 on, or None"),
        ({"modality_dropout": -0.1}, "modality_dropout is -0.1, expected a rate from 0 to below 1"),
        ({"modality_dropout": float("nan")}, "modality_dropout is nan, expected a rate"),
    ],
)
def test_what_cannot_be_built_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        tiny(**change)


def test_what_does_not_fit_is_refused_by_name():
    model, x = tiny(), streams()
    with pytest.raises(ValueError, match=r"audio has shape \(5, 13, 3\), expected \(5, steps, 2\)"):
        model(**x | {"audio": torch.randn(B, 13, 3)})
    with pytest.raises(ValueError, match=r"vision has shape \(4, 3, 5\), expected \(5, steps, 5\)"):
        model(**x | {"vision": torch.randn(4, 3, 5)})
    with pytest.raises(ValueError, match=r"text has shape \(5, 0, 11\), .* leave out a stream"):
        model(**x | {"text": torch.randn(B, 0, 11)})
    with pytest.raises(ValueError, match="a batch of no samples came"):
        model(**{name: value[:0] for name, value in x.items()})
    with pytest.raises(ValueError, match="text is torch.int64, expected float features"):
        model(**x | {"text": torch.ones(B, 7, 11, dtype=torch.long)})
    with pytest.raises(ValueError, match="the mask of text is torch.float32"):
        model(**x, masks={"text": torch.ones(B, 7)})
    with pytest.raises(ValueError, match="takes text, audio, vision .* but nothing came"):
        model()
    with pytest.raises(ValueError, match=r"availability is .*\(5, 2\), expected .*\(5, 3\)"):
        model(**x, availability=torch.ones(B, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"availability is torch.bool of shape \(3,\)"):
        model(**x, availability=[True, False, True])


@pytest.mark.parametrize("streams_", [("audio",), NAMES])
def test_it_learns_from_one_stream_or_several(streams_, tmp_path):
    from mmlib.training import evaluate
    from mmlib.training.jobs import train_system

    draw = torch.Generator().manual_seed(8)
    labels = torch.randint(3, (144,), generator=draw)
    x = {n: torch.randn(144, t, WIDTHS[n], generator=draw) for n, t in LENGTHS.items()}
    for value in x.values():  # three directions that two features can tell apart
        angle = 2 * torch.pi * labels / 3
        value[:, 2, :2] += 3 * torch.stack([angle.cos(), angle.sin()], dim=-1)
    split = ["train"] * 96 + ["valid"] * 48
    data = FeatureSet(x, {}, labels, ("a", "b", "c"), split=split, label_step=2).select(streams_)
    model, history = train_system(
        "embracenet",
        data,
        tmp_path / "run",
        recipe={"batch_size": 16, "epochs": 5},
        device="cpu",
        progress=False,
    )
    assert len(history) == 5
    assert model.model.config.streams == streams_
    assert evaluate(model, data.subset("valid"))["accuracy"] > 0.6


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
    reason="measured with torch 2.13; 2.6 makes a graph for every length",
)
def test_two_compiled_graphs_serve_every_length():
    """The first is for the lengths that came first, the second for all others."""
    graphs = []
    pairs = CrossModalPairs(names=("audio", "text", "vision"), embed_dim=6, num_heads=2).eval()
    torch.compiler.reset()
    compiled = torch.compile(pairs, backend=lambda graph, _: graphs.append(graph) or graph)
    with torch.no_grad():
        for few, many in ((3, 5), (7, 11), (13, 17), (19, 23)):
            steps = {"audio": few, "text": many, "vision": many}
            x = {name: torch.randn(2, count, 6) for name, count in steps.items()}
            found, expected = compiled(x)[0], pairs(x)[0]
            torch.testing.assert_close(found, expected)
    assert len(graphs) == 2
