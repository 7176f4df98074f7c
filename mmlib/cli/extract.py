"""`extract`: a feature file of recorded clips by published encoders, or of raw streams by an expert."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib.cli.places import features_to_write, refuse_overwriting, told_place
from mmlib.cli.shared import (
    Commands,
    add_device,
    find_device,
    given_of,
    options_of,
    report_failures,
    say,
    words_of,
)

if TYPE_CHECKING:
    from mmlib.backbones.extracting import Extraction
    from mmlib.backbones.pretrained import Encoder
    from mmlib.data.clip_table import ClipTable

MOST_UNKNOWN = 0.2
#: JMT's backbones, by the words that stand in the place of a model's folder or name.
CLIP_VISION, CLIP_SOUND = "r2plus1d", "resnet18"


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "extract",
        help="make a feature file of recorded clips with BERT, wav2vec 2.0 and CLIP, with R(2+1)D "
        "and ResNet, or of raw streams with an expert that train left",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--out", required=True, help="FEATURES.npz, or a folder, for data larger than memory"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="clips at a time")
    add_device(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    _add_table(parser)
    _add_run(parser)
    _add_pieces(parser)


def _add_table(parser: Any) -> None:
    """Declare what a table of clips takes."""
    parser.add_argument("--clips", help="the folder of clips; not needed for text alone")
    parser.add_argument(
        "--table",
        help="csv with id (or file), label, and if you have them text, split, group",
    )
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
        "--audio-model",
        help=f"folder or hub name, or {CLIP_SOUND}; left out: wav2vec2-large-xlsr-53",
    )
    parser.add_argument(
        "--vision-model",
        help=f"folder or hub name, or {CLIP_VISION}; left out: clip-vit-base-patch32",
    )
    parser.add_argument("--text-steps", type=int, default=36, help="tokens at most")
    parser.add_argument(
        "--audio-steps", type=int, default=128, help="of 20 ms at most: 128 are 2.565 seconds"
    )
    parser.add_argument("--frames", type=int, default=10, help="spread evenly over the clip")


def _add_run(parser: Any) -> None:
    """Declare what only an expert takes."""
    group = parser.add_argument_group(
        "an expert of one's own",
        "--run and --data, without --table: what a trained expert (gpt, wavernn, facenet_gru) has "
        "before its last layer, for each sample of a feature file of its raw stream.",
    )
    group.add_argument("--run", dest="run_folder", metavar="RUN", help="a folder that train left")
    group.add_argument("--data", metavar="RAW.npz", help="such as prepare made for the expert")
    group.add_argument("--steps", type=int, help="only the last so many steps of each sample")
    group.add_argument("--float32", action="store_true", help="keep all digits; twice as large")


def _add_pieces(parser: Any) -> None:
    """Declare what only JMT's backbones take."""
    group = parser.add_argument_group(
        "pieces of a recording",
        f"--vision-model {CLIP_VISION} and --audio-model {CLIP_SOUND} cut a recording into pieces one "
        "after the other, around its middle, and give 512 numbers a piece: pictures by R(2+1)D-18, "
        "and the log-power spectrogram of the same seconds by ResNet-18.",
    )
    group.add_argument("--vision-weights", metavar="FILE", help="public R(2+1)D-18 (Kinetics-400)")
    group.add_argument("--audio-weights", metavar="FILE", help="public ResNet-18 (ImageNet)")
    group.add_argument(
        "--random-weights",
        action="store_true",
        help="networks that have learnt nothing, only to try the way out",
    )
    group.add_argument("--pieces", type=int, default=8, help="at most")
    group.add_argument("--piece-frames", type=int, default=8, help="pictures of a piece")
    group.add_argument(
        "--dilation", type=int, default=4, help="of 30 frames a second, one in so many is taken"
    )
    group.add_argument("--picture-size", type=int, default=112)


def run(options: argparse.Namespace) -> None:
    """Extract, write the feature file, and name what could not be had."""
    if options.run_folder or options.data:
        return _run_expert(options)
    if not options.table:
        raise ValueError(
            "give --table, a csv of clips, or --run and --data, a trained expert and its raw stream."
        )
    if strange := given_of(options, options_of(_add_run)):
        words = ", ".join(strange.values())
        raise ValueError(f"leave out {words}, which only an expert takes, with --run and --data.")
    from mmlib.backbones.extracting import extract
    from mmlib.data.clip_table import class_numbers, read_clip_table
    from mmlib.data.feature_set import listed

    streams, names = words_of(options.streams), words_of(options.class_names)
    out = features_to_write("--out", options.out)
    if set(streams) != {"text"} and not options.clips:
        raise ValueError("give the folder of clips with --clips, or choose --streams text.")
    for option in ("text_steps", "audio_steps", "frames", "pieces"):
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
    if options.audio_model == CLIP_SOUND:
        lengths["audio"] = options.pieces
    if options.vision_model == CLIP_VISION:
        lengths["vision"] = options.pieces
    made = extract(
        table.clips,
        _encoders(options, streams, table),
        class_names=names,
        cache=out.with_name(f"{out.name}.cache"),
        lengths=lengths,
        batch_size=options.batch_size,
        name=out.stem,
        folder=None if out.suffix else out,
        progress=not options.quiet,
    )
    if out.suffix:
        made.features.save(out)
    _report(made, table, lengths, out, options)


