"""Compare the backbones that the catalogue allows on the project's own images, and say which one to start from.

Every candidate is scored frozen: its features on the train split, read on validation (tasks/transferability.py). The
best few get a short fine-tune with the project's own settings, and the lowest validation loss wins. The deployment
mirror is scored for the reader and decides nothing, for it judges the release.

Reads the manifest's images, the catalogue and the weights. Writes selection.json (scores with intervals, the winner,
why; what choose_backbone reads), cost.json (timings, which differ from run to run) and selection.html.
"""

import datetime as dt
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from tasks.backbones import load_catalogue
from tasks.candidates import Candidate, find_candidates
from tasks.cost import Cost, measure_cost
from tasks.errors import BackboneRefused
from tasks.estimates import estimate_gain, estimate_rate
from tasks.findings import Finding
from tasks.finetune import network_options, seeded, targets_of, train
from tasks.metrics import weighted_mean
from tasks.params import EvaluateParams, FinetuneParams, ShortlistParams
from tasks.pixels import load_pixels
from tasks.resampling import bootstrap, choose_clusters, percentiles
from tasks.scorer import outputs_of
from tasks.selection import (
    FILE,
    METRICS,
    MIRROR_NOTE,
    Finalist,
    Frozen,
    describe_entries,
    expectation,
    long_enough,
    rank,
    regret,
    risks,
    stability,
    why,
    winner_of,
    write_selection,
)
from tasks.selection_page import selection_page
from tasks.stage import stage
from tasks.transferability import linear_probe, logme, neighbours, resampled_logme
from tasks.weights import create_backbone

SIDE = 16  # of the pixels that features are held against
SPLITS = ("train", "validation", "mirror")
ABOUT = ("architecture", "parameters", "licence", "sha256", "risks", "limitations", "biases")
logger = logging.getLogger("tasks.shortlist")


@dataclass(frozen=True)
class Part:
    """The images of one split that are compared on: their rows of the manifest, and uint8 (N, 3, S, S)."""

    rows: pd.DataFrame
    pixels: torch.Tensor

    @property
    def labels(self) -> np.ndarray:
        """The labels (N,)."""
        return self.rows["label"].to_numpy()


Parts = dict[str, Part]


@stage
def shortlist(
    data: Path,
    manifest: Path,
    catalogue: Path,
    weights: Path,
    params: ShortlistParams,
    training: FinetuneParams,
    out: Path,
) -> None:
    """Score, fine-tune the best few, choose, and write why; `weights` is the folder that DVC keeps."""
    found, left_out = find_candidates(
        load_catalogue(catalogue),
        weights,
        Path(params.cache),
        params.include_hub,
        params.hub_timeout_s,
        dt.date.today(),
    )
    parts = load_parts(data, pd.read_parquet(manifest / "manifest.parquet"), params, training.image_size)
    entries, costs = [], {}
    for candidate in found:
        try:
            entry, costs[candidate.entry.name] = score_frozen(candidate, parts, params, training)
        except (AssertionError, RuntimeError, ValueError) as error:  # what timm raises at an image size that cannot be
            size = f"{training.image_size} pixels (finetune.image_size)"
            left_out[candidate.entry.name] = f"{candidate.entry.name} does not take images of {size}: {error}"
        else:
            entries.append(entry)
    usable = {candidate.entry.name: candidate for candidate in found}
    if not entries:
        raise BackboneRefused(f"no backbone of {catalogue} is allowed and at hand: {'; '.join(left_out.values())}")
    best = [entries[index].name for index in rank(entries)[: params.finalists]]
    finalists = [finetune_briefly(usable[name], parts, params, training) for name in best]
    selection = describe(entries, finalists, parts, usable, params) | {
        "left_out": [{"name": name, "reason": reason} for name, reason in sorted(left_out.items())],
        "images": {name: len(part.rows) for name, part in parts.items()},
        "params": params.model_dump(mode="json"),
    }
    write_selection(selection, out / FILE)
    (out / "cost.json").write_text(json.dumps({n: asdict(c) for n, c in costs.items()}, indent=1) + "\n", "utf-8")
    (out / "selection.html").write_text(selection_page(selection, costs, manifest.parent.name), encoding="utf-8")
    logger.info("left out, as selection.html says why: %s", ", ".join(sorted(left_out)) or "nothing")
    logger.info("%s", selection["why"][0])


