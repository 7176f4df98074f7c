"""What all baselines share: the config, the encoder of a stream, and what they learn."""

import pytest
import torch

from mmlib.data import FeatureSet, Standardised
from mmlib.systems import BaselineConfig, UnknownSystem, build
from mmlib.training import evaluate, fit, seed_everything


def dataset(count: int = 60, label_step: int | None = None) -> FeatureSet:
    """Let audio tell the label's first bit and vision its second, at step 1 only."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (count,), generator=draw)
    audio = torch.randn(count, 3, 2, generator=draw)
    vision = torch.randn(count, 5, 7, generator=draw)
    audio[:, 1, 0] += 4.0 * (labels % 2)
    vision[:, 1, 3] += 4.0 * (labels // 2)
    names = ("a", "b", "c", "d")
    return FeatureSet({"audio": audio, "vision": vision}, {}, labels, names, label_step=label_step)


def test_majority_says_the_most_frequent_class_of_what_it_was_made_for():
    data = dataset(50).subset([0, 1, 2])
    data = FeatureSet(data.inputs, {}, torch.tensor([2, 0, 2]), data.class_names)
    model = build("majority", BaselineConfig.for_dataset(data))
    assert model(audio=torch.zeros(5, 1, 2))[0].argmax(1).tolist() == [2] * 5


def test_majority_of_numbers_is_their_mean():
    labels = torch.tensor([[1.0, 3.0], [2.0, 5.0]])
    data = FeatureSet({"audio": torch.zeros(2, 3, 4)}, {}, labels, None)
    model = build("majority", BaselineConfig.for_dataset(data))
    assert model(audio=data.inputs["audio"]).prediction.tolist() == [[1.5, 4.0]] * 2


def test_majority_of_steps_is_the_mean_of_those_that_are_real():
    labels = torch.tensor(
        [[[1.0, 3.0], [-5.0, -5.0], [2.0, 8.0]], [[6.0, 4.0], [0.0, 0.0], [0.0, 0.0]]]
    )
    inputs = {"audio": torch.zeros(2, 3, 4), "vision": torch.zeros(2, 3, 5)}
    masks = {
        "audio": torch.tensor([[True, False, False], [True, False, False]]),
        "vision": torch.tensor([[True, False, True], [False, False, False]]),
    }
    data = FeatureSet(inputs, masks, labels, None)
    model = build("majority", BaselineConfig.for_dataset(data))
    assert model(**inputs, masks=masks).prediction[1, 2].tolist() == [3.0, 5.0]


@pytest.mark.parametrize("name", ["concat", "late"])
@pytest.mark.parametrize("label_step", [None, 1])
def test_fusion_learns_what_no_stream_knows_alone(name, label_step):
    whole = dataset(500, label_step)
    train, fresh = whole.subset(slice(0, 200)), whole.subset(slice(200, 500))
    accuracy = {}
    for streams in (("audio",), ("audio", "vision")):
        part = train.select(streams)
        seed_everything(0)
        model = Standardised(
            model=build(name, BaselineConfig.for_dataset(part)), widths=part.widths
        ).learn(part)
        fit(model, part, epochs=12, learning_rate=5e-3, progress=False)
        accuracy[streams] = evaluate(model, fresh.select(streams))["accuracy"]
    assert accuracy["audio",] < 0.65 and accuracy["audio", "vision"] > 0.8, accuracy


def test_late_fusion_without_a_stream_is_the_other_stream():
    data = dataset()
    model = build("late", BaselineConfig.for_dataset(data)).eval()
    batch = data.batch(range(6))
    masks = {**batch.masks, "audio": batch.masks["audio"].clone()}
    masks["audio"][2] = False
    output = model(**batch.inputs, masks=masks)
    assert torch.equal(output.logits[2], output.stream_logits[2, 1])
    expected = output.stream_logits[3].mean(0)
    assert torch.allclose(output.logits[3], expected, atol=1e-6)
    alone = model(vision=batch.inputs["vision"], masks={"vision": masks["vision"]})
    assert torch.allclose(alone.logits[2], output.logits[2], atol=1e-6)


def test_the_labelled_step_reaches_the_decision():
    data = dataset(label_step=1)
    model = build("concat", BaselineConfig.for_dataset(data)).eval()
    here = data.batch(range(4))
    moved = {key: value.roll(2, 1) for key, value in here.inputs.items()}
    one = BaselineConfig.for_dataset(dataset())
    assert model.config.label_step == 1 and one.label_step is None
    with torch.no_grad():
        assert not torch.allclose(model(**here.inputs)[0], model(**moved)[0], atol=1e-3)


def test_long_streams_are_joined_in_patches_and_no_step_is_lost():
    draw = torch.Generator().manual_seed(1)
    audio = torch.randn(5, 131, 2, generator=draw)
    mask = torch.zeros(5, 131, dtype=torch.bool)
    mask[:, :2] = True
    mask[1, -1] = True
    data = FeatureSet({"audio": audio}, {"audio": mask}, torch.arange(5) % 2, ("a", "b"))
    config = BaselineConfig.for_dataset(data)
    assert config.patches == (4,)
    model = build("concat", config).eval()
    batch = data.batch(range(5))
    changed = batch.inputs["audio"].clone()
    changed[:, -1] += 5.0
    with torch.no_grad():
        before = model(**batch.inputs, masks=batch.masks)[0]
        after = model(audio=changed, masks=batch.masks)[0]
    assert not torch.allclose(before[1], after[1], atol=1e-4), "the last real step counts"
    assert torch.allclose(before[0], after[0]), "a step that is not real does not"


def test_configs_come_in_two_sizes_from_the_data():
    small, paper = (BaselineConfig.for_dataset(dataset(), scale) for scale in ("small", "paper"))
    assert small.embed_dim < paper.embed_dim
    assert small.streams == ("audio", "vision") and small.widths == (2, 7)
    with pytest.raises(ValueError, match="expected small or paper"):
        BaselineConfig.for_dataset(dataset(), "huge")
    with pytest.raises(ValueError, match="as many of one as of the other"):
        BaselineConfig(streams=("audio",), widths=(1, 2))


def test_unknown_names_and_strange_streams_are_refused_with_what_there_is():
    with pytest.raises(UnknownSystem, match="no system 'concatt'; there are .*concat"):
        build("concatt", BaselineConfig())
    with pytest.raises(TypeError, match="takes a BaselineConfig"):
        build("concat", None)
    model = build("concat", BaselineConfig.for_dataset(dataset()))
    with pytest.raises(ValueError, match="takes audio, vision .*but text came"):
        model(text=torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="audio has 3 features a step, .* built for 2"):
        model(audio=torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="nothing came"):
        model()
