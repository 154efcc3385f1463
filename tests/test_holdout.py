"""Which plan came first, and how often the same images were opened, as the ledger tells it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.digests import sha256_text
from tasks.errors import PlanInvalid
from tasks.holdout import SAMPLE, Holdout, enter_plan, holdout_of, open_holdout, openings_of, why_late
from tasks.ledger import Ledger
from tasks.plan import Plan, load_plan
from tests.plan_documents import NOTHING, plan_document

CRITERION = {"name": "a", "metric": "accuracy", "slice": "test", "at_least": 0.9, "minimum_n": 9, "severity": "block"}


def plan(alpha: float | None = None, **changes: Any) -> Plan:
    reuse = {"method": "alpha-spending", "alpha": alpha, "reason": "enough"} if alpha else NOTHING
    return Plan.model_validate(plan_document({**CRITERION, "reason": "because", **changes}, reuse=reuse))


def images(numbers: range, label: str = "a") -> Holdout:
    rows = pd.DataFrame({"sha256": [sha256_text(str(n)) for n in numbers], "label": label, "split": "test"})
    return holdout_of(rows)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def opened(ledger: Ledger, holdout: Holdout, used: Plan, model: str) -> bool:
    enter_plan(ledger, "pets", used, Path("plan.yaml"), "me")
    return open_holdout(ledger, "pets", used, holdout, model, "me") is None


def test_a_plan_is_entered_when_it_is_not_the_last_one(ledger: Ledger) -> None:
    for used in (plan(), plan(), plan(at_least=0.8), plan()):
        enter_plan(ledger, "pets", used, Path("plan.yaml"), "me")
    assert [e.body["plan"] for e in ledger.read("pets", "plan")] == [
        plan().digest,
        plan(at_least=0.8).digest,
        plan().digest,
    ]
    assert ledger.read("pets", "plan")[0].body["content"]["standard"][0]["at_least"] == 0.9


def test_what_is_mended_in_prose_is_no_new_plan_and_what_decides_is() -> None:
    assert plan(reason="said better").digest == plan().digest
    others = [plan(at_least=0.91), plan(minimum_n=8), plan(severity="warn"), plan(slice="mirror"), plan(alpha=0.5)]
    assert len({p.digest for p in [plan(), *others]}) == 6
    assert plan(0.5).digest != plan(0.6).digest


def test_the_row_order_does_not_matter_and_a_label_does() -> None:
    rows = pd.DataFrame({"sha256": ["a" * 64, "b" * 64], "label": ["x", "y"], "split": ["test", "mirror"]})
    assert holdout_of(rows).digest == holdout_of(rows[::-1]).digest
    assert holdout_of(rows.assign(label="x")).digest != holdout_of(rows).digest
    assert holdout_of(rows).sizes == {"test": 1, "mirror": 1}


def test_the_same_model_under_the_same_plan_is_one_opening(ledger: Ledger) -> None:
    for model in ("m1", "m1", "m2", "m1"):
        assert opened(ledger, images(range(50)), plan(), model)
    assert [e.body["number"] for e in ledger.read("pets", "opening")] == [1, 2]
    assert opened(ledger, images(range(50)), plan(at_least=0.8), "m1")
    entry = ledger.read("pets", "opening")[-1]
    assert {key: entry.body[key] for key in ("by", "model", "seen", "number")} == {
        "by": "me",
        "model": "m1",
        "seen": True,
        "number": 3,
    }


@pytest.mark.parametrize("size", [90, 1000])
def test_images_stay_worn_until_more_than_half_are_fresh(ledger: Ledger, size: int) -> None:
    opened(ledger, images(range(size)), plan(), "m1")
    worn = [images(range(size), "b"), images(range(size + size // 3)), images(range(size // 4, size))]
    assert [len(openings_of(ledger, "pets", h)) for h in worn] == [1, 1, 1]
    fresh = [images(range(size, 2 * size)), images(range(size // 4 * 3, size * 2)), images(range(3 * size))]
    assert [len(openings_of(ledger, "pets", h)) for h in fresh] == [0, 0, 0]


def test_the_shared_part_is_estimated_without_bias_from_a_sample() -> None:
    class Opened:
        body: dict[str, Any]

    errors = []
    for start in range(0, 100_000, 2000):
        old, new = images(range(start, start + 1000)), images(range(start + 400, start + 1400))
        entry = Opened()
        entry.body = {"sample": {"test": sorted(old.images["test"])[:SAMPLE]}, "sizes": old.sizes}
        errors.append(new.share_in(entry) - 0.6)  # type: ignore[arg-type]
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(len(errors))
    assert np.std(errors) < 0.05


def test_a_plan_of_after_the_first_opening_is_late_and_the_one_of_before_is_not(ledger: Ledger) -> None:
    later = plan(at_least=0.8)
    opened(ledger, images(range(50)), plan(), "m1")
    opened(ledger, images(range(50)), later, "m1")
    why = why_late(ledger, "pets", later, images(range(50)))
    assert why is not None
    assert f"the plan in force ({later.digest[:12]}) was entered on 20" in why
    assert f"under plan {plan().digest[:12]}" in why
    assert why.endswith("go back to what was in force then, or label 51 fresh images for test")
    opened(ledger, images(range(50)), plan(), "m2")
    assert why_late(ledger, "pets", plan(), images(range(50))) is None
    opened(ledger, images(range(50, 100)), later, "m2")
    assert why_late(ledger, "pets", later, images(range(50, 100))) is None


def test_of_several_plans_on_record_none_can_be_picked_after_the_look(ledger: Ledger) -> None:
    loose, strict = plan(at_least=0.5), plan()
    enter_plan(ledger, "pets", loose, Path("plan.yaml"), "me")
    opened(ledger, images(range(50)), strict, "m1")
    enter_plan(ledger, "pets", loose, Path("plan.yaml"), "me")
    assert "after these test images were first opened" in str(why_late(ledger, "pets", loose, images(range(50))))
    assert why_late(ledger, "pets", strict, images(range(50))) is None


def test_what_decides_beside_the_plan_cannot_be_changed_after_the_look_either(ledger: Ledger) -> None:
    for terms in ("as agreed", "one criterion lifted"):
        enter_plan(ledger, "pets", plan(), Path("plan.yaml"), "me", terms)
        assert open_holdout(ledger, "pets", plan(), images(range(50)), "m1", "me", terms) is None
    assert why_late(ledger, "pets", plan(), images(range(50)), "as agreed") is None
    why = str(why_late(ledger, "pets", plan(), images(range(50)), "one criterion lifted"))
    assert why.startswith("not the plan but what decides beside it")
    assert len(ledger.read("pets", "opening")) == 2


def test_a_changed_section_that_decides_nothing_is_on_record_all_the_same(ledger: Ledger) -> None:
    asked = {"roles": ["compliance"], "valid_days": 30, "reason": "because"}
    first = Plan.model_validate(plan_document({**CRITERION, "reason": "because"}, approval=asked))
    for used in (first, first, plan()):
        enter_plan(ledger, "pets", used, Path("plan.yaml"), "me")
    entered = ledger.read("pets", "plan")
    assert [e.body["content"]["approval"] is None for e in entered] == [False, True]
    assert len({e.body["plan"] for e in entered}) == 1


def test_a_new_mirror_makes_no_old_test_split_fresh(ledger: Ledger) -> None:
    opened(ledger, images(range(50)), plan(), "m1")
    rows = pd.DataFrame({"sha256": [sha256_text(str(n)) for n in range(150)], "label": "a"})
    wider = holdout_of(rows.assign(split=["test"] * 50 + ["mirror"] * 100))
    assert len(openings_of(ledger, "pets", wider)) == 1


def test_a_spent_budget_refuses_names_the_fresh_images_and_enters_nothing_as_opened(ledger: Ledger) -> None:
    used = plan(alpha=0.05)  # two openings at 2.5 % each
    assert opened(ledger, images(range(50)), used, "m1")
    assert opened(ledger, images(range(50)), used, "m2")
    refusal = open_holdout(ledger, "pets", used, images(range(50)), "m3", "me")
    assert refusal is not None
    assert refusal.body["sentence"] == (
        "the test images were opened 2 times, which at 0.025 each spends the 0.05 that the plan allows "
        "(alpha-spending); nothing more is scored on them: label 51 fresh images for test"
    )
    assert len(ledger.read("pets", "opening")) == 2
    assert opened(ledger, images(range(50)), used, "m1")  # a result that is known already
    assert opened(ledger, images(range(101)), used, "m3")  # the 51 images were labelled


@pytest.mark.parametrize(
    ("alpha", "said"), [(0.01, "allows no opening at level 0.95, which spends 0.025 each time"), (1.5, "less than 1")]
)
def test_a_budget_that_makes_no_sense_does_not_load(tmp_path: Path, alpha: float, said: str) -> None:
    text = Path("governance/plan.yaml").read_text().replace("alpha: 0.5", f"alpha: {alpha}")
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(PlanInvalid, match=said):
        load_plan(tmp_path / "plan.yaml")


def test_the_committed_plan_allows_twenty_openings() -> None:
    assert load_plan(Path("governance/plan.yaml")).openings == 20
