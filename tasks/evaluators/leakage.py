"""Is the measurement itself sound: has train seen test's images, are the labels right, does something else tell them?

Near-duplicates are looked for between train and each other split (tasks/near_duplicates.py), by the features of the
frozen backbone and by a perceptual hash; label errors by confident learning on a reference model's out-of-fold
probabilities (tasks/confident_learning.py); label cues in every slice column of train (tasks/cues.py). Production
windows are not compared: they come after the model.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from tasks.agreement import ANNOTATOR, krippendorff_alpha, ratings
from tasks.confident_learning import error_share, suspects
from tasks.cues import cue
from tasks.embeddings import REFERRED, Embeddings
from tasks.estimates import estimate_rate, make_finding
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.fingerprints import hamming
from tasks.intervals import Interval
from tasks.near_duplicates import CENSORED, chances, cosine_distances, nearest
from tasks.resampling import Clusters, Weights, bootstrap, choose_clusters, percentiles
from tasks.slices import EMPTY, JUDGED, SLICE

METRICS = ("near_duplicate_share", "exact_duplicates", "label_error_share", "annotator_alpha", "label_cue")
COMPARED = ("validation", "calibration", *JUDGED)  # each with train
AGREEING = 0.05  # p of the features above which the hash is not believed
EXACT, BY_FEATURES, BY_HASH = "the same pixels", "features", "perceptual hash"


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """Duplicates of train on test and mirror; label errors and annotators' agreement by split; cues in train."""
    embedded = evidence.embedded
    if embedded is not None:
        yield from _duplicates(evidence, embedded)
        yield from _label_errors(evidence, embedded)
        yield from _agreement(evidence, embedded)
        yield from _cues(evidence, embedded)


def details(evidence: Evidence) -> dict[str, Any]:
    """The pairs of near-duplicates, and the images whose label looks wrong, the likeliest first."""
    if evidence.embedded is None:
        return {"pairs": [], "label_errors": []}
    return {"pairs": pairs(evidence), "label_errors": [*_suspects(evidence.embedded)]}


def pairs(evidence: Evidence) -> list[dict[str, Any]]:
    """The images that are confirmed copies of a training image, each with that image, why, and how surely."""
    return [
        {"split": split, **row}
        for split, told in _compared(evidence).items()
        for row in told[told["confirmed"]].drop(columns="confirmed").to_dict("records")
    ]


