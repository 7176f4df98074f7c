"""A file is replaced whole or not at all."""

import pytest

from mmlib.data.whole_file import whole_file


def test_the_file_appears_at_the_end_in_a_folder_of_its_own(tmp_path):
    path = tmp_path / "new" / "marks.csv"
    with whole_file(path) as part:
        part.write_text("7")
        assert not path.exists() and part.parent == path.parent
    assert path.read_text() == "7" and list(path.parent.iterdir()) == [path]


def test_an_error_leaves_what_was_there_and_nothing_beside_it(tmp_path):
    path = tmp_path / "marks.csv"
    path.write_text("before")
    with pytest.raises(RuntimeError, match="no more"), whole_file(path) as part:
        part.write_text("half")
        raise RuntimeError("no more")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
