"""Recordings, decoded: sound and frames, and what is said where there is none."""

import contextlib
import http.server
import struct
import sys
import threading

import numpy as np
import pytest
import torch
from recordings import number_of, shades, tone, write_video, write_wav

from mmlib.data.extras import NotInstalled
from mmlib.data.media import MediaError, extent, read_frames, read_sound


def numbers(frames: torch.Tensor) -> list[int]:
    return [number_of(frame.numpy()) for frame in frames]


def loudest_hertz(sound: torch.Tensor, rate: int) -> float:
    spectrum = torch.fft.rfft(sound).abs()
    return float(spectrum.argmax()) * rate / len(sound)


def test_a_wav_of_the_right_rate_comes_back_sample_by_sample(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, 701)
    sound = read_sound(write_wav(tmp_path / "a.wav", samples))
    assert sound.dtype == torch.float32
    torch.testing.assert_close(sound.numpy(), np.round(samples * 32767).astype(np.float32) / 32768)


def test_two_channels_are_mixed(tmp_path):
    both = np.stack([np.full(500, 0.5), np.full(500, -0.1)], axis=1)
    sound = read_sound(write_wav(tmp_path / "a.wav", both))
    assert sound.shape == (500,)
    torch.testing.assert_close(sound, torch.full((500,), 0.2), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("rate", "wanted"), [(44_100, 16_000), (8_000, 16_000), (16_000, 11_025)])
def test_resampling_keeps_duration_pitch_and_loudness(tmp_path, rate, wanted):
    path = write_wav(tmp_path / "a.wav", tone(1.5, rate), rate)
    sound = read_sound(path, sample_rate=wanted)
    assert abs(len(sound) / wanted - 1.5) < 0.002
    assert abs(loudest_hertz(sound, wanted) - 440) < 1
    assert abs(float(sound.std()) - 0.5 / 2**0.5) < 0.01


def test_a_video_has_sound_and_frames(tmp_path):
    path = write_video(tmp_path / "a.mp4", shades(30), sound=tone(1.0, 44_100))
    sound = read_sound(path)
    assert abs(len(sound) / 16_000 - 1.0) < 0.1
    assert abs(loudest_hertz(sound, 16_000) - 440) < 2
    frames = read_frames(path, 5)
    assert frames.shape == (5, 3, 32, 48) and frames.dtype == torch.uint8


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [15]), (2, [7, 22]), (5, [3, 9, 15, 21, 27]), (30, list(range(30)))],
)
def test_frames_stand_in_the_middle_of_equal_parts(tmp_path, count, expected):
    path = write_video(tmp_path / "a.mp4", shades(30))
    assert numbers(read_frames(path, count)) == expected


def test_a_clip_of_fewer_frames_gives_each_once(tmp_path):
    path = write_video(tmp_path / "a.mp4", shades(3))
    assert numbers(read_frames(path, 7)) == [0, 1, 2]
    assert numbers(read_frames(write_video(tmp_path / "b.mp4", shades(1)), 7)) == [0]


def test_frames_are_spread_over_time_not_over_their_numbers(tmp_path):
    # Four quick frames, a long still, four quick frames: the moments are 171, 514 and 857 ms.
    times = [0, 30, 60, 90, 810, 840, 870, 900]
    path = write_video(tmp_path / "a.mkv", shades(8), times=times)
    assert numbers(read_frames(path, 3)) == [3, 5]


def test_channels_are_red_green_blue(tmp_path):
    red = np.zeros((32, 48, 3), dtype=np.uint8)
    red[..., 0] = 200
    frame = read_frames(write_video(tmp_path / "a.mp4", [red] * 4), 1)[0].float().mean((1, 2))
    assert frame[0] > 180 and frame[1] < 20 and frame[2] < 20


