"""An incident is entered once and told from the ledger, as a page that stands alone."""

import datetime as dt
from pathlib import Path

import pytest

from tasks.errors import BadInput
from tasks.incident import answer_of, enter_comparison, last_answer, open_incident, rollback_of, timeline, to_do
from tasks.incident_page import incident_page, write_incident
from tasks.ledger import Entry
from tasks.registry import Registry
from tasks.restore import rehearse, restore
from tests.accepted_versions import PROJECT

NIGHT, CASES = dt.date(2026, 6, 3), Path("ground/cases")
CAUSE = "harm on desk <B>: 81.0 % right [74.2, 86.4], 90 % are demanded."
EVIDENCE = {
    "harm": {"value": 0.81234567, "n": 158, "evidence": 22_702.4, "short": ["error/all", "error/stroke=thin"]},
    "slices": [{"name": "desk B", "value": 0.5}, {"name": "desk C", "value": 0.75}],
}


def entries(registry: Registry) -> list[Entry]:
    return registry.ledger.read(PROJECT)


def test_incident_that_a_rollback_answered_is_told_with_its_figures(in_use: Registry) -> None:
    rehearse.fn(in_use, "2", CASES)
    incident = open_incident(in_use, NIGHT, CAUSE, EVIDENCE, "version 2 was put back", "3")
    moved = restore.fn(in_use, "2", "harm", {}, CASES)
    assert rollback_of(incident, entries(in_use)) == moved
    told = timeline(incident, entries(in_use))
    assert [number for _, number, _ in told] == sorted(number for _, number, _ in told)
    said = [sentence for _, _, sentence in told]
    assert "version 3 became champion" in said
    assert "a rollback was rehearsed: it would hold" in said
    assert said[-1].startswith("version 2 put back in place of version 3, by the nightly rules (")
    page = incident_page(incident, entries(in_use), "the owner")
    assert "Harm on desk &lt;B&gt;" in page
    assert "<code>keel audit --project pets</code>" in page
    assert "<td>harm/value</td><td>0.8123</td>" in page
    assert "<td>harm/evidence</td><td>22,702</td>" in page
    assert "<td>harm/short</td><td>error/all, error/stroke=thin</td>" in page
    assert "<h3>slices</h3>" in page
    assert "<tr><td>desk C</td><td>0.75</td></tr>" in page
    assert f"{moved.body['seconds']:.1f} s" in page
    assert "Version 2 answers in place of version 3, put back by the nightly rules (" in page
    assert "Version 3 stays withdrawn until it passes on other images, cases or another plan." in page
    assert "An earlier, approved version answers again." in page


def test_incident_that_is_opened_after_the_move_is_of_the_version_that_was_left(in_use: Registry) -> None:
    moved = restore.fn(in_use, "2", "harm", {}, CASES)
    incident = open_incident(in_use, NIGHT, CAUSE, {"rollback": moved.number}, "version 2 was put back", "3")
    assert incident.body["champion"] == "3"
    assert rollback_of(incident, entries(in_use)) == moved
    assert [number for _, number, _ in timeline(incident, entries(in_use))][-2:] == [moved.number, incident.number]


def test_incident_that_a_later_night_answered_tells_what_was_done_then(in_use: Registry) -> None:
    incident = open_incident(in_use, NIGHT, CAUSE, EVIDENCE, "no move: label more", "3")
    assert last_answer(incident, entries(in_use)) == incident
    moved = restore.fn(in_use, "2", "harm", {}, CASES)
    evidence, later = {"comparison": {"n": 80}, "rollback": moved.number}, NIGHT + dt.timedelta(days=1)
    again = enter_comparison(in_use, incident, later, evidence, "version 2 was put back: it is proved better")
    held = entries(in_use)
    assert (answer_of(held, NIGHT.isoformat()), answer_of(held, later.isoformat())) == (incident, again)
    assert (last_answer(incident, held), rollback_of(incident, held)) == (again, moved)
    assert any(said.endswith("demanded.; no move: label more") for _, _, said in timeline(incident, held))
    assert timeline(incident, held)[-1][2] == (
        "compared again on the night of 2026-06-04: version 2 was put back: it is proved better"
    )
    page = incident_page(incident, held, "the owner")
    assert "<p>Version 2 was put back: it is proved better</p>" in page
    assert "<td>comparison/n</td><td>80</td>" in page
    assert "<td>harm/value</td><td>0.8123</td>" in page


