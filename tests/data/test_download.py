"""Fetching public data sets: what arrives is whole, verified, and where it belongs."""

import hashlib
import json
import random
import shutil
import stat
import zipfile
from collections import namedtuple

import pytest
from publisher import CREMAD, RECORD, Cremad, Ravdess, zipped

from mmlib.data.download import DownloadError, UnreachableError, download, unpacking
from mmlib.data.download.fetching import _bytes
from mmlib.data.download.sources import SOURCES
from mmlib.data.download.unpacking import unpack

ONE, TWO = "Video_Speech_Actor_01.zip", "Video_Speech_Actor_02.zip"


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


CLIPS = {
    ONE: {
        "Actor_01/01-01-01-01-01-01-01.mp4": noise(300_011),
        "Actor_01/02-01-01-01-01-01-01.mp4": noise(7_001, 1),
    },
    TWO: {"Actor_02/01-01-03-01-01-01-02.mp4": noise(11_003, 2)},
}


@pytest.fixture
def ravdess():
    """Two archives of two actors."""
    publisher = Ravdess()
    for name, members in CLIPS.items():
        publisher.add(name, zipped(members))
    yield publisher
    publisher.close()


@pytest.fixture
def cremad():
    publisher = Cremad()
    for seed, name in enumerate(
        ("1001_DFA_ANG_XX", "1001_IEO_HAP_HI", "1002_DFA_NEU_XX"), start=11
    ):
        publisher.add(f"VideoFlash/{name}.flv", noise(5_000 + seed, seed))
        publisher.add(f"AudioWAV/{name}.wav", noise(2_000 + seed, seed))
    publisher.add("README.md", b"read me")
    yield publisher
    publisher.close()


def fetch(publisher, folder, dataset="ravdess", **more):
    wanted = {"actors": (1, 2)} if dataset == "ravdess" else {}
    settings = {"mirror": publisher.url, "progress": False, "pause": 0.0} | wanted | more
    return download(dataset, folder, **settings)


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "downloads.json"
    }


EVERYTHING = {name: content for members in CLIPS.values() for name, content in members.items()}


def test_archives_are_verified_and_unpacked_and_nothing_else_is_left(ravdess, tmp_path):
    result = fetch(ravdess, tmp_path)
    assert sorted(result.fetched) == [ONE, TWO] and not result.failures and not result.first_use
    assert files_in(tmp_path) == EVERYTHING
    noted = json.loads((tmp_path / "downloads.json").read_text())
    assert noted["licence"] == "CC BY-NC-SA 4.0" and "PLoS ONE" in noted["citation"]
    digest = hashlib.md5(ravdess.files[ravdess.place(ONE)]).hexdigest()
    assert noted["files"][ONE]["checksum"] == f"md5:{digest}" and noted["files"][ONE]["published"]
    assert ravdess.asked[0] == (RECORD, None)


def test_what_is_there_is_verified_and_not_fetched_again(ravdess, tmp_path):
    fetch(ravdess, tmp_path)
    ravdess.asked.clear()
    result = fetch(ravdess, tmp_path)
    assert sorted(result.there) == [ONE, TWO] and not result.fetched
    assert ravdess.asked == [(RECORD, None)]
    name = "Actor_02/01-01-03-01-01-01-02.mp4"
    whole = EVERYTHING[name]
    for wrong in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), None):
        (tmp_path / name).unlink()
        if wrong is not None:
            (tmp_path / name).write_bytes(wrong)
        result = fetch(ravdess, tmp_path)
        assert result.there == [ONE] and result.fetched == [TWO]
        assert files_in(tmp_path) == EVERYTHING


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(ravdess, tmp_path):
    ravdess.cut[ravdess.place(ONE)] = [50_000, 20_000, 5]
    fetch(ravdess, tmp_path)
    assert files_in(tmp_path) == EVERYTHING
    assert ravdess.of(ONE) == [None, "bytes=49152-", *["bytes=65536-"] * 2]


