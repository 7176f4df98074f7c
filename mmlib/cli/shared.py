"""What several commands share: the options that name the data, the device, and where to speak."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmlib.data import FeatureSet
    from mmlib.data.clip_streams import Failure

Commands = Any  # argparse keeps the type of what `add_subparsers` returns to itself


def add_data(parser: argparse.ArgumentParser) -> None:
    """Declare `--data` and `--n`, which torchrun would take for one of its own options."""
    parser.add_argument(
        "--data",
        required=True,
        help="FEATURES.npz, theatre, theatre:PRESET or theatre:PRESET:frames",
    )
    parser.add_argument(
        *("--n", "--samples"),
        type=int,
        default=1000,
        help="clips, where the data are the theatre; under torchrun, write --samples",
    )


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Declare `--seed` and `--device`."""
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and noise")
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare `--device`."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")


def load_data(data: str, n: int, streams: str | None = None) -> FeatureSet:
    """Load a feature file, or play the theatre; keep only the named streams (`audio,vision`).

    `theatre:PRESET:frames` has the pictures themselves instead of the face units.
    """
    from mmlib.data import load_features

    stage, _, play = data.partition(":")
    if stage == "theatre":
        from mmlib.data import theatre

        preset, _, vision = play.partition(":")
        features = theatre.make(preset or "masks", n=n).features(vision=vision or "units")
    else:
        features = load_features(data)
    if not streams:
        return features
    if not (names := words_of(streams)):
        raise ValueError(
            f"--streams is {streams}, expected one or more of {','.join(features.modalities)}."
        )
    return features.select(names)


def options_of(*declare: Callable[[Any], None]) -> dict[str, Any]:
    """Name the options that these functions declare, with what each is where nobody gives it."""
    parser = argparse.ArgumentParser(add_help=False)
    for one in declare:
        one(parser)
    return vars(parser.parse_args([]))


def given_of(options: argparse.Namespace, some: Mapping[str, Any]) -> dict[str, str]:
    """Name those of `some` (`options_of`) that were given, with how a person writes them."""
    words = {name: name.replace("_", "-") for name in some}
    return {
        name: f"--no-{words[name]}" if usual is True else f"--{words[name]}"
        for name, usual in some.items()
        if getattr(options, name) != usual
    }


