"""JMT's backbones as frozen encoders: the same clips for eyes and ears, weights from a file."""

import pytest
import torch
from recordings import number_of, shades, tone, write_video, write_wav

from mmlib.backbones import r2plus1d_18, resnet18
from mmlib.backbones.clip_encoders import ClipSound, ClipVision, Pieces
from mmlib.backbones.loading import PretrainedError
from mmlib.backbones.pretrained import Prepared
from mmlib.backbones.r2plus1d import R2Plus1D
from mmlib.backbones.resnet import average_channels
from mmlib.data.media import MediaError, read_frames, read_sound
from mmlib.data.spectrogram import SpectrogramGeometry, clip_spectrograms

# Three pictures dilated by two: a clip lasts six frames, 0.2 seconds.
CLIP = SpectrogramGeometry(frames=3, dilation=2)


@pytest.fixture(scope="module")
def vision():
    return ClipVision(random=True, geometry=CLIP, size=16)


@pytest.fixture(scope="module")
def sound():
    return ClipSound(random=True, geometry=CLIP)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """33 frames: five clips and a half."""
    path = tmp_path_factory.mktemp("recording") / "a.mp4"
    return write_video(path, shades(33), sound=tone(1.1, 44_100, 300.0))


def clips(count: int, size: int = 16, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 3, size, size), generator=draw, dtype=torch.uint8)


def test_a_clip_is_what_the_network_says_of_its_normalised_pictures(vision):
    some = clips(5)
    (found,) = vision.run([vision.prepare(Pieces(some, 5))])
    model = vision._model
    with torch.no_grad():
        wanted = model.features(R2Plus1D.normalise(some.float() / 255))
    assert found.shape == (5, 512)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    # The pooled features are what the last layer takes.
    with torch.no_grad():
        logits = model(R2Plus1D.normalise(some[:1].float() / 255))
    torch.testing.assert_close(model.fc(found[:1]), logits, rtol=1e-4, atol=1e-4)


def test_clips_are_encoded_alike_alone_and_among_others():
    vision = ClipVision(random=True, geometry=CLIP, size=16, at_once=9)
    many, seen = clips(20), []
    vision._model.stem.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    parts = vision.run([Prepared(many[:7], 7), Prepared(many[7:], len(many) - 7)])
    assert [len(part) for part in parts] == [7, len(many) - 7]
    assert seen == [9, 9, 2]
    for number in (0, 6, 7, 9, len(many) - 1):
        (alone,) = vision.run([Prepared(many[number : number + 1], 1)])
        got = torch.cat(parts)[number]
        torch.testing.assert_close(got, alone[0], rtol=1e-4, atol=1e-4)


def test_both_take_the_same_seconds_around_the_middle(recording, vision, sound):
    # Two clips are 0.4 of 1.1 seconds: from 0.35 to 0.75, frames 10.5 to 22.5.
    eyes, ears = vision.read(recording, 2), sound.read(recording, 2)
    assert eyes.values.shape == (2, 3, 3, 32, 48) and ears.values.shape == (2, CLIP.samples)
    assert eyes.whole == ears.whole == 5
    shown = [number_of(picture) for picture in eyes.values.flatten(0, 1)]
    assert shown == [number_of(one) for one in read_frames(recording, 6, window=(0.35, 0.75))]
    assert 10 <= shown[0] and shown[-1] <= 22 and shown == sorted(set(shown))
    wanted = read_sound(recording, sample_rate=44_100, window=(0.35, 0.75))
    heard = ears.values.flatten()
    assert (heard - wanted[: len(heard)]).abs().max() < 1e-3


def test_a_recording_gives_as_many_clips_as_fit(recording, vision, sound):
    assert len(vision.read(recording, 9).values) == len(sound.read(recording, 9).values) == 5


