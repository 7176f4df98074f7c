"""InceptionResnetV1: the public names and numbers, embeddings of length one, and public files."""

import pytest
import torch
import torch.nn.functional as F
from golden import Golden, table_of

from mmlib.backbones import InceptionResnetV1
from mmlib.backbones.inception_resnet import Block, Conv, Reduction
from mmlib.backbones.loading import PretrainedError

STAGES = ("conv2d_4b", "repeat_1", "mixed_6a", "repeat_2", "mixed_7a", "repeat_3", "block8")
LOGITS = ["logits.bias", "logits.weight"]


@pytest.fixture(scope="module")
def golden(shared_facts) -> Golden:
    return Golden(shared_facts, "inception_resnet_v1")


@pytest.fixture(scope="module")
def narrow() -> InceptionResnetV1:
    torch.manual_seed(0)
    return InceptionResnetV1(11, width=1 / 16).eval()


def described(num_classes: int | None) -> InceptionResnetV1:
    """Build one that has shapes but no numbers, which takes no time."""
    with torch.device("meta"):
        return InceptionResnetV1(num_classes)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("num_classes", "variant", "count"),
    [
        (None, "no logits layer", 23_482_624),
        (8631, "logits 8631 (vggface2)", 27_910_327),
        (10_575, "logits 10575 (casia-webface)", 28_907_599),
    ],
)
def test_names_shapes_and_types_are_the_public_ones(golden, num_classes, variant, count):
    model = described(num_classes)
    expected = [row for row in golden.table() if row[0] not in LOGITS]
    if num_classes is not None:
        sizes = {"logits.weight": [num_classes, 512], "logits.bias": [num_classes]}
        expected = sorted([*expected, *([name, sizes[name], "float32"] for name in LOGITS)])
    assert table_of(model) == expected
    assert len(expected) == (714 if num_classes is None else 716)
    found = sum(parameter.numel() for parameter in model.parameters())
    assert found == count == golden.facts["parameter_count"][variant]


@pytest.mark.slow
def test_numbers_are_the_public_ones(golden):
    model, kept = described(8631).to_empty(device="cpu").eval(), {}
    for name in (*STAGES, "last_bn"):
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: kept.__setitem__(name, out.clone())
        )
    for case in golden.cases(model):
        model.load_state_dict(case.weights, strict=True)
        with torch.no_grad():
            kept["logits"] = model.classify(case.inputs["x"])
            kept["embedding"] = F.normalize(kept["last_bn"], dim=1)
        case.compare(kept)
        with torch.no_grad():
            assert case.error("embedding", model(case.inputs["x"])) < 1e-5


def test_an_embedding_has_length_one_in_either_mode(narrow, device):
    x = noise(3, 3, 80, 96).to(device)
    model = narrow.to(device)
    for mode in (False, True):
        lengths = model.train(mode)(x).norm(dim=1)
        assert torch.allclose(lengths, torch.ones(3, device=device), atol=1e-5)
    model.to("cpu").eval()


def test_people_are_told_apart_by_the_vector_before_it_is_scaled(narrow):
    x, kept = noise(2, 3, 80, 77), []
    hook = narrow.last_bn.register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.no_grad():
        logits, embedding = narrow.classify(x), narrow(x)
    hook.remove()
    assert torch.allclose(logits, narrow.logits(kept[0]), atol=1e-6)
    assert torch.allclose(embedding, F.normalize(kept[0], dim=1), atol=1e-6)
    assert not torch.allclose(kept[0].norm(dim=1), torch.ones(2), atol=0.1)


def test_without_classes_there_is_no_such_layer():
    with pytest.raises(ValueError, match="num_classes="):
        InceptionResnetV1(width=1 / 32).classify(noise(1, 3, 80, 80))


def test_faces_in_further_axes_go_through_at_once(narrow):
    x = noise(2, 3, 3, 75, 80)
    with torch.no_grad():
        together = narrow.features(x)
        assert together.shape == (2, 3, 32) and narrow.feature_dim == 32
        assert torch.allclose(together[1], narrow(x[1]), atol=1e-5)


def test_faces_do_not_know_of_each_other_at_evaluation(narrow):
    x = noise(3, 3, 80, 80)
    with torch.no_grad():
        assert torch.allclose(narrow(x)[1:2], narrow(x[1:2]), atol=1e-5)


@pytest.mark.parametrize("size", [75, 112])
def test_a_single_face_can_be_trained_on_and_leaves_the_last_statistics(size):
    model = InceptionResnetV1(width=1 / 32).train()
    norms = {"last": model.last_bn, "map": model.repeat_3[0].branch0.bn}  # of 1 x 1, and of 2 x 2
    before = {name: norm.running_mean.clone() for name, norm in norms.items()}
    model(noise(1, 3, size, size)).sum().backward()
    kept = {name for name, norm in norms.items() if torch.equal(norm.running_mean, before[name])}
    assert kept == ({"last", "map"} if size == 75 else {"last"})
    model(noise(2, 3, size, size))
    assert not any(torch.equal(norm.running_mean, before[name]) for name, norm in norms.items())


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    model = InceptionResnetV1(5, width=1 / 16, dropout=0.0).train()
    F.cross_entropy(model.classify(noise(4, 3, 112, 96)), torch.arange(4)).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_the_paper_names_no_dropout_but_its_source_does():
    assert InceptionResnetV1(width=1 / 32).dropout.p == 0.6


