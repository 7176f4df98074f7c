"""`download`: terms before anything is fetched, an exit code for each ending, and a way to go on."""

import io
import signal
import subprocess
import sys
import time

import pytest
from publisher import MELD, RECORD, Cremad, Meld, Ravdess, zipped

from mmlib.cli import main

ONE, TWO = "Video_Speech_Actor_01.zip", "Video_Speech_Actor_02.zip"
CLIP = "Actor_01/01-01-01-01-01-01-01.mp4"


@pytest.fixture
def publisher():
    publisher = Ravdess()
    publisher.add(ONE, zipped({CLIP: bytes(range(256)) * 2_000}))
    publisher.add(TWO, zipped({"Actor_02/01-01-03-01-01-01-02.mp4": b"two" * 999}))
    yield publisher
    publisher.close()


@pytest.fixture
def download(publisher, tmp_path, capfd):
    """Run the command; gives exit code, stdout and stderr."""

    def run(*more, accept=True, dataset="ravdess", actors="1,2", url=publisher.url):
        words = ["download", "--dataset", dataset, "--out", str(tmp_path), "--mirror", url]
        words += ["--actors", actors] if actors else []
        words += ["--accept-licence"] if accept else []
        capfd.readouterr()
        code = main([*words, "--quiet", *more])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def test_a_data_set_is_fetched_and_what_comes_next_is_said(download, tmp_path):
    code, out, err = download()
    assert code == 0, err
    assert (tmp_path / CLIP).stat().st_size == 512_000
    assert f"2 files fetched, 0 were there, 0 failed; in {tmp_path}." in out
    assert f"python -m mmlib prepare --dataset ravdess --root {tmp_path}" in out
    assert "Fetching 2 files, 0.5 MB" in err
    code, out, _ = download()
    assert code == 0 and "0 files fetched, 2 were there, 0 failed" in out


def test_the_terms_stand_before_anything_is_fetched(download, publisher, tmp_path):
    code, _, err = download(accept=False)
    assert code == 2 and publisher.asked == [] and not any(tmp_path.iterdir())
    assert "CC BY-NC-SA 4.0" in err and "not for commercial use" in err and "PLoS ONE" in err
    assert "nothing was fetched: read the terms of CC BY-NC-SA 4.0 above, and give --accept" in err


@pytest.mark.parametrize(("answer", "goes_on"), [("yes\n", True), ("no\n", False), ("", False)])
def test_at_a_terminal_one_is_asked(download, publisher, monkeypatch, answer, goes_on):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    code, _, err = download(accept=False)
    assert "Type yes:" in err and (code == 0) == goes_on
    assert bool(publisher.asked) == goes_on
    assert goes_on or (code == 2 and "the terms were not accepted" in err)


def test_the_terms_of_crema_d_are_its_own(download):
    code, _, err = download(accept=False, dataset="cremad", actors=None)
    assert code == 2 and "Open Database License 1.0" in err and "IEEE Transactions on Aff" in err


def test_a_failure_is_named_and_the_exit_code_is_one(download, publisher, tmp_path):
    del publisher.files[publisher.place(ONE)]
    code, out, err = download()
    assert code == 1 and "1 files fetched, 0 were there, 1 failed" in out
    told = [line for line in err.splitlines() if line.startswith("mmlib download: ")]
    assert f"{ONE}?download=1 cannot be had: the server answers 404" in told[0] and len(told) == 2
    assert "the same command tries again what failed; archives that you fetch" in told[1]


