"""Telemetry is off by default, state lies under one folder, and nothing is set that the environment chose already."""

import os
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from tasks.errors import BadInput
from tasks.settings import QUIET, find_root, prepare_environment, settings


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for key in (*QUIET, "MLFLOW_TRACKING_URI", "PREFECT_HOME", "KEEL_STATE", "KEEL_LEDGER_URL"):
        monkeypatch.setenv(key, "")  # so that what the test sets is taken away again
        monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_telemetry_is_off_and_state_lies_in_one_folder(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = prepare_environment()
    assert {key: os.environ[key] for key in QUIET} == QUIET
    assert chosen.state == clean / "state"
    assert all(
        str(clean / "state") in place for place in (chosen.tracking_uri, chosen.ledger_url, chosen.artifacts or "")
    )
    assert settings().tracking_uri == chosen.tracking_uri


@pytest.mark.parametrize("key", ["KEEL_STATE", "KEEL_LEDGER_URL", "MLFLOW_TRACKING_URI"])
def test_variable_that_is_set_to_nothing_leaves_the_default(
    clean: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    default = settings()
    monkeypatch.setenv(key, "")
    assert settings() == default


def test_tests_themselves_send_no_telemetry() -> None:
    assert {key: os.environ.get(key) for key in QUIET} == QUIET
    assert not get_current_settings().server.analytics_enabled


def test_what_the_environment_says_is_kept(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("KEEL_STATE", "elsewhere")
    chosen = prepare_environment()
    assert (chosen.tracking_uri, chosen.artifacts) == ("http://127.0.0.1:5000", None)
    assert chosen.ledger_url == f"sqlite:///{clean}/elsewhere/ledger.db"


def test_root_is_found_from_below_and_its_absence_is_said(clean: Path) -> None:
    (clean / "governance/projects").mkdir(parents=True)
    with pytest.raises(BadInput, match="is not inside a Keel checkout"):
        find_root(clean / "governance/projects")
    (clean / "params.yaml").touch()
    assert find_root(clean / "governance/projects") == clean
