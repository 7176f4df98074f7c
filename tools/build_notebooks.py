"""Builds notebooks/, exercises/ and solutions/ from notebooks/src/, or checks that they are built.

python tools/build_notebooks.py 02       build lesson 02
python tools/build_notebooks.py          build all lessons
python tools/build_notebooks.py --prose 02  run nothing: only the text of lesson 02 has changed
python tools/build_notebooks.py --check  rebuild, store nothing, and say what differs

Pictures and outputs that no test compares may come out otherwise on another type of CPU; `--check`
reports them and lets them pass, `--check --strict` does not.
"""

import argparse
import sys
from pathlib import Path

from builder import editions, lessons
from builder.cells import BuildError

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Build or check; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", metavar="NN", help="lessons' numbers; all if none")
    parser.add_argument("--check", action="store_true", help="store nothing, compare")
    parser.add_argument("--prose", action="store_true", help="run nothing, keep stored outputs")
    parser.add_argument("--strict", action="store_true", help="with --check: compare every byte")
    parser.add_argument("--slack", type=float, default=1.0, help="multiplies the time budgets")
    asked = parser.parse_args(arguments)
    if asked.check and asked.prose:
        parser.error("--check rebuilds, --prose does not; give one of them")
    failed = 0
    try:
        chosen = lessons.sources(root, asked.numbers)
    except BuildError as error:
        parser.error(str(error))
    for source in chosen:
        print(f"{source.stem} ...", flush=True)
        try:
            if asked.prose:
                built = lessons.reword(source, root)
            else:
                built = lessons.build(source, root, slack=asked.slack)
        except BuildError as error:
            print(f"  refused: {error}", file=sys.stderr)
            failed += 1
            continue
        for file in built:
            if asked.check:
                failed += not _is_same(file, root, strict=asked.strict)
            else:
                editions.write(root / file.path, file.text)
                print(f"  {file.path}  {len(file.text) // 1000} kB, {file.seconds:.1f} s")
    return 1 if failed else 0


def _is_same(file: lessons.Built, root: Path, *, strict: bool) -> bool:
    stored = root / file.path
    text = stored.read_text(encoding="utf-8") if stored.exists() else None
    difference = lessons.compare(file.path, text, file.text)
    for line in difference.cells:
        print(f"  {file.path} is not built from its source: {line}", file=sys.stderr)
    for line in difference.machine:
        print(f"  {file.path} has another picture or uncompared output: {line}", file=sys.stderr)
    if not difference.cells + difference.machine:
        print(f"  {file.path} is the same to the byte")
    return not (difference.cells or (strict and difference.machine))


if __name__ == "__main__":
    sys.exit(main())