def test_a_later_run_goes_on_with_what_an_earlier_one_left(ravdess, tmp_path):
    ravdess.cut[ravdess.place(ONE)] = [90_000]
    ravdess.status[ravdess.place(ONE)] = [200] + [503] * 5
    with pytest.raises(UnreachableError, match="503.*5 tries.*goes on where this one stopped"):
        fetch(ravdess, tmp_path)
    assert files_in(tmp_path)[f".download/{ONE}.part"] == ravdess.files[ravdess.place(ONE)][:81_920]
    ravdess.asked.clear()
    fetch(ravdess, tmp_path)
    assert ravdess.of(ONE) == ["bytes=81920-"] and files_in(tmp_path) == EVERYTHING


def test_a_server_without_range_sends_the_whole_again(ravdess, tmp_path):
    ravdess.deaf = True
    ravdess.cut[ravdess.place(ONE)] = [120_000, 30_000]
    fetch(ravdess, tmp_path)
    assert files_in(tmp_path) == EVERYTHING
    assert ravdess.of(ONE) == [None, "bytes=114688-", "bytes=16384-"]


@pytest.mark.parametrize("cuts", [[120_000], [120_000, 30_000]], ids=["same", "earlier"])
def test_a_server_that_never_gets_any_further_is_given_up(ravdess, tmp_path, cuts):
    ravdess.deaf = True
    ravdess.cut[ravdess.place(ONE)] = cuts * 25
    with pytest.raises(UnreachableError, match="broke off|bytes came"):
        fetch(ravdess, tmp_path)
    assert len(ravdess.of(ONE)) == 6


def part_of(tmp_path, content):
    (tmp_path / ".download").mkdir()
    (tmp_path / ".download" / f"{ONE}.part").write_bytes(content)


def test_an_unfinished_file_of_another_content_is_found_out_and_fetched_anew(ravdess, tmp_path):
    part_of(tmp_path, noise(8_000, 99))
    assert not fetch(ravdess, tmp_path).failures
    assert ravdess.of(ONE) == ["bytes=8000-", None] and files_in(tmp_path) == EVERYTHING


def test_an_unfinished_file_longer_than_the_whole_is_dropped(ravdess, tmp_path):
    part_of(tmp_path, noise(900_000, 99))
    assert not fetch(ravdess, tmp_path).failures
    assert ravdess.of(ONE) == [None] and files_in(tmp_path) == EVERYTHING


def test_an_unfinished_file_that_lacks_nothing_is_not_asked_for(ravdess, tmp_path):
    part_of(tmp_path, ravdess.files[ravdess.place(ONE)])
    assert not fetch(ravdess, tmp_path).failures
    assert ravdess.of(ONE) == [] and files_in(tmp_path) == EVERYTHING


@pytest.mark.parametrize(
    ("left", "asked"),
    [(lambda whole: whole, 1), (lambda whole: whole + b"more", 2)],
    ids=["all of it", "too much"],
)
def test_without_a_published_size_the_server_says_whether_anything_is_missing(
    ravdess, tmp_path, left, asked
):
    record = json.loads(ravdess.files[RECORD])
    for entry in record["files"]:
        del entry["size"]
    ravdess.files[RECORD] = json.dumps(record).encode()
    part = left(ravdess.files[ravdess.place(ONE)])
    part_of(tmp_path, part)
    assert not fetch(ravdess, tmp_path).failures
    assert ravdess.of(ONE) == [f"bytes={len(part)}-", None][:asked]
    assert files_in(tmp_path) == EVERYTHING


def test_a_server_that_has_a_moment_is_asked_again(ravdess, tmp_path):
    ravdess.status[ravdess.place(ONE)] = [503, 429, 500]
    assert not fetch(ravdess, tmp_path).failures
    assert len(ravdess.of(ONE)) == 4


