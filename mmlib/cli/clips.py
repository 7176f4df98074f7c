"""`prepare` for data sets of clips that tell by their names what they are: RAVDESS and CREMA-D."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib.cli.entries import Entry, Made
from mmlib.cli.shared import ranges_of, words_of

if TYPE_CHECKING:
    from mmlib.data.acted import Found
    from mmlib.data.clip_streams import Failure
    from mmlib.data.faces import Detect

#: Clips named in one sentence on the screen; a table beside the feature file names all.
_SHOWN = 20


def _add(parser: Any) -> None:
    """Declare the options of both."""
    group = parser.add_argument_group(
        "clips (ravdess, cremad; meld takes --frames to --face-model and --workers, too)",
        "Sound and picture are cut to the same seconds. The feature file takes size x size x 3 bytes "
        "a picture: RAVDESS's 1,440 clips of 15 pictures take 3.3 GB at --size 224 and 0.8 GB at "
        "--size 112, as much again in the folder FEATURES.npz.cache, and as much memory. The cache lets "
        "a preparation that was stopped go on; delete it afterwards. FEATURES.report.csv names every "
        "clip that something was amiss with.",
    )
    group.add_argument("--seconds", type=float, default=3.6, help="around the middle of each clip")
    group.add_argument(
        "--frames", type=int, help="spread evenly over these seconds; left out: 15 (meld: 50)"
    )
    group.add_argument(
        "--size",
        type=int,
        help="pixels of a picture's side; left out: 224 (meld: 160); AVT-CA takes multiples of 8",
    )
    group.add_argument("--audio", choices=("mfcc", "log_mel"), default="mfcc")
    group.add_argument(
        "--streams",
        help="audio, vision or audio,vision; left out: what the clips have (meld: text, audio, "
        "vision or several; left out: text)",
    )
    group.add_argument(
        "--faces",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="cut the face out; else the middle square of the picture",
    )
    group.add_argument(
        "--face-model", help="cascade (xml) or YuNet (onnx); left out: what OpenCV 4 brings"
    )
    group.add_argument("--channel", choices=("speech", "song"), help="of RAVDESS; left out: speech")
    group.add_argument(
        "--valid-actors", help="such as 5-8 or 5,6,7,8; left out: RAVDESS 5-8, CREMA-D 1016-1030"
    )
    group.add_argument(
        "--test-actors", help="such as 1-4; left out: RAVDESS 1-4, CREMA-D 1001-1015"
    )
    group.add_argument(
        "--workers", type=int, default=_processors(), help="processes; left out: one a core"
    )


def _ravdess(options: argparse.Namespace) -> Made:
    from mmlib.data import ravdess

    channel = options.channel or "speech"
    actors = _actors(options, ravdess.VALID_ACTORS, ravdess.TEST_ACTORS)
    found = ravdess.find_clips(options.root, channel=channel, **actors)
    return _made(options, found, ravdess.class_names(channel))


def _cremad(options: argparse.Namespace) -> Made:
    from mmlib.data import cremad

    if options.channel:
        raise ValueError("--channel is RAVDESS's; CREMA-D has speech only, leave it out.")
    actors = _actors(options, cremad.VALID_ACTORS, cremad.TEST_ACTORS)
    found = cremad.find_clips(options.root, **actors)
    return _made(options, found, cremad.class_names())


RAVDESS = Entry("acted speech or song of 24 actors (mp4 or wav), 8 emotions", _add, _ravdess)
CREMAD = Entry("acted sentences of 91 actors (flv or wav), 6 emotions", _add, _cremad)


def _made(options: argparse.Namespace, found: Found, class_names: Sequence[str]) -> Made:
    """Prepare the clips that were found, and put into sentences what the user should know."""
    from mmlib.data.preparing import Recipe, prepare

    streams = _streams(options.streams, found)
    detect = detector(options) if "vision" in streams else None
    recipe = Recipe(
        seconds=options.seconds,
        frames=15 if options.frames is None else options.frames,
        size=224 if options.size is None else options.size,
        audio=options.audio,
        detect=detect,
    )
    out = Path(options.out)
    made = prepare(
        found.clips,
        recipe,
        class_names=class_names,
        cache=out.with_name(f"{out.name}.cache"),
        streams=streams,
        workers=options.workers,
        name=out.stem,
        progress=not options.quiet,
    )
    notes = []
    before = len(found.clips) - made.computed
    if before:
        notes.append(f"{before} of {len(found.clips)} clips taken from the cache.")
    lasts = {clip: f" ({seconds:.1f} s)" for clip, seconds in made.shorter.items()}
    told = {
        "recordings not used, for their names are not the data set's": found.strange,
        "takes not used, for they are there only in another form than the others": found.left_out,
        f"clips shorter than {options.seconds:g} seconds, masked where they lack": list(lasts),
    }
    report = out.with_suffix(".report.csv")
    notes += [sentence(what, names, lasts, report) for what, names in told.items() if names]
    write_report(report, told, lasts, made.failures)
    return Made(made.features, notes, made.failures, made.left_out)


def sentence(what: str, names: Sequence[str], lasts: Mapping[str, str], report: Path) -> str:
    """Name some, or as many as can be read and where the others are."""
    more = f", ... (all in {report})" if len(names) > _SHOWN else ""
    shown = [f"{name}{lasts.get(name, '')}" for name in names[:_SHOWN]]
    return f"{what} ({len(names)}): {', '.join(shown)}{more}"


def write_report(
    path: Path,
    told: Mapping[str, Sequence[str]],
    lasts: Mapping[str, str],
    failures: Sequence[Failure],
) -> None:
    """Keep all that was said as a table; where there is nothing to say, no table of before stays."""
    rows = [(failure.clip, f"no {failure.stream}: {failure.reason}") for failure in failures]
    rows += [
        (name, f"{what}{lasts.get(name, '')}") for what, names in told.items() for name in names
    ]
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_table(path, [("clip", "what"), *rows])


def write_table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write a csv file whole or not at all."""
    from mmlib.data.whole_file import whole_file

    with whole_file(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def _streams(words: str | None, found: Found) -> tuple[str, ...]:
    """Read which streams are wanted; left out, those that the clips have."""
    if words is None:
        return found.streams
    streams = tuple(words_of(words))
    if not streams or len(set(streams)) < len(streams) or set(streams) - {"audio", "vision"}:
        raise ValueError(f"--streams is '{words}', expected audio, vision or audio,vision.")
    return streams


def detector(options: argparse.Namespace) -> Detect | None:
    """Load the face detector, before any clip is read."""
    from mmlib.data.extras import NotInstalled
    from mmlib.data.faces import FaceDetector

    if not options.faces:
        return None
    try:
        return FaceDetector(options.face_model)
    except NotInstalled as error:
        raise ValueError(f"{error} (--face-model FILE.onnx, --no-faces)") from None


def _actors(
    options: argparse.Namespace, valid: Sequence[int], test: Sequence[int]
) -> dict[str, Sequence[int]]:
    """Read who validates and who tests."""
    if options.valid_actors is not None:
        valid = ranges_of("--valid-actors", options.valid_actors)
    if options.test_actors is not None:
        test = ranges_of("--test-actors", options.test_actors)
    return {"valid_actors": valid, "test_actors": test}


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
