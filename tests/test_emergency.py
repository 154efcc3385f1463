"""A skipped step rests on a signature that counts, bound to one place of one rollout."""

import datetime as dt
from typing import Any

import pytest

from tasks.emergency import EMERGENCY, emergency_fault, new_emergency, unsigned_skips
from tasks.errors import BadInput
from tasks.ledger import Entry
from tasks.rollout import KIND, SKIP, Standing
from tasks.rollout_rules import RolloutRules
from tests.rolled_out import NOON, rules
from tests.signers import key_of, person, roles_of

AT = Standing("canary-5", "canary", 0.05, "pets 7", NOON.isoformat(), "4", "3", entry=9, begun=7)
RULES, ROLES = RolloutRules.model_validate(rules()), roles_of(person("ada", "compliance"))


def entry(number: int, kind: str, body: dict[str, Any]) -> Entry:
    return Entry(number, (NOON + dt.timedelta(minutes=number)).isoformat(), kind, "pets", body, "", "")


def signed(to: str = "promotion") -> dict[str, Any]:
    return new_emergency("pets", AT, to, RULES, "the champion leaks", ROLES, key_of("ada"), NOON)


def test_record_says_where_the_rollout_stood_and_where_it_goes_and_counts() -> None:
    body = signed()
    assert (body["begun"], body["at_entry"], body["step"], body["to"]) == (7, 9, "canary-5", "promotion")
    assert emergency_fault(entry(10, EMERGENCY, body), ROLES) is None


def test_record_that_was_changed_or_signed_by_somebody_who_may_not_does_not_count() -> None:
    changed = entry(10, EMERGENCY, signed() | {"to": "canary-25"})
    assert emergency_fault(changed, ROLES) == "its signature is not ada's"
    others = roles_of(person("ada", "steward"))
    assert emergency_fault(entry(10, EMERGENCY, signed()), others) == "ada does not hold the role compliance"


def test_step_that_was_reached_already_is_no_place_to_skip_to() -> None:
    with pytest.raises(BadInput, match="at step canary-5 can be taken to canary-25, promotion, not to 'canary-5'"):
        signed("canary-5")


@pytest.mark.parametrize(
    ("named", "begun", "to", "faults"),
    [
        (10, 7, "canary-25", 0),
        (10, 7, "promotion", 1),
        (10, 8, "canary-25", 1),
        (12, 7, "canary-25", 1),
        (None, 7, "canary-25", 1),
    ],
)
def test_skip_without_a_record_of_that_move_before_it_is_a_fault(
    named: int | None, begun: int, to: str, faults: int
) -> None:
    records = [entry(10, EMERGENCY, signed("canary-25")), entry(12, EMERGENCY, signed("canary-25"))]
    skip = entry(11, KIND, {"move": SKIP, "begun": begun, "from": "canary-5", "to": to, "emergency": named})
    assert len(unsigned_skips([records[0], skip, records[1]])) == faults