def _run_expert(options: argparse.Namespace) -> None:
    """Write the feature file of a trained expert."""
    import torch

    from mmlib.data import load_features
    from mmlib.training import runs
    from mmlib.training.extracting import extract_features

    out = features_to_write("--out", options.out)
    if not (options.run_folder and options.data):
        raise ValueError("give both --run and --data, a trained expert and its raw stream.")
    if strange := given_of(options, options_of(_add_table, _add_pieces)):
        words = ", ".join(strange.values())
        raise ValueError(f"leave out {words}: with --run, an expert reads --data alone.")
    refuse_overwriting(out, [options.data])
    model, about = runs.load_run(Path(options.run_folder))
    raw = runs.fitted(load_features(options.data), about)
    features = extract_features(
        model,
        raw,
        steps=options.steps,
        dtype=torch.float32 if options.float32 else torch.float16,
        batch_size=options.batch_size,
        device=find_device(options.device),
        folder=None if out.suffix else out,
        progress=not options.quiet,
    )
    if out.suffix:
        features.save(out)
    absent = int((~features.masks[features.modalities[0]].any(1)).sum())
    shapes = [f"{name} {tuple(features.inputs[name].shape[1:])}" for name in features.modalities]
    print(
        f"{len(features)} samples: {', '.join(shapes)}, from {about['system']}"
        f"{f', absent of {absent}' if absent else ''}. {told_place(out)}"
    )


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
    encoders: list[Encoder] = _clip_encoders(options, streams, device)
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
    if "audio" in streams and options.audio_model != CLIP_SOUND:
        chosen = {"name": options.audio_model} if options.audio_model else {}
        steps = options.audio_steps
        encoders.append(pretrained.AudioEncoder(**chosen, steps=steps, device=device))
    if "vision" in streams and options.vision_model != CLIP_VISION:
        chosen = {"name": options.vision_model} if options.vision_model else {}
        encoders.append(pretrained.VisionEncoder(**chosen, device=device))
    return encoders


def _clip_encoders(options: argparse.Namespace, streams: list[str], device: str) -> list[Encoder]:
    """Load those of JMT's backbones that are wanted."""
    from mmlib.backbones.clip_encoders import ClipSound, ClipVision
    from mmlib.data.spectrogram import SpectrogramGeometry

    sound = "audio" in streams and options.audio_model == CLIP_SOUND
    vision = "vision" in streams and options.vision_model == CLIP_VISION
    for wanted, weights, stream, name in (
        (sound, options.audio_weights, "audio", CLIP_SOUND),
        (vision, options.vision_weights, "vision", CLIP_VISION),
    ):
        if weights and not wanted:
            raise ValueError(
                f"--{stream}-weights are those of --{stream}-model {name}; name that, too."
            )
        if wanted and not weights and not options.random_weights:
            raise ValueError(
                f"--{stream}-model {name} has no weights; give the public file with "
                f"--{stream}-weights FILE, or try the way out with --random-weights (a network that "
                "has learnt nothing)."
            )
    cut = SpectrogramGeometry(frames=options.piece_frames, dilation=options.dilation)
    found: list[Encoder] = []
    # What has a file is loaded from it; --random-weights is for the other.
    if sound:
        weights = options.audio_weights
        found.append(
            ClipSound(weights=weights, random=weights is None, geometry=cut, device=device)
        )
    if vision:
        weights, size = options.vision_weights, options.picture_size
        found.append(
            ClipVision(
                weights=weights, random=weights is None, geometry=cut, size=size, device=device
            )
        )
    return found


def _report(
    made: Extraction,
    table: ClipTable,
    lengths: dict[str, int],
    out: Path,
    options: argparse.Namespace,
) -> None:
    """Say what was written, and what was not."""
    features = made.features
    shapes = [f"{name} {tuple(features.inputs[name].shape[1:])}" for name in features.modalities]
    classes = [
        f"{name} {int((features.labels == number).sum())}"
        for number, name in enumerate(features.class_names or ())
    ]
    print(f"{len(features)} samples: {', '.join(shapes)}; {', '.join(classes)}. {told_place(out)}")
    if options.random_weights:
        say("mmlib extract: features of random networks are a trial, nothing to learn from.")
    if "split" in table.absent:
        say(
            "mmlib extract: there is no column 'split', so all samples are train; split them with: "
            f"python -m mmlib split --data {out} --out BY_GROUP.npz"
        )
    if "group" in table.absent:
        say("mmlib extract: there is no column 'group', so each clip is a group of its own.")
    for stream, count in made.longer.items():
        if count:
            pieces = getattr(options, f"{stream}_model") in (CLIP_SOUND, CLIP_VISION)
            option = "--pieces" if pieces else f"--{stream}-steps"
            say(
                f"mmlib extract: {count} of {len(features)} clips have more than {lengths[stream]} "
                f"{stream} steps and were cut; {option} keeps more."
            )
    report_failures("extract", made.failures, made.left_out)
