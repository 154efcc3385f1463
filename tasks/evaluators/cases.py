"""Does the model read every must-pass case right: each case on its own, for one that is lost is one too many."""

from collections.abc import Iterator

from tasks.cases import case_findings, passed
from tasks.evidence import Evidence
from tasks.findings import Finding

PASSED = "case_passed"
METRICS = (PASSED,)


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """On `cases/case=<name>`, 1 where the case was read right and 0 where not; without cases, nothing."""
    if evidence.cases is not None:
        yield from case_findings(PASSED, evidence.cases, passed(evidence.cases), evidence.params.level)


def details(evidence: Evidence) -> list[dict[str, object]]:
    """A row a case, for people: what it is, why it is there, what the model said and how surely."""
    cases = evidence.cases
    if cases is None or cases.empty:
        return []
    kept = cases[["case", "label", "added", "provenance", "why", "at_least", "predicted"]]
    sure = cases[[c for c in cases if c.startswith("prob_")]].max(axis=1)
    rows: list[dict[str, object]] = kept.assign(confidence=sure, passed=passed(cases)).to_dict("records")
    return rows