def test_a_wrong_checksum_is_named_not_kept_and_loses_no_other(ravdess, tmp_path):
    content = ravdess.files[ravdess.place(ONE)]
    ravdess.files[ravdess.place(ONE)] = content[:500] + bytes([content[500] ^ 1]) + content[501:]
    result = fetch(ravdess, tmp_path)
    assert result.fetched == [TWO] and list(result.failures) == [ONE]
    assert f"what came as {ONE} does not have the checksum" in result.failures[ONE]
    assert files_in(tmp_path) == CLIPS[TWO]
    assert ravdess.of(ONE) == [None]  # whole from one transfer: a second would be the same
    ravdess.files[ravdess.place(ONE)] = content
    assert fetch(ravdess, tmp_path).fetched == [ONE] and files_in(tmp_path) == EVERYTHING


@pytest.mark.parametrize("code", [404, 403, 410])
def test_a_missing_file_is_named_and_loses_no_other(ravdess, tmp_path, code):
    ravdess.status[ravdess.place(ONE)] = [code]
    result = fetch(ravdess, tmp_path)
    assert f"the server answers {code}" in result.failures[ONE] and result.fetched == [TWO]
    assert len(ravdess.of(ONE)) == 1


def test_a_file_of_another_size_is_not_even_fetched(ravdess, tmp_path):
    ravdess.files[ravdess.place(ONE)] += b"more"
    result = fetch(ravdess, tmp_path)
    assert "bytes, but" in result.failures[ONE] and "are published" in result.failures[ONE]


def test_no_server_is_one_sentence(ravdess, tmp_path):
    ravdess.close()
    with pytest.raises(UnreachableError, match="cannot be reached .*is there a network"):
        fetch(ravdess, tmp_path)


def test_where_nothing_works_the_rest_is_not_asked_for(tmp_path):
    publisher = Ravdess()
    for actor in range(1, 12):
        publisher.add(f"Video_Speech_Actor_{actor:02d}.zip", b"")
    publisher.files = {RECORD: publisher.files[RECORD]}
    with pytest.raises(DownloadError, match="the first 5 files all failed"):
        fetch(publisher, tmp_path, actors=range(1, 12))
    assert len(publisher.asked) < 8
    publisher.close()


def test_without_a_published_checksum_the_first_download_is_trusted_and_later_ones_held_to_it(
    ravdess, tmp_path
):
    del ravdess.files[RECORD]
    said = []
    result = fetch(ravdess, tmp_path, say=said.append)
    assert sorted(result.first_use) == [ONE, TWO] and files_in(tmp_path) == EVERYTHING
    assert any(
        f"For 2 files, such as {ONE}, no checksum is published" in sentence for sentence in said
    )
    digest = hashlib.sha256(ravdess.files[ravdess.place(ONE)]).hexdigest()
    note = json.loads((tmp_path / "downloads.json").read_text())["files"][ONE]
    assert note["checksum"] == f"sha256:{digest}" and note["published"] is False
    assert sorted(fetch(ravdess, tmp_path).there) == [ONE, TWO]
    (tmp_path / "Actor_01/01-01-01-01-01-01-01.mp4").unlink()
    ravdess.files[ravdess.place(ONE)] = zipped({"Actor_01/other.mp4": b"?"})
    assert list(fetch(ravdess, tmp_path).failures) == [ONE]
    assert not (tmp_path / "Actor_01/other.mp4").exists()


def test_a_page_that_came_in_place_of_an_archive_is_not_trusted_for_ever(ravdess, tmp_path):
    del ravdess.files[RECORD]
    whole = ravdess.files[ravdess.place(ONE)]
    ravdess.files[ravdess.place(ONE)] = b"<html>please log in</html>"
    assert f"{ONE} is no whole zip" in fetch(ravdess, tmp_path).failures[ONE]
    ravdess.files[ravdess.place(ONE)] = whole
    assert fetch(ravdess, tmp_path).fetched == [ONE] and files_in(tmp_path) == EVERYTHING


def test_a_record_that_contradicts_what_is_known_is_refused(tmp_path):
    publisher = Ravdess()
    publisher.add("Audio_Speech_Actors_01-24.zip", zipped({"Actor_01/a.wav": b"?"}))
    with pytest.raises(DownloadError, match="one of them is wrong, so nothing was fetched"):
        fetch(publisher, tmp_path, parts=["audio-speech"])
    assert publisher.of("Audio_Speech_Actors_01-24.zip") == []
    publisher.close()