def test_a_turned_picture_is_put_upright(tmp_path):
    av = pytest.importorskip("av")
    if not hasattr(av.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV reads turned pictures but cannot write one")
    marked = np.zeros((32, 48, 3), dtype=np.uint8)
    marked[:8, :8] = 255  # top left
    path = write_video(tmp_path / "a.mp4", [marked] * 3, turned=90)
    frame = read_frames(path, 1)[0].float().mean(0)
    assert frame.shape == (48, 32)
    assert frame[-8:, :8].mean() > 200  # counter-clockwise: bottom left
    assert frame[:8].mean() < 30


def test_a_cover_image_is_not_a_picture_of_the_recording(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        voice = container.add_stream("aac", rate=16_000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(
            tone(0.5, 16_000).astype(np.float32)[None], format="fltp", layout="mono"
        )
        frame.sample_rate = 16_000
        container.mux(voice.encode(frame))
        container.mux(voice.encode(None))
        picture = av.VideoFrame.from_ndarray(shades(1)[0], format="rgb24")
        container.mux(cover.encode(picture.reformat(format="yuvj420p")))
        container.mux(cover.encode(None))
    assert len(read_sound(path)) > 7_000
    with pytest.raises(MediaError, match="no picture"):
        read_frames(path, 3)


def whole_video(path):
    return write_video(path, shades(30), sound=tone(1.0, 44_100)).read_bytes()


BAD = {
    "missing": (None, "does not exist"),
    "a folder": ("folder", "does not exist"),
    "empty": (lambda path: b"", "empty file"),
    "words": (lambda path: b"This is no recording at all.\n" * 40, "damaged or no recording"),
    "zeros": (lambda path: bytes(5000), "damaged or no recording"),
    "cut off": (lambda path: whole_video(path)[:-900], "damaged or no recording"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("read", [read_sound, lambda path: read_frames(path, 3)])
def test_a_bad_recording_is_refused_in_one_sentence(tmp_path, kind, read):
    make, says = BAD[kind]
    path = tmp_path / "bad.mp4"
    if make == "folder":
        path.mkdir()
    elif make is not None:
        path.write_bytes(make(path))
    with pytest.raises(MediaError, match=says) as refused:
        read(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_track_that_begins_in_the_middle_is_one_sentence(tmp_path):
    path = write_video(tmp_path / "a.flv", shades(40) * 5, rate=10, sound=tone(20.0, 44_100))
    whole, middle = path.read_bytes(), 13
    while middle < path.stat().st_size / 2:  # from tag to tag of the file, by their sizes
        middle += 11 + int.from_bytes(whole[middle + 1 : middle + 4], "big") + 4
    notes = b"\x02\x00\x0aonCuePoint" + bytes(20)
    tag = b"\x12" + len(notes).to_bytes(3, "big") + b"\x00\x27\x10\x00" + bytes(3) + notes
    path.write_bytes(whole[:middle] + tag + len(tag).to_bytes(4, "big") + whole[middle:])
    for read in (extent, lambda path: read_frames(path, 3)):
        with contextlib.suppress(MediaError):  # another FFmpeg may read it
            read(path)


def test_what_a_recording_lacks_is_said(tmp_path):
    silent = write_video(tmp_path / "silent.mp4", shades(3))
    with pytest.raises(MediaError, match="silent.mp4 has no sound, only picture"):
        read_sound(silent)
    spoken = write_wav(tmp_path / "spoken.wav", tone(0.1, 16_000))
    with pytest.raises(MediaError, match="spoken.wav has no picture, only sound"):
        read_frames(spoken, 3)
    nothing = write_wav(tmp_path / "nothing.wav", np.zeros(0))
    with pytest.raises(MediaError, match="not a single sample"):
        read_sound(nothing)
    with pytest.raises(ValueError, match="count is 0"):
        read_frames(silent, 0)


def test_samples_that_are_not_numbers_are_refused(tmp_path):
    samples = np.zeros(300, dtype="<f4")
    samples[17] = np.nan
    body = samples.tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(body), b"WAVE", b"fmt ", 16, 3, 1, *(
        16_000, 64_000, 4, 32
    ))  # fmt: skip
    path = tmp_path / "nan.wav"
    path.write_bytes(head + struct.pack("<4sI", b"data", len(body)) + body)
    with pytest.raises(MediaError, match="NaN or infinity"):
        read_sound(path)


def test_a_playlist_that_poses_as_a_clip_fetches_nothing(tmp_path):
    asked = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *words):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        path = tmp_path / "clip.m3u8"
        path.write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n"
            f"http://127.0.0.1:{server.server_port}/part.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(MediaError):
            read_sound(path)
        assert asked == []
    finally:
        server.shutdown()
        server.server_close()


def test_without_the_package_one_sentence_names_the_extra(tmp_path, monkeypatch):
    path = write_wav(tmp_path / "a.wav", tone(0.1, 16_000))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(NotInstalled, match=r"'av'; install it with the extra 'media'"):
        read_sound(path)


@pytest.mark.data
def test_real_clips_decode(shared_data):
    videos = sorted((shared_data / "cremad").glob("*.flv"))
    sounds = sorted((shared_data / "cremad").glob("*.mp3"))
    sounds += sorted((shared_data / "ravdess" / "clips").glob("*.ogg"))[::20]
    if not videos or not sounds:
        pytest.skip(f"no recordings in {shared_data}")
    for path in [*videos, *sounds]:
        sound = read_sound(path)
        assert 1 < len(sound) / 16_000 < 6 and 0.01 < float(sound.abs().max()) <= 1.1, path
    for path in videos:
        frames = read_frames(path, 10)
        assert frames.shape == (10, 3, 360, 480)
        assert len({frame.numpy().tobytes() for frame in frames}) == 10  # it moves
