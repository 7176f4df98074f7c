"""Windows: sound and picture cut at the same instants, whatever track starts late or stops early."""

import numpy as np
import pytest
import torch
from recordings import number_of, shades, tone, write_video, write_wav

from mmlib.data.media import MediaError, centred_window, extent, read_frames, read_sound

RATE = 8_000
# Three scenes; each has its shade and its tone, and both change at the same moments.
CHANGES = (1.4, 2.7)
SHADES, HERTZ = (2, 14, 26), (300, 900, 2100)
SECONDS, FPS = 4.0, 20


def scene(second: float) -> int:
    return sum(second >= change for change in CHANGES)


def scenes() -> tuple[list[np.ndarray], np.ndarray]:
    """Make the frames and the sound of the clip."""
    greys = shades(max(SHADES) + 1)
    frames = [greys[SHADES[scene((n + 0.5) / FPS)]] for n in range(round(SECONDS * FPS))]
    rate = 44_100
    edges = [0, *(round(change * rate) for change in CHANGES), round(SECONDS * rate)]
    sound = np.concatenate(
        [
            tone((stop - start) / rate, rate, hertz)
            for hertz, start, stop in zip(HERTZ, edges, edges[1:], strict=False)
        ]
    )
    return frames, sound


def seen(frames: torch.Tensor) -> list[int]:
    """Tell the scene that each picture is of."""
    numbers = [number_of(frame.numpy()) for frame in frames]
    return [min(range(3), key=lambda one: abs(SHADES[one] - number)) for number in numbers]


def heard(sound: torch.Tensor, moments: list[float]) -> list[int | None]:
    """Tell the scene that is heard at each moment (seconds from the first sample)."""
    found: list[int | None] = []
    for moment in moments:
        middle = round(moment * RATE)
        part = sound[max(0, middle - 160) : middle + 160]
        if part.abs().max() < 0.05:
            found.append(None)
            continue
        hertz = float(torch.fft.rfft(part, 4096).abs().argmax()) * RATE / 4096
        found.append(min(range(3), key=lambda one: abs(HERTZ[one] - hertz)))
    return found


@pytest.fixture(scope="module", params=["mp4", "mkv", "ts"])
def clip(request, tmp_path_factory):
    frames, sound = scenes()
    path = tmp_path_factory.mktemp("clip") / f"clip.{request.param}"
    return write_video(path, frames, rate=FPS, sound=sound)


@pytest.mark.parametrize(
    "window", [(0.0, 4.0), (0.2, 1.2), (1.5, 2.5), (2.8, 3.9), (0.95, 1.95), (1.01, 3.51)]
)
def test_sound_and_picture_of_a_window_show_the_same_part(clip, window):
    start, stop = window
    count = 7
    moments = [(stop - start) * (2 * part + 1) / (2 * count) for part in range(count)]
    expected = [scene(start + moment) for moment in moments]
    sound = read_sound(clip, sample_rate=RATE, window=window)
    assert sound.shape == (round((stop - start) * RATE),)
    assert seen(read_frames(clip, count, window=window)) == expected
    assert heard(sound, moments) == expected


def test_a_change_is_at_the_same_second_in_both(clip):
    window = (1.1, 1.9)
    sound = read_sound(clip, sample_rate=RATE, window=window)
    after = [heard(sound, [moment])[0] for moment in np.arange(0.02, 0.78, 0.01)]
    change_heard = window[0] + 0.02 + 0.01 * after.index(1)
    count = round((window[1] - window[0]) * FPS)  # each picture of the window once
    change_seen = window[0] + seen(read_frames(clip, count, window=window)).index(1) / FPS
    # A transport stream does not say that its first 23 milliseconds of sound wind up the decoder.
    assert change_heard == pytest.approx(CHANGES[0], abs=0.025 if clip.suffix != ".ts" else 0.05)
    assert change_seen == pytest.approx(CHANGES[0], abs=0.001)


def test_the_centred_window_is_around_the_middle(clip):
    start, stop = centred_window(clip, 1.0)
    assert stop - start == pytest.approx(1.0) and (start + stop) / 2 == pytest.approx(2.0, abs=0.03)
    assert seen(read_frames(clip, 3, window=(start, stop))) == [1, 1, 1]
    assert heard(read_sound(clip, sample_rate=RATE, window=(start, stop)), [0.1, 0.9]) == [1, 1]
    start, stop = centred_window(clip)
    assert stop - start == pytest.approx(3.6) and start == pytest.approx(0.2, abs=0.03)