def words_of(text: str | None) -> list[str]:
    """Read words joined by commas; nothing between two commas is none."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def systems_of(words: str) -> list[str]:
    """Read the names of systems; one that nobody knows should not wait for the data.

    Raises:
        UnknownSystem: there is none of a name.
        ValueError: nothing is named.
    """
    from mmlib.systems import find

    named = words_of(words)
    if not named:
        raise ValueError("--systems names none; write, for example, --systems concat,jmt.")
    for name in named:
        find(name)
    return named


def ranges_of(option: str, words: str | None) -> list[int]:
    """Read numbers and ranges of numbers joined by commas, such as 1-4,9.

    Raises:
        ValueError: a word is neither, or a range is empty.
    """
    numbers: list[int] = []
    for word in words_of(words):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", word)
        found = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not found:
            raise ValueError(f"{option} is {words}, expected numbers and ranges such as 1-4,9.")
        numbers += found
    return numbers


def pairs_of(option: str, words: str, form: str = "name=value,name=value") -> dict[str, str]:
    """Read names with what belongs to each, joined by commas; `form` says how they are written.

    Raises:
        ValueError: there is none, one lacks its name or what belongs to it, or a name stands twice.
    """
    pairs = [word.partition("=") for word in words_of(words)]
    found = {name.strip(): value.strip() for name, _, value in pairs}
    if not found or not all(found) or not all(found.values()) or len(found) < len(pairs):
        raise ValueError(f"{option} is {words}, expected {form}, each name once.")
    return found


def add_scale(parser: argparse.ArgumentParser) -> None:
    """Declare `--scale`."""
    parser.add_argument(
        "--scale",
        choices=("small", "paper", "official"),
        default="small",
        help="official: AVT-CA as its released code has it",
    )


def add_balance(parser: argparse.ArgumentParser) -> None:
    """Declare what may be done about unequal classes and absent streams in training."""
    parser.add_argument(
        "--class-weights",
        metavar="balanced|W,W,...",
        help="what a sample of each class counts in the loss: balanced, or a number a class",
    )
    parser.add_argument(
        "--sampling", choices=("balanced",), help="balanced: as many samples of each class an epoch"
    )
    parser.add_argument(
        "--modality-dropout",
        type=float,
        metavar="RATE",
        help="how often a sample loses a stream in training; else each system's own",
    )
    parser.add_argument(
        "--monitor",
        help="what chooses the best epoch, such as valid_balanced_accuracy (so where classes are "
        "balanced); else valid_accuracy, or valid_mean_ccc",
    )


def balance_of(options: argparse.Namespace) -> dict[str, Any]:
    """Read what `add_balance` declared: those that were given, as `train_system` takes them.

    Raises:
        ValueError: the weights are no numbers.
    """
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("class_weights", "sampling", "modality_dropout", "monitor")
        if getattr(options, name) is not None
    }
    words = given.get("class_weights", "balanced")
    if words != "balanced":
        try:
            given["class_weights"] = [float(word) for word in words_of(words)]
        except ValueError:
            raise ValueError(
                f"--class-weights is {words}, expected balanced, or a number for each class joined "
                "by commas, such as 1,2.5,4."
            ) from None
    return given


def told_balance(balance: Mapping[str, Any]) -> str:
    """Say in a sentence what `balance_of` read; nothing where nothing was asked for."""
    chosen = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in balance.items())
    return f"For all of them: {chosen}." if chosen else ""


def say_heedless(command: str, options: argparse.Namespace, systems: Sequence[str]) -> None:
    """Say of which systems a modality dropout that was asked for changes nothing."""
    from mmlib.training.jobs import HEEDLESS

    if options.modality_dropout is None:
        return
    for system in systems:
        if system in HEEDLESS:
            say(
                f"mmlib {command}: --modality-dropout changes nothing in {system}: "
                f"{HEEDLESS[system]}."
            )


def add_smooth(parser: argparse.ArgumentParser) -> None:
    """Declare `--smooth`."""
    parser.add_argument(
        "--smooth",
        metavar="STEPS",
        help="tell apart, too, how predictions score that are averaged along each video, over so "
        "many steps for each target, such as 3,5 (steps of the labels, not frames)",
    )


def smoothing(words: str | None, features: FeatureSet) -> list[int] | None:
    """Read over how many steps each target is smoothed.

    Raises:
        ValueError: the labels are classes, or there is not a whole number for each target.
    """
    if words is None:
        return None
    if features.class_names is not None:
        raise ValueError("--smooth averages predicted numbers, but the labels are classes.")
    widths = [int(word) if word.isdigit() else 0 for word in words_of(words)]
    if len(widths) != features.num_outputs or min(widths) < 1:
        raise ValueError(
            f"--smooth is {words}, expected {features.num_outputs} whole numbers from 1 on, one a "
            "target."
        )
    return widths


def warn_of_leaks(command: str, features: FeatureSet, data: str) -> None:
    """Say in one sentence where groups stand in more than one split; a lesson may want them to."""
    from mmlib.data import find_leaks

    leaks = find_leaks(features, content=False)
    if leaks:
        say(
            f"mmlib {command}: warning: {leaks.sentence()}; split it by group with: python -m mmlib "
            f"split --data {shlex.quote(data)} --out BY_GROUP.npz"
        )


def report_failures(command: str, failures: Sequence[Failure], left_out: Sequence[str]) -> None:
    """Name every stream of a clip that could not be had, and every clip that is left out for it."""
    for failure in failures:
        say(f"mmlib {command}: {failure.clip}: no {failure.stream}: {failure.reason}")
    if failures:
        left = f"left out: {', '.join(left_out)}" if left_out else "no clip is left out"
        count = len(failures)
        what = (
            "1 stream could not be had and is"
            if count == 1
            else f"{count} streams could not be had and are"
        )
        say(f"mmlib {command}: {what} masked as absent; {left}.")


def find_device(name: str) -> str:
    """Choose a GPU where there is one.

    Raises:
        ValueError: one is asked for by name and there is none.
    """
    import torch

    from mmlib.training.machine import chosen

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device is cuda but torch finds no such GPU here; use auto or cpu.")
    return chosen(name)


def is_main() -> bool:
    """Say whether this is the only process, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def say(sentence: str) -> None:
    """Print a sentence to stderr, once however many processes there are."""
    if is_main():
        print(sentence, file=sys.stderr)
