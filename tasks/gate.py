"""The gate: findings and a plan in, a verdict out. It decides on intervals, and missing evidence fails.

For `at_least`: PASS when the lower end reaches the bound, FAIL when the upper end stays below it, else INCONCLUSIVE;
`at_most` is the mirror image. No finding, a figure that is not a number, or an interval at another level than the
plan's: FAIL. Fewer images than the criterion asks for: INCONCLUSIVE, whatever the figures say.

A slice that ends in `=*` is judged on every value. That all of them meet the bound is an intersection-union test
(Berger 1982): each slice passes at the plan's level as it stands, and still a model that misses the bound somewhere
passes no more often than one slice would. What multiplies is the chance that one of many good slices looks bad, so a
slice fails only when Holm's step-down procedure (1979) over the assessable slices of its criterion leaves it
significant; else it is INCONCLUSIVE. A single slice's PASS among many says nothing for that slice alone.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.digests import sha256_file
from tasks.errors import PlanInvalid
from tasks.findings import REPORT, Finding, index_findings, read_findings, read_measured
from tasks.labels_needed import labels_needed, labels_to_fail
from tasks.multiplicity import chance_of_miss, holm
from tasks.plan import OF_ONE_MODEL, Criterion, Plan, load_plan
from tasks.sentences import (
    describe_correction,
    describe_demand,
    describe_finding,
    describe_overall,
    describe_place,
    describe_settling,
    describe_shortage,
)
from tasks.verdict import FAIL, INCONCLUSIVE, NOT_APPLICABLE, PASS, Judgement, Verdict


@dataclass(frozen=True)
class Family:
    """The slices that one criterion tests together: how many, and this one's p value after Holm's correction."""

    size: int
    p: float


def judge_folder(report: Path, plan: Path, not_applicable: dict[str, str]) -> Verdict:
    """The verdict on a report folder by a plan file, with the digests of both and of what the report measured."""
    digests = read_measured(report) | {"plan": sha256_file(plan), "report": sha256_file(report / REPORT)}
    verdict = judge_report(read_findings(report), load_plan(plan), not_applicable)
    return dataclasses.replace(verdict, digests=dict(sorted(digests.items())))


def judge_report(findings: Iterable[Finding], plan: Plan, not_applicable: dict[str, str]) -> Verdict:
    """Judge every criterion that is about the model alone; what compares it with the champion is tasks/comparison.py's.

    `not_applicable` maps a criterion's name to the reason why it cannot apply; a plan none of whose blocking criteria
    applies shows nothing, and fails.
    """
    _refuse_unknown(not_applicable, plan)
    return verdict_of(judge_criteria(findings, plan.asked(*OF_ONE_MODEL), plan.level, not_applicable), plan.scaffold)


def verdict_of(judgements: Sequence[Judgement], scaffold: bool, nothing: str = FAIL) -> Verdict:
    """The verdict that follows; only judgements of severity block move it, and `nothing` is said where none applies."""
    overall = _overall(judgements, nothing)
    return Verdict(overall, describe_overall(overall, list(judgements), scaffold), tuple(judgements))


def together(first: Verdict, second: Verdict, scaffold: bool) -> Verdict:
    """One verdict on what two judged."""
    whole = verdict_of([*first.judgements, *second.judgements], scaffold)
    return dataclasses.replace(whole, digests=dict(sorted({**first.digests, **second.digests}.items())))


def judge_criteria(
    findings: Iterable[Finding], criteria: Iterable[Criterion], level: float, not_applicable: Mapping[str, str]
) -> list[Judgement]:
    """Judge each criterion on every slice that it covers; `level` is the plan's."""
    index = index_findings(findings)
    judgements: list[Judgement] = []
    for criterion in criteria:
        if criterion.name in not_applicable:
            judgements.append(_not_applicable(criterion, not_applicable[criterion.name].strip()))
        else:
            evidence = list(_evidence(criterion, index))
            families = _families(criterion, evidence, level)
            judgements += [_judge(criterion, place, f, level, families.get(place)) for place, f in evidence]
    return judgements


def _refuse_unknown(not_applicable: dict[str, str], plan: Plan) -> None:
    names = [c.name for c in plan.criteria]
    for name, reason in not_applicable.items():
        if name not in names:
            raise PlanInvalid(f"not_applicable names '{name}', but the plan's criteria are {', '.join(names)}")
        if not reason.strip():
            raise PlanInvalid(f"not_applicable gives no reason for '{name}'; say why it cannot apply to this project")


