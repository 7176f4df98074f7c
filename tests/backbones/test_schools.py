"""The face school: features of each frame alone, and pairs of names from two heads."""

import torch

from mmlib.backbones.schools import FaceSchool


def school(device="cpu"):
    torch.manual_seed(0)
    return FaceSchool(num_expressions=3, num_lights=2, feature_dim=11).to(device)


def test_features_of_a_frame_do_not_depend_on_the_others(device):
    frames = torch.rand(2, 5, 3, 32, 32, device=device)
    features = school(device).features(frames)
    assert features.shape == (2, 5, 11)
    alone = school(device).features(frames[:, 3:4])
    torch.testing.assert_close(alone[:, 0], features[:, 3], atol=1e-5, rtol=1e-4)


def test_features_are_of_unit_size():
    features = school().features(torch.rand(2, 3, 3, 32, 32))
    torch.testing.assert_close(features.mean(-1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        features.var(-1, unbiased=False), torch.ones(2, 3), atol=5e-2, rtol=0
    )


def test_bytes_and_fractions_are_seen_alike():
    frames = torch.randint(0, 256, (2, 3, 3, 48, 48), dtype=torch.uint8)
    torch.testing.assert_close(
        school().features(frames), school().features(frames.float() / 255), atol=1e-5, rtol=1e-4
    )


def test_a_pair_is_as_likely_as_its_two_names_together():
    report = school()(vision=torch.rand(5, 1, 3, 32, 32))
    pairs = report.logits.softmax(-1)
    expressions, lights = report.expressions.softmax(-1), report.lights.softmax(-1)
    for expression in range(3):
        for light in range(2):
            label = school().code(torch.tensor(expression), torch.tensor(light))
            torch.testing.assert_close(
                pairs[:, label], expressions[:, expression] * lights[:, light]
            )


def test_masked_frames_are_not_looked_at():
    frames, mask = torch.rand(2, 4, 3, 32, 32), torch.tensor([[True, True, False, False]] * 2)
    loud = frames.clone()
    loud[:, 2:] = 1.0
    one, other = (school()(vision=x, masks={"vision": mask}).logits for x in (frames, loud))
    torch.testing.assert_close(one, other)