@pytest.mark.parametrize("record", [b"<html>", b"[1, 2]", b'{"files": [{"size": 3}]}'])
def test_a_record_that_is_none_is_one_sentence(ravdess, tmp_path, record):
    ravdess.files[RECORD] = record
    with pytest.raises(DownloadError, match="is no record of Zenodo's"):
        fetch(ravdess, tmp_path)


def test_records_of_zenodos_other_form_are_read_too(ravdess, tmp_path):
    entries = json.loads(ravdess.files[RECORD])["files"]
    other = [
        {
            "filename": e["key"],
            "filesize": e["size"],
            "checksum": e["checksum"].removeprefix("md5:"),
        }
        for e in entries
    ]
    ravdess.files[RECORD] = json.dumps({"files": other}).encode()
    result = fetch(ravdess, tmp_path)
    assert len(result.fetched) == 2 and not result.first_use


def test_archives_from_a_browser_are_verified_used_and_left_alone(ravdess, tmp_path):
    (tmp_path / ONE).write_bytes(ravdess.files[ravdess.place(ONE)])
    (tmp_path / TWO).write_bytes(ravdess.files[ravdess.place(TWO)][:-7])
    result = fetch(ravdess, tmp_path)
    assert sorted(result.fetched) == [ONE, TWO] and ravdess.of(ONE) == []
    assert (tmp_path / ONE).exists() and len(ravdess.of(TWO)) == 1


def test_what_lies_there_is_not_taken_for_what_it_should_be(ravdess, cremad, tmp_path):
    def flipped(content):
        return content[:99] + bytes([content[99] ^ 1]) + content[100:]

    (tmp_path / TWO).write_bytes(flipped(ravdess.files[ravdess.place(TWO)]))
    assert fetch(ravdess, tmp_path).fetched and files_in(tmp_path).items() >= EVERYTHING.items()
    fetch(cremad, tmp_path / "c", "cremad")
    name = "VideoFlash/1001_DFA_ANG_XX.flv"
    whole = cremad.files[cremad.place(name)]
    (tmp_path / "c" / name).write_bytes(flipped(whole))
    assert fetch(cremad, tmp_path / "c", "cremad").fetched == [name]
    assert (tmp_path / "c" / name).read_bytes() == whole


def test_what_nothing_can_verify_is_fetched_from_its_start(ravdess, tmp_path):
    del ravdess.files[RECORD]
    part_of(tmp_path, noise(8_000, 99))
    (tmp_path / TWO).write_bytes(b"who knows")
    assert sorted(fetch(ravdess, tmp_path).fetched) == [ONE, TWO]
    assert ravdess.of(ONE) == [None] and ravdess.of(TWO) == [None]
    assert files_in(tmp_path).items() >= EVERYTHING.items()


def test_archives_are_kept_where_that_is_wished(ravdess, tmp_path):
    fetch(ravdess, tmp_path, keep_archives=True)
    assert (tmp_path / ONE).read_bytes() == ravdess.files[ravdess.place(ONE)]
    assert not (tmp_path / ".download").exists()


def test_a_disk_too_full_is_said_before_anything_is_fetched(ravdess, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    need = sum(len(ravdess.files[ravdess.place(name)]) for name in (ONE, TWO))
    need += len(ravdess.files[ravdess.place(ONE)])  # the contents of the larger, beside its zip
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, need - 1))
    with pytest.raises(DownloadError, match=r"this needs 0.6 MB in .*choose fewer --parts"):
        fetch(ravdess, tmp_path)
    assert ravdess.of(ONE) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, need))
    assert len(fetch(ravdess, tmp_path).fetched) == 2


