"""Train one recipe at every rate of its grid, and measure the network with the lowest validation loss.

Measured are the answers on test, on the deployment mirror and on the test images under each simulated condition, the
temperature that the answers were divided by, and what was forgotten. Rates are compared on validation alone: the
images that are measured here are seen by no choice.
"""

import functools
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import nn

from tasks.conditions import CONDITIONS, apply_condition
from tasks.errors import BadInput
from tasks.finetune import Trained, fit_temperature, network_options, targets_of, train
from tasks.forgetting import features_of, linear_cka, probe_accuracy, source_pictures
from tasks.label_draws import describe_labels, draw_labels
from tasks.pixels import load_pixels
from tasks.scorer import outputs_of
from tasks.slices import JUDGED
from tasks.trials import (
    WEIGHTS,
    Ground,
    Outcome,
    Trial,
    file_stem,
    read_measured,
    read_passport,
    read_trained,
    simulated_place,
    write_measured,
    write_trained,
)
from tasks.weights import create_backbone

Part = tuple[pd.DataFrame, torch.Tensor]  # rows of the manifest, their pixels


@task(cache_policy=NO_CACHE)
def run_trial(trial: Trial, ground: Ground) -> Outcome:
    """Do what is missing of a trial, and say how its rates fared; its files lie under `ground.out`."""
    with working_quietly():
        losses: dict[float, float] = {}
        kept: Trained | None = None  # the best network that this call trained
        for rate in trial.recipe.rates:
            stem = file_stem(trial, rate, ground)
            facts = read_trained(stem)
            if facts is None:
                trained = fit(trial, rate, ground)
                facts = {"rate": rate, "loss": finite(trained.loss), "epochs": len(trained.curve)}
                write_trained(stem, facts)
                kept = trained if trained.loss <= min(losses.values(), default=math.inf) else kept
            losses[rate] = math.inf if facts["loss"] is None else facts["loss"]
        best = best_of(losses, trial)
        stem = file_stem(trial, best, ground)
        if read_measured(stem) is None:
            net = kept.net if kept and kept.rate == best else fit(trial, best, ground).net
            write_measured(stem, *measure(net, trial, ground))
    finished = {rate: loss for rate, loss in losses.items() if math.isfinite(loss)}
    return Outcome(name=trial.recipe.name, labels=trial.labels, seed=trial.seed, losses=finished, best=best)


def best_of(losses: dict[float, float], trial: Trial) -> float:
    """The rate with the lowest validation loss."""
    best = min(losses, key=losses.__getitem__)
    if not math.isfinite(losses[best]):
        raise BadInput(
            f"{trial.recipe.name} at {describe_labels(trial.labels)} diverged at every rate, {list(losses)}; "
            "give lower ones in params.yaml, section certify"
        )
    return best


def finite(loss: float) -> float | None:
    """JSON has no infinity, which is the loss of a run that diverged."""
    return loss if math.isfinite(loss) else None


def fit(trial: Trial, rate: float, ground: Ground) -> Trained:
    """Train at one rate on the labels that the trial's seed draws."""
    params = trial.recipe.params.model_copy(update={"seed": trial.seed})
    passport, parts = read_passport(ground), load_parts(ground, params.image_size)
    rows, pixels = parts["train"]
    drawn = draw_labels(rows, trial.labels, trial.seed)
    classes = classes_of(parts)
    tensors = {
        "train": (pixels[torch.from_numpy(rows.index.get_indexer(drawn.index))], targets_of(drawn, classes)),
        **{name: (parts[name][1], targets_of(parts[name][0], classes)) for name in ("validation", "calibration")},
    }
    weights = ground.backbone / WEIGHTS if trial.recipe.pretrained else None
    groups = parts["validation"][0]["group"].tolist()  # for the test that ends the unfreezing
    return train(passport, weights, rate, trial.recipe.phases, params, tensors, len(classes), groups)


