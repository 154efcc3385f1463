"""From images to findings: each figure with the widest interval that its sample honestly allows.

A share of independent images gets Wilson's interval. Where images come in clusters, or where the figure is an average
over classes, the interval is the envelope of two: the cluster bootstrap's, and Wilson's at the effective number of
images. The bootstrap alone will not do: when every image is right all resamples agree and it claims certainty.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from tasks.findings import Finding
from tasks.intervals import Interval, tango, tango_score, wilson
from tasks.metrics import Metric, Outcomes, outcomes_of, point, weighted_mean
from tasks.params import EvaluateParams
from tasks.resampling import Clusters, Statistics, bootstrap_of_kinds, choose_clusters, percentiles, pivotal

NO_SPREAD = 1e-15  # a variance below this is the rounding of sums
DECIMALS = 10  # of a reported figure: the order of a sum must not show in a digest


@dataclass(frozen=True)
class Measure:
    """A metric to report. `most` says how many independent images it could rest on at best; None: it is no share.

    `of_labels` marks one that reads what was predicted and not how surely: its bootstrap draws confusions, not images.
    `inflated` marks an error that cannot be negative and that the noise of a sample therefore raises.
    """

    name: str
    metric: Metric
    most: Callable[[Outcomes], float] | None = None
    of_labels: bool = False
    inflated: bool = False


def estimate_rate(metric: str, name: str, hits: np.ndarray, rows: pd.DataFrame, params: EvaluateParams) -> Finding:
    """The share of `hits` (n,) on the slice `name`; NaN when it has no image."""
    if len(rows) == 0:
        return _without_images(metric, name, params)
    clusters = choose_clusters(rows, params.min_clusters)
    value = float(np.mean(hits))
    if clusters.independent:
        return make_finding(
            metric, name, value, [wilson(hits.sum(), len(hits), params.level)], clusters, "wilson", params
        )
    values = _resampled_mean(hits, clusters, params)
    number = effective_number(len(hits), value * (1 - value), variance(values), clusters, params.level)
    intervals = [wilson(value * number, number, params.level), percentiles(values, params.level)]
    return make_finding(metric, name, value, intervals, clusters, f"wilson and bootstrap of {clusters.kind}", params)


def estimate_gain(metric: str, name: str, gains: np.ndarray, rows: pd.DataFrame, params: EvaluateParams) -> Finding:
    """The mean of `gains` (n,): 1 where only the candidate is right, -1 where only the baseline is, else 0."""
    clusters = choose_clusters(rows, params.min_clusters)
    n, gained, lost = len(gains), float((gains > 0).sum()), float((gains < 0).sum())
    value = (gained - lost) / n
    if clusters.independent:
        return make_finding(metric, name, value, [tango(gained, lost, n, params.level)], clusters, "tango", params)
    values = _resampled_mean(gains, clusters, params)
    intervals = [gain_interval(gains, clusters, params.level, variance(values)), percentiles(values, params.level)]
    return make_finding(metric, name, value, intervals, clusters, f"tango and bootstrap of {clusters.kind}", params)


def estimate_mean_share(
    metric: str, name: str, shares: np.ndarray, each: int, rows: pd.DataFrame, params: EvaluateParams
) -> Finding:
    """The mean of `shares` (n,), an image's share of right answers under `each` conditions.

    As estimate_rate, except that n images can be worth up to n times `each` independent answers, as their spread tells.
    """
    clusters = choose_clusters(rows, params.min_clusters)
    value, values = float(np.mean(shares)), _resampled_mean(shares, clusters, params)
    spread = variance(values)
    most = float(len(shares) * (each if spread > NO_SPREAD else 1))
    number = effective_number(most, value * (1 - value), spread, clusters, params.level)
    intervals = [wilson(value * number, number, params.level), percentiles(values, params.level)]
    return make_finding(metric, name, value, intervals, clusters, f"wilson and bootstrap of {clusters.kind}", params)


def estimate_mean_gain(
    metric: str, name: str, gains: np.ndarray, each: int, rows: pd.DataFrame, params: EvaluateParams
) -> Finding:
    """The mean of `gains` (n,), an image's difference (-1 to 1) of two shares of right answers under `each` conditions.

    As estimate_gain, with the sums of the gains and of the losses in place of their numbers.
    """
    clusters = choose_clusters(rows, params.min_clusters)
    values = _resampled_mean(gains, clusters, params)
    gained, lost, spread = float(gains.clip(min=0).sum()), float(-gains.clip(max=0).sum()), variance(values)
    mean, n = float(np.mean(gains)), len(gains)
    most = float(n * (each if spread > NO_SPREAD else 1))
    number = effective_number(most, (gained + lost) / n - mean**2, spread, clusters, params.level)
    intervals = [tango(gained / n * number, lost / n * number, number, params.level), percentiles(values, params.level)]
    return make_finding(metric, name, mean, intervals, clusters, f"tango and bootstrap of {clusters.kind}", params)


def chance_of_gain(gains: np.ndarray, rows: pd.DataFrame, true_gain: float, params: EvaluateParams) -> float:
    """One-sided p: how likely a mean of `gains` this low or lower is when the true one is `true_gain` (Tango 1998)."""
    clusters = choose_clusters(rows, params.min_clusters)
    gained, lost, number = float((gains > 0).sum()), float((gains < 0).sum()), float(len(gains))
    if not clusters.independent:
        spread = variance(_resampled_mean(gains, clusters, params))
        number = _gain_number(gains, spread, clusters, params.level)
    share = number / len(gains)
    return float(norm.cdf(tango_score(gained * share, lost * share, number, true_gain)))


def _gain_number(gains: np.ndarray, spread: float, clusters: Clusters, level: float) -> float:
    alone = float(np.mean(gains != 0) - np.mean(gains) ** 2)
    return effective_number(len(gains), alone, spread, clusters, level)


def estimate_change(metric: str, name: str, changes: np.ndarray, rows: pd.DataFrame, params: EvaluateParams) -> Finding:
    """The mean of paired differences (n,) of any size, with Student's interval on cluster sums."""
    clusters = choose_clusters(rows, params.min_clusters)
    mean, interval = student_interval(changes, clusters, params.level)
    return make_finding(metric, name, mean, [interval], clusters, f"student of {clusters.kind}", params)


