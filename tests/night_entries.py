"""Nights and what follows from them, entered in a ledger as the nightly run enters them, without a model."""

from typing import Any

from tasks.ledger import Entry, Ledger
from tasks.night import HARM

PROJECT = "pets"


def enter_night(ledger: Ledger, night: str, verdict: str, sentence: str = "as it was", **body: Any) -> Entry:
    """One night's verdict; HARM rests on the monitor `error/all` unless `harm` says otherwise."""
    harm = {"harm": {"leading": "error/all", "evidence": 2000.0, "began": night}} if verdict == HARM else {}
    content = {
        "night": night,
        "verdict": verdict,
        "sentence": f"{verdict} {night}: {sentence}",
        "sentences": [sentence],
        "model": "m" * 64,
        "version": "2",
        "window": "w" * 64,
        "images": 40,
        "broken": [],
        "harm": harm,
        "drift": {},
        "run": "r",
    }
    return ledger.append("night", PROJECT, {**content, **body})


def enter_rollback(ledger: Ledger, night: str) -> Entry:
    """Version 1 was put back on that night's evidence."""
    said = {"version": "1", "left": "2", "why": "proved better", "by": "nightly", "by_a_person": False}
    intent = ledger.append("intent", PROJECT, {"action": "restore", **said, "evidence": {"night": night}})
    return ledger.append("done", PROJECT, {"action": "restore", **said, "intent": intent.number})


def enter_incident(ledger: Ledger, night: str) -> Entry:
    """The incident of a night."""
    said = {"night": night, "cause": "errs more", "action": "version 1 was put back", "evidence": {}}
    return ledger.append("incident", PROJECT, said)