def test_actor_18_did_not_sing(tmp_path):
    publisher = Ravdess()
    names = ["Video_Song_Actor_17.zip", "Video_Song_Actor_19.zip"]
    for name in names:
        publisher.add(name, zipped({f"{name}.mp4": b"la"}))
    result = fetch(publisher, tmp_path, parts=["video-song"], actors=[17, 18, 19])
    assert sorted(result.fetched) == names and not result.failures
    publisher.close()


def test_all_of_a_part_is_asked_for_where_no_actor_is_named():
    known = SOURCES["ravdess"]
    assert len(known.actors) == 24 and len(SOURCES["cremad"].actors) == 91


def test_recordings_in_git_lfs_are_verified_by_their_pointers(cremad, tmp_path):
    result = fetch(cremad, tmp_path, "cremad")
    names = [
        f"VideoFlash/{name}.flv"
        for name in ("1001_DFA_ANG_XX", "1001_IEO_HAP_HI", "1002_DFA_NEU_XX")
    ]
    assert sorted(result.fetched) == names and not result.first_use
    assert files_in(tmp_path) == {name: cremad.files[cremad.place(name)] for name in names}
    cremad.asked.clear()
    assert sorted(fetch(cremad, tmp_path, "cremad").there) == names
    assert [path for path, _ in cremad.asked] == [f"/repos/{CREMAD}/git/trees/master"]


def test_a_publisher_that_is_asked_too_often_is_given_time(cremad, tmp_path):
    pointer = f"/{CREMAD}/master/VideoFlash/1001_DFA_ANG_XX.flv"
    cremad.status[pointer] = [429]
    assert len(fetch(cremad, tmp_path, "cremad").fetched) == 3
    assert len(cremad.of("master/VideoFlash/1001_DFA_ANG_XX.flv")) == 3  # twice, and the content


def test_parts_and_actors_choose_recordings(cremad, tmp_path):
    result = fetch(cremad, tmp_path, "cremad", parts=["audio"], actors=[1002])
    assert result.fetched == ["AudioWAV/1002_DFA_NEU_XX.wav"]
    with pytest.raises(DownloadError, match="no files of these parts and actors"):
        fetch(cremad, tmp_path, "cremad", parts=["audio"], actors=[1077])


def test_a_pointer_in_place_of_a_recording_is_noticed(cremad, tmp_path):
    name = "VideoFlash/1001_DFA_ANG_XX.flv"
    cremad.files[cremad.place(name)] = cremad.files[f"/{CREMAD}/master/{name}"]
    result = fetch(cremad, tmp_path, "cremad")
    assert "it is another file" in result.failures[name] and len(result.fetched) == 2
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("listing", [b"no", b"{}", b'{"tree": [], "truncated": true}'])
def test_a_listing_that_is_none_or_cut_short_is_one_sentence(cremad, tmp_path, listing):
    cremad.files[f"/repos/{CREMAD}/git/trees/master"] = listing
    with pytest.raises(DownloadError, match="is no listing of a repository|is cut short"):
        fetch(cremad, tmp_path, "cremad")


@pytest.mark.parametrize(
    ("dataset", "wish", "says"),
    [
        ("iemocap", {}, "there is no data set 'iemocap'; there are ravdess, cremad"),
        ("ravdess", {"parts": ["video"]}, "ravdess has no part 'video'; its parts are video-spee"),
        ("ravdess", {"actors": [24, 25]}, "ravdess has no actor 25; its actors are 1 to 24"),
        ("cremad", {"actors": [1]}, "cremad has no actor 1; its actors are 1001 to 1091"),
        ("ravdess", {"parts": []}, "^nothing of ravdess is named; its parts are video-speech"),
        ("cremad", {"actors": []}, "^nothing of cremad is named; its actors are 1001 to 1091"),
    ],
)
def test_impossible_wishes_are_one_sentence(tmp_path, dataset, wish, says):
    with pytest.raises(DownloadError, match=says):
        download(dataset, tmp_path, **wish)


def test_a_folder_of_another_data_set_is_left_alone(ravdess, cremad, tmp_path):
    fetch(ravdess, tmp_path)
    with pytest.raises(DownloadError, match="holds ravdess; give another folder for cremad"):
        fetch(cremad, tmp_path, "cremad")


