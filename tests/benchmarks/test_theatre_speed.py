"""How long it takes to stage a lesson's worth of synthetic clips; nothing is asserted in seconds.

`pytest tests/benchmarks/test_theatre_speed.py` prints the table. The aim: 1,000 clips of 16 frames at
48 x 48 with one second of voice, log-mel and text in under five seconds on two cores.
"""

import pytest

from mmlib.data import theatre

PARTS = ("tokens", "waveform", "log_mel", "face_units", "frames")


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Fill the caches that a process fills once."""
    theatre.make("masks", n=3).features()


def staged(part: str, clips: int) -> theatre.Clips:
    stage = theatre.make("masks", n=clips, num_frames=16, size=48)
    for name in PARTS if part == "everything" else (part,):
        getattr(stage, name)
    return stage


@pytest.mark.parametrize("part", [*PARTS, "everything"])
def test_stage_two_hundred_clips(benchmark, part):
    benchmark.group = "200 clips, 16 frames of 48 x 48, 1.02 s at 8 kHz"
    stage = benchmark.pedantic(staged, args=(part, 200), rounds=3)
    assert len(stage) == 200


@pytest.mark.slow
def test_stage_one_thousand_clips(benchmark):
    benchmark.group = "1,000 clips, 16 frames of 48 x 48, 1.02 s at 8 kHz"
    stage = benchmark.pedantic(staged, args=("everything", 1_000), rounds=1)
    assert stage.frames.shape == (1_000, 16, 3, 48, 48)
    assert stage.log_mel.shape == (1_000, 128, 40)


def test_exact_ceilings(benchmark):
    script = theatre.PRESETS["flagship"]
    benchmark.group = "ceilings of all seven subsets"
    # A knob that is new each time, so that no answer is kept from the last round.
    fresh = iter(range(1, 1_000))
    found = benchmark.pedantic(
        lambda: theatre.ceilings(script.changed(irony=0.4 + 1e-6 * next(fresh))), rounds=5
    )
    assert len(found) == 7