def test_a_block_adds_a_share_of_its_joined_branches():
    torch.manual_seed(0)
    branches = [Conv(7, 2), Conv(7, 3, (1, 3), padding=(0, 1))]
    x = noise(2, 7, 5, 6)
    for rectified in (True, False):
        block = Block(branches, channels=7, scale=0.3, rectified=rectified).eval()
        assert block.conv2d.bias is not None
        added = x + 0.3 * block.conv2d(torch.cat([branch(x) for branch in branches], dim=1))
        assert torch.allclose(block(x), added.relu() if rectified else added, atol=1e-6)


def test_a_reduction_joins_its_branches_and_the_largest_of_each_place():
    branch = Conv(5, 2, 3, stride=2)
    joined = Reduction([branch], channels=5).eval()
    x = noise(2, 5, 9, 8)
    assert joined.out_channels == 7
    assert torch.equal(joined(x), torch.cat([branch(x), F.max_pool2d(x, 3, 2)], dim=1))


def test_its_norms_have_the_public_addend(narrow):
    norms = [
        m for m in narrow.modules() if isinstance(m, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d)
    ]
    assert {norm.eps for norm in norms} == {1e-3} and len(norms) > 100


def test_a_public_file_fits_with_its_people_or_without_exactly_them(narrow, tmp_path):
    torch.save(narrow.state_dict(), tmp_path / "weights.pt")
    same = InceptionResnetV1(11, width=1 / 16).load_public(tmp_path / "weights.pt")
    assert torch.equal(same.logits.weight, narrow.logits.weight)
    bare = InceptionResnetV1(width=1 / 16).load_public(tmp_path / "weights.pt").eval()
    x = noise(2, 3, 80, 80)
    with torch.no_grad():
        assert torch.equal(bare(x), narrow(x))
    torch.save({**narrow.state_dict(), "logits.scale": torch.ones(1)}, tmp_path / "more.pt")
    with pytest.raises(PretrainedError, match=r"1 are unknown, the first is logits\.scale"):
        InceptionResnetV1(width=1 / 16).load_public(tmp_path / "more.pt")
    fewer = {n: v for n, v in narrow.state_dict().items() if n != "last_linear.weight"}
    torch.save(fewer, tmp_path / "fewer.pt")
    with pytest.raises(PretrainedError, match=r"1 of the entries.*last_linear\.weight"):
        InceptionResnetV1(width=1 / 16).load_public(tmp_path / "fewer.pt")


def test_people_of_another_file_are_left_out_on_demand(narrow, tmp_path):
    torch.save(narrow.state_dict(), tmp_path / "weights.pt")
    casia = InceptionResnetV1(13, width=1 / 16)
    with pytest.raises(PretrainedError, match=r"logits.*head=False"):
        casia.load_public(tmp_path / "weights.pt")
    before = casia.logits.weight.clone()
    casia.load_public(tmp_path / "weights.pt", head=False)
    assert torch.equal(casia.logits.weight, before)
    assert torch.equal(casia.last_linear.weight, narrow.last_linear.weight)
    assert torch.equal(casia.last_bn.weight, narrow.last_bn.weight)


def test_old_files_without_batch_counters_load_strictly(narrow, tmp_path):
    old = {n: v for n, v in narrow.state_dict().items() if "num_batches_tracked" not in n}
    narrow.load_state_dict(old, strict=True)
    torch.save(old, tmp_path / "weights.pt")
    InceptionResnetV1(width=1 / 16).load_public(tmp_path / "weights.pt")


def test_pictures_are_standardised_as_the_public_weights_expect():
    levels = torch.tensor([0.0, 127.5, 255.0]) / 255
    assert torch.allclose(
        InceptionResnetV1.normalise(levels), torch.tensor([-127.5, 0.0, 127.5]) / 128, atol=1e-6
    )


def test_faces_of_another_shape_are_refused(narrow):
    with torch.no_grad():
        narrow(noise(1, 3, 75, 75))
        with pytest.raises(ValueError, match="75 x 75 or more"):
            narrow(noise(1, 3, 160, 74))
        with pytest.raises(ValueError, match="permute"):
            narrow(noise(1, 160, 160, 3))
        with pytest.raises(ValueError, match="`features`"):
            narrow(noise(1, 2, 3, 80, 80))
        with pytest.raises(ValueError, match=r"expected \(batch, 3"):
            narrow.features(noise(3, 80, 80))
        with pytest.raises(ValueError, match="divide by 255"):
            narrow(torch.zeros(1, 3, 80, 80, dtype=torch.uint8))