def test_incident_without_a_move_says_what_is_left_to_decide(in_use: Registry) -> None:
    incident = open_incident(in_use, NIGHT, CAUSE, {}, "no move: the input broke", "3")
    page = incident_page(incident, entries(in_use), "the owner")
    assert "Nothing was moved: version 3 is in use." in page
    assert "keel rollback --project pets --why" in to_do(incident, entries(in_use))[0]
    assert "have a person confirm answers that matter" in page


def test_page_says_who_is_in_use_after_a_person_undid_the_move(in_use: Registry) -> None:
    incident = open_incident(in_use, NIGHT, CAUSE, EVIDENCE, "no move: label more", "3")
    moved = restore.fn(in_use, "2", "harm", {}, CASES)
    enter_comparison(in_use, incident, NIGHT, {"rollback": moved.number}, "version 2 was put back")
    restore.fn(in_use, "3", "it is needed", {}, CASES, "me")
    enter_comparison(in_use, incident, NIGHT, {"rollback": None}, "no move: a rollback of a rollback is a person's")
    page = incident_page(incident, entries(in_use), "the owner")
    assert "Version 2 was put back in place of version 3 by the nightly rules (" in page
    assert "Version 3 is in use now." in page
    assert "Version 2 was put back, but version 3 is in use, and needs your decision." in page
    assert "have a person confirm answers that matter" in page
    assert to_do(incident, entries(in_use))[0].startswith("Decide whether version 3 stays in use")


def test_page_of_an_incident_that_a_person_was_ahead_of_says_who_is_in_use(in_use: Registry) -> None:
    restore.fn(in_use, "2", "it reads 7 as 1", {}, CASES, "me")
    incident = open_incident(in_use, NIGHT, CAUSE, {}, "no move: version 3 was in use no more", "3")
    page = incident_page(incident, entries(in_use), "the owner")
    assert "<p>Version 2 is in use now.</p>" in page
    assert "version 3 is in use" not in page
    assert to_do(incident, entries(in_use))[0].startswith("Version 3 stays withdrawn")


def test_page_stands_alone(in_use: Registry) -> None:
    incident = open_incident(in_use, NIGHT, CAUSE, EVIDENCE, "nothing yet", "3")
    page = incident_page(incident, entries(in_use), "the owner")
    for outside in ("http:", "https:", "<script", "src=", "@import", "url("):
        assert outside not in page


def test_same_incident_is_entered_once_and_found_by_number(in_use: Registry, tmp_path: Path) -> None:
    first = open_incident(in_use, NIGHT, CAUSE, EVIDENCE, "nothing yet", "3")
    assert open_incident(in_use, NIGHT, CAUSE, EVIDENCE, "nothing yet", "3") == first
    second = open_incident(in_use, NIGHT + dt.timedelta(days=1), CAUSE, EVIDENCE, "nothing yet", "3")
    assert second.number > first.number
    assert first.number in [number for _, number, _ in timeline(first, entries(in_use))]
    assert second.number not in [number for _, number, _ in timeline(first, entries(in_use))]
    pages = [write_incident(PROJECT, entries(in_use), what, "me", tmp_path) for what in ("last", str(first.number))]
    assert [page.name for page in pages] == [f"incident-{second.number}.html", f"incident-{first.number}.html"]
    with pytest.raises(BadInput, match=rf"no incident '1'; its incidents: {first.number} \(2026-06-03\), "):
        write_incident(PROJECT, entries(in_use), "1", "me", tmp_path)


def test_incident_without_a_cause_or_an_action_is_refused(in_use: Registry) -> None:
    with pytest.raises(BadInput, match="one of the two is empty"):
        open_incident(in_use, NIGHT, " ", {}, "nothing yet", "3")
