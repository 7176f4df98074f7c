"""`join`: feature files of the same samples, one stream here and another there, to one file."""

from __future__ import annotations

import argparse

from mmlib.cli.places import features_to_write, refuse_overwriting, told_place
from mmlib.cli.shared import Commands, say


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("join", help="join feature files of different streams by id")
    parser.set_defaults(run=run)
    parser.add_argument(
        "files", nargs="+", metavar="FEATURES", help="two or more, files or folders"
    )
    parser.add_argument(
        "--out", required=True, help="ALL.npz, or a folder, for data larger than memory"
    )


def run(options: argparse.Namespace) -> None:
    """Join, write the feature file, and count who has which streams."""
    from mmlib.data import load_features
    from mmlib.data.joining import join

    out = features_to_write("--out", options.out)
    refuse_overwriting(out, options.files)
    sets = [load_features(path) for path in options.files]
    joined = join(sets, name=out.stem, folder=None if out.suffix else out)
    features = joined.features
    if out.suffix:
        features.save(out)
    shapes = [f"{name} {tuple(features.inputs[name].shape[1:])}" for name in features.modalities]
    told = [
        f"{count} with {' and '.join(streams) or 'no stream'}"
        for streams, count in sorted(joined.patterns.items(), key=lambda one: -len(one[0]))
    ]
    print(f"{len(features)} samples: {', '.join(shapes)}; {', '.join(told)}. {told_place(out)}")
    for path, one in zip(options.files, sets, strict=True):
        missing = len(features) - len(one)
        if missing:
            say(
                f"mmlib join: {path} has no {missing} of the {len(features)} samples; its "
                f"{' and '.join(one.modalities)} is masked as absent there."
            )
        if (one.ids == [str(number) for number in range(len(one))]).all():
            say(
                f"mmlib join: the samples of {path} have no names but their places, 0 to "
                f"{len(one) - 1}; a sample was taken for that of the same place in the others."
            )