def test_a_recording_shorter_than_a_clip_is_stills_and_ends_in_silence(tmp_path, vision, sound):
    path = write_video(tmp_path / "short.mp4", shades(3), sound=tone(0.1, 44_100, 300.0))
    eyes, ears = vision.read(path, 4), sound.read(path, 4)
    assert eyes.values.shape[:2] == (1, 3) and ears.values.shape == (1, CLIP.samples)
    assert {number_of(picture) for picture in eyes.values[0]} == {1}
    assert not bool(ears.values[0, -CLIP.samples // 4 :].any())


def test_few_pictures_a_second_are_spread_over_their_clips(tmp_path, vision):
    path = write_video(tmp_path / "slow.mp4", shades(6), rate=10)  # two pictures a clip
    found = vision.read(path, 3).values
    shown = [[number_of(picture) for picture in clip] for clip in found]
    assert shown == [[0, 0, 1], [2, 2, 3], [4, 4, 5]]


def test_sound_alone_has_clips_too(tmp_path, sound):
    path = write_wav(tmp_path / "a.wav", tone(0.7, 16_000), rate=16_000)
    assert sound.read(path, 8).values.shape == (3, CLIP.samples)
    write_wav(tmp_path / "still.wav", 0 * tone(0.7, 16_000), rate=16_000)
    with pytest.raises(MediaError, match="silent"):
        sound.read(tmp_path / "still.wav", 8)


def test_sound_becomes_the_papers_spectrogram_and_512_numbers(sound):
    paper = ClipSound(random=True)
    samples = SpectrogramGeometry().samples
    waves = torch.randn(2, samples, generator=torch.Generator().manual_seed(3))
    prepared = paper.prepare(Pieces(waves, 2))
    assert prepared.values.shape == (2, 1, 64, 107)
    (found,) = paper.run([prepared])
    with torch.no_grad():
        wanted = paper._model.features(clip_spectrograms(waves))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_networks_are_frozen_and_in_evaluation(vision, sound):
    for encoder in (vision, sound):
        assert not encoder._model.training
        assert not any(p.requires_grad for p in encoder._model.parameters())


def test_weights_come_from_a_file_whatever_its_last_layer(tmp_path):
    torch.manual_seed(5)
    trained = r2plus1d_18(num_classes=7).eval()
    torch.save(trained.state_dict(), tmp_path / "vision.pth")
    encoder = ClipVision(weights=tmp_path / "vision.pth", geometry=CLIP, size=16)
    (found,) = encoder.run([Prepared(clips(2), 2)])
    with torch.no_grad():
        wanted = trained.features(R2Plus1D.normalise(clips(2).float() / 255))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_colour_weights_are_averaged_for_the_one_channel_of_a_spectrogram(tmp_path):
    torch.manual_seed(6)
    coloured = resnet18()
    torch.save(coloured.state_dict(), tmp_path / "sound.pth")
    encoder = ClipSound(weights=tmp_path / "sound.pth", geometry=CLIP)
    wanted = average_channels(coloured.state_dict())["conv1.weight"]
    assert torch.equal(encoder._model.conv1.weight, wanted)


@pytest.mark.parametrize("kind", [ClipVision, ClipSound])
def test_random_weights_must_be_asked_for(kind, tmp_path):
    with pytest.raises(PretrainedError, match="there are no weights"):
        kind(geometry=CLIP)
    with pytest.raises(PretrainedError, match="choose one"):
        kind(weights=tmp_path / "weights.pth", random=True)
    with pytest.raises(PretrainedError, match="cannot be read"):
        kind(weights=tmp_path / "weights.pth")


def test_random_weights_are_the_same_each_time_and_leave_the_seed_alone(sound):
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    again = ClipSound(random=True, geometry=CLIP)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.identity == sound.identity
    assert torch.equal(again._model.conv1.weight, sound._model.conv1.weight)


def test_another_size_or_geometry_is_another_identity(vision, sound):
    assert ClipVision(random=True, geometry=CLIP, size=24).identity != vision.identity
    other = SpectrogramGeometry(frames=3, dilation=3)
    assert ClipSound(random=True, geometry=other).identity != sound.identity


@pytest.mark.parametrize("shape", [(2, 3, 1, 16, 16), (3, 3, 16, 16), (0, 3, 3, 16, 16)])
def test_pictures_of_another_shape_are_refused(vision, shape):
    with pytest.raises(PretrainedError, match="expected uint8 of"):
        vision.prepare(Pieces(torch.zeros(shape, dtype=torch.uint8), 1))
    with pytest.raises(PretrainedError, match="float32"):
        vision.prepare(Pieces(clips(1).float(), 1))


def test_pictures_of_another_size_are_brought_to_it(vision):
    assert vision.prepare(Pieces(clips(2, size=23), 2)).values.shape == (2, 3, 3, 16, 16)


def test_sound_of_another_length_is_refused(sound):
    with pytest.raises(PretrainedError, match="expected"):
        sound.prepare(Pieces(torch.zeros(2, 99), 2))


def test_features_come_out_where_the_network_stands(device):
    encoder = ClipVision(random=True, geometry=CLIP, size=16, device=device)
    (found,) = encoder.run([Prepared(clips(2), 2)])
    assert found.device.type == device.type
