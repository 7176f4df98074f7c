"""`extract`: a folder of clips and a table of them to a feature file, by published encoders."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmlib.cli.shared import Commands, add_device, find_device, report_failures, say

if TYPE_CHECKING:
    from mmlib.backbones.extracting import Extraction
    from mmlib.backbones.pretrained import Encoder
    from mmlib.data.clip_table import ClipTable

MOST_UNKNOWN = 0.2


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "extract", help="make a feature file of recorded clips with BERT, wav2vec 2.0 and CLIP"
    )
    parser.set_defaults(run=run)
    parser.add_argument("--clips", help="the folder of clips; not needed for text alone")
    parser.add_argument(
        "--table",
        required=True,
        help="csv with id (or file), label, and if you have them text, split, group",
    )
    parser.add_argument("--out", required=True, help="FEATURES.npz")
    parser.add_argument(
        "--class-names", help="the words of the column label, in the order of their numbers"
    )
    parser.add_argument(
        "--streams", default="text,audio,vision", help="those that are wanted; left out: all three"
    )
    parser.add_argument(
        "--text-model", help="folder or hub name; left out: BERT, Chinese or English by the texts"
    )
    parser.add_argument(
        "--audio-model", help="folder or hub name; left out: wav2vec2-large-xlsr-53"
    )
    parser.add_argument(
        "--vision-model", help="folder or hub name; left out: clip-vit-base-patch32"
    )
    parser.add_argument("--text-steps", type=int, default=36, help="tokens at most")
    parser.add_argument(
        "--audio-steps", type=int, default=128, help="of 20 ms at most: 128 are 2.565 seconds"
    )
    parser.add_argument("--frames", type=int, default=10, help="spread evenly over the clip")
    parser.add_argument("--batch-size", type=int, default=16, help="clips at a time")
    add_device(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace) -> None:
    """Extract, write the feature file, and name what could not be had."""
    from mmlib.backbones.extracting import extract
    from mmlib.data.clip_table import class_numbers, read_clip_table
    from mmlib.data.feature_set import listed

    streams = [word.strip() for word in options.streams.split(",")]
    names = [word.strip() for word in (options.class_names or "").split(",") if word.strip()]
    out = Path(options.out)
    if out.suffix != ".npz":
        raise ValueError(f"--out is {out}, expected a feature file such as features.npz.")
    if set(streams) != {"text"} and not options.clips:
        raise ValueError("give the folder of clips with --clips, or choose --streams text.")
    for option in ("text_steps", "audio_steps", "frames"):
        if getattr(options, option) < 1:
            name = f"--{option.replace('_', '-')}"
            raise ValueError(f"{name} is {getattr(options, option)}, expected at least 1.")
    table = read_clip_table(options.table, options.clips)
    if not names:
        words = listed(sorted({clip.label for clip in table.clips}))
        raise ValueError(
            f"give --class-names, the labels in the order of their numbers; {options.table} has "
            f"{words}."
        )
    class_numbers(table.clips, names)  # nothing should be computed that cannot be labelled
    lengths = {"text": options.text_steps, "audio": options.audio_steps, "vision": options.frames}
    made = extract(
        table.clips,
        _encoders(options, streams, table),
        class_names=names,
        cache=out.with_name(f"{out.name}.cache"),
        lengths=lengths,
        batch_size=options.batch_size,
        name=out.stem,
        progress=not options.quiet,
    )
    made.features.save(out)
    _report(made, table, lengths, out)


def _encoders(options: argparse.Namespace, streams: list[str], table: ClipTable) -> list[Encoder]:
    """Load the encoders, all before any is used: a misspelt model should not wait for an hour."""
    from mmlib.backbones import pretrained

    strange = [stream for stream in streams if stream not in ("text", "audio", "vision")]
    if strange:
        raise ValueError(
            f"--streams names '{strange[0]}', expected one or more of text,audio,vision."
        )
    if "text" in streams and "text" in table.absent:
        raise ValueError(
            f"{options.table} has no column 'text'; add the transcripts, or go without: --streams "
            f"{','.join(stream for stream in streams if stream != 'text') or 'audio,vision'}"
        )
    device = find_device(options.device)
    encoders: list[Encoder] = []
    if "text" in streams:
        texts = [clip.text or "" for clip in table.clips]
        name = options.text_model or pretrained.language_model(texts)
        encoder = pretrained.TextEncoder(name, steps=options.text_steps, device=device)
        unknown = encoder.unknown(texts)
        if unknown > MOST_UNKNOWN:
            say(
                f"mmlib extract: warning: {name} does not know {unknown:.0%} of the tokens; is it "
                "a model of the texts' language? Choose one with --text-model."
            )
        encoders.append(encoder)
    if "audio" in streams:
        chosen = {"name": options.audio_model} if options.audio_model else {}
        steps = options.audio_steps
        encoders.append(pretrained.AudioEncoder(**chosen, steps=steps, device=device))
    if "vision" in streams:
        chosen = {"name": options.vision_model} if options.vision_model else {}
        encoders.append(pretrained.VisionEncoder(**chosen, device=device))
    return encoders


def _report(made: Extraction, table: ClipTable, lengths: dict[str, int], out: Path) -> None:
    """Say what was written, and what was not."""
    features = made.features
    shapes = [f"{name} {tuple(features.inputs[name].shape[1:])}" for name in features.modalities]
    classes = [
        f"{name} {int((features.labels == number).sum())}"
        for number, name in enumerate(features.class_names or ())
    ]
    print(
        f"{len(features)} samples: {', '.join(shapes)}; {', '.join(classes)}. "
        f"The feature file is {out}."
    )
    if "split" in table.absent:
        say(
            "mmlib extract: there is no column 'split', so all samples are train; split them with: "
            f"python -m mmlib split --data {out} --out BY_GROUP.npz"
        )
    if "group" in table.absent:
        say("mmlib extract: there is no column 'group', so each clip is a group of its own.")
    for stream, count in made.longer.items():
        if count:
            option = {"text": "--text-steps", "audio": "--audio-steps"}[stream]
            say(
                f"mmlib extract: {count} of {len(features)} clips have more than {lengths[stream]} "
                f"{stream} steps and were cut; {option} keeps more."
            )
    report_failures("extract", made.failures, made.left_out)
