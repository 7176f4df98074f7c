"""What README.md and docs/results.md show is what is stored, and what is stored can be true."""

import re

import pandas as pd
import pytest
import results_page
from builder.cells import BuildError
from results_page import KEPT, PAGES, ROOT, STORE

STORED = sorted((ROOT / STORE).glob("*.csv"))
COMPARED = [path for path in STORED if "peak_bytes" in pd.read_csv(path)]


@pytest.fixture
def copied(tmp_path):
    """The pages and what they show, to be changed."""
    for name in (*PAGES, *(path.relative_to(ROOT) for path in STORED)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def test_the_pages_show_the_stored_numbers(capsys):
    assert results_page.main([]) == 0, capsys.readouterr().err


def test_each_page_shows_the_theatres_table_and_its_picture():
    readme, page = ((ROOT / name).read_text(encoding="utf-8") for name in PAGES)
    accuracy = pd.read_csv(ROOT / STORE / "theatre.csv").set_index("system")["accuracy"]
    for text in (readme, page):
        for system, value in accuracy.items():
            assert re.search(rf"^\| {system} .*\| {value:.3f} ± ", text, re.MULTILINE), system
    assert "(docs/results/theatre.png)" in readme and "(results/theatre.png)" in page
    assert (ROOT / STORE / "theatre.png").stat().st_size < 150_000
    shown = set(re.findall(r"results:(\w+):begin", page))
    assert {path.stem for path in STORED} <= shown, "every stored table is shown"


def test_another_number_in_store_or_page_is_noticed_and_mended(copied, capsys):
    table = copied / STORE / "theatre.csv"
    assert results_page.main([], copied) == 0
    rows = pd.read_csv(table)
    rows.loc[1, "accuracy"] += 0.002
    rows.to_csv(table, index=False)
    assert results_page.main([], copied) == 1
    told = capsys.readouterr().err
    assert "README.md" in told and "results.md" in told
    assert results_page.main(["--write"], copied) == 0
    assert results_page.main([], copied) == 0
    readme = copied / "README.md"
    text = readme.read_text(encoding="utf-8")
    assert f"{rows['accuracy'][1]:.3f}" in text
    readme.write_text(text.replace(f"{rows['accuracy'][1]:.3f}", "0.999"), encoding="utf-8")
    assert results_page.main([], copied) == 1


def test_new_numbers_are_taken_and_those_that_are_not_there_stay(copied, tmp_path, capsys):
    fresh = tmp_path / "runs" / "theatre"
    fresh.mkdir(parents=True)
    rows = pd.read_csv(copied / STORE / "theatre.csv")
    rows["accuracy"] = 0.1234567
    rows.to_csv(fresh / "table.csv", index=False)
    before = (copied / STORE / "theatre_tuning.csv").read_bytes()
    assert results_page.main(["--take", str(fresh.parent)], copied) == 0
    assert "tuning.csv is not there" in capsys.readouterr().err
    assert "0.123 ±" in (copied / "README.md").read_text(encoding="utf-8")
    assert set(pd.read_csv(copied / STORE / "theatre.csv")["accuracy"]) == {0.123457}
    assert (copied / STORE / "theatre_tuning.csv").read_bytes() == before


@pytest.mark.parametrize(
    "marker", ["", "<!-- results:nonesuch:begin -->\n<!-- results:nonesuch:end -->"]
)
def test_a_page_without_a_place_or_with_an_unknown_one_is_refused(marker):
    with pytest.raises(BuildError, match="no place|nonesuch"):
        results_page.with_tables(f"# Results\n{marker}\n", {"theatre": "| a |"})


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.stem)
def test_a_stored_comparison_has_three_seeds_and_no_more_than_can_be(path):
    table = pd.read_csv(path)
    assert table["system"][0] == "majority" and table["system"].is_unique
    assert (table["seeds"] >= 3).all()
    assert table["accuracy"].between(0, 1).all()
    assert (table["peak_bytes"] > 8 * table["parameters"]).all()
    majority = table["accuracy_sd"][0]
    assert majority == 0, "guessing the commonest class is the same with each seed"


def test_every_theatre_system_had_the_same_budget_and_took_its_best():
    tried = pd.read_csv(ROOT / STORE / "theatre_tuning.csv")
    assert tried.groupby("system").size().nunique() == 1
    assert tried["epochs"].nunique() == 1
    taken = pd.read_csv(ROOT / STORE / "theatre.csv").set_index("system")["learning_rate"]
    for system, trials in tried.groupby("system"):
        best = trials[trials["chosen"]]
        assert len(best) == 1
        assert best["score"].item() == trials["score"].max()
        assert best["learning_rate"].item() == pytest.approx(taken[system], rel=1e-4)


def test_a_table_that_was_not_measured_says_so():
    page = "<!-- results:mosi:begin -->\n| 0.5 |\n<!-- results:mosi:end -->"
    fresh = results_page.with_tables(page, {"theatre": "| a |"})
    assert results_page.MISSING in fresh and "0.5" not in fresh


def test_nothing_is_kept_that_no_command_makes():
    assert {path.name for path in (ROOT / STORE).iterdir()} <= set(KEPT)
    assert (ROOT / STORE / "theatre.csv").is_file()