def measure(net: nn.Module, trial: Trial, ground: Ground) -> tuple[dict[str, Any], pd.DataFrame]:
    """The facts of a trained network, and its answers: place, image_id, truth, predicted, and two probabilities."""
    size = trial.recipe.params.image_size
    passport, parts = read_passport(ground), load_parts(ground, size)
    mean, std, classes = passport["mean"], passport["std"], classes_of(parts)
    rows, pixels = parts["calibration"]
    temperature = fit_temperature(net, passport, pixels, targets_of(rows, classes))
    answers = []
    for place, (rows, pixels) in places(ground, size).items():
        probabilities = torch.softmax(outputs_of(net, pixels, mean, std).double() / temperature, dim=1).numpy()
        truth = targets_of(rows, classes).numpy()
        answers.append(
            pd.DataFrame(
                {
                    "place": place,
                    "image_id": rows["image_id"].to_numpy(),
                    "truth": truth.astype(np.int16),
                    "predicted": probabilities.argmax(axis=1).astype(np.int16),
                    "told": probabilities[np.arange(len(truth)), truth],  # of the true class
                    "confidence": probabilities.max(axis=1),
                }
            )
        )
    before = features_before(ground, size)
    facts: dict[str, Any] = {"temperature": temperature}
    facts |= {"cka": linear_cka(before.test, features_of(net, before.pixels, mean, std))}
    if before.source is not None:
        pictures, figures = before.source
        facts |= {"source_before": before.source_accuracy}
        facts |= {"source_after": probe_accuracy(features_of(net, pictures, mean, std), figures)}
    return facts, pd.concat(answers, ignore_index=True)


@dataclass(frozen=True)
class Before:
    """The pretrained network before any fine-tuning: features of the test images, and its own task where known."""

    pixels: torch.Tensor
    test: np.ndarray
    source: tuple[torch.Tensor, np.ndarray] | None
    source_accuracy: float | None


@functools.lru_cache(maxsize=1)
def features_before(ground: Ground, size: int) -> Before:
    """What fine-tuned networks are compared with; the same for all trials, so worked out once a process."""
    passport = read_passport(ground)
    mean, std = passport["mean"], passport["std"]
    options = network_options(passport, size)
    net = create_backbone(passport["architecture"], ground.backbone / WEIGHTS, 0, **options).eval()
    pixels = load_parts(ground, size)["test"][1]
    file = passport["weights"].get("file")
    source = source_pictures(Path(file), size) if file else None
    accuracy = probe_accuracy(features_of(net, source[0], mean, std), source[1]) if source else None
    return Before(pixels, features_of(net, pixels, mean, std), source, accuracy)


@functools.lru_cache(maxsize=1)
def load_parts(ground: Ground, size: int) -> dict[str, Part]:
    """Each split's rows and pixels, decoded once a process."""
    table = pd.read_parquet(ground.manifest / "manifest.parquet")
    parts = {}
    for name, rows in table.groupby("split"):
        kept = rows.reset_index(drop=True)
        parts[str(name)] = (kept, load_pixels(ground.data, kept, size))
    return parts


@functools.lru_cache(maxsize=1)
def places(ground: Ground, size: int) -> dict[str, Part]:
    """Everywhere that a network is measured: test, mirror, and test under each simulated condition."""
    parts = load_parts(ground, size)
    found = {name: parts[name] for name in JUDGED if name in parts}
    rows, pixels = parts["test"]
    for severity in ground.severities:
        for condition in CONDITIONS:
            found[simulated_place(condition, severity)] = (rows, simulate(condition, pixels, severity))
    return found


def simulate(condition: str, pixels: torch.Tensor, severity: int) -> torch.Tensor:
    """The condition on every image of uint8 (N, 3, S, S); the channels of an image share what is drawn at random."""
    changed = np.empty(pixels.shape, dtype=np.uint8)
    for place, image in enumerate(pixels.numpy()):
        for channel, scan in enumerate(image.astype(np.float32)):
            random = np.random.default_rng([severity, place])
            changed[place, channel] = apply_condition(condition, scan, severity, random).round()
    return torch.from_numpy(changed)


def classes_of(parts: dict[str, Part]) -> list[str]:
    """All labels, in the order of the classifier's outputs."""
    return sorted(set().union(*(rows["label"] for rows, _ in parts.values())))


@contextmanager
def working_quietly() -> Iterator[None]:
    """One thread, so that trials side by side do not fight for cores; and a line a trial, not a line a phase."""
    chatty = logging.getLogger("tasks")
    threads, level = torch.get_num_threads(), chatty.level
    torch.set_num_threads(1)
    chatty.setLevel(logging.WARNING)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        chatty.setLevel(level)
