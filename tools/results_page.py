"""Puts measured tables into README.md and docs/results.md, from the csv files in docs/results/.

python tools/results_page.py                say which page shows other numbers than are stored
python tools/results_page.py --write        put the stored numbers into the pages
python tools/results_page.py --take FOLDER  store what the page's commands left in FOLDER, then write
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
from builder import editions
from builder.cells import BuildError

from mmlib.reporting import comparison_in_words, in_words, tuning_in_words

ROOT = Path(__file__).resolve().parent.parent
STORE = Path("docs") / "results"
PAGES = (Path("README.md"), Path("docs") / "results.md")
PLACE = re.compile(r"<!-- results:(\w+):begin -->\n.*?<!-- results:\1:end -->", re.DOTALL)
#: What is kept, and which command's folder it comes from.
KEPT = {
    "theatre.csv": "theatre/table.csv",
    "theatre_tuning.csv": "theatre/tuning.csv",
    "theatre_differences.csv": "theatre/differences.csv",
    "theatre.png": "theatre/scores.png",
    "theatre_patterns.csv": "theatre_robustness/patterns_table.csv",
    "theatre_falling.csv": "theatre_robustness/falling_table.csv",
    "theatre_5.csv": "theatre_5/table.csv",
    "theatre_5_differences.csv": "theatre_5/differences.csv",
    "meld_dev.csv": "meld_dev/table.csv",
    "meld_dev_patterns.csv": "meld_dev_robustness/patterns_table.csv",
    "meld_dev_falling.csv": "meld_dev_robustness/falling_table.csv",
    "mosi.csv": "mosi/table.csv",
    "ravdess.csv": "ravdess/table.csv",
}
#: In a page, where a command has not been run.
MISSING = "*Not measured yet: run the command above.*"
#: In the README's table of recorded data, the column of each.
RECORDED = {"ravdess": "RAVDESS", "mosi": "CMU-MOSI", "meld_dev": "MELD (dev)"}


def tables(store: Path) -> dict[str, str]:
    """Write every stored table as markdown, by its name in the pages."""
    found = {}
    for path in sorted(store.glob("*.csv")):
        frame = pd.read_csv(path)
        if "peak_bytes" in frame:
            found[path.stem] = comparison_in_words(frame)
        elif "factor" in frame:
            found[path.stem] = tuning_in_words(frame)
        else:
            found[path.stem] = in_words(frame.drop(columns="level", errors="ignore"))
    theatre = _beside_concat(store)
    few = ["weighted_f1", "macro_f1", "balanced_accuracy", "seeds"]
    less = [name for name in theatre.columns if str(name).removesuffix("_sd") in few]
    found["theatre_short"] = comparison_in_words(theatre.drop(columns=less))
    found["recorded"] = in_words(_recorded(store))
    return found


def with_tables(page: str, stored: dict[str, str]) -> str:
    """Put the stored tables between their markers.

    Raises:
        BuildError: a page has no place for a table, or one for a table that no command makes.
    """
    if not PLACE.search(page):
        raise BuildError("the page has no place for a table: <!-- results:NAME:begin -->")

    def filled(place: re.Match[str]) -> str:
        name = place[1]
        if name not in stored and f"{name}.csv" not in KEPT:
            raise BuildError(f"there is no table {name}; there are {', '.join(sorted(stored))}")
        rows = stored.get(name, MISSING)
        return f"<!-- results:{name}:begin -->\n{rows}\n<!-- results:{name}:end -->"

    return PLACE.sub(filled, page)


def take(folder: Path, store: Path) -> list[str]:
    """Keep what the commands left in a folder, and name what is not there and stays as it was."""
    store.mkdir(parents=True, exist_ok=True)
    absent = []
    for name, source in KEPT.items():
        if not (folder / source).is_file():
            absent.append(source)
        elif name.endswith(".csv"):  # six digits, and no carriage returns
            pd.read_csv(folder / source).to_csv(store / name, index=False, float_format="%.6g")
        else:
            shutil.copyfile(folder / source, store / name)
    return absent


def _beside_concat(store: Path) -> pd.DataFrame:
    """Put the paired differences, with their intervals, beside the theatre's accuracies."""
    theatre = pd.read_csv(store / "theatre.csv")
    differences = pd.read_csv(store / "theatre_differences.csv").set_index("system")
    said = [
        f"{each['difference']:+.3f} ({each['low']:+.3f} to {each['high']:+.3f})"
        for each in differences.to_dict("records")
    ]
    beside = dict(zip(differences.index, said, strict=True))
    place = list(theatre.columns).index("accuracy_sd") + 1
    theatre.insert(place, "minus concat (95 %)", [beside.get(each) for each in theatre["system"]])
    return theatre


def _recorded(store: Path) -> pd.DataFrame:
    """Put the accuracies on recorded data side by side, a row a system."""
    found = {
        head: pd.read_csv(store / f"{name}.csv").set_index("system")
        for name, head in RECORDED.items()
        if (store / f"{name}.csv").is_file()
    }
    systems = dict.fromkeys(name for frame in found.values() for name in frame.index)
    rows = []
    for system in systems:
        row: dict[str, object] = {"system": system}
        for head, frame in found.items():
            there = system in frame.index
            row[head] = frame["accuracy"][system] if there else None
            row[f"{head}_sd"] = frame["accuracy_sd"][system] if there else None
        rows.append(row)
    return pd.DataFrame(rows)


def say(line: str) -> None:
    """Print a line to stderr."""
    print(line, file=sys.stderr)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Look at the pages, or write them; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="put the stored numbers in")
    parser.add_argument("--take", type=Path, metavar="FOLDER", help="store new numbers first")
    asked = parser.parse_args(arguments)
    if asked.take is not None:
        for source in take(asked.take, root / STORE):
            say(f"{asked.take / source} is not there; what was stored before stays")
    strange = 0
    try:
        stored = tables(root / STORE)
        for name in PAGES:
            page = (root / name).read_text(encoding="utf-8")
            fresh = with_tables(page, stored)
            if asked.write or asked.take is not None:
                editions.write(root / name, fresh)
            elif fresh != page:
                say(
                    f"{name} shows other numbers than {STORE}; python tools/results_page.py --write"
                )
                strange = 1
    except BuildError as error:
        say(f"{name}: {error}")
        return 1
    return strange


if __name__ == "__main__":
    sys.exit(main())