@lru_cache(maxsize=1)  # both the findings and leakage.json want it
def _compared(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """By split, a row an image: image, path, of (the nearest training image's path), why, p, adjusted_p, confirmed.

    p is NaN where train has too few images to tell a copy from a look-alike.
    """
    embedded = evidence.embedded
    assert embedded is not None
    train, rows = embedded.of("train"), embedded.rows
    asked = np.flatnonzero(rows["split"].isin(COMPARED).to_numpy())
    told = _told(embedded, train, asked)
    pictures = rows.iloc[train].drop_duplicates("picture").set_index("picture")["path"]
    told["of"] = rows["picture"].iloc[asked].map(pictures).to_numpy()
    same = told["of"].notna()
    agreeing = (told["p_features"] <= AGREEING) & (told["of_features"] == told["of_hash"])
    hashed = agreeing & (told["p_hash"] < told["p_features"])
    told["why"] = np.where(same, EXACT, np.where(hashed, BY_HASH, BY_FEATURES))
    nearer = np.where(told["why"] == BY_HASH, told["of_hash"], told["of_features"])
    told["of"] = told["of"].where(same, nearer)
    told["p"] = np.where(same, 0.0, _both(told["p_features"], told["p_hash"], agreeing)).round(12)
    told.insert(0, "image", rows["path"].iloc[asked].to_numpy())
    told["label"] = rows["label"].iloc[asked].to_numpy()
    kept = told[["image", "label", "of", "why", "p"]].assign(split=rows["split"].iloc[asked].to_numpy())
    return {s: _confirmed(kept[kept["split"] == s].drop(columns="split"), evidence) for s in COMPARED}


def _both(features: pd.Series, hashes: pd.Series, agreeing: pd.Series) -> np.ndarray:
    """Twice the smaller p (Bonferroni); the hash alone proves nothing, for its 64 bits also meet by chance."""
    twice = 2 * np.fmin(features, hashes)
    return np.minimum(1.0, np.where(agreeing, twice, np.fmax(features, twice)))


def _told(embedded: Embeddings, train: np.ndarray, asked: np.ndarray) -> pd.DataFrame:
    """For both fingerprints p and the path of the nearest training image."""
    rows, columns = embedded.rows, dict[str, np.ndarray]()
    known, others = rows.iloc[train], rows.iloc[asked]
    paths = np.array([*known["path"], None], dtype=object)  # the last stands for none
    for name, values, measure, censored in (
        ("features", embedded.features, cosine_distances, CENSORED),
        ("hash", embedded.hashes, _bits, 0.0),  # whole numbers, of which the smallest are many
    ):
        null = nearest(values[train], values[train], known, known, measure)
        found = nearest(values[asked], values[train], others, known, measure)
        columns[f"p_{name}"] = chances(null, known["label"].to_numpy(), found, others["label"].to_numpy(), censored)
        columns[f"of_{name}"] = paths[found.place]
    return pd.DataFrame(columns)


def _bits(asked: np.ndarray, known: np.ndarray) -> np.ndarray:
    return hamming(asked, known) + 0.5  # a power law near 0 asks for more than 0


def _confirmed(told: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """With Benjamini and Hochberg's correction over the images of the split."""
    adjusted = told["p"].to_numpy(copy=True)
    known = ~np.isnan(adjusted)
    if known.any():
        adjusted[known] = false_discovery_control(adjusted[known], method="bh")
    return told.assign(adjusted_p=adjusted.round(12), confirmed=adjusted <= evidence.params.false_discovery_rate)


def _duplicates(evidence: Evidence, embedded: Embeddings) -> Iterator[Finding]:
    for split, told in _compared(evidence).items():
        if split not in JUDGED or told.empty:
            continue
        known = told["p"].notna().to_numpy()
        rows = embedded.rows.iloc[embedded.of(split)]
        yield estimate_rate(METRICS[0], split, told["confirmed"].to_numpy()[known], rows[known], evidence.params)
        count = float((told["why"] == EXACT).sum())
        images = Clusters(np.arange(len(rows)), len(rows), "images")
        yield make_finding(METRICS[1], split, count, [Interval(count, count)], images, "count", evidence.params)


def _label_errors(evidence: Evidence, embedded: Embeddings) -> Iterator[Finding]:
    for split in REFERRED:
        images = embedded.of(split)
        if len(images):
            clusters = choose_clusters(embedded.rows.iloc[images], evidence.params.min_clusters)
            told = embedded.reference(images)
            value, ends = error_share(embedded.truth(images), told, clusters, evidence.params.level)
            method = f"wilson of {clusters.kind}"
            yield make_finding(METRICS[2], split, value, [ends], clusters, method, evidence.params)


def _suspects(embedded: Embeddings) -> Iterator[dict[str, Any]]:
    for split in REFERRED:
        images = embedded.of(split)
        if len(images):
            truth, told = embedded.truth(images), embedded.reference(images)
            for place, other in suspects(truth, told):
                row = embedded.rows.iloc[images[place]]
                chance = {"given": told[place, truth[place]], "suggested": told[place, other]}
                yield {
                    "split": split,
                    "image": row["path"],
                    "given": row["label"],
                    "suggested": embedded.classes[other],
                    **{f"probability_of_{name}": round(float(p), 6) for name, p in chance.items()},
                }


def _agreement(evidence: Evidence, embedded: Embeddings) -> Iterator[Finding]:
    """Krippendorff's alpha on each split whose images several annotators labelled; nothing without such columns."""
    if sum(column.startswith(ANNOTATOR) for column in embedded.rows) < 2:
        return
    params = evidence.params
    for split in ("train", *JUDGED):
        rows = embedded.rows.iloc[embedded.of(split)]
        counts = ratings(rows)
        rated = counts.sum(axis=1) >= 2
        if not rated.any():
            continue
        clusters = choose_clusters(rows[rated], params.min_clusters)
        value = float(krippendorff_alpha(counts[rated], np.ones((1, rated.sum())))[0])
        drawn = bootstrap(partial(_alphas, counts[rated]), clusters, params.resamples, params.seed)
        ends = percentiles(drawn[:, 0], params.level)
        yield make_finding(METRICS[3], split, value, [ends], clusters, f"bootstrap of {clusters.kind}", params)


def _alphas(counts: np.ndarray, weights: Weights) -> np.ndarray:
    return krippendorff_alpha(counts, weights)[:, None]


def _cues(evidence: Evidence, embedded: Embeddings) -> Iterator[Finding]:
    params, rows = evidence.params, embedded.rows.iloc[embedded.of("train")]
    for column in [c for c in rows if c.startswith(SLICE)] if len(rows) else []:
        clusters, name = choose_clusters(rows, params.min_clusters), f"train/{column.removeprefix(SLICE)}=*"
        values = rows[column].replace("", EMPTY).to_numpy()
        if min(len(set(values)), rows["label"].nunique()) < 2:
            yield make_finding(METRICS[4], name, 0.0, [Interval(0.0, 0.0)], clusters, "one value tells nothing", params)
            continue
        told = cue(rows["label"].to_numpy(), values, clusters, params.resamples, params.level, params.seed)
        method = f"bootstrap of {clusters.kind}, recentred; p of chance {told.p:.4f}"
        yield make_finding(METRICS[4], name, told.value, [Interval(told.low, told.high)], clusters, method, params)