@pytest.mark.parametrize("text", ["{", "[]", '{"files": {"a": {}}}'])
def test_damaged_notes_are_one_sentence(ravdess, tmp_path, text):
    (tmp_path / "downloads.json").write_text(text)
    with pytest.raises(DownloadError, match=r"downloads.json is damaged; delete it"):
        fetch(ravdess, tmp_path)


def member(name, *, link=False):
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    if link:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside.mp4"),
        member("Actor_01/../../outside.mp4"),
        member("Actor_01/../inside.mp4"),
        member("/outside.mp4"),
        member("..\\outside.mp4"),
        member("C:outside.mp4"),
        member("Actor_01/link.mp4", link=True),
    ],
    ids=lambda info: info.filename,
)
def test_an_archive_that_leads_out_of_the_folder_is_refused_whole(tmp_path, bad):
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("Actor_01/good.mp4", b"good")
        opened.writestr(bad, b"/etc")
    with pytest.raises(DownloadError, match="nothing was unpacked"):
        unpack(archive, folder)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


def test_a_link_that_is_here_already_leads_nobody_out(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "Actor_01").symlink_to(tmp_path)
    archive = tmp_path / "bad.zip"
    archive.write_bytes(zipped({"Actor_01/outside.mp4": b"x"}))
    with pytest.raises(DownloadError, match="leads out of"):
        unpack(archive, folder)


def test_a_hostile_archive_is_named_and_loses_no_other(tmp_path):
    publisher = Ravdess()
    publisher.add(ONE, zipped({"../outside.mp4": b"x"}))
    publisher.add(TWO, zipped(CLIPS[TWO]))
    result = fetch(publisher, tmp_path / "here")
    assert "leads out of" in result.failures[ONE] and result.fetched == [TWO]
    assert not (tmp_path / "outside.mp4").exists() and files_in(tmp_path / "here") == CLIPS[TWO]
    publisher.close()


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "_FREE_BYTES", 2**20)
    archive = tmp_path / "bomb.zip"
    archive.write_bytes(zipped({"zeros.mp4": bytes(2**20 + 1)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(DownloadError, match="would unpack to 1,048,577 bytes"):
        unpack(archive, tmp_path / "here")
    archive.write_bytes(zipped({"noise.mp4": noise(2**20 + 1)}))  # large, and weighs as much
    assert list(unpack(archive, tmp_path / "here")) == ["noise.mp4"]


@pytest.mark.parametrize("edit", [lambda data: data[:-40], lambda data: b"", lambda data: data[:9]])
def test_a_damaged_archive_is_one_sentence(tmp_path, edit):
    archive = tmp_path / "cut.zip"
    archive.write_bytes(edit(zipped(CLIPS[ONE])))
    with pytest.raises(DownloadError, match=r"cut.zip is no whole zip"):
        unpack(archive, tmp_path / "here")


def test_damage_inside_an_archive_leaves_no_half_file(tmp_path):
    data = bytearray(zipped(CLIPS[TWO]))
    data[5_000] ^= 1
    archive = tmp_path / "bad.zip"
    archive.write_bytes(data)
    with pytest.raises(DownloadError, match="is no whole zip"):
        unpack(archive, tmp_path / "here")
    assert not [path for path in (tmp_path / "here").rglob("*") if path.is_file()]


def test_what_systems_add_to_archives_is_left_out(tmp_path):
    archive = tmp_path / "mac.zip"
    archive.write_bytes(zipped({"a/b.mp4": b"x", "__MACOSX/a/._b.mp4": b"y", "a/.DS_Store": b"z"}))
    assert list(unpack(archive, tmp_path / "here")) == ["a/b.mp4"]
    assert files_in(tmp_path / "here") == {"a/b.mp4": b"x"}


def test_sizes_are_said_in_units_that_fit():
    assert (_bytes(1_499_000_000), _bytes(12_340_000)) == ("1.5 GB", "12.3 MB")
