"""Steps that grow from shadow to ever more traffic, or are refused by name."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.errors import BadInput
from tasks.rollout_rules import RolloutRules
from tasks.watch import load_watch
from tests.rolled_out import STEPS, rules

SHADOW, FIVE, QUARTER = STEPS


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([FIVE], "step canary-5: the first step is in shadow"),
        ([SHADOW, QUARTER, FIVE], "step canary-5: its share 0.05 must be more than that of canary-25"),
        ([SHADOW, SHADOW], "each needs its own name"),
        ([SHADOW | {"name": "promotion"}], "none promotion"),
        ([SHADOW | {"share": 0.1}], "in shadow the share is 0"),
        ([SHADOW, FIVE | {"share": 1.0}], "less than 1"),
    ],
)
def test_steps_that_do_not_grow_from_shadow_are_refused(steps: list[dict[str, Any]], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        RolloutRules.model_validate(rules(steps=steps))


def test_step_after_the_last_is_promotion_and_an_unknown_one_is_named() -> None:
    found = RolloutRules.model_validate(rules())
    after = found.after("shadow")
    assert after is not None
    assert after.name == "canary-5"
    assert found.after("canary-25") is None
    with pytest.raises(BadInput, match="the steps are shadow, canary-5, canary-25"):
        found.after("canary-50")


@pytest.mark.parametrize("name", ["watch.yaml", "watch.scaffold.yaml"])
def test_bundled_rules_promote_at_once(name: str) -> None:
    assert load_watch(Path("governance") / name).rollout.steps == []
