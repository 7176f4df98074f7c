"""Published files of weights: known names are fetched once, other words are paths."""

import json
from pathlib import Path

import pytest
import torch

from mmlib.backbones import InceptionResnetV1, published
from mmlib.backbones.loading import PretrainedError


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """A publisher's folder in the place of the web, and an empty place for what is fetched."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    folder = tmp_path / "publisher"
    folder.mkdir()
    monkeypatch.setitem(published.PUBLISHED, "vggface2", (folder / "faces.pt").as_uri())
    return folder


def test_a_known_name_is_fetched_once_and_kept(hub, tmp_path):
    network = InceptionResnetV1(5, width=1 / 32)
    torch.save(network.state_dict(), hub / "faces.pt")
    path = published.weights_file("vggface2")
    assert path == tmp_path / "hub" / "checkpoints" / "faces.pt"
    (hub / "faces.pt").unlink()
    assert published.weights_file("vggface2") == path
    InceptionResnetV1(5, width=1 / 32).load_public(path)


def test_what_cannot_be_fetched_is_said_in_one_sentence_and_leaves_nothing(hub, tmp_path):
    with pytest.raises(PretrainedError, match="'vggface2' cannot be fetched.*name the file"):
        published.weights_file("vggface2")
    assert not list((tmp_path / "hub").rglob("*.*"))


def test_any_other_word_is_a_path(tmp_path):
    assert published.weights_file(str(tmp_path / "own.pt")) == tmp_path / "own.pt"
    assert published.weights_file("~/own.pt") == Path.home() / "own.pt"


def test_the_files_are_those_of_the_facts(shared_facts):
    for facts in ("inception_resnet_v1", "wavernn_ljspeech"):
        told = json.loads((shared_facts / f"{facts}.json").read_text("utf-8"))["pretrained"]
        files = {url.rsplit("/", 1)[1] for url in published.PUBLISHED.values()}
        assert {entry["file"] for entry in told} <= files
