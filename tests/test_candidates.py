"""Which entries of the catalogue can be compared today, and the reason for each of the others."""

import datetime as dt
import hashlib

import pytest
import yaml
from loopback_hub import REPOSITORY, REVISION, running_hub
from test_backbones import ENTRY, POLICY, tiny_weights

from tasks.backbones import Catalogue, load_catalogue
from tasks.candidates import find_candidates

TODAY = dt.date(2026, 11, 23)


def book(root, **entries) -> Catalogue:
    """A catalogue of a sound entry `tiny` and of further ones, each ENTRY with its own changes."""
    sound = {"tiny": {"sha256": tiny_weights(root / "backbones/tiny.safetensors")}}
    listed = [{**ENTRY, **changes, "name": name} for name, changes in {**sound, **entries}.items()]
    (root / "backbones.yaml").write_text(yaml.safe_dump({"policy": POLICY, "backbones": listed}))
    return load_catalogue(root / "backbones.yaml")


def found(root, catalogue, include_hub=False):
    candidates, reasons = find_candidates(catalogue, root / "backbones", root / "cache", include_hub, 2.0, TODAY)
    return [candidate.entry.name for candidate in candidates], reasons


def test_what_is_refused_or_not_at_hand_is_named_with_its_reason(tmp_path):
    catalogue = book(
        tmp_path,
        closed={"licence": "CC-BY-NC-4.0"},
        overdue={"review_by": dt.date(2020, 1, 1)},
        absent={"weights": {"file": "backbones/absent.safetensors"}},
        changed={"sha256": "1" * 64},
        distant={"weights": {"hub": REPOSITORY, "revision": REVISION}},
    )
    names, reasons = found(tmp_path, catalogue)
    assert names == ["tiny"]
    assert "'CC-BY-NC-4.0', which is not allowed" in reasons["closed"]
    assert "was to be reviewed by 2020-01-01" in reasons["overdue"]
    assert "run `dvc pull`" in reasons["absent"]
    assert "the catalogue records" in reasons["changed"]
    assert "set shortlist.include_hub" in reasons["distant"]


def test_a_hub_is_asked_only_when_the_caller_allows_it_and_its_files_count_from_then_on(tmp_path, monkeypatch):
    tiny_weights(tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    hub_entry = {"weights": {"hub": REPOSITORY, "revision": REVISION}, "sha256": hashlib.sha256(content).hexdigest()}
    catalogue = book(tmp_path, distant=hub_entry)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with running_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.files["model.safetensors"] = content
        assert found(tmp_path, catalogue)[0] == ["tiny"]
        assert server.seen == []
        assert found(tmp_path, catalogue, include_hub=True)[0] == ["tiny", "distant"]
    assert found(tmp_path, catalogue)[0] == ["tiny", "distant"]  # the hub is gone, the cache remains


@pytest.mark.parametrize("include_hub", [False, True])
def test_a_passport_says_what_fine_tuning_asks_for(tmp_path, include_hub):
    catalogue = book(tmp_path)
    (candidate,), _ = find_candidates(catalogue, tmp_path / "backbones", tmp_path, include_hub, 2.0, TODAY)
    assert {"name", "architecture", "mean", "std", "fixed_input_size"} <= set(candidate.passport)
