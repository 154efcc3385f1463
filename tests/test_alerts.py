"""An alarm is told once until it ends, one that returns soon is not told again, and what was not sent is not lost."""

import datetime as dt
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.alerts import (
    AlertRules,
    News,
    alert_body,
    cause_of,
    lasting,
    news_of,
    news_of_missed,
    news_of_rollback,
    to_tell,
    unsent,
)
from tasks.ledger import Ledger
from tasks.night import Night
from tasks.nights import night_of
from tasks.watch import load_watch
from tests.night_entries import PROJECT, enter_night, enter_rollback

RULES = AlertRules(
    page_on=("HARM", "NO DATA", "CANNOT JUDGE", "MISSED", "ROLLBACK"), cool_down_hours=48, reason="for the test"
)
NOW = dt.datetime.now(dt.UTC)
LATER = NOW + dt.timedelta(hours=49)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def night(ledger: Ledger, day: int, verdict: str, sentence: str = "as it was", **body: object) -> Night:
    return night_of(enter_night(ledger, f"2026-06-{day:02d}", verdict, sentence, **body))


def told(ledger: Ledger, news: News, now: dt.datetime = NOW, why_not: str | None = None) -> list[str]:
    """The headlines of what is sent now, each then on record as sent, or as not sent and why."""
    messages = to_tell(ledger.read(PROJECT), news, RULES, now)
    for message in messages:
        ledger.append("alert", PROJECT, alert_body(message, why_not))
    return [message.headline for message in messages]


def of(ledger: Ledger, day: int, verdict: str, **more: object) -> News:
    return news_of(night(ledger, day, verdict, **more), "file:///night.html")  # type: ignore[arg-type]


@pytest.mark.parametrize("verdict", ["HEALTHY", "WATCH"])
def test_verdicts_that_call_nobody(ledger: Ledger, verdict: str) -> None:
    assert told(ledger, of(ledger, 1, verdict)) == []


@pytest.mark.parametrize("verdict", ["HARM", "NO DATA", "CANNOT JUDGE"])
def test_alarm_is_told_once_until_a_healthy_night_which_is_told_once_too(ledger: Ledger, verdict: str) -> None:
    lines = [told(ledger, of(ledger, day, what), LATER) for day, what in enumerate([verdict] * 3 + ["HEALTHY"] * 2, 1)]
    assert lines == [
        [f"{verdict} 2026-06-01: as it was"],
        [],
        [],
        ["RECOVERED 2026-06-04: the night was HEALTHY"],
        [],
    ]


def test_watched_night_does_not_end_an_alarm(ledger: Ledger) -> None:
    told(ledger, of(ledger, 1, "HARM"))
    assert told(ledger, of(ledger, 2, "WATCH")) == []
    assert told(ledger, of(ledger, 3, "HARM"), LATER) == []


def test_rollback_is_told_once_beside_its_alarm_and_is_not_among_what_is_over(ledger: Ledger) -> None:
    told(ledger, of(ledger, 1, "HARM"))
    later = night(ledger, 2, "WATCH")
    moved = news_of_rollback(enter_rollback(ledger, "2026-06-02"), later, "file:///night.html")
    assert told(ledger, moved) == ["ROLLBACK 2026-06-02: version 1 was put back in place of version 2"]
    assert moved.sentences[1] == "proved better"
    assert told(ledger, moved, LATER) == []
    (over,) = to_tell(ledger.read(), of(ledger, 3, "HEALTHY"), RULES, NOW)
    assert over.sentences[0] == "over: HARM (error/all, version 2)"


def test_harm_by_the_version_that_was_put_back_is_told_though_that_by_the_one_before_lasts(ledger: Ledger) -> None:
    told(ledger, of(ledger, 1, "HARM"))
    moved = news_of_rollback(enter_rollback(ledger, "2026-06-01"), night(ledger, 1, "HARM"), "file:///night.html")
    told(ledger, moved)
    assert told(ledger, of(ledger, 2, "HARM", version="1")) == ["HARM 2026-06-02: as it was"]
    assert told(ledger, of(ledger, 3, "HARM", version="1"), LATER) == []


def test_rollback_is_not_told_again_after_all_was_said_to_be_well(ledger: Ledger) -> None:
    # A night that moved and was judged again is told of again, by whoever is champion then.
    moved = news_of_rollback(enter_rollback(ledger, "2026-06-01"), night(ledger, 1, "HARM"), "file:///night.html")
    told(ledger, moved)
    assert told(ledger, of(ledger, 1, "HEALTHY")) == ["RECOVERED 2026-06-01: the night was HEALTHY"]
    assert told(ledger, moved, LATER) == []


