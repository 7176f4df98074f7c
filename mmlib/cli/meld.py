"""`prepare` for MELD: dialogues as tokens, clips as waveforms and faces, or a table for `extract`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib.cli.clips import detector, sentence, write_report, write_table
from mmlib.cli.entries import Entry, Made
from mmlib.cli.shared import words_of

if TYPE_CHECKING:
    from mmlib.data.clip_streams import Failure
    from mmlib.data.feature_set import FeatureSet
    from mmlib.data.gathering import Given
    from mmlib.data.meld import Sentences, Utterance
    from mmlib.data.meld_clips import FoundClips
    from mmlib.data.preparing import Preparation

STREAMS = ("text", "audio", "vision")

#: Stands for a tokenizer that knows the words of the train split, for a model that starts anew.
WORDS = "words"

#: What `--refuse` knows beside the faults that are seen before a clip is decoded.
FAILED = "failed"


def _add(parser: Any) -> None:
    """Declare its options."""
    group = parser.add_argument_group(
        "conversations (meld)",
        "ROOT holds train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv (those there are) and, "
        "for audio and vision, the folders of clips as they were unpacked: train_splits, "
        "dev_splits_complete, output_repeated_splits_test. MELD's annotations are under the GPL-3.0; "
        "the recordings are from a TV series and not to be passed on. text: tokens of the last "
        "utterances and this one, beside a distractor, for gpt. audio: the first 2.95 seconds at 16 "
        "kHz in blocks of 200 samples, for wavernn (all of MELD: 1.3 GB). vision: the largest face of "
        "up to 50 frames, whoever's it is, for facenet_gru (all of MELD: 53 GB, and as much again in "
        "OUT.cache, which lets a preparation that was stopped go on). An --out that is a folder is "
        "written clip by clip and read sample by sample, so that no memory has to hold it. Faults of "
        "the release are tolerated, counted and named; OUT.report.csv has all of them.",
    )
    group.add_argument(
        "--tokenizer",
        help="of the text: folder or hub name, or 'words' for the words of the train split, for a "
        "model that starts from nothing; left out: the published GPT's",
    )
    group.add_argument(
        "--use-reply",
        action="store_true",
        help="append what is said next to the text: it knows the future",
    )
    group.add_argument("--history", type=int, default=5, help="utterances before it in the text")
    group.add_argument(
        "--max-length", type=int, default=128, help="tokens of a row of text at most"
    )
    group.add_argument("--text-seed", type=int, default=0, help="of the distractors")
    group.add_argument(
        "--longest", type=float, default=60.0, help="seconds; a longer clip is badly cut and named"
    )
    group.add_argument(
        "--refuse",
        metavar="KINDS",
        help="faults not to be tolerated, such as missing,corrupt,over-long,extra; failed: a stream "
        "that could not be had",
    )


def _make(options: argparse.Namespace) -> Made:
    from mmlib.data.meld import read_sentences

    streams, refused = _streams(options.streams), _refused(options.refuse)
    said = read_sentences(options.root, history=options.history)
    out = Path(options.out)
    notes, told = [], {}
    if incomplete := said.incomplete():
        notes.append(incomplete)
    if said.timeless:
        told["utterances whose time stamps cannot be right"] = said.timeless
    given: dict[str, Given] = {}
    if "text" in streams:
        given["text"] = _text(said.utterances, options, notes)
    report = out.with_suffix(".report.csv")
    decoded = [stream for stream in streams if stream != "text"]
    if not decoded:
        features = _text_alone(said.utterances, given, out)
        notes += [sentence(what, names, {}, report) for what, names in told.items()]
        write_report(report, told, {}, [])
        return Made(features, notes, written=out.suffix != ".npz")
    found = _find(options, said, refused)
    made = _work(options, found, decoded, given, refused)
    lasts = {name: f" ({seconds:.0f} s)" for name, seconds in found.lasts.items()}
    told |= _faults(found)
    before = len(found.utterances) - made.computed
    if before:
        notes.append(f"{before} of {len(found.utterances)} clips taken from the cache.")
    notes += [sentence(what, names, lasts, report) for what, names in told.items()]
    notes += _cut(made, len(found.utterances) - len(found.faults.get("missing", [])))
    # What is missing, or cannot be opened, was named already.
    absent = {one.id for one in found.utterances if one.clip is None}
    failures = [failure for failure in made.failures if failure.clip not in absent]
    write_report(report, told, lasts, failures)
    if made.left_out:
        count, of = len(made.left_out), len(found.utterances)
        notes.append(f"{count} of {of} utterances are left out, for nothing of them could be had.")
    left_out = [name for name in made.left_out if name not in absent]
    return Made(made.features, notes, failures, left_out, written=out.suffix != ".npz")


def _table(options: argparse.Namespace) -> Sequence[str]:
    """Write extract's table of clips, and say how to go on."""
    from mmlib.data.feature_set import FeatureError
    from mmlib.data.meld import EMOTIONS, FOLDERS, read_sentences
    from mmlib.data.meld_clips import find_clips

    refused = _refused(options.refuse)
    said = read_sentences(options.root)
    root, out = Path(options.root), Path(options.out)
    notes: list[str] = []
    try:
        found = find_clips(root, said.utterances, longest=options.longest)
    except FeatureError as error:  # the texts alone may be wanted
        notes.append(str(error))
        utterances = said.utterances
    else:
        found.refuse(refused - {FAILED})
        utterances = found.utterances
        lasts = {name: f" ({seconds:.0f} s)" for name, seconds in found.lasts.items()}
        told, report = _faults(found), out.with_suffix(".report.csv")
        notes += [sentence(what, names, lasts, report) for what, names in told.items()]
        write_report(report, told, lasts, [])
    rows = [("id", "file", "label", "text", "split", "group")]
    for one in utterances:
        usual = Path(FOLDERS[one.split], f"dia{one.dialogue}_utt{one.number}.mp4")
        place = usual if one.clip is None else one.clip.relative_to(root)
        rows.append((one.id, place.as_posix(), one.emotion, one.sentence, one.split, one.group))
    write_table(out, rows)
    names = ",".join(EMOTIONS)
    notes.append(
        f"{len(rows) - 1} clips are in {out}; make features of them with: python -m mmlib extract "
        f"--clips {root} --table {out} --class-names {names} --out FEATURES.npz"
    )
    return notes