def test_a_recording_that_fails_of_crema_d_names_the_mirror(download, tmp_path):
    cremad = Cremad()
    for name in ("VideoFlash/1001_DFA_ANG_XX.flv", "VideoFlash/1001_DFA_HAP_XX.flv"):
        cremad.add(name, b"flv" * 99)
    cremad.status[cremad.place(name)] = [403]
    code, _, err = download(dataset="cremad", actors=None, url=cremad.url)
    assert code == 1 and "gitlab.com/cs-cooper-lab/crema-d-mirror" in err
    assert (tmp_path / "VideoFlash/1001_DFA_ANG_XX.flv").exists()
    cremad.close()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--parts", "video-speech,smell"), "ravdess has no part 'smell'; its parts are video-sp"),
        (("--actors", "1-"), "--actors is 1-, expected numbers and ranges such as 1-4,9"),
        (("--actors", "4-1"), "--actors is 4-1, expected numbers and ranges such as 1-4,9"),
        (("--actors", "23-25"), "ravdess has no actor 25; its actors are 1 to 24"),
        (("--mirror", "nowhere"), "the mirror is nowhere, expected an address with http:// or"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(download, publisher, more, says):
    code, _, err = download(*more)
    told = [line for line in err.splitlines() if line.startswith("mmlib download: ")]
    assert code == 2 and len(told) == 1 and says in told[0]
    assert publisher.asked == []


def test_a_range_of_actors_is_read(download, publisher):
    assert download("--actors", "1-2")[0] == 0
    assert publisher.of(ONE) and publisher.of(TWO)


def test_without_the_package_one_sentence_names_the_extra(download, publisher, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    code, _, err = download()
    assert code == 2 and "install it with the extra 'data'" in err and publisher.asked == []


def test_progress_is_shown(publisher, tmp_path, capfd):
    words = ["--out", str(tmp_path), "--mirror", publisher.url, "--actors", "1", "--accept-licence"]
    assert main(["download", "--dataset", "ravdess", *words]) == 0
    assert "fetching: 100%" in capfd.readouterr().err


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_a_download_killed_half_way_goes_on_where_it_was(download, publisher, tmp_path, sign):
    publisher.slow = 0.03
    words = ["--out", str(tmp_path), "--mirror", publisher.url, "--actors", "1", "--quiet"]
    command = [
        sys.executable,
        "-m",
        "mmlib",
        "download",
        "--dataset",
        "ravdess",
        "--accept-licence",
    ]
    process = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True)
    part = tmp_path / ".download" / f"{ONE}.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 50_000):
        assert process.poll() is None and time.monotonic() < deadline, "it did not start"
        time.sleep(0.01)
    process.send_signal(sign)
    _, err = process.communicate(timeout=60)
    if sign == signal.SIGINT:
        assert process.returncode == 130 and "interrupted; continue with: python -m mmlib" in err
    here = part.stat().st_size
    assert here < 512_000 and not (tmp_path / CLIP).exists()
    publisher.slow = 0.0
    publisher.asked.clear()
    assert download(actors="1")[0] == 0
    assert publisher.asked[0] == (RECORD, None) and publisher.of(ONE) == [f"bytes={here}-"]
    assert (tmp_path / CLIP).read_bytes() == bytes(range(256)) * 2_000
    assert not (tmp_path / ".download").exists()


@pytest.fixture
def meld():
    publisher = Meld()
    for split in ("train", "dev", "test"):
        publisher.add(f"{split}_sent_emo.csv", f"Utterance\r\n{split}\r\n".encode() * 999)
    yield publisher
    publisher.close()


def test_the_sentences_of_meld_are_verified_by_gits_own_checksums(download, meld, tmp_path):
    asked = {"dataset": "meld", "actors": None, "url": meld.url}
    code, out, err = download(**asked)
    assert code == 0, err
    assert (tmp_path / "dev_sent_emo.csv").read_bytes() == meld.files[
        meld.place("dev_sent_emo.csv")
    ]
    assert "3 files fetched" in out and "no checksum is published" not in err.split("Asking")[1]
    assert "GPL-3.0" in err and "MELD.Raw.tar.gz" in err, "how one gets the recordings"
    assert f"python -m mmlib prepare --dataset meld --root {tmp_path}" in out
    (tmp_path / "test_sent_emo.csv").write_bytes(b"x" * 13986)  # of the right size
    code, out, _ = download(**asked)
    assert code == 0 and "1 files fetched, 2 were there, 0 failed" in out
    assert b"test\r\n" in (tmp_path / "test_sent_emo.csv").read_bytes()


def test_a_sentence_file_that_is_not_what_git_says_is_not_kept(download, meld, tmp_path):
    name = "train_sent_emo.csv"
    del meld.files[f"/repos/{MELD}/git/trees/master"]
    meld.add(name, b"Utterance\nother\n", sha="0" * 40)
    for split in ("dev", "test"):
        meld.add(f"{split}_sent_emo.csv", b"Utterance\nfine\n")
    code, _, err = download(dataset="meld", actors=None, url=meld.url)
    assert code == 1 and f"what came as {name} does not have the checksum it must have" in err
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == [
        "dev_sent_emo.csv",
        "test_sent_emo.csv",
    ]


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        ("mosei", "CMU-MOSEI is given out by its authors' toolkit, https://"),
        ("affwild2", "on a signed request"),
        ("imdb", "expected one of ravdess, cremad, meld"),
    ],
)
def test_what_no_command_fetches_is_explained(download, publisher, dataset, says):
    code, _, err = download(dataset=dataset)
    assert code == 2 and says in err and err.count("\n") == 1 and not publisher.asked


def test_meld_has_no_actors(download, meld):
    code, _, err = download(dataset="meld", url=meld.url)
    assert code == 2 and "meld is not divided by actors; leave them out" in err


def test_a_repository_without_the_files_is_said(download, meld):
    meld.files[f"/repos/{MELD}/git/trees/master"] = b'{"tree": [{"path": "README.md"}]}'
    code, _, err = download(dataset="meld", actors=None, url=meld.url)
    assert code == 2 and "has no data/MELD/train_sent_emo.csv any more" in err
