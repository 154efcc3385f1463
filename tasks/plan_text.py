"""A plan in words: what is in force, and what one plan changes of another."""

import datetime as dt
import math
from collections.abc import Iterator

from tasks.plan import SECTIONS, Criterion, Nothing, Plan
from tasks.sentences import describe_demand, describe_place

STRICTER, LOOSER, NEITHER = "stricter", "looser", "neither stricter nor looser"
PROSE = ("version", "use_case", "owner", "review_by", "scaffold")


def describe_plan(plan: Plan, today: dt.date) -> list[str]:
    """What is in force, a line each."""
    overdue = ", which is overdue" if plan.is_overdue(today) else ""
    lines = [
        f"use case: {plan.use_case}",
        f"owner: {plan.owner}; to be reviewed by {plan.review_by}{overdue}",
        f"intervals at {plan.level:g}: one end errs in {plan.error:.3g} of test sets",
        f"one test set: {_reuse(plan)}",
        f"a line of work: {_stop(plan)}",
        f"costs: {_costs(plan)}",
        f"approval: {_approval(plan)}",
        f"external sets: {_sets(plan)}",
        f"digest: {plan.digest}",
    ]
    lines += ["a scaffold: nobody has set its bounds yet"] if plan.scaffold else []
    for section in SECTIONS:
        asked = getattr(plan, section)
        lines.append(f"{section}: {'nothing, ' + asked.none if isinstance(asked, Nothing) else len(asked)}")
        if not isinstance(asked, Nothing):
            lines += [f"  {c.severity:5} {c.name}: {_demand(c)}, from at least {c.minimum_n} images" for c in asked]
    return lines


def describe_changes(old: Plan, new: Plan) -> list[str]:
    """What `new` changes, a sentence each, and whether results count as judged by another plan."""
    before, after = ({c.name: c for c in plan.criteria} for plan in (old, new))
    lines = list(_whole(old, new))
    lines += [f"gone: {name}, {_demand(before[name])}: {LOOSER}" for name in before if name not in after]
    lines += [f"new: {name}, {_demand(after[name])}: {STRICTER}" for name in after if name not in before]
    lines += [line for name in before if name in after for line in _changed(before[name], after[name])]
    lines += [f"{key} is now {getattr(new, key)}" for key in PROSE if getattr(new, key) != getattr(old, key)]
    if old.digest == new.digest:
        return [*lines, "nothing that a model is judged by has changed: this is the same plan"]
    return [*lines, "another plan: on test images that were opened before it is entered, nothing passes by it"]


def _whole(old: Plan, new: Plan) -> Iterator[str]:
    if new.level != old.level:
        yield f"level {old.level:g} -> {new.level:g}: {_compare(new.level - old.level)} for every criterion"
    if new.openings != old.openings:
        yield f"one test set: {_reuse(old)} -> {_reuse(new)}: {_compare(old.openings - new.openings)}"
    if _stop(new) != _stop(old):
        yield f"a line of work: {_stop(old)} -> {_stop(new)}: {NEITHER}"
    if _sets(new) != _sets(old):
        yield f"external sets: {_sets(old)} -> {_sets(new)}: {NEITHER}"
    if _costs(new) != _costs(old):
        yield f"costs: {_costs(old)} -> {_costs(new)}: {NEITHER}"
    if _approval(new) != _approval(old):
        yield f"approval: {_approval(old)} -> {_approval(new)}: {_compare_approvals(old, new)}"


def _changed(old: Criterion, new: Criterion) -> Iterator[str]:
    name = new.name
    if (new.metric, new.slice) != (old.metric, old.slice):
        yield f"{name} asks something else: {_demand(old)} -> {_demand(new)}: {NEITHER}"
    elif new.bound != old.bound:
        growth = (new.bound - old.bound) * (1 if new.direction == "at_least" else -1)
        yield f"{name}: {describe_demand(old)} -> {describe_demand(new)}: {_compare(growth)}"
    if new.minimum_n != old.minimum_n:
        yield f"{name}: at least {old.minimum_n} -> {new.minimum_n} images: {_compare(new.minimum_n - old.minimum_n)}"
    if new.severity != old.severity:
        yield f"{name}: {old.severity} -> {new.severity}: {STRICTER if new.severity == 'block' else LOOSER}"
    if new.reason != old.reason:
        yield f"{name}: its reason is worded anew"


def _demand(criterion: Criterion) -> str:
    return f"{describe_place(criterion.metric, criterion.slice)} {describe_demand(criterion)}"


def _reuse(plan: Plan) -> str:
    if isinstance(plan.reuse, Nothing):
        return "opened as often as one likes"
    return f"opened at most {plan.openings} times ({plan.reuse.method}, {plan.reuse.alpha:g})"


def _stop(plan: Plan) -> str:
    if isinstance(plan.stop, Nothing):
        return "goes on as long as one likes"
    gain = f"none of the last {plan.stop.over} gains {100 * plan.stop.least_gain:g} points"
    return f"ends after {plan.stop.candidates} candidates, or when {gain}"


def _sets(plan: Plan) -> str:
    return ", ".join(f"{one.name} ({one.sha256[:12]})" for one in plan.external_sets) or "none"


def _costs(plan: Plan) -> str:
    if isinstance(plan.costs, Nothing):
        return "not stated"
    return f"{plan.costs.wrong:g} {plan.costs.unit} a wrong answer, {plan.costs.ask:g} {plan.costs.unit} a question"


def _approval(plan: Plan) -> str:
    if plan.approval is None:
        return "nobody's"
    return f"of {', '.join(plan.approval.roles)}, each for {plan.approval.valid_days} days"


def _compare_approvals(old: Plan, new: Plan) -> str:
    """Stricter: all that was asked for is, for no longer."""
    (before, long), (after, longer) = (
        (set(p.approval.roles), p.approval.valid_days) if p.approval else (set(), math.inf) for p in (old, new)
    )
    if before <= after and longer <= long:
        return STRICTER
    return LOOSER if after <= before and longer >= long else NEITHER


def _compare(growth: float) -> str:
    return STRICTER if growth > 0 else LOOSER