MELD = Entry(
    "utterances of dialogues in a TV series (csv and mp4), 7 emotions",
    _add,
    _make,
    folders=True,
    table=_table,
    takes=("frames", "size", "streams", "faces", "face_model", "workers"),
)


def _streams(words: str | None) -> tuple[str, ...]:
    """Read which streams are wanted; left out, the text, which needs no clips."""
    chosen = ("text",) if words is None else tuple(word.strip() for word in words.split(","))
    if len(set(chosen)) < len(chosen) or set(chosen) - set(STREAMS):
        raise ValueError(f"--streams is '{words}', expected one or more of {', '.join(STREAMS)}.")
    return chosen


def _refused(words: str | None) -> set[str]:
    """Read which kinds of fault are not to be tolerated."""
    from mmlib.data.meld_clips import FAULTS

    kinds = set(words_of(words))
    strange = sorted(kinds - {*FAULTS, FAILED})
    if strange:
        known = ", ".join([*FAULTS, FAILED])
        raise ValueError(f"--refuse names '{strange[0]}', expected some of {known}.")
    return kinds


def _text(utterances: Sequence[Utterance], options: argparse.Namespace, notes: list[str]) -> Given:
    """Encode the dialogues."""
    import torch

    from mmlib.backbones.dialogues import encode_dialogues

    encoded = encode_dialogues(
        utterances,
        _tokenizer(utterances, options.tokenizer),
        use_reply=options.use_reply,
        history=options.history,
        seed=options.text_seed,
        max_length=options.max_length,
    )
    if options.use_reply:
        notes.append(
            "with --use-reply the text holds what is said next: not for a system that must answer "
            "while a dialogue goes on."
        )
    if encoded.cut.any():
        count, share = int(encoded.cut.sum()), float(encoded.cut.mean())
        notes.append(
            f"{count} of {len(utterances)} rows of text ({share:.1%}) lost some of their history, or "
            f"words, for they have more than {options.max_length} tokens; --max-length keeps more."
        )
    return torch.from_numpy(encoded.tokens), torch.from_numpy(encoded.mask)


