"""The ablation: what each ingredient of the recipe is worth, found by leaving it out.

Every variant has the same seeds, labels and budget as the full recipe, and its own rate from a grid of the same length.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasks.arms import Pair, Row, accuracy_rows, read_arms
from tasks.certificate import chosen_rates
from tasks.claims import describe_place, pick, points, rate_sentences, turned
from tasks.label_draws import describe_labels, draw_labels
from tasks.params import CertifyParams, EvaluateParams, FinetuneParams
from tasks.recipes import FULL_RECIPE, ablation_recipes, epochs_for
from tasks.trials import Ground, Outcome, Trial

NAME = "ablation"


def ablation_trials(train: pd.DataFrame, finetune: FinetuneParams, certify: CertifyParams, seed: int) -> list[Trial]:
    """One seed's trials: the full recipe, and each ingredient left out in turn."""
    labels = certify.ablate_labels
    epochs = epochs_for(len(draw_labels(train, labels, seed)), certify, finetune)
    return [Trial(recipe=recipe, labels=labels, seed=seed) for recipe in ablation_recipes(finetune, certify, epochs)]


def make_ablation(
    trials: list[Trial],
    outcomes: list[Outcome],
    manifest: pd.DataFrame,
    passport: dict[str, Any],
    certify: CertifyParams,
    evaluate: EvaluateParams,
    ground: Ground,
) -> dict[str, Any]:
    """The document: accuracy of every variant, and what the full recipe has over it."""
    arms = read_arms(trials, outcomes, manifest, ground)
    names = [name for name, _ in arms]
    pairs: list[Pair] = [(FULL_RECIPE, name) for name in names if name != FULL_RECIPE]
    rows = accuracy_rows(arms, manifest, pairs, evaluate)
    document = {
        "backbone": {key: passport[key] for key in ("name", "architecture", "sha256")},
        "level": evaluate.level,
        "seeds": certify.seeds,
        "labels": certify.ablate_labels,
        "epochs": trials[0].epochs,
        "ingredients": [name for name in names if name != FULL_RECIPE],
        "chosen": chosen_rates(trials, outcomes, certify.seeds[0]),
        "accuracy": rows,
    }
    worth = [row for row in pick(rows, method=FULL_RECIPE) if row["against"] and row["place"] in ("test", "mirror")]
    document["claims"] = {f"At {describe_labels(certify.ablate_labels)}": [ingredient_sentence(row) for row in worth]}
    document["not_shown"] = list(left_open(document, certify))
    return document


def ingredient_sentence(row: Row) -> str:
    """What one ingredient adds to the recipe in one place."""
    what, where = row["against"], describe_place(row["place"])
    if row["low"] > 0:
        return f"{what.capitalize()} adds {points(row, '')} of accuracy on {where}."
    if row["high"] < 0:
        return f"{what.capitalize()} costs {points(turned(row), '')} of accuracy on {where}."
    return f"{what.capitalize()} is not proven to matter on {where}: {points(row)}."


def left_open(document: dict[str, Any], certify: CertifyParams) -> Iterator[str]:
    """What leaving out one ingredient at a time does not tell."""
    yield "Ingredients that stand in for each other: each was left out alone; two that do the same may both seem idle."
    yield f"Other label counts than {describe_labels(certify.ablate_labels)}, and other strengths of an ingredient."
    yield from rate_sentences(document["chosen"], certify)
    yield f"Another backbone: all figures rest on the weights of {document['backbone']['name']}."
