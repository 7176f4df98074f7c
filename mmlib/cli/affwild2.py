"""`prepare` for Aff-Wild2: faces and sound through frozen backbones to a feature file for JMT."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib.cli.entries import Entry, Made
from mmlib.cli.shared import find_device, pairs_of, words_of

if TYPE_CHECKING:
    from mmlib.backbones.affwild2 import SequenceExtraction
    from mmlib.data.affwild2 import FoundVideos

_SHOWN = 5


def _add(parser: Any) -> None:
    """Declare its options."""
    group = parser.add_argument_group(
        "frozen backbones (affwild2)",
        "ROOT holds annotations (Train_Set, Validation_Set), cropped_aligned and the recordings as "
        "they were unpacked; access is by request to the authors. A feature file of all videos takes "
        "some 400 MB. OUT.npz.cache lets a preparation that was stopped go on; delete it afterwards.",
    )
    group.add_argument("--vision-weights", metavar="FILE", help="public R(2+1)D-18 (Kinetics-400)")
    group.add_argument("--audio-weights", metavar="FILE", help="public ResNet-18 (ImageNet)")
    group.add_argument(
        "--random-weights",
        action="store_true",
        help="networks that have learnt nothing, only to try the way out",
    )
    group.add_argument("--annotations", help="the folder with Train_Set; left out, below ROOT")
    group.add_argument("--pictures", help="the folder of faces; left out, cropped_aligned in ROOT")
    group.add_argument(
        "--lists",
        metavar="SPLIT=FILE,...",
        help="files of videos' names: train=FILE,valid=FILE; left out, the folders decide",
    )
    group.add_argument("--exclude", metavar="NAMES", help="videos to be left out")
    group.add_argument("--sequence-clips", type=int, default=8, help="T, of a sub-sequence")
    group.add_argument("--clip-frames", type=int, default=8, help="pictures of a clip")
    group.add_argument(
        "--dilation",
        type=int,
        default=4,
        help="every how many frames a picture is taken; 4 gives the paper's 64 x 107 spectrograms",
    )
    group.add_argument("--picture-size", type=int, default=112, help="224 as in the paper's text")
    group.add_argument("--batch-size", type=int, default=32, help="clips of a video at a time")
    group.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")


def _make(options: argparse.Namespace) -> Made:
    from mmlib.backbones.affwild2 import extract_videos
    from mmlib.backbones.clip_encoders import ClipSound, ClipVision
    from mmlib.data.affwild2 import SequenceGeometry, find_videos
    from mmlib.data.spectrogram import SpectrogramGeometry

    geometry = SequenceGeometry(
        clips=options.sequence_clips, frames=options.clip_frames, dilation=options.dilation
    )
    lists = None
    if options.lists is not None:
        lists = pairs_of("--lists", options.lists, "train=FILE,valid=FILE")
    found = find_videos(
        options.root,
        annotations=options.annotations,
        pictures=options.pictures,
        lists=lists,
        exclude=words_of(options.exclude),
    )
    if not options.random_weights and not (options.vision_weights and options.audio_weights):
        raise ValueError(
            "give the public weights with --vision-weights FILE and --audio-weights FILE, or try the "
            "way out with --random-weights (networks that have learnt nothing)."
        )
    device = find_device(options.device)
    clip = SpectrogramGeometry(frames=geometry.frames, dilation=geometry.dilation)
    random = options.random_weights
    out = Path(options.out)
    made = extract_videos(
        found.videos,
        vision=ClipVision(
            weights=options.vision_weights,
            random=random,
            geometry=clip,
            size=options.picture_size,
            device=device,
            at_once=options.batch_size,
        ),
        audio=ClipSound(
            weights=options.audio_weights,
            random=random,
            geometry=clip,
            device=device,
            at_once=options.batch_size,
        ),
        geometry=geometry,
        cache=out.with_name(f"{out.name}.cache"),
        name=out.stem,
        progress=not options.quiet,
    )
    notes = _notes(found, made, options)
    return Made(made.features, notes, made.failures, made.left_out)


def _notes(found: FoundVideos, made: SequenceExtraction, options: argparse.Namespace) -> list[str]:
    """Say what the user should know."""
    notes = []
    if options.random_weights:
        notes.append("the features are of random networks: a trial, nothing to learn from.")
    before = len(found.videos) - len(made.left_out) - made.computed
    if before > 0:
        notes.append(f"{before} of {len(found.videos)} videos taken from the cache.")
    told = {
        "videos excluded by name": found.excluded,
        "videos in none of the lists": found.unlisted,
        "listed videos without an annotation": found.missing,
        "videos with missing pictures, which are black": _counted(made.black),
        "videos with pictures after the last label, which are not used": _counted(made.beyond),
    }
    notes += [
        f"{what} ({len(names)}): {', '.join(names[:_SHOWN])}{', ...' * (len(names) > _SHOWN)}"
        for what, names in told.items()
        if names
    ]
    if made.unlabelled:
        notes.append(f"{made.unlabelled} sub-sequences have no valid label and are left out.")
    notes.append(
        "all folds and the official split in one table: python -m mmlib crossvalidate --data "
        f"{options.out} --systems jmt,concat --targets valence,arousal --out DIR"
    )
    return notes


def _counted(numbers: dict[str, int]) -> list[str]:
    return [f"{name} {number:,}" for name, number in numbers.items()]


AFFWILD2 = Entry(
    "valence and arousal of frames (aligned faces and recordings, by request)", _add, _make
)
