"""The page of the service: what is live and why, the rollout, the nights, alarms; and the dashboard's metrics."""

import datetime as dt
import json
import re
from pathlib import Path

import pytest

from service.counted import Counted
from service.status import Said, alarms_of, nights_of, reports_of, rollout_of
from service.status_page import render
from tasks.feedback_rules import load_feedback_rules
from tasks.ledger import Ledger
from tasks.night import HARM, HEALTHY, WATCH
from tasks.rollout import Standing
from tasks.rollout_rules import RolloutRules
from tasks.watch import load_watch
from tests.night_entries import PROJECT, enter_incident, enter_night

STANDING = Standing("five", "canary", 0.05, "s", "2026-06-03T00:00:00+00:00", "3", "2", 9, 4)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Three nights, the last one harmful."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    enter_night(ledger, "2026-06-01", HEALTHY)
    enter_night(ledger, "2026-06-02", WATCH, "the strokes are <b>thinner</b>")
    enter_night(ledger, "2026-06-03", HARM)
    return ledger


def steps() -> RolloutRules:
    """Two steps under the bundled rules."""
    rules = load_watch(Path("governance/watch.yaml")).rollout.model_dump()
    shadow = {"name": "shadow", "kind": "shadow", "share": 0, "nights": 1, "labels": 10}
    five = {"name": "five", "kind": "canary", "share": 0.05, "nights": 1, "labels": 10}
    return RolloutRules.model_validate({**rules, "steps": [shadow, five]})


def said(ledger: Ledger, standing: Standing | None = STANDING) -> Said:
    """What the page is made from."""
    trend = load_feedback_rules(Path("governance/feedback.yaml")).trend
    return Said(ledger.read(PROJECT), [], standing, steps(), trend, dt.date(2026, 6, 4))


def page(ledger: Ledger, trouble: list[str], runs: Path) -> str:
    """The page of that ledger."""
    held = said(ledger)
    values = {"rollout": rollout_of(held), "nights": nights_of(held.entries, runs), "alarms": alarms_of(held.entries)}
    counts = {"answers": "12", "rejected": "1", "abstained": "2", "service": [("workers", "1")]}
    return render(
        {"project": PROJECT, "served": "2", "trouble": trouble, "live": None, "links": [], "read_at": "now"}
        | {"reports": reports_of(held), **values, **counts}
    )


def test_steps_behind_at_and_ahead_are_told_apart(ledger: Ledger) -> None:
    assert [step["state"] for step in rollout_of(said(ledger))["steps"]] == ["past", "now", "next"]
    assert {step["state"] for step in rollout_of(said(ledger, None))["steps"]} == {""}


def test_moves_are_told_newest_first(ledger: Ledger) -> None:
    for move in ("BEGIN", "HOLD"):
        ledger.append("rollout", PROJECT, {"move": move, "sentence": f"version 3: {move}"})
    assert [move["move"] for move in rollout_of(said(ledger))["moves"]] == ["HOLD", "BEGIN"]


def test_night_links_to_its_page_only_where_there_is_one(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "nights/2026-06-02").mkdir(parents=True)
    (tmp_path / "nights/2026-06-02/night.html").write_text("page", encoding="utf-8")
    links = [night["link"] for night in nights_of(ledger.read(PROJECT), tmp_path)]
    assert links == ["", "reports/nights/2026-06-02/night.html", ""]


def test_incident_is_an_alarm_until_a_night_is_healthy(ledger: Ledger) -> None:
    enter_incident(ledger, "2026-06-03")
    assert any("incident of 2026-06-03" in alarm for alarm in alarms_of(ledger.read(PROJECT)))
    enter_night(ledger, "2026-06-04", HEALTHY)
    assert alarms_of(ledger.read(PROJECT)) == []


def test_page_is_self_contained_and_shows_text_as_text(ledger: Ledger, tmp_path: Path) -> None:
    text = page(ledger, [], tmp_path)
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", text)
    assert "<b>thinner</b>" not in text
    assert "&lt;b&gt;thinner" in text
    assert "the registry is not followed" in page(ledger, ["the registry is not followed: away"], tmp_path)


def test_dashboard_asks_only_for_metrics_that_there_are() -> None:
    counted = Counted()
    known = {f"{sample}" for family in counted.registry.collect() for sample in names(family.name, family.type)}
    dashboard = json.loads(Path("docs/grafana.json").read_text(encoding="utf-8"))
    asked = {
        name for panel in dashboard["panels"] for t in panel["targets"] for name in re.findall(r"keel_\w+", t["expr"])
    }
    assert asked
    assert asked <= known


def names(family: str, kind: str) -> list[str]:
    """The names of a family's samples, by the conventions of Prometheus."""
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return [family + ending for ending in endings.get(kind, [""])]
