"""A waiver turns one named criterion into a warning until a day, and says so; never more, never longer."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import BadInput
from tasks.findings import Finding
from tasks.gate import judge_report
from tasks.ledger import Entry, Ledger
from tasks.plan import Plan
from tasks.roles import Roles
from tasks.signatures import sign
from tasks.verdict import FAIL, INCONCLUSIVE, PASS, Verdict
from tasks.waivers import WAIVER, apply_waivers, new_waiver, waiver_fault, waivers_in_force
from tests.plan_documents import plan_document
from tests.signers import NOW, key_of, person, roles_of

TODAY = NOW.date()
WEEK = TODAY + dt.timedelta(days=7)
PEOPLE = roles_of(person("ada", "compliance"), person("cai", "steward"))
NOBODY = roles_of()
CRITERION = {"metric": "accuracy", "at_least": 0.9, "minimum_n": 100, "reason": "because"}


def plan(**changes: Any) -> Plan:
    criteria = [
        {**CRITERION, "name": "test", "slice": "test", "severity": "block"},
        {**CRITERION, "name": "mirror", "slice": "mirror", "severity": "block"} | changes,
        {**CRITERION, "name": "noise", "slice": "mirror/condition=noise", "severity": "warn"},
    ]
    return Plan.model_validate(plan_document(*criteria))


def verdict(mirror: float = 0.8) -> Verdict:
    """Test is met; mirror and its noisy part are as told."""
    values = {"test": 0.96, "mirror": mirror, "mirror/condition=noise": mirror}
    findings = [Finding("accuracy", s, v, v - 0.03, v + 0.03, 300, 0.95, 300) for s, v in values.items()]
    return judge_report(findings, plan(), {})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def waive(
    ledger: Ledger, name: str = "mirror", until: dt.date = WEEK, by: str = "ada", roles: Roles = PEOPLE, now: Any = NOW
) -> Entry:
    criterion = next(c for c in plan().criteria if c.name == name)
    signer = key_of(by) if roles.people else by
    return ledger.append(WAIVER, "pets", new_waiver("pets", criterion, until, "new lens", roles, signer, now))


def in_force(ledger: Ledger, author: str = "bob", today: dt.date = TODAY, used: Plan | None = None) -> Any:
    return waivers_in_force(ledger.read("pets"), used or plan(), PEOPLE, author, today)


def test_a_waived_failure_is_a_warning_and_the_sentences_say_by_whom_until_when_and_why(ledger: Ledger) -> None:
    before = verdict()
    assert before.overall == FAIL
    waive(ledger)
    after, used = apply_waivers(before, in_force(ledger)[0], scaffold=False)
    said = f"waived until {WEEK} by ada (compliance), because new lens (entry 1)"
    assert (after.overall, used) == (PASS, {"mirror": 1})
    assert after.sentence == (
        "PASS: 1 blocking judgement, all met; 2 warnings: accuracy on mirror, accuracy on mirror/condition=noise; "
        f"mirror {said}"
    )
    test, mirror, noise = after.judgements
    assert (mirror.outcome, mirror.severity) == (FAIL, "warn")
    assert mirror.sentence == f"{before.judgements[1].sentence} ({said})"
    assert (test, noise) == (before.judgements[0], before.judgements[2])
    assert after.digests == before.digests


def test_an_open_criterion_can_be_waived_and_one_that_is_met_needs_no_waiver(ledger: Ledger) -> None:
    waive(ledger)
    waivers, _ = in_force(ledger)
    assert verdict(0.9).overall == INCONCLUSIVE
    assert apply_waivers(verdict(0.9), waivers, scaffold=False)[0].overall == PASS
    assert apply_waivers(verdict(0.95), waivers, scaffold=False) == (verdict(0.95), {})


def test_it_counts_to_its_last_day_and_no_longer(ledger: Ledger) -> None:
    waive(ledger)
    assert list(in_force(ledger, today=WEEK)[0]) == ["mirror"]
    assert in_force(ledger, today=WEEK + dt.timedelta(days=1)) == ({}, [])


def test_a_newer_waiver_takes_the_place_of_one_that_ran_longer(ledger: Ledger) -> None:
    waive(ledger)
    waive(ledger, until=TODAY)
    assert in_force(ledger)[0]["mirror"].number == 2
    assert in_force(ledger, today=TODAY + dt.timedelta(days=1)) == ({}, [])


def test_with_every_blocking_criterion_waived_nothing_is_shown(ledger: Ledger) -> None:
    waive(ledger)
    waive(ledger, "test")
    bad = judge_report([], plan(), {})
    after, used = apply_waivers(bad, in_force(ledger)[0], scaffold=False)
    assert (after.overall, set(used)) == (FAIL, {"mirror", "test"})
    assert "no blocking criterion applies, so nothing has been shown" in after.sentence


@pytest.mark.parametrize("change", [{"at_least": 0.85}, {"slice": "test"}, {"minimum_n": 99}, {"severity": "warn"}])
def test_a_plan_that_asks_for_something_else_is_not_covered(ledger: Ledger, change: dict[str, Any]) -> None:
    waive(ledger)
    found, (said,) = in_force(ledger, used=plan(**change))
    assert found == {}
    assert said.startswith("the waiver of entry 1 does not count: it waives 'accuracy on mirror must be at least 90 %")


def test_the_author_of_the_release_cannot_waive_what_blocks_it_and_may_waive_a_warning(ledger: Ledger) -> None:
    waive(ledger)
    waive(ledger, "noise")
    found, (said,) = in_force(ledger, author="ada")
    assert list(found) == ["noise"]
    assert said.endswith("ada makes this release, and an author cannot waive what blocks it")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"until": "2099-01-01"}, "its signature is not ada's"),
        ({"criterion": "test"}, "its signature is not ada's"),
        ({"by": "eve"}, "governance/roles.yaml lists nobody called eve"),
        ({"severity": "warn"}, "its signature is not ada's"),
        ({"until": None}, "it lacks until"),
    ],
)
def test_an_edited_waiver_counts_for_nothing(ledger: Ledger, change: dict[str, Any], said: str) -> None:
    body = waive(ledger).body | change
    ledger.append(WAIVER, "pets", body)
    found, (refused,) = in_force(ledger)
    assert found["mirror"].number == 1
    assert refused == f"the waiver of entry 2 does not count: {said}"


def test_an_unsigned_waiver_that_calls_a_blocking_criterion_a_warning_lifts_nothing(ledger: Ledger) -> None:
    body = {k: v for k, v in waive(ledger).body.items() if k != "signature"} | {"severity": "warn"}
    forged = Ledger(ledger.url).append(WAIVER, "pets", body)
    assert waiver_fault(forged, PEOPLE) == "its signature is not ada's"
    assert waiver_fault(forged, NOBODY) is None
    found, (refused,) = waivers_in_force([forged], plan(), NOBODY, "bob", TODAY)
    assert found == {}
    assert "which is not what the plan asks of mirror" in refused


@pytest.mark.parametrize(
    ("until", "said"),
    [("soon", "its date cannot be read"), ("2099-01-01T00:00:00+00:00", "longer than the 366 days that a waiver may")],
)
def test_a_waiver_written_by_hand_needs_a_date_that_is_near(ledger: Ledger, until: str, said: str) -> None:
    body = {**waive(ledger, "noise", by="sam", roles=NOBODY).body, "until": until}
    ledger.append(WAIVER, "pets", body)
    found, (refused,) = waivers_in_force(ledger.read("pets"), plan(), NOBODY, "sam", TODAY)
    assert found["noise"].number == 1
    assert said in refused


def test_a_steward_waives_a_warning_and_no_criterion_that_blocks(ledger: Ledger) -> None:
    waive(ledger, "noise", by="cai")
    with pytest.raises(BadInput, match="cai holds steward; to waive block takes compliance"):
        waive(ledger, by="cai")
    body = {k: v for k, v in waive(ledger).body.items() if k != "signature"} | {"by": "cai", "role": "steward"}
    ledger.append(WAIVER, "pets", sign(WAIVER, "pets", body, key_of("cai")))
    assert in_force(ledger)[1] == ["the waiver of entry 3 does not count: the role steward may not waive block"]


def test_a_single_user_waives_warnings_unsigned_and_nothing_that_blocks(ledger: Ledger) -> None:
    entry = waive(ledger, "noise", by="sam", roles=NOBODY)
    found, _ = waivers_in_force([entry], plan(), NOBODY, "sam", TODAY)
    after, _ = apply_waivers(verdict(), found, scaffold=False)
    assert f"waived until {WEEK} by sam, unsigned, because new lens (entry 1)" in after.judgements[2].sentence
    assert after.overall == FAIL
    for name, roles in (("mirror", NOBODY), ("noise", PEOPLE)):
        criterion = next(c for c in plan().criteria if c.name == name)
        with pytest.raises(BadInput, match="to waive it takes a signature"):
            new_waiver("pets", criterion, WEEK, "why", roles, "sam", NOW)


@pytest.mark.parametrize("days", [-1, 367])
def test_a_waiver_ends_in_the_future_and_within_a_year(ledger: Ledger, days: int) -> None:
    with pytest.raises(BadInput, match="a waiver ends on a day from today on and by"):
        waive(ledger, until=TODAY + dt.timedelta(days=days))


def test_a_waiver_has_a_reason() -> None:
    with pytest.raises(BadInput, match="a reason is needed"):
        new_waiver("pets", plan().criteria[0], WEEK, " ", PEOPLE, key_of("ada"), NOW)
