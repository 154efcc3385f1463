"""Where does the model fail that nobody thought of: slices that a search finds and fresh images confirm.

Half of the clusters of a split (subjects, or units where subjects are few) is searched, by beam search over
conjunctions of at most two conditions on the metadata and on the image's own properties, numbers in ranges that are
equally full there (after Slice Finder: Chung et al. 2019). What it proposes is tested on the other half, which had no
part in the choice, with the false discovery rate controlled (Benjamini & Hochberg 1995; data splitting: Cox 1975).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, t

from tasks.estimates import clustered_mean, estimate_rate
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.metrics import PROBABILITY, classes_of
from tasks.params import EvaluateParams
from tasks.resampling import Clusters, choose_clusters
from tasks.slices import EMPTY, PROPERTIES, SLICE, iter_splits

METRICS = ("weak_slice_accuracy",)
METADATA = ("label", "source", "licence", "consent")  # searched beside the slice columns
ALIKE = 0.8  # a slice that shares this much of its union with a weaker one says nothing new
EXAMPLES = 8


@dataclass(frozen=True)
class Slice:
    """Conditions, and the images of the split on which all hold, `holds` (n,)."""

    conditions: dict[str, str]  # column -> what it must be
    holds: np.ndarray

    @property
    def name(self) -> str:
        """`condition=noise & contrast=41.2 to 60.1`."""
        return " & ".join(f"{column}={value}" for column, value in self.conditions.items())


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """On test and on the mirror, the accuracy of the weakest confirmed slice, as `<split>/weak=<its conditions>`.

    Where none is confirmed it is that of all confirming images, as `<split>/weak=none`.
    """
    params = evidence.params
    for split, rows in _described(evidence):
        found = [f for f in table(evidence) if f["split"] == split and f["confirmed"]]
        if not found:
            _, confirming = halves(choose_clusters(rows, params.min_clusters), params.seed)
            hits = (rows["label"] == rows["predicted"]).to_numpy()[confirming]
            yield estimate_rate(METRICS[0], f"{split}/weak=none", hits, rows[confirming], params)
            continue
        weakest = min(found, key=lambda f: f["value"])
        figures = {key: weakest[key] for key in ("value", "low", "high", "n", "clusters", "method")}
        yield Finding(METRICS[0], f"{split}/weak={weakest['name']}", **figures, level=params.level)


@lru_cache(maxsize=1)  # the search is dear, and both the findings and weak_slices.json want it
def table(evidence: Evidence) -> tuple[dict[str, Any], ...]:
    """All proposed slices of both splits, the weakest first; see `find` for the keys."""
    return tuple({"split": s, **row} for s, rows in _described(evidence) for row in find(rows, evidence.params))


def find(rows: pd.DataFrame, params: EvaluateParams) -> list[dict[str, Any]]:
    """The slices that the searched half proposes, each with what the confirming half says of it.

    Name, accuracy (value, low, high, n) with an interval that holds for all proposed at once, p and its adjusted value
    for "no less accurate than the rest", `confirmed`, and the ids of some wrong answers, the surest first.
    """
    clusters = choose_clusters(rows, params.min_clusters)
    searched, confirming = halves(clusters, params.seed)
    hits = (rows["label"] == rows["predicted"]).to_numpy()
    proposed = search(rows, hits, searched, clusters, params)
    if not proposed:
        return []
    chances = [chance(s.holds[confirming], hits[confirming], clusters.of(confirming)) for s in proposed]
    adjusted = false_discovery_control(chances, method="bh")
    together = params.model_copy(update={"level": 1 - (1 - params.level) / len(proposed)})
    found = []
    for place, p, q in zip(proposed, chances, adjusted, strict=True):
        inside = place.holds & confirming
        finding = estimate_rate(METRICS[0], "", hits[inside], rows[inside], together)
        figures = {key: getattr(finding, key) for key in ("value", "low", "high", "n", "clusters", "method")}
        confirmed = finding.n >= params.min_group and bool(q <= params.false_discovery_rate)
        known = {"name": place.name, **figures, "p": round(p, 10), "adjusted_p": round(float(q), 10)}
        found.append({**known, "confirmed": confirmed, "examples": _examples(rows[inside & ~hits])})
    return sorted(found, key=lambda f: (not f["confirmed"], f["value"] if f["n"] else math.inf, f["name"]))


def halves(clusters: Clusters, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (n,) of the images to search and of those to confirm on; a cluster lies in one of them whole."""
    order = np.random.default_rng(seed).permutation(clusters.count)
    searched = np.isin(clusters.codes, order[: clusters.count // 2])
    return searched, ~searched


def search(
    rows: pd.DataFrame, hits: np.ndarray, searched: np.ndarray, clusters: Clusters, params: EvaluateParams
) -> list[Slice]:
    """At most `beam` slices that look weaker than the rest of the searched half, the surest first."""
    among, right = clusters.of(searched), hits[searched]

    def chance_of(place: Slice) -> float:
        inside = place.holds[searched]
        return chance(inside, right, among) if inside.sum() >= params.min_group else 1.0

    singles = conditions(rows, searched, params.slice_bins)
    first = _surest([(chance_of(s), s) for s in singles], params.beam)
    pairs: dict[frozenset[tuple[str, str]], tuple[float, Slice]] = {}
    for (_, one), other in product(first, singles):
        both = Slice(one.conditions | other.conditions, one.holds & other.holds)
        if len(both.conditions) == 2:
            shares = [right[s.holds[searched]].mean() if s.holds[searched].any() else 1 for s in (one, other, both)]
            sharper = shares[2] < min(shares[:2])  # else one condition says as much
            pairs.setdefault(frozenset(both.conditions.items()), (chance_of(both) if sharper else 1.0, both))
    ranked = _surest([*first, *pairs.values()], len(first) + len(pairs))
    return _unlike([s for p, s in ranked if p < 0.5], searched)[: params.beam]


def conditions(rows: pd.DataFrame, searched: np.ndarray, bins: int) -> list[Slice]:
    """One condition each: every value of a metadata column, every range of a number; what never varies is left out.

    Ranges are equally full on the searched images, their ends rounded to three digits, the lower one exclusive.
    """
    found = []
    for column in [c for c in rows if c in METADATA or c.startswith(SLICE)]:
        values = rows[column].replace("", EMPTY)
        name = column.removeprefix(SLICE)
        if values.nunique() > 1:
            found += [Slice({name: str(v)}, (values == v).to_numpy()) for v in sorted(values.unique())]
    for column in [c for c in PROPERTIES if c in rows]:
        numbers = rows[column].to_numpy(dtype=float)
        inner = np.quantile(numbers[searched], np.arange(1, bins) / bins) if searched.any() else []
        edges = sorted({float(f"{edge:.3g}") for edge in inner})
        for low, high in zip([-math.inf, *edges], [*edges, math.inf], strict=True):
            holds = (numbers > low) & (numbers <= high)
            if edges and not holds.all():
                found.append(Slice({column: _range(low, high)}, holds))
    return found


def chance(inside: np.ndarray, hits: np.ndarray, clusters: Clusters) -> float:
    """One-sided p of accuracy inside (n,) below that outside, if it is not: Welch's t with cluster-robust error.

    The error is that of the two means' influence values summed by cluster (Liang & Zeger 1986), the degrees of freedom
    those of the clusters inside; 1 where either side has fewer than two images.
    """
    within, without = int(inside.sum()), int((~inside).sum())
    if min(within, without) < 2:
        return 1.0
    means = np.where(inside, hits[inside].mean(), hits[~inside].mean())
    influence = np.where(inside, 1 / within, -1 / without) * (hits - means) * len(hits)
    difference, (_, error) = float(hits[inside].mean() - hits[~inside].mean()), clustered_mean(influence, clusters)
    if error <= 0:
        return 0.0 if difference < 0 else 1.0
    return float(t.cdf(difference / error, max(1, clusters.of(inside).count - 1)))


def _surest(ranked: list[tuple[float, Slice]], count: int) -> list[tuple[float, Slice]]:
    return sorted(ranked, key=lambda item: (item[0], item[1].name))[:count]


def _unlike(slices: list[Slice], searched: np.ndarray) -> list[Slice]:
    """Those that are not nearly the same images as one before."""
    kept: list[Slice] = []
    for place in slices:
        inside = place.holds[searched]
        if all((inside & k.holds[searched]).sum() <= ALIKE * (inside | k.holds[searched]).sum() for k in kept):
            kept.append(place)
    return kept


def _range(low: float, high: float) -> str:
    if low == -math.inf:
        return f"up to {high:g}"
    return f"above {low:g}" if high == math.inf else f"{low:g} to {high:g}"


def _examples(wrong: pd.DataFrame) -> list[str]:
    told = wrong[[PROBABILITY + c for c in classes_of(wrong)]].max(axis=1)
    order = wrong.assign(told=told).sort_values(["told", "image_id"], ascending=[False, True])
    return [str(i) for i in order["image_id"].head(EXAMPLES)]


def _described(evidence: Evidence) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each split, with the columns that are searched."""
    joined, manifest = evidence.judged, evidence.manifest
    more = [c for c in (*METADATA, *PROPERTIES) if c in manifest and c not in joined]
    yield from iter_splits(
        joined.merge(manifest[["image_id", *more]], on="image_id", how="left", validate="one_to_one")
    )