def load_parts(data: Path, table: pd.DataFrame, params: ShortlistParams, size: int) -> Parts:
    """The images of train, validation and, where there is one, mirror; of more than `most_images` a random part."""
    parts = {}
    for split in SPLITS:
        rows = table[table["split"] == split]
        if len(rows) > params.most_images:
            rows = rows.sample(params.most_images, random_state=params.seed).sort_index()
        if len(rows):
            parts[split] = Part(rows, load_pixels(data, rows, size))
    return parts


def score_frozen(
    candidate: Candidate, parts: Parts, params: ShortlistParams, training: FinetuneParams
) -> tuple[Frozen, Cost]:
    """One candidate's scores on frozen features, and what it costs."""
    passport = candidate.passport
    with seeded(params.seed):
        options = network_options(passport, training.image_size)
        net = create_backbone(passport["architecture"], candidate.weights, 0, **options)
        net.eval().to("cuda" if torch.cuda.is_available() else "cpu").to(memory_format=torch.channels_last)
        features = {
            split: outputs_of(net, part.pixels, passport["mean"], passport["std"]).numpy()
            for split, part in parts.items()
        }
        cost = measure_cost(net, training.image_size)
    read = {split: read_frozen(features, parts, split, params) for split in parts if split != "train"}
    evidence = resampled_evidence(features["train"], parts["train"], params)
    shaken = [resampled_rate(hits, parts["validation"], params) for _, hits in read["validation"].values()]
    scores = {metric: finding for metric, (finding, _) in read["validation"].items()}
    scores["logme"] = evidence_finding(features["train"], parts["train"], evidence, params)
    mirror = {metric: finding for metric, (finding, _) in read.get("mirror", {}).items()}
    logger.info("%s: %s", candidate.entry.name, ", ".join(f"{METRICS[m]} {f.value:.3f}" for m, f in scores.items()))
    resampled = np.stack([*shaken, evidence], axis=1)
    return Frozen(candidate.entry.name, scores, mirror, resampled, read["validation"]["linear_probe"][1]), cost


def read_frozen(
    features: dict[str, np.ndarray], parts: Parts, split: str, params: ShortlistParams
) -> dict[str, tuple[Finding, np.ndarray]]:
    """The share of a split's images that the probe and the neighbours read rightly, and which images these are."""
    known, labels = features["train"], parts["train"].labels
    (probed,) = linear_probe(known, labels, parts["train"].rows["group"].to_numpy(), features[split])
    (voted,) = neighbours(known, labels, features[split])
    rows, truth = parts[split].rows, parts[split].labels
    return {
        metric: (estimate_rate(metric, split, said == truth, rows, intervals(params)), said == truth)
        for metric, said in (("linear_probe", probed), ("neighbours", voted))
    }


def resampled_rate(hits: np.ndarray, part: Part, params: ShortlistParams) -> np.ndarray:
    """The accuracy in each resample of the split's groups (or units), the same resamples for every backbone."""
    clusters = choose_clusters(part.rows, params.min_clusters)
    return bootstrap(lambda w: weighted_mean(hits, w)[:, None], clusters, params.resamples, params.seed)[:, 0]


def resampled_evidence(features: np.ndarray, part: Part, params: ShortlistParams) -> np.ndarray:
    """LogME in each half-sample of the split's groups (or units)."""
    clusters = choose_clusters(part.rows, params.min_clusters)
    return resampled_logme(features, part.labels, clusters.codes, params.resamples, params.seed)


def evidence_finding(features: np.ndarray, part: Part, resampled: np.ndarray, params: ShortlistParams) -> Finding:
    """LogME on the train split with the percentile interval of its half-samples."""
    clusters = choose_clusters(part.rows, params.min_clusters)
    low, high = percentiles(resampled, params.level)
    method = f"half-samples of {clusters.kind}"
    return Finding(
        "logme", "train", logme(features, part.labels), low, high, len(part.rows), clusters.count, method, params.level
    )


