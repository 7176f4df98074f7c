"""`download`: fetch a public data set from its publisher, after a word on what one may do with it."""

from __future__ import annotations

import argparse
import shlex
import sys

from mmlib.cli.places import folder_to_write
from mmlib.cli.shared import Commands, ranges_of, say, words_of

FAILED = 1


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "download",
        help="fetch a public data set",
        description="Fetch a public data set, verify it and unpack it. Broken off, the same command "
        "goes on where it stopped; what is there is verified and not fetched again. RAVDESS: parts "
        "video-speech (the default), audio-speech, video-song, audio-song; actors 1 to 24. CREMA-D: "
        "parts video (the default), audio; actors 1001 to 1091. MELD: the sentences and annotations; "
        "how one gets its recordings is said before anything is fetched.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--dataset", required=True, help="ravdess, cremad or meld")
    parser.add_argument("--out", metavar="DIR", help="a folder (default: data/ and the name)")
    parser.add_argument("--parts", help="several with commas: video-speech,audio-speech")
    parser.add_argument("--actors", help="only these, such as 1-4,9 (default: all)")
    parser.add_argument(
        "--accept-licence", action="store_true", help="you have read the terms; do not ask"
    )
    parser.add_argument(
        "--mirror", metavar="URL", help="a server with the same paths as the publisher's"
    )
    parser.add_argument(
        "--keep-archives", action="store_true", help="keep the zips after they are unpacked"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Ask, fetch, and say what came of it; 1 where a file could not be had."""
    from mmlib.data.download import ELSEWHERE, SOURCES, download

    known = ", ".join(SOURCES)
    if options.dataset in ELSEWHERE:
        raise ValueError(f"{ELSEWHERE[options.dataset]}; this command fetches {known}.")
    if options.dataset not in SOURCES:
        raise ValueError(f"--dataset is {options.dataset!r}, expected one of {known}.")
    source = SOURCES[options.dataset]
    parts = words_of(options.parts) if options.parts else None
    actors = ranges_of("--actors", options.actors) if options.actors else None
    out = options.out or f"data/{options.dataset}"
    folder_to_write("--out", out)
    say(source.notice)
    _agree(options.accept_licence, source.licence)
    result = download(
        options.dataset,
        out,
        parts=parts,
        actors=actors,
        mirror=options.mirror,
        keep_archives=options.keep_archives,
        progress=not options.quiet,
        say=say,
    )
    for sentence in result.failures.values():
        say(f"mmlib download: {sentence}")
    fetched, there = len(result.fetched), len(result.there)
    print(f"{fetched} files fetched, {there} were there, {len(result.failures)} failed; in {out}.")
    if result.failures:
        say(f"mmlib download: the same command tries again what failed; {source.otherwise}")
        return FAILED
    words = f"--dataset {options.dataset} --root {shlex.quote(out)} --out {options.dataset}.npz"
    print(f"Next: python -m mmlib prepare {words}")
    return 0


def _agree(accepted: bool, licence: str) -> None:
    """Go on only with the consent of the one who will have the data."""
    if accepted:
        return
    if not sys.stdin.isatty():
        raise ValueError(
            f"nothing was fetched: read the terms of {licence} above, and give --accept-licence if "
            "you will keep to them."
        )
    print("Will you keep to these terms? Type yes: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("yes", "y"):
        raise ValueError("nothing was fetched, since the terms were not accepted.")
