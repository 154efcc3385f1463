"""The candidate beside the champion, image by image: is it no worse, and what that was right is wrong now.

Both answer the same images, so differences are paired; positive is better. A non-inferiority margin is a bound below
zero: `at_least: -0.01`. A negative flip is an image that the champion had right and the candidate has wrong (Yan et al.
2021, "Positive-congruent training", section 3): people who have learnt what the old model can do notice those first.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tasks import metrics
from tasks.cases import ANSWERS, case_findings, passed
from tasks.digests import sha256_file
from tasks.estimates import estimate_change, estimate_gain, estimate_rate, gain_interval, make_finding
from tasks.findings import REPORT, Finding, write_findings
from tasks.gate import judge_criteria, verdict_of
from tasks.intervals import Interval
from tasks.metrics import Outcomes, classes_of, outcomes_of, point
from tasks.params import EvaluateParams
from tasks.plan import load_plan
from tasks.predictions import join_predictions, read_table
from tasks.resampling import Weights, bootstrap, choose_clusters, percentiles
from tasks.slices import iter_slices, iter_splits
from tasks.verdict import PASS, VERDICT, Verdict, write_verdict

CHAMPION = "champion.json"  # who was compared with: version, model and, where nobody was, why not
PREDICTIONS = "predictions.parquet"  # the champion's
FLIPS, KEPT = "negative_flip_rate", "case_kept"
METRICS = (
    *("accuracy_gain_over_champion", "macro_f1_gain_over_champion", "brier_gain_over_champion"),
    *("nll_gain_over_champion", FLIPS, KEPT),
)


def compare(ours: pd.DataFrame, theirs: pd.DataFrame, params: EvaluateParams) -> Iterator[Finding]:
    """All metrics on each slice, the gain in accuracy and the flips also for each class, as `test/label=3`.

    `ours` and `theirs` are the judged tables (join_predictions) of candidate and champion, row by row the same images.
    """
    right, before = _hits(ours), _hits(theirs)
    lost, gained = (before & ~right), right.astype(int) - before.astype(int)
    place = pd.Series(np.arange(len(ours)), index=ours.index)
    both = outcomes_of(ours), outcomes_of(theirs)
    better = {
        "brier_gain_over_champion": metrics.squared_distances(both[1]) - metrics.squared_distances(both[0]),
        "nll_gain_over_champion": metrics.log_losses(both[1]) - metrics.log_losses(both[0]),
    }
    for name, rows in iter_slices(ours):
        at = place[rows.index].to_numpy()
        yield from _shares(name, gained[at], lost[at], rows, params)
        yield _macro_f1(name, both[0].take(at), both[1].take(at), gained[at], rows, params)
        for metric, values in better.items():
            yield estimate_change(metric, name, values[at], rows, params)
    for split, part in iter_splits(ours):
        for label in classes_of(ours):
            rows = part[part["label"] == label]
            if len(rows):
                at = place[rows.index].to_numpy()
                yield from _shares(f"{split}/label={label}", gained[at], lost[at], rows, params)


def compare_cases(ours: pd.DataFrame, theirs: pd.DataFrame, level: float) -> Iterator[Finding]:
    """On `cases/case=<name>`, 0 where the champion passes the must-pass case and the candidate does not, else 1."""
    yield from case_findings(KEPT, ours, ~(passed(theirs) & ~passed(ours)), level)


def write_comparison(
    predictions: Path,
    cases: Path,
    champion: Path,
    manifest: Path,
    plan: Path,
    params: EvaluateParams,
    not_applicable: Mapping[str, str],
    out: Path,
) -> Verdict:
    """Write report and verdict on the plan's section `champion` into `out`.

    `cases` are the candidate's answers to the must-pass cases. `champion` is the folder that holds champion.json and,
    where there is somebody to compare with, their predictions and their answers.
    """
    about = json.loads((champion / CHAMPION).read_text(encoding="utf-8"))
    judged_by, findings, reasons = load_plan(plan), [], dict(not_applicable)
    asked = judged_by.asked("champion")
    digests = {"champion": sha256_file(champion / CHAMPION)}
    if about["why_not"] is None:
        images = read_table(manifest)
        tables = [join_predictions(read_table(file), images) for file in (predictions, champion / PREDICTIONS)]
        findings = list(compare(tables[0], tables[1], params))
        findings += compare_cases(read_table(cases), read_table(champion / ANSWERS), params.level)
        digests |= {f"champion_{file.split('.')[0]}": sha256_file(champion / file) for file in (PREDICTIONS, ANSWERS)}
    else:
        reasons = {c.name: about["why_not"] for c in asked} | reasons
    write_findings(findings, out / REPORT)
    verdict = verdict_of(judge_criteria(findings, asked, judged_by.level, reasons), judged_by.scaffold, nothing=PASS)
    verdict = dataclasses.replace(verdict, digests=digests | {"comparison": sha256_file(out / REPORT)})
    write_verdict(verdict, out / VERDICT)
    return verdict


def _shares(
    name: str, gained: np.ndarray, lost: np.ndarray, rows: pd.DataFrame, params: EvaluateParams
) -> Iterator[Finding]:
    yield estimate_gain("accuracy_gain_over_champion", name, gained, rows, params)
    yield estimate_rate(FLIPS, name, lost, rows, params)


def _macro_f1(
    name: str, ours: Outcomes, theirs: Outcomes, gained: np.ndarray, rows: pd.DataFrame, params: EvaluateParams
) -> Finding:
    """The envelope of the paired bootstrap's interval and of one as wide as Tango's for the gain in accuracy: where the
    two answer alike, all resamples agree and claim certainty."""
    clusters = choose_clusters(rows, params.min_clusters)

    def statistic(weights: Weights) -> np.ndarray:
        return (metrics.macro_f1(ours, weights) - metrics.macro_f1(theirs, weights))[:, None]

    value = point(metrics.macro_f1, ours) - point(metrics.macro_f1, theirs)
    drawn = percentiles(bootstrap(statistic, clusters, params.resamples, params.seed)[:, 0], params.level)
    ends, mean = gain_interval(gained, clusters, params.level), float(np.mean(gained))
    wide = Interval(value + ends.low - mean, value + ends.high - mean)
    method = f"bootstrap of {clusters.kind} and tango"
    return make_finding("macro_f1_gain_over_champion", name, value, [drawn, wide], clusters, method, params)


def _hits(table: pd.DataFrame) -> np.ndarray:
    return np.asarray(table["label"] == table["predicted"])
