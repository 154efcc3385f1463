"""The versions that a night asks: fetched whole and once, and only what was registered and decided on."""

import json
from pathlib import Path

import pytest

from tasks.digests import identity
from tasks.errors import DigestMismatch, RegistryTrouble
from tasks.fetch_versions import fetch_versions
from tasks.registry import Registry
from tasks.scorer import WEIGHTS
from tasks.versions import fetch_model, fetch_version


def test_versions_are_fetched_once_and_again_when_a_file_was_changed(in_use: Registry, tmp_path: Path) -> None:
    served = fetch_versions.fn(in_use, ["2", "3"], tmp_path / "served")
    assert sorted(served) == ["2", "3"]
    newest = served["3"]
    assert identity(newest.model) == newest.digest == in_use.version_tags("3")["model_digest"]
    assert newest.digest != served["2"].digest
    assert {file.name for file in (newest.folder / "released").iterdir()} == {
        "report.json",
        "predictions.parquet",
        "manifest.parquet",
    }
    weights = newest.model / WEIGHTS
    made = weights.stat().st_mtime_ns
    assert fetch_version(in_use, "3", newest.folder) == newest
    assert weights.stat().st_mtime_ns == made
    weights.write_bytes(b"other weights")
    assert fetch_version(in_use, "3", newest.folder) == newest
    assert identity(newest.model) == newest.digest


def test_a_version_of_another_decision_is_fetched_anew(in_use: Registry, tmp_path: Path) -> None:
    served = fetch_version(in_use, "3", tmp_path / "v3")
    (served.folder / "decision.json").write_text(json.dumps(served.decision - 1))
    fetch_version(in_use, "3", served.folder)
    assert json.loads((served.folder / "decision.json").read_text()) == served.decision


def test_a_model_or_a_decision_that_is_not_on_record_is_refused(in_use: Registry, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch, match="version 3 of pets is not the model that was registered"):
        fetch_model(in_use, "3", "0" * 64, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    in_use.tag("3", {"decision": "999"})
    with pytest.raises(RegistryTrouble, match="names decision 999, which the ledger does not have"):
        fetch_version(in_use, "3", tmp_path / "v3")
    assert not (tmp_path / "v3").exists()
