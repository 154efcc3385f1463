"""When should the model rather ask a person: risk against coverage, and the threshold that costs least.

The model answers when its largest probability reaches a threshold (softmax response: Geifman & El-Yaniv 2017). The
threshold is the one that costs least on the calibration split at the plan's costs; test and mirror judge it. Where the
probabilities are calibrated it lies near 1 - ask / wrong (Chow 1970).
"""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from tasks import metrics
from tasks.estimates import Measure, estimate_measures, estimate_rate, estimate_sum
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.metrics import Outcomes, outcomes_of, risk_coverage
from tasks.params import EvaluateParams
from tasks.plan import Costs
from tasks.slices import iter_slices, iter_splits

ON_CURVE = ("aurc", "coverage_at_risk")
AT_THRESHOLD = (
    "coverage",
    "selective_accuracy",
    "expected_cost",
    "saving_over_always_answer",
    "saving_over_always_ask",
)
METRICS = (*ON_CURVE, *AT_THRESHOLD)


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """On each slice the area under the risk-coverage curve and the coverage at `risk_bound`; with costs also what the
    chosen threshold does: coverage, accuracy of the answers, cost of an image and what that saves (in the plan's unit).
    """
    params, costs, threshold = evidence.params, evidence.costs, chosen_threshold(evidence)
    measures = (
        Measure("aurc", metrics.aurc),
        Measure("coverage_at_risk", metrics.coverage_at_risk(params.risk_bound), lambda o: float(len(o.truth))),
    )
    for name, rows in iter_slices(evidence.judged):
        yield from estimate_measures(measures, name, rows, params)
        if costs is not None and threshold is not None:
            yield from _at_threshold(name, rows, threshold, costs, params)


def chosen_threshold(evidence: Evidence) -> float | None:
    """The threshold that costs least on the calibration split; None where the plan names no costs."""
    return None if evidence.costs is None else choose_threshold(evidence.calibration, evidence.costs)


def choose_threshold(outcomes: Outcomes, costs: Costs) -> float:
    """The confidence from which answering costs least on these images; 0 is always answering, inf always asking.

    Between two confidences the threshold lies halfway; of equally cheap ones the lowest is taken, which asks least.
    """
    confidence = outcomes.probabilities.max(axis=1)
    steps = np.unique(confidence)
    candidates = np.concatenate([[0.0], (steps[1:] + steps[:-1]) / 2, [math.inf]])
    answered = confidence[:, None] >= candidates
    paid = np.where(answered, costs.wrong * ~outcomes.hits[:, None], costs.ask).mean(axis=0)
    return float(candidates[np.flatnonzero(paid <= paid.min() + 1e-12)[0]])


def curves(table: pd.DataFrame) -> pd.DataFrame:
    """The risk-coverage curve of each split: split, confidence (the threshold), coverage, risk."""
    parts = []
    for split, rows in iter_splits(table):
        curve = risk_coverage(outcomes_of(rows), np.ones((1, len(rows))))
        columns = {"confidence": curve.confidence, "coverage": curve.coverage[:, 0], "risk": curve.risk[:, 0]}
        parts.append(pd.DataFrame(columns).round(10).drop_duplicates().assign(split=split))
    return pd.concat(parts, ignore_index=True)


def _at_threshold(
    name: str, rows: pd.DataFrame, threshold: float, costs: Costs, params: EvaluateParams
) -> Iterator[Finding]:
    outcomes = outcomes_of(rows)
    answered, hits = outcomes.probabilities.max(axis=1) >= threshold, outcomes.hits
    more = costs.wrong - costs.ask  # what a wrong answer costs beyond having asked
    yield estimate_rate("coverage", name, answered, rows, params)
    yield estimate_rate("selective_accuracy", name, hits[answered], rows[answered], params)
    cost = [(costs.wrong, answered & ~hits), (costs.ask, ~answered)]
    yield estimate_sum("expected_cost", name, cost, rows, params)
    spared = [(more, ~answered & ~hits), (-costs.ask, ~answered & hits)]
    yield estimate_sum("saving_over_always_answer", name, spared, rows, params)
    gained = [(costs.ask, answered & hits), (-more, answered & ~hits)]
    yield estimate_sum("saving_over_always_ask", name, gained, rows, params)
