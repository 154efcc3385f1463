"""Pinning a backbone: two values of one entry change, and only for weights that may be used."""

import difflib
import pickle
from datetime import date
from pathlib import Path

import pytest
import yaml
from loopback_hub import REPOSITORY, REVISION, running_hub
from test_backbones import ENTRY, POLICY, tiny_weights

from tasks.__main__ import call
from tasks.backbones import admit, load_catalogue
from tasks.errors import BackboneRefused
from tasks.pin_backbone import write_pin

HUB_ENTRY = {**ENTRY, "sha256": None, "weights": {"hub": REPOSITORY, "revision": None}}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with running_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        tiny_weights(tmp_path / "w.safetensors")
        server.files["model.safetensors"] = (tmp_path / "w.safetensors").read_bytes()
        yield server


def unpinned(root, **changes):
    path = root / "backbones.yaml"
    text = yaml.safe_dump({"policy": POLICY, "backbones": [{**HUB_ENTRY, **changes}]})
    path.write_text("# why this list exists\n" + text)
    return path


def pin(path):
    call(["pin_backbone", "name=tiny", f"catalogue={path}", f"cache={path.parent / 'cache'}", "timeout=2"])


def test_pinning_through_the_door_makes_an_entry_admissible_and_keeps_comments(hub, tmp_path):
    path = unpinned(tmp_path)
    pin(path)
    entry = admit("tiny", load_catalogue(path), date(2026, 11, 23))
    assert entry.weights.revision == REVISION
    assert path.read_text().startswith("# why this list exists\n")


def test_pinning_changes_two_lines_of_the_real_catalogue_and_nothing_else(tmp_path):
    before = Path("governance/backbones.yaml").read_text()
    path = tmp_path / "backbones.yaml"
    path.write_text(before)
    write_pin(path, "swin-tiny", "a" * 40, "b" * 64)
    diff = [d for d in difflib.ndiff(before.splitlines(), path.read_text().splitlines()) if d[0] in "+-"]
    assert [d.split()[:2] for d in diff] == [["-", "revision:"], ["+", "revision:"], ["-", "sha256:"], ["+", "sha256:"]]


def test_pinning_the_same_again_leaves_the_file_alone(hub, tmp_path):
    path = unpinned(tmp_path)
    pin(path)
    before = path.stat().st_mtime_ns
    pin(path)
    assert path.stat().st_mtime_ns == before


def test_a_pickle_is_not_pinned(hub, tmp_path):
    hub.files["model.safetensors"] = pickle.dumps([1])
    path = unpinned(tmp_path)
    before = path.read_text()
    with pytest.raises(BackboneRefused, match="begins like a pickle"):
        pin(path)
    assert path.read_text() == before


def test_a_licence_that_is_not_allowed_is_not_pinned_nor_fetched(hub, tmp_path):
    with pytest.raises(BackboneRefused, match="not allowed"):
        pin(unpinned(tmp_path, licence="CC-BY-NC-4.0"))
    assert hub.seen == []


def test_a_local_file_gets_its_hash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sha256 = tiny_weights(tmp_path / "backbones/tiny.safetensors")
    path = unpinned(tmp_path, weights={"file": "backbones/tiny.safetensors"})
    pin(path)
    assert load_catalogue(path).entries["tiny"].sha256 == sha256
