"""The transfer certificate: whether transfer was worth it, for whom, and how much of it is proven.

Here are the trials that it takes, and the document that is made of them: certificate.json, of which every figure of the
page and every sentence is a part.
"""

import math
from typing import Any

import pandas as pd

from tasks.arms import Arm, Key, Pair, accuracy_rows, calibration_rows, group_rows, read_arms
from tasks.claims import BASELINE, RECIPE, claims, not_shown
from tasks.crossed import estimate_over_seeds
from tasks.label_draws import Labels, curve_points
from tasks.params import METHODS, CertifyParams, EvaluateParams, FinetuneParams
from tasks.recipes import epochs_for, method_recipe
from tasks.trials import Ground, Outcome, Trial

NAME = "certificate"
PAIRS: list[Pair] = [(name, BASELINE) for name in METHODS if name != BASELINE]
PAIRS += [(RECIPE, name) for name in METHODS if name not in (BASELINE, RECIPE)]
AGAINST_BASELINE: list[Pair] = [pair for pair in PAIRS if pair[1] == BASELINE]


def certificate_trials(train: pd.DataFrame, finetune: FinetuneParams, certify: CertifyParams, seed: int) -> list[Trial]:
    """One seed's trials: every method at every number of labels."""
    found = []
    for labels, images in curve_points(train, certify.labels).items():
        epochs = epochs_for(images, certify, finetune)
        found += [
            Trial(recipe=method_recipe(name, finetune, certify, epochs), labels=labels, seed=seed) for name in METHODS
        ]
    return found


def at_chosen_rates(trials: list[Trial], tuned: list[Outcome]) -> list[Trial]:
    """The trials of another seed, at the rates that the first one chose."""
    best = {(outcome.name, outcome.labels): outcome.best for outcome in tuned}
    return [trial.at(best[trial.recipe.name, trial.labels]) for trial in trials]


def fallen_behind(trials: list[Trial], outcomes: list[Outcome], tuned: list[Outcome], factor: float) -> list[Trial]:
    """Those trials, at all rates, whose validation loss is more than `factor` times that of the seed that chose.

    A rate that suits one seed can collapse with another, most often from scratch with few labels: a baseline that is
    left to fail would make transfer look good. The rule looks at validation alone and is the same for all methods.
    """
    chosen = {(outcome.name, outcome.labels): outcome.losses[outcome.best] for outcome in tuned}
    return [
        trial
        for trial, outcome in zip(trials, outcomes, strict=True)
        if len(trial.recipe.rates) > 1
        and outcome.losses.get(outcome.best, math.inf) > factor * chosen[outcome.name, outcome.labels]
    ]


def replaced(outcomes: list[Outcome], later: list[Outcome]) -> list[Outcome]:
    """The outcomes, with the later ones of the same recipe, labels and seed in their places."""
    newer = {(outcome.name, outcome.labels, outcome.seed): outcome for outcome in later}
    return [newer.get((outcome.name, outcome.labels, outcome.seed), outcome) for outcome in outcomes]


def make_certificate(
    trials: list[Trial],
    outcomes: list[Outcome],
    manifest: pd.DataFrame,
    passport: dict[str, Any],
    certify: CertifyParams,
    evaluate: EvaluateParams,
    ground: Ground,
) -> dict[str, Any]:
    """The document: figures with intervals, the sentences that follow from them, and what they leave open."""
    arms = read_arms(trials, outcomes, manifest, ground)
    train = manifest[manifest["split"] == "train"]
    document: dict[str, Any] = {
        "backbone": {key: passport[key] for key in ("name", "architecture", "sha256")},
        "level": evaluate.level,
        "seeds": certify.seeds,
        "points": [
            {"labels": labels, "images": images, "epochs": _epochs(trials, labels)}
            for labels, images in curve_points(train, certify.labels).items()
        ],
        "chosen": chosen_rates(trials, outcomes, certify.seeds[0]),
        "accuracy": accuracy_rows(arms, manifest, PAIRS, evaluate),
        "calibration": calibration_rows(arms, manifest, AGAINST_BASELINE, evaluate),
        "groups": group_rows(arms, manifest, AGAINST_BASELINE, evaluate, certify.min_slice),
        "forgetting": forgetting_rows(arms, evaluate.level),
    }
    document["claims"] = claims(document, certify.min_slice)
    document["not_shown"] = list(not_shown(document, manifest, certify, evaluate))
    return document


def chosen_rates(trials: list[Trial], outcomes: list[Outcome], tuning_seed: int) -> list[dict[str, Any]]:
    """What the grids came to; `edge` says where the best rate is the lowest or the highest of a grid of several."""
    rows = []
    for trial, outcome in zip(trials, outcomes, strict=True):
        if trial.seed != tuning_seed:
            continue
        others = [o for o in outcomes if (o.name, o.labels) == (outcome.name, outcome.labels) and o.seed != tuning_seed]
        own = [{"seed": o.seed, "rate": o.best} for o in others if len(o.losses) > 1]
        grid = sorted(trial.recipe.rates)
        edge = "the highest" if outcome.best == grid[-1] else "the lowest" if outcome.best == grid[0] else ""
        losses = [{"rate": rate, "validation_loss": outcome.losses.get(rate)} for rate in grid]
        head = {"method": trial.recipe.name, "labels": trial.labels, "rate": outcome.best}
        rows.append({**head, "edge": edge, "grid": losses, "seeds_of_their_own": own})
    return rows


def forgetting_rows(arms: dict[Key, Arm], level: float) -> list[dict[str, Any]]:
    """CKA to the pretrained features and the probe of the source task, mean and interval over seeds."""
    rows = []
    for (method, labels), arm in arms.items():
        after = [facts["source_after"] for facts in arm.facts if "source_after" in facts]
        rows.append(
            {
                "method": method,
                "labels": labels,
                "cka": estimate_over_seeds([facts["cka"] for facts in arm.facts], level),
                "source_before": arm.facts[0].get("source_before"),
                "source_after": estimate_over_seeds(after, level) if after else None,
            }
        )
    return rows


def _epochs(trials: list[Trial], labels: Labels) -> int:
    return next(trial.epochs for trial in trials if trial.labels == labels)
