"""The live half's places: below the state folder, unless the environment says otherwise."""

from pathlib import Path

import pytest

from tasks.places import feedback_url, log_place


def test_both_places_lie_below_the_state_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path))
    monkeypatch.setenv("KEEL_LOG", "")
    monkeypatch.delenv("KEEL_FEEDBACK_URL", raising=False)

    assert log_place() == str(tmp_path / "log")
    assert feedback_url() == f"sqlite:///{tmp_path}/feedback.db"


def test_the_environment_moves_each_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_LOG", "s3://bucket/log")
    monkeypatch.setenv("KEEL_FEEDBACK_URL", "postgresql://host/keel")

    assert (log_place(), feedback_url()) == ("s3://bucket/log", "postgresql://host/keel")