def test_message_of_harm_says_what_was_done(ledger: Ledger) -> None:
    news = news_of(night(ledger, 1, "HARM"), "file:///night.html", "no move: the input broke")
    assert news.text() == "as it was\nno move: the input broke\nfile:///night.html"


def test_alarm_of_another_cause_is_told_while_the_first_lasts(ledger: Ledger) -> None:
    told(ledger, of(ledger, 1, "HARM"))
    other = {"harm": {"leading": "error-by-stroke/thin", "evidence": 1e4, "began": None}}
    assert told(ledger, of(ledger, 2, "HARM", harm=other)) == ["HARM 2026-06-02: as it was"]
    assert told(ledger, of(ledger, 3, "NO DATA")) == ["NO DATA 2026-06-03: as it was"]
    (over,) = to_tell(ledger.read(), of(ledger, 4, "HEALTHY"), RULES, NOW)
    assert over.sentences[0] == (
        "over: HARM (error/all, version 2); HARM (error-by-stroke/thin, version 2); NO DATA (as it was)"
    )


def test_alarm_that_returns_within_the_cool_down_is_not_told_and_after_it_is(ledger: Ledger) -> None:
    for day, verdict in ((1, "HARM"), (2, "HEALTHY")):
        told(ledger, of(ledger, day, verdict))
    soon, late = NOW + dt.timedelta(hours=47), NOW + dt.timedelta(hours=49)
    assert told(ledger, of(ledger, 3, "HARM"), soon) == []
    assert told(ledger, of(ledger, 4, "HEALTHY"), soon) == []  # nobody was told that it was back
    assert told(ledger, of(ledger, 5, "HARM"), late) == ["HARM 2026-06-05: as it was"]


def test_what_could_not_be_sent_is_tried_with_the_next_night_and_says_why_it_is_late(ledger: Ledger) -> None:
    told(ledger, of(ledger, 1, "HARM"), why_not="ConnectError: refused")
    assert list(unsent(ledger.read())) == [("HARM", "error/all, version 2")]
    assert lasting(ledger.read()) == []
    first, second = to_tell(ledger.read(), of(ledger, 2, "HEALTHY"), RULES, NOW)
    assert first.headline == "HARM 2026-06-01: as it was"
    assert first.sentences == ("as it was", "could not be sent before: ConnectError: refused")
    assert second.headline.startswith("RECOVERED")


def test_alarm_that_could_not_be_sent_and_lasts_is_told_once_as_tonights(ledger: Ledger) -> None:
    told(ledger, of(ledger, 1, "HARM"), why_not="away")
    assert told(ledger, of(ledger, 2, "HARM")) == ["HARM 2026-06-02: as it was"]
    assert not unsent(ledger.read())


def test_recovery_that_could_not_be_sent_is_told_by_the_next_healthy_night(ledger: Ledger) -> None:
    told(ledger, of(ledger, 1, "HARM"))
    told(ledger, of(ledger, 2, "HEALTHY"), why_not="away")
    assert told(ledger, of(ledger, 3, "HEALTHY")) == ["RECOVERED 2026-06-03: the night was HEALTHY"]


def test_cause_is_the_same_night_after_night_though_figures_and_dates_change(ledger: Ledger) -> None:
    nights = [night(ledger, d, "NO DATA", f"{d} images came on 2026-06-{d:02d}, and a night takes 10") for d in (3, 4)]
    assert len({cause_of(one) for one in nights}) == 1
    assert cause_of(night(ledger, 5, "NO DATA", "there is no folder")) != cause_of(nights[0])


def test_missed_nights_are_named_with_the_last_that_was_judged() -> None:
    news = news_of_missed(["2026-06-02", "2026-06-03"], "2026-06-01")
    assert news.headline == (
        "MISSED 2026-06-03: no verdict for 2 of the nights that are over (2026-06-02, 2026-06-03): the last verdict on "
        "record is of 2026-06-01"
    )
    assert "no night is on record at all" in news_of_missed(["2026-06-02"], None).text()


@pytest.mark.parametrize(
    "change", [{"page_on": ["HEALTHY"]}, {"page_on": ["ALARM"]}, {"cool_down_hours": -1}, {"reason": " "}, {"more": 1}]
)
def test_rules_refuse_what_they_do_not_know(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AlertRules.model_validate(RULES.model_dump() | change)


@pytest.mark.parametrize("file", ["watch.yaml", "watch.scaffold.yaml"])
def test_bundled_rules_call_somebody_for_all_that_is_not_healthy_or_watched(file: str) -> None:
    alerts = load_watch(Path("governance") / file).alerts
    assert set(alerts.page_on) == {"HARM", "ROLLBACK", "NO DATA", "CANNOT JUDGE", "MISSED"}