def finetune_briefly(candidate: Candidate, parts: Parts, params: ShortlistParams, training: FinetuneParams) -> Finalist:
    """Train with the project's settings and the shortlist's phases and rates; the best rate's result on validation."""
    classes = sorted({*parts["train"].labels, *parts["validation"].labels})
    tensors = {
        split: (parts[split].pixels, targets_of(parts[split].rows, classes)) for split in ("train", "validation")
    }
    brief = training.model_copy(update={"seed": params.seed, "phases": params.phases, "rates": params.rates})
    phases = long_enough(params.phases, len(parts["train"].rows), brief.batch_size, params.least_steps)
    passport = candidate.passport
    runs = [train(passport, candidate.weights, rate, phases, brief, tensors, len(classes)) for rate in params.rates]
    best = min(runs, key=lambda run: run.loss)
    pixels, targets = tensors["validation"]
    answers = outputs_of(best.net, pixels, passport["mean"], passport["std"]).argmax(1)
    hits = (answers == targets).numpy()
    accuracy = estimate_rate("accuracy", "validation", hits, parts["validation"].rows, intervals(params))
    logger.info("%s: %.3f on validation after the short fine-tune", candidate.entry.name, accuracy.value)
    return Finalist(candidate.entry.name, best.loss, best.rate, accuracy, hits)


def describe(
    entries: list[Frozen],
    finalists: list[Finalist],
    parts: Parts,
    usable: dict[str, Candidate],
    params: ShortlistParams,
) -> dict[str, Any]:
    """The record of the choice, without the entries that were left out."""
    winner = winner_of(finalists)
    rows = parts["validation"].rows
    differences = {
        other.name: estimate_gain("accuracy", "validation", signed(winner.hits, other.hits), rows, intervals(params))
        for other in finalists
        if other is not winner
    }
    about = {name: {key: c.entry.model_dump(mode="json")[key] for key in ABOUT} for name, c in usable.items()}
    described = describe_entries(entries, finalists, differences, about)
    pixels, gain = against_pixels(next(e for e in entries if e.name == winner.name).hits, parts, params)
    return {
        "winner": winner.name,
        "why": why(described, winner.name),
        "stability": stability(described, params.resamples),
        "expected": expectation(described, winner.name, pixels, gain),
        "regret": regret(described),
        "risks": risks(described, winner.name),
        "mirror_note": MIRROR_NOTE if "mirror" in parts else "This project names no deployment mirror.",
        "raw_pixels": asdict(pixels),
        "candidates": described,
    }


def against_pixels(hits: np.ndarray, parts: Parts, params: ShortlistParams) -> tuple[Finding, Finding]:
    """What a linear probe of the pixels reads of validation, and the paired gain of a backbone's `hits` over it."""
    train, asked = parts["train"], parts["validation"]
    known, groups = pixel_features(train.pixels), train.rows["group"].to_numpy()
    (said,) = linear_probe(known, train.labels, groups, pixel_features(asked.pixels))
    theirs = said == asked.labels
    rate = estimate_rate("linear_probe", "validation", theirs, asked.rows, intervals(params))
    return rate, estimate_gain("linear_probe", "validation", signed(hits, theirs), asked.rows, intervals(params))


def pixel_features(pixels: torch.Tensor) -> np.ndarray:
    """uint8 (N, 3, S, S) -> float32 (N, 3 x SIDE x SIDE): the images themselves, made small."""
    return F.adaptive_avg_pool2d(pixels.float(), SIDE).flatten(1).numpy()


def signed(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """1 where only we are right, -1 where only they are, else 0."""
    return ours.astype(float) - theirs.astype(float)


def intervals(params: ShortlistParams) -> EvaluateParams:
    """How the scores get their intervals, as the evaluation's own code asks for it."""
    return EvaluateParams(
        level=params.level,
        resamples=params.resamples,
        min_clusters=params.min_clusters,
        calibration_bins=15,
        seed=params.seed,
    )