def chance_of_change(changes: np.ndarray, rows: pd.DataFrame, true_change: float, params: EvaluateParams) -> float:
    """One-sided p: how likely a mean of `changes` this high or higher is when the true one is `true_change`."""
    clusters = choose_clusters(rows, params.min_clusters)
    mean, error = clustered_mean(changes, clusters)
    if error <= 0:
        return float(mean <= true_change)
    return float(t.sf((mean - true_change) / error, max(1, clusters.count - 1)))


def estimate_sum(
    metric: str, name: str, parts: list[tuple[float, np.ndarray]], rows: pd.DataFrame, params: EvaluateParams
) -> Finding:
    """The sum of factor times share over `parts` [(factor, hits (n,))]: a mean cost, a mean count.

    The envelope of Student's interval on cluster sums and of the shares' own intervals put together, which also allows
    for what the sample happens not to hold: an error among sure answers, say. The second is MOVER (Zou & Donner 2008,
    Statistics in Medicine 27, section 2), whose independence is too careful where shares exclude each other and have
    factors of one sign; where not, the first is the wider.
    """
    if len(rows) == 0:
        return _without_images(metric, name, params)
    clusters = choose_clusters(rows, params.min_clusters)
    mean, student = student_interval(np.sum([factor * hits for factor, hits in parts], axis=0), clusters, params.level)
    below, above = 0.0, 0.0
    for factor, hits in parts:
        share, ends = float(np.mean(hits)), share_interval(hits, clusters, params.level)
        low, high = sorted((factor * ends.low, factor * ends.high))
        below, above = below + (factor * share - low) ** 2, above + (high - factor * share) ** 2
    intervals = [student, Interval(mean - math.sqrt(below), mean + math.sqrt(above))]
    return make_finding(metric, name, mean, intervals, clusters, f"student and wilson of {clusters.kind}", params)


def share_interval(hits: np.ndarray, clusters: Clusters, level: float) -> Interval:
    """Wilson's interval for the share of `hits` (n,) at the effective number that the clusters' own spread tells."""
    share, error = clustered_mean(hits, clusters)
    number = float(len(hits))
    if not clusters.independent:
        number = effective_number(number, share * (1 - share), error**2, clusters, level)
    return wilson(share * number, number, level)


def gain_interval(gains: np.ndarray, clusters: Clusters, level: float, spread: float | None = None) -> Interval:
    """Tango's interval for the mean of `gains` (n,), each -1, 0 or 1, at the effective number as in share_interval.

    `spread` is the variance of the mean; None: as the clusters' own spread tells.
    """
    number = float(len(gains))
    if not clusters.independent:
        known = clustered_mean(gains, clusters)[1] ** 2 if spread is None else spread
        number = _gain_number(gains, known, clusters, level)
    share = number / len(gains)
    return tango(float((gains > 0).sum()) * share, float((gains < 0).sum()) * share, number, level)


def student_interval(values: np.ndarray, clusters: Clusters, level: float) -> tuple[float, Interval]:
    """The mean of values (n,) and Student's interval for it, with the error of clustered_mean."""
    mean, error = clustered_mean(values, clusters)
    half = error * float(t.ppf((1 + level) / 2, max(1, clusters.count - 1)))
    return mean, Interval(mean - half, mean + half)


