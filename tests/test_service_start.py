"""What is not what was registered is not served, and strangers are not served without tokens."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from service.kept_versions import keep_version, kept_champion
from service.live import Follower
from tasks.digests import identity
from tasks.errors import DigestMismatch, EvidenceMissing, RegistryTrouble
from tasks.registry import Registry
from tests.accepted_versions import PROJECT
from tests.served import wait_until, write_rules


def test_the_service_does_not_start_with_a_model_that_is_not_the_registered_one(in_use: Registry) -> None:
    write_rules(Path())
    with in_use.alone(), in_use.change("tamper", {}):
        in_use.tag("3", {"model_digest": "0" * 64})
    outcome = CliRunner().invoke(app, ["serve", "--project", PROJECT])
    assert outcome.exit_code == 3
    assert "the ledger registered" in outcome.output


def test_the_service_does_not_listen_to_others_without_tokens(
    in_use: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rules(Path())
    monkeypatch.delenv("KEEL_TOKENS", raising=False)
    outcome = CliRunner().invoke(app, ["serve", "--project", PROJECT, "--host", "0.0.0.0"])
    assert (outcome.exit_code, "KEEL_TOKENS" in outcome.output) == (1, True)


def test_a_kept_version_is_checked_each_time_and_fetched_again_when_it_was_changed(
    in_use: Registry, tmp_path: Path
) -> None:
    kept = keep_version(in_use, "3", tmp_path / "kept")
    assert identity(kept.model) == kept.digest
    assert (kept.guard / "guard.json").is_file()
    (kept.guard / "guard.json").write_text("{}")
    with pytest.raises(DigestMismatch, match="is not what was registered"):
        keep_version(in_use, "3", tmp_path / "kept")
    assert keep_version(in_use, "3", tmp_path / "kept") == kept


def test_a_version_without_registration_is_not_kept(in_use: Registry, tmp_path: Path) -> None:
    source = in_use.client.get_model_version(PROJECT, "3").source
    tags = in_use.version_tags("3")
    strange = in_use.client.create_model_version(PROJECT, source, tags=tags)
    with pytest.raises(EvidenceMissing, match="no registration"):
        keep_version(in_use, str(strange.version), tmp_path / "kept")


def test_the_kept_champion_is_what_mlflow_would_give_and_is_held_against_the_ledger(
    in_use: Registry, tmp_path: Path
) -> None:
    entries, place = in_use.ledger.sound(PROJECT), tmp_path / "kept"
    with pytest.raises(EvidenceMissing, match="was never served from here"):
        kept_champion(PROJECT, entries, place)
    kept = keep_version(in_use, "3", place)
    assert kept_champion(PROJECT, entries, place) == kept
    (kept.guard / "guard.json").write_text("{}")
    with pytest.raises(DigestMismatch, match="is fetched again when MLflow is back"):
        kept_champion(PROJECT, entries, place)


def test_a_start_while_mlflow_is_away_serves_what_was_kept_and_follows_when_it_is_back(
    in_use: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = in_use.chosen
    kept = keep_version(in_use, "3", chosen.state / "serving")
    broken = replace(chosen, tracking_uri="http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    follower = Follower(PROJECT, broken, 0.1)
    assert follower.live.champion == kept
    assert "127.0.0.1:9 failed" in follower.trouble
    follower.chosen = chosen
    follower.follow(lambda _: None)
    wait_until(lambda: not follower.trouble, 20)
    follower.stopped.set()
    assert follower.live.champion == kept


def test_a_start_without_registry_and_ledger_is_refused(
    in_use: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_version(in_use, "3", in_use.chosen.state / "serving")
    away = replace(in_use.chosen, tracking_uri="http://127.0.0.1:9", ledger_url=f"sqlite:///{tmp_path}/away/ledger.db")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryTrouble, match="ledger"):
        Follower(PROJECT, away, 0.1)