def _tokenizer(utterances: Sequence[Utterance], name: str | None) -> Any:
    """Load a tokenizer, or number the words of the train split."""
    from mmlib.backbones.dialogues import WordTokenizer
    from mmlib.backbones.gpt import load_tokenizer

    if name != WORDS:
        return load_tokenizer(name) if name else load_tokenizer()
    texts = [one.sentence for one in utterances if one.split == "train"]
    if not texts:
        raise ValueError(
            "--tokenizer words numbers the words of the train split, but there is no "
            "train_sent_emo.csv; add it, or name a tokenizer."
        )
    return WordTokenizer.learn(texts)


def _text_alone(
    utterances: Sequence[Utterance], given: Mapping[str, Given], out: Path
) -> FeatureSet:
    """Make a feature set that needs no clips."""
    from mmlib.data.gathering import gather
    from mmlib.data.meld import EMOTIONS

    features, _ = gather(
        [one.as_clip() for one in utterances],
        {},
        {},
        class_names=EMOTIONS,
        given=given,
        name=out.stem,
        folder=None if out.suffix == ".npz" else out,
    )
    return features


def _find(options: argparse.Namespace, said: Sentences, refused: set[str]) -> FoundClips:
    """Find the clips, and refuse what is not to be tolerated, before any is decoded."""
    from mmlib.data.meld_clips import find_clips

    found = find_clips(options.root, said.utterances, longest=options.longest)
    found.refuse(refused - {FAILED})
    return found


def _work(
    options: argparse.Namespace,
    found: FoundClips,
    streams: Sequence[str],
    given: Mapping[str, Given],
    refused: set[str],
) -> Preparation:
    """Take audio and vision out of the clips."""
    from mmlib.data.meld import EMOTIONS
    from mmlib.data.meld_clips import MeldRecipe
    from mmlib.data.preparing import prepare

    out = Path(options.out)
    recipe = MeldRecipe(
        frames=50 if options.frames is None else options.frames,
        size=160 if options.size is None else options.size,
        detect=detector(options) if "vision" in streams else None,
        longest=options.longest,
    )
    absent = {one.id for one in found.utterances if one.clip is None}

    def accept(failures: Sequence[Failure]) -> None:
        failed = [failure for failure in failures if failure.clip not in absent]
        if FAILED in refused and failed:
            first = failed[0]
            raise ValueError(
                f"{len(failed)} streams could not be had, which is not to be tolerated; first "
                f"'{first.clip}', {first.stream}: {first.reason}"
            )

    return prepare(
        [one.as_clip() for one in found.utterances],
        recipe,
        class_names=EMOTIONS,
        cache=out.with_name(f"{out.name}.cache"),
        streams=streams,
        given=given,
        folder=None if out.suffix == ".npz" else out,
        accept=accept,
        workers=options.workers,
        name=out.stem,
        progress=not options.quiet,
    )


def _faults(found: FoundClips) -> dict[str, list[str]]:
    """Say what each kind of fault is."""
    from mmlib.data.meld_clips import FAULTS

    return {FAULTS[kind]: names for kind, names in found.faults.items()}


def _cut(made: Preparation, clips: int) -> list[str]:
    """Say how many clips have more sound than is kept."""
    from mmlib.data.meld_clips import MeldRecipe

    longer = made.cut.get("audio", [])
    if not longer:
        return []
    share, seconds = len(longer) / clips, MeldRecipe().seconds
    sound = f"{seconds:.2f} seconds of sound; the rest of it is cut off."
    return [f"{len(longer)} of {clips} clips ({share:.0%}) have more than {sound}"]