def test_a_shorter_clip_gives_all_of_itself(tmp_path):
    path = write_video(tmp_path / "a.mp4", shades(20), rate=20, sound=tone(1.0, 44_100))
    start, stop = centred_window(path, 3.6)
    assert (start, stop) == (0.0, pytest.approx(1.0, abs=0.03))
    assert centred_window(write_wav(tmp_path / "a.wav", tone(0.7, 16_000))) == (0.0, 0.7)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_picture_that_starts_late_keeps_its_delay(tmp_path, ending):
    frames, sound = scenes()
    late = 0.5
    times = [round(1000 * (late + n / FPS)) for n in range(len(frames) - round(late * FPS))]
    kept = frames[round(late * FPS) :]
    path = write_video(tmp_path / f"late.{ending}", kept, times=times, sound=sound)
    spans = extent(path)
    assert spans.sound == pytest.approx((0.0, 4.0), abs=0.03)
    assert spans.picture == pytest.approx((late, 4.0), abs=0.01)
    moments = [0.0, 0.8, 1.3, 1.5, 2.6, 2.8, 3.9]
    for moment in moments[1:]:
        window = (moment - 0.04, moment + 0.04)
        assert seen(read_frames(path, 1, window=window)) == [scene(moment)]
    whole = read_sound(path, sample_rate=RATE, window=(0.0, 4.0))
    assert heard(whole, [0.1, *moments[1:]]) == [scene(moment) for moment in moments]
    start, stop = centred_window(path, 3.6)
    assert start == pytest.approx(late, abs=0.01), "before it there is no picture"
    assert stop == pytest.approx(4.0, abs=0.03)
    four = read_frames(path, 4, window=(0.1, 0.9))  # at 0.2, 0.4, 0.6 and 0.8 seconds
    assert len(four) == 2, "at the first two moments nothing is on screen yet"
    with pytest.raises(MediaError, match=r"no picture between 0.00 and 0.40 seconds"):
        read_frames(path, 4, window=(0.0, 0.4))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_sound_that_starts_late_and_stops_early_is_silent_there(tmp_path, ending):
    frames, sound = scenes()
    part = sound[round(0.6 * 44_100) : round(3.0 * 44_100)]
    path = write_video(tmp_path / f"short.{ending}", frames, rate=FPS, sound=part, sound_delay=0.6)
    assert extent(path).sound == pytest.approx((0.6, 3.0), abs=0.03)
    whole = read_sound(path, sample_rate=RATE, window=(0.0, 4.0))
    assert len(whole) == 4 * RATE
    moments = [0.3, 0.8, 1.3, 1.5, 2.6, 2.8, 3.3]
    assert heard(whole, moments) == [None, 0, 0, 1, 1, 2, None]
    start, stop = centred_window(path, 3.6)
    assert (start, stop) == (pytest.approx(0.6, abs=0.03), pytest.approx(3.0, abs=0.03))
    with pytest.raises(MediaError, match=r"no sound between 3.20 and 3.90 seconds"):
        read_sound(path, window=(3.2, 3.9))


def test_second_0_is_where_the_recording_begins_whatever_its_clock_says(tmp_path):
    frames, sound = scenes()
    times = [7000 + round(1000 * n / FPS) for n in range(len(frames))]
    path = write_video(tmp_path / "a.mkv", frames, times=times, sound=sound, sound_delay=7.0)
    assert extent(path).sound == pytest.approx((0.0, 4.0), abs=0.05)
    window = (1.6, 2.4)
    assert seen(read_frames(path, 3, window=window)) == [1, 1, 1]
    assert heard(read_sound(path, sample_rate=RATE, window=window), [0.1, 0.4, 0.7]) == [1, 1, 1]


def test_a_picture_that_is_over_is_not_shown_any_more(tmp_path):
    path = write_video(tmp_path / "a.mp4", shades(10), rate=10, sound=tone(3.0, 44_100))
    assert extent(path).picture == pytest.approx((0.0, 1.0))
    four = read_frames(path, 4, window=(0.0, 1.6))  # at 0.2, 0.6, 1.0 and 1.4 seconds
    assert [number_of(frame.numpy()) for frame in four] == [2, 6]
    assert centred_window(path, 3.6) == (0.0, pytest.approx(1.0))


def test_tracks_that_never_meet_have_no_window(tmp_path):
    late = [round(1000 * (2 + n / 10)) for n in range(5)]
    path = write_video(tmp_path / "a.mkv", shades(5), times=late, sound=tone(1.0, 44_100))
    with pytest.raises(MediaError, match="never both at once"):
        centred_window(path)


def test_a_window_that_is_none_is_refused(tmp_path):
    path = write_wav(tmp_path / "a.wav", tone(0.5, 16_000))
    with pytest.raises(ValueError, match=r"window is \(2, 1\)"):
        read_sound(path, window=(2, 1))
    with pytest.raises(ValueError, match="window is"):
        read_frames(path, 3, window=(1.0, 1.0))
    with pytest.raises(ValueError, match="0 seconds"):
        centred_window(path, 0)
    nothing = write_wav(tmp_path / "nothing.wav", np.zeros(0))
    with pytest.raises(MediaError, match=r"neither sound nor picture|damaged"):
        centred_window(nothing)


@pytest.mark.data
def test_windows_of_real_clips_hold_both(shared_data):
    videos = sorted((shared_data / "cremad").glob("*.flv"))
    if not videos:
        pytest.skip(f"no recordings in {shared_data}")
    for path in videos:
        window = centred_window(path, 1.5)
        assert window[1] - window[0] == pytest.approx(1.5)
        assert read_frames(path, 15, window=window).shape == (15, 3, 360, 480)
        assert len(read_sound(path, sample_rate=22_050, window=window)) == 33_075