def _evidence(criterion: Criterion, index: dict[tuple[str, str], Finding]) -> Iterator[tuple[str, Finding | None]]:
    """The slices that the criterion covers, each with its finding or None."""
    start = criterion.everywhere
    if start is None:
        yield criterion.slice, index.get((criterion.metric, criterion.slice))
        return
    found = [f for (metric, name), f in index.items() if metric == criterion.metric and name.startswith(start)]
    yield from ((f.slice, f) for f in found)
    if not found:
        yield criterion.slice, None


def _families(criterion: Criterion, evidence: list[tuple[str, Finding | None]], level: float) -> dict[str, Family]:
    """By slice, what Holm's correction makes of it; empty where fewer than two slices can be assessed."""
    tested = {place: f for place, f in evidence if f and _assessable(f, criterion, level)}
    if len(tested) < 2:
        return {}
    adjusted = holm([chance_of_miss(f, criterion.bound, criterion.direction) for f in tested.values()])
    return {place: Family(len(tested), p) for place, p in zip(tested, adjusted, strict=True)}


def _assessable(finding: Finding, criterion: Criterion, level: float) -> bool:
    return finding.is_number and abs(finding.level - level) <= 1e-9 and finding.n >= criterion.minimum_n


def _judge(
    criterion: Criterion, place: str, finding: Finding | None, level: float, family: Family | None = None
) -> Judgement:
    where = describe_place(criterion.metric, place)
    if finding is None:
        return _judgement(criterion, place, FAIL, f"{where}: no evidence, the report holds no such finding")
    if not finding.is_number:
        return _judgement(criterion, place, FAIL, f"{where}: not a number (n = {finding.n})", n=finding.n)
    figures: dict[str, Any] = {"value": finding.value, "low": finding.low, "high": finding.high, "n": finding.n}
    if abs(finding.level - level) > 1e-9:
        text = f"{where}: no evidence at the plan's level {level:g}, the report's interval is at {finding.level:g}"
        return _judgement(criterion, place, FAIL, text, **figures)
    if finding.n < criterion.minimum_n:
        more = criterion.minimum_n - finding.n
        text = f"{where}: {describe_shortage(finding, criterion.minimum_n)}"
        return _judgement(criterion, place, INCONCLUSIVE, text, **figures, labels_needed=more)
    outcome = decide(finding.low, finding.high, criterion)
    more_or_none = labels_needed(finding, criterion.bound) if outcome == INCONCLUSIVE else None
    text = f"{where}: {describe_finding(finding, criterion.bound)} must be {describe_demand(criterion)}; "
    if outcome == FAIL and family:
        error = (1 - level) / 2
        outcome = FAIL if family.p < error else INCONCLUSIVE
        if outcome == INCONCLUSIVE:
            more_or_none = labels_to_fail(finding, criterion.bound, criterion.direction, error / family.size)
        text += describe_correction(outcome, criterion, finding, family.size, family.p, error, more_or_none)
    else:
        text += describe_settling(outcome, finding, criterion, more_or_none)
    return _judgement(criterion, place, outcome, text, **figures, labels_needed=more_or_none)


def decide(low: float, high: float, criterion: Criterion) -> str:
    """PASS, FAIL or INCONCLUSIVE for an interval of numbers."""
    if criterion.at_least is not None:
        return PASS if low >= criterion.at_least else FAIL if high < criterion.at_least else INCONCLUSIVE
    return PASS if high <= criterion.bound else FAIL if low > criterion.bound else INCONCLUSIVE


def _not_applicable(criterion: Criterion, reason: str) -> Judgement:
    text = f"{describe_place(criterion.metric, criterion.slice)}: {reason}"
    return _judgement(criterion, criterion.slice, NOT_APPLICABLE, text)


def _judgement(criterion: Criterion, place: str, outcome: str, text: str, **figures: Any) -> Judgement:
    return Judgement(
        criterion=criterion.name,
        metric=criterion.metric,
        slice=place,
        outcome=outcome,
        severity=criterion.severity,
        sentence=f"{outcome} {text}",
        reason=criterion.reason,
        direction=criterion.direction,
        bound=criterion.bound,
        **figures,
    )


def _overall(judgements: Sequence[Judgement], nothing: str) -> str:
    outcomes = {j.outcome for j in judgements if j.severity == "block"} - {NOT_APPLICABLE}
    if not outcomes:
        return nothing
    if FAIL in outcomes:
        return FAIL
    return INCONCLUSIVE if INCONCLUSIVE in outcomes else PASS
