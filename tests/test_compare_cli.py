"""`python -m mmlib compare`: one command from data to tables and figures."""

import pandas as pd
import pytest

from mmlib.cli import main
from mmlib.data import theatre


def compare(data, out, *more) -> int:
    words = ["compare", "--data", str(data), "--out", str(out), "--quiet", "--device", "cpu"]
    return main([*words, *map(str, more)])


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "small.npz"
    theatre.make("ca_mmaaet", n=80, seed=0).features().save(path)
    return path


def test_it_writes_what_it_prints_and_does_not_train_twice(features, tmp_path, capsys):
    options = ("--systems", "mmaae,concat", "--seeds", 2, "--epochs", 2)
    assert compare(features, tmp_path, *options) == 0
    first = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table["system"]) == ["majority", "mmaae", "concat"]
    assert set(table["seeds"]) == {2}
    assert f"{table['accuracy'][1]:.3f}" in first
    assert (tmp_path / "losses_mmaae.png").is_file()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.safetensors")}
    assert len(before) == 6
    assert compare(features, tmp_path, *options) == 0
    assert capsys.readouterr().out == first
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--systems", "concat,nonesuch"), "nonesuch"),
        (("--systems", "concat,concat"), "twice"),
        (("--streams", "audio,vision", "--systems", "ca_mmaaet"), "no text"),
        (("--seeds", 0), "seeds is 0"),
        (("--streams", "smell"), "smell"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    features, tmp_path, capsys, options, said
):
    assert compare(features, tmp_path / "out", *options) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
