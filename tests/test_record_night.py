"""A recorded night: its entry, its run and its artifacts say the same, and an audit sees where they do not."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from tasks.audit_trail import audit
from tasks.night import HEALTHY, Night
from tasks.night_tables import CONTRACT, WINDOW
from tasks.record_night import record_night
from tasks.registry import Registry

BODY: dict[str, Any] = {
    "night": "2026-06-01",
    "verdict": HEALTHY,
    "sentence": "HEALTHY 2026-06-01: for the test",
    "sentences": ["for the test"],
    "model": "a digest",
    "window": "another digest",
    "images": 40,
    "harm": {},
    "drift": {},
}


def recorded(registry: Registry) -> Night:
    folder = Path("night")
    folder.mkdir()
    for name in (WINDOW, CONTRACT):
        (folder / name).write_text(f"what {name} holds")
    return record_night.fn(registry, BODY, [], folder)


def faults(registry: Registry) -> list[str]:
    return [f"{name}: {sentence}" for name, at_fault, sentence in audit(registry) if at_fault]


def test_recorded_night_is_sound_to_an_audit(in_use: Registry) -> None:
    night = recorded(in_use)
    assert sorted(night.body["evidence"]) == sorted([CONTRACT, "night.json", WINDOW])
    assert faults(in_use) == []


def test_audit_names_a_night_whose_verdict_or_evidence_was_changed(in_use: Registry) -> None:
    night = recorded(in_use)
    run = in_use.client.get_run(night.body["run"])
    in_use.client.set_tag(run.info.run_id, "verdict", "HARM")
    (Path(unquote(urlparse(run.info.artifact_uri).path)) / WINDOW).write_text("another window")
    found = faults(in_use)
    assert len(found) == 2
    assert f"of night {night.number}: its tag verdict is 'HARM', the ledger says 'HEALTHY'" in found[0]
    assert f"{WINDOW} of MLflow run {run.info.run_id} is not the one of night {night.number}" in found[1]