def clustered_mean(values: np.ndarray, clusters: Clusters) -> tuple[float, float]:
    """The mean of values (n,) and its standard error, robust to any dependence within a cluster.

    Liang & Zeger 1986 with the small-sample factor count / (count - 1) (Cameron & Miller 2015, section II.B); of
    independent values it is the ordinary standard error.
    """
    mean = float(np.mean(values))
    sums = np.bincount(clusters.codes, weights=values - mean, minlength=clusters.count)
    correction = clusters.count / (clusters.count - 1) if clusters.count > 1 else math.inf
    return mean, math.sqrt(correction * float((sums**2).sum())) / len(values) if correction < math.inf else math.inf


def estimate_measures(
    measures: Iterable[Measure], name: str, rows: pd.DataFrame, params: EvaluateParams
) -> Iterator[Finding]:
    """Each measure on the slice, from one set of resamples for those of labels and another for the rest.

    The calibration error of a sample lies above the true one, and resampling adds noise of its own, so its percentile
    interval lies high at both ends. The upper end is kept: too careful rather than too bold. The lower end is the
    pivotal bootstrap's (Davison & Hinkley 1997, section 5.2), which takes the noise off twice.
    """
    measures, outcomes = list(measures), outcomes_of(rows)
    clusters = choose_clusters(rows, params.min_clusters)
    resampled = _resampled(measures, outcomes, clusters, params)
    for measure in measures:
        values = resampled[measure.name]
        value = point(measure.metric, outcomes)
        intervals, method = [percentiles(values, params.level)], f"bootstrap of {clusters.kind}"
        if measure.most is not None:
            spread = variance(values)
            number = effective_number(measure.most(outcomes), value * (1 - value), spread, clusters, params.level)
            intervals.append(wilson(value * number, number, params.level))
            method = f"wilson and {method}"
        if measure.inflated:
            intervals.append(pivotal(value, intervals[0]))
            method = f"percentile and pivotal {method}"
        yield make_finding(measure.name, name, value, intervals, clusters, method, params)


def variance(resampled: np.ndarray) -> float:
    """The variance of resampled values (B,), those that are not a number left out."""
    return float(np.nanvar(resampled)) if np.isfinite(resampled).any() else 0.0


def effective_number(most: float, alone: float, spread: float, clusters: Clusters, level: float) -> float:
    """How many independent images would vary as much as these: `alone` over `spread`.

    `alone` is the variance of one image, `spread` that of the figure. Never more than `most`; when nothing varies, each
    cluster counts once. Corrected for the few degrees of freedom of a variance from few clusters (Korn & Graubard
    1998); Wilson's interval at this number is the one Franco, Little, Louis & Slud (2019) recommend for clustered
    shares.
    """
    number = min(most, alone / spread) if spread > NO_SPREAD else most * clusters.count / len(clusters.codes)
    tail = (1 + level) / 2
    correction = (norm.ppf(tail) / t.ppf(tail, clusters.count - 1)) ** 2 if clusters.count > 1 else 0.0
    return max(number * correction, 1e-6)  # a single cluster says nothing: the interval is then the whole range


def _resampled(
    measures: list[Measure], outcomes: Outcomes, clusters: Clusters, params: EvaluateParams
) -> dict[str, np.ndarray]:
    """By name, each measure's value in each resample, (B,)."""
    confusion = outcomes.truth * outcomes.classes + outcomes.predicted
    found: dict[str, np.ndarray] = {}
    for chosen, told in (
        ([m for m in measures if m.of_labels], confusion),
        ([m for m in measures if not m.of_labels], np.arange(len(confusion))),
    ):
        if chosen:
            values = bootstrap_of_kinds(
                partial(_statistics, chosen, outcomes), told, clusters, params.resamples, params.seed
            )
            found |= {measure.name: column for measure, column in zip(chosen, values.T, strict=True)}
    return found


def _statistics(measures: list[Measure], outcomes: Outcomes, images: np.ndarray) -> Statistics:
    some = outcomes.take(images)
    return lambda weights: np.stack([m.metric(some, weights) for m in measures], axis=1)


def _resampled_mean(values: np.ndarray, clusters: Clusters, params: EvaluateParams) -> np.ndarray:
    def statistics_of(images: np.ndarray) -> Statistics:
        return lambda weights: weighted_mean(values[images], weights)[:, None]

    return bootstrap_of_kinds(statistics_of, values, clusters, params.resamples, params.seed)[:, 0]


def _without_images(metric: str, name: str, params: EvaluateParams) -> Finding:
    return Finding(metric, name, math.nan, math.nan, math.nan, 0, 0, "none", params.level)


def make_finding(
    metric: str,
    name: str,
    value: float,
    intervals: list[Interval],
    clusters: Clusters,
    method: str,
    params: EvaluateParams,
) -> Finding:
    """The finding with the envelope of the intervals; a NaN among the ends stays one."""
    low = float(np.min([value, *(i.low for i in intervals)]))
    high = float(np.max([value, *(i.high for i in intervals)]))
    value, low, high = (round(x, DECIMALS) for x in (value, low, high))
    return Finding(metric, name, value, low, high, len(clusters.codes), clusters.count, method, params.level)
