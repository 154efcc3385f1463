"""How fast a model answers: findings from the times that were taken of it, and the plan's section `latency`, judged.

Times are of one machine under the load that it had; both are in timings.json. A quantile's interval is of order
statistics, which assumes no shape of the distribution. Times that were taken together are alike, so the intervals count
what n timings in blocks are worth: the effective number of the share of times at or below the quantile.

Deadline misses are of images that arrive evenly at a stated rate and wait for each other, as one server would answer
the times that were taken (Lindley 1952); to send the next image only when the last is answered would leave out the wait
that a slow answer costs the images after it (Tene's "coordinated omission").
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.digests import sha256_file
from tasks.estimates import clustered_mean, effective_number, estimate_rate, make_finding
from tasks.findings import REPORT, TIMINGS, Finding, write_findings
from tasks.gate import judge_criteria, verdict_of
from tasks.intervals import Interval, order_statistics
from tasks.params import EvaluateParams
from tasks.plan import load_plan
from tasks.resampling import Clusters
from tasks.verdict import PASS, VERDICT, Verdict, write_verdict

CHAMPION = "champion.json"  # the champion's timings, and where there is nothing to compare with, why not
TIMED = "test"  # the split whose images were timed
QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
RATIO, MISSES = "latency_ratio_to_champion", "deadline_misses"
ONCE = ("cold_start_s", "model_size_mb", "peak_memory_mb")  # of one process
METRICS = (
    *(f"latency_{name}_ms" for name in QUANTILES),
    *(f"batch_latency_{name}_ms" for name in QUANTILES),
    *(MISSES, *ONCE, RATIO),
)


@dataclasses.dataclass(frozen=True)
class Times:
    """Milliseconds in the order in which they were taken, with their blocks."""

    values: np.ndarray
    clusters: Clusters

    @classmethod
    def of(cls, blocks: list[list[float]]) -> "Times":
        """From a list of blocks."""
        codes = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
        return cls(
            np.concatenate([np.asarray(block, float) for block in blocks]), Clusters(codes, len(blocks), "units")
        )

    def quantile(self, share: float, level: float) -> tuple[float, Interval]:
        """The value that `share` of the times do not exceed, and its interval."""
        value = float(np.quantile(self.values, share, method="inverted_cdf"))
        error = clustered_mean((self.values <= value).astype(float), self.clusters)[1]
        number = effective_number(len(self.values), share * (1 - share), error**2, self.clusters, level)
        ends = order_statistics(self.values, share, level, number)
        return value, Interval(max(0.0, ends.low), ends.high)


def measure(timings: Mapping[str, Any], params: EvaluateParams) -> Iterator[Finding]:
    """Everything but the comparison with the champion, on `test`, whose images were timed."""
    single, batch = Times.of(timings["single_ms"]), Times.of(timings["batch_ms"])
    for prefix, times in (("", single), ("batch_", batch)):
        for name, share in QUANTILES.items():
            value, ends = times.quantile(share, params.level)
            metric = f"{prefix}latency_{name}_ms"
            yield make_finding(metric, TIMED, value, [ends], times.clusters, "order statistics of blocks", params)
    load = timings["params"]
    missed = responses(single.values, load["rate_per_s"]) > load["deadline_ms"]
    rows = pd.DataFrame({"group": single.clusters.codes, "unit": single.clusters.codes})
    yield estimate_rate(MISSES, TIMED, missed, rows, params)
    for metric in ONCE:
        value = float(timings[metric])
        yield Finding(metric, TIMED, value, value, value, 1, 1, "measured once", params.level)


def responses(service: np.ndarray, rate: float) -> np.ndarray:
    """Milliseconds from arrival to answer of images that arrive every 1 / `rate` seconds, `service` (n,) being what
    each takes once it is its turn."""
    gap, waiting, found = 1000 / rate, 0.0, []
    for taken in service:
        found.append(waiting + taken)
        waiting = max(0.0, waiting + taken - gap)
    return np.array(found)


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], params: EvaluateParams) -> Finding:
    """The candidate's median time for one image over the champion's.

    The interval is of the logarithms' difference, from the two medians' own intervals (MOVER: Zou & Donner 2008,
    section 2). The two were timed on like hardware, but not at the same time.
    """
    (a, x), (b, y) = (Times.of(t["single_ms"]).quantile(0.5, params.level) for t in (ours, theirs))
    below = math.hypot(_log(a / x.low), _log(y.high / b)) if x.low > 0 else math.inf
    above = math.hypot(_log(x.high / a), _log(b / y.low)) if y.low > 0 else math.inf
    ends = Interval(a / b * math.exp(-below), a / b * math.exp(above))
    clusters = Times.of(ours["single_ms"]).clusters
    return make_finding(RATIO, TIMED, a / b, [ends], clusters, "order statistics of blocks, MOVER", params)


def write_latency(
    folder: Path, plan: Path, params: EvaluateParams, not_applicable: Mapping[str, str], out: Path
) -> Verdict:
    """Write report and verdict on the plan's section `latency` into `out`.

    `folder` holds timings.json and champion.json; a plan that asks nothing of latency has an empty report.
    """
    timings, champion = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (TIMINGS, CHAMPION))
    judged_by, findings, reasons = load_plan(plan), [], dict(not_applicable)
    asked = judged_by.asked("latency")
    if timings["why_not"] is None:
        findings = list(measure(timings, params))
        if champion["why_not"] is None:
            findings.append(compare(timings, champion["timings"], params))
    if champion["why_not"] is not None:
        reasons = {c.name: champion["why_not"] for c in asked if c.metric == RATIO} | reasons
    write_findings(findings, out / REPORT)
    verdict = verdict_of(judge_criteria(findings, asked, judged_by.level, reasons), judged_by.scaffold, nothing=PASS)
    files = {"timings": folder / TIMINGS, "champion_timings": folder / CHAMPION, "latency": out / REPORT}
    verdict = dataclasses.replace(verdict, digests={name: sha256_file(file) for name, file in files.items()})
    write_verdict(verdict, out / VERDICT)
    return verdict


def why_not(ours: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> str | None:
    """Why two models' timings cannot be compared; None when they can."""
    if ours["why_not"] is not None:
        return str(ours["why_not"])
    if theirs is None or theirs["why_not"] is not None:
        return "there are no timings of another model in use to compare with"
    odd = sorted(key for key in ours["hardware"] if ours["hardware"][key] != theirs["hardware"].get(key))
    odd += sorted(key for key in ours["params"] if ours["params"][key] != theirs["params"].get(key))
    if odd:
        return f"the champion was timed on other hardware or otherwise: {', '.join(odd)} differ"
    return None


def _log(ratio: float) -> float:
    return math.log(ratio) if math.isfinite(ratio) else math.inf
