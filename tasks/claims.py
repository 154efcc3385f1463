"""What a certificate lets one say, and what it does not: sentences made from intervals and from nothing else."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasks.arms import Row, small_slices
from tasks.label_draws import Labels, describe_labels
from tasks.params import CertifyParams, EvaluateParams
from tasks.resampling import choose_clusters
from tasks.slices import JUDGED, iter_splits
from tasks.trials import SIMULATED

RECIPE, BASELINE = "gradual", "scratch"  # what a claim about pretraining compares


def describe_place(place: str) -> str:
    """`test`, `mirror/condition=faded`, `test under simulated noise, severity 3`."""
    if not place.startswith(SIMULATED):
        return place
    condition, severity = place.removeprefix(SIMULATED).rsplit(" ", 1)
    return f"test under simulated {condition}, severity {severity}"


def points(row: Row, sign: str = "+") -> str:
    """`+12.1 pp [+8.0, +16.4]`."""
    value, low, high = (100 * row[key] for key in ("value", "low", "high"))
    return f"{value:{sign}.1f} pp [{low:{sign}.1f}, {high:{sign}.1f}]"


def percent(row: Row) -> str:
    """`93.8 % [91.3, 95.5]`."""
    return f"{100 * row['value']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def turned(row: Row) -> Row:
    """The same difference seen from the other side."""
    return {**row, "value": -row["value"], "low": -row["high"], "high": -row["low"]}


def basis(row: Row) -> str:
    """`n = 1290 from 258 units`."""
    kind = row["interval"].rsplit(" ", 1)[-1]
    return f"n = {row['n']}" + (f" from {row['clusters']} {kind}" if row["clusters"] != row["n"] else "")


def gain_sentence(row: Row) -> str:
    """What pretraining does at one number of labels, in one place."""
    where = f"at {describe_labels(row['labels'])} on {describe_place(row['place'])}"
    if row["low"] > 0:
        return f"Pretraining adds {points(row, '')} of accuracy {where} ({basis(row)})."
    if row["high"] < 0:
        return f"Pretraining costs {points(turned(row), '')} of accuracy {where} ({basis(row)})."
    return f"No proven gain from pretraining {where}: {points(row)} ({basis(row)})."


def method_sentence(row: Row) -> str:
    """How the project's recipe compares with another one."""
    where = f"at {describe_labels(row['labels'])} on {describe_place(row['place'])}"
    ours, theirs = row["method"], row["against"]
    if row["low"] > 0:
        return f"{ours.capitalize()} is better than {theirs} by {points(row, '')} {where}."
    if row["high"] < 0:
        return f"{ours.capitalize()} is worse than {theirs} by {points(turned(row), '')} {where}."
    return f"{ours.capitalize()} is not proven better than {theirs} {where}: {points(row)}."


def change_sentence(row: Row, what: str) -> str:
    """A difference from another recipe in some other figure than plain accuracy."""
    verdict = (
        "is proven larger" if row["low"] > 0 else "is proven smaller" if row["high"] < 0 else "is not proven other"
    )
    where = f"at {describe_labels(row['labels'])} on {row['place'].split('/')[0]}"
    return f"{what} {where} {verdict} with {row['method']} than with {row['against']}: {points(row)}."


def pick(rows: list[Row], **wanted: Any) -> list[Row]:
    """The rows whose named entries are as wanted."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def claims(document: dict[str, Any], min_slice: int) -> dict[str, list[str]]:
    """The sentences that one may claim, by subject."""
    rows, most = document["accuracy"], document["points"][-1]["labels"]
    gains = [row for row in pick(rows, method=RECIPE, against=BASELINE) if row["n"] >= min_slice]
    splits = [row for row in gains if row["place"] in JUDGED]
    parts = proven_first(pick(gains, labels=most), whole={row["place"]: row["n"] for row in splits})
    others = [row for row in pick(rows, method=RECIPE) if row["against"] not in (None, BASELINE)]
    gaps = pick(document["groups"], metric="group gap", method=RECIPE, against=BASELINE)
    worst = pick(document["groups"], metric="worst group", method=RECIPE, against=BASELINE, labels=most)
    errors = pick(document["calibration"], metric="ece", method=RECIPE, against=BASELINE, labels=most)
    return {
        "What pretraining adds": [gain_sentence(row) for row in splits],
        f"Under each condition and in each slice, at {describe_labels(most)}": [gain_sentence(row) for row in parts],
        "How to fine-tune": [method_sentence(row) for row in others if row["place"] in JUDGED],
        "Calibration": [change_sentence(row, "Calibration error after temperature") for row in errors],
        "Forgetting": list(forgetting_sentences(document["forgetting"], most)),
        "Groups": [
            change_sentence(row, f"The gap in accuracy between the best and the worst {row['place'].split('/')[1]}")
            for row in gaps
        ]
        + [change_sentence(row, f"The accuracy of the worst {row['place'].split('/')[1]}") for row in worst],
    }


def proven_first(rows: list[Row], whole: dict[str, int]) -> list[Row]:
    """The rows of conditions and slices, those that prove something first; a slice that is its whole split is left out.

    `whole` is the number of images of each split.
    """
    parts = [
        row
        for row in rows
        if row["place"].startswith(SIMULATED) or row["n"] < whole[row["place"].split("/", maxsplit=1)[0]]
    ]
    return sorted((row for row in parts if row["place"] not in whole), key=lambda row: row["low"] <= 0 <= row["high"])


def forgetting_sentences(rows: list[Row], labels: Labels) -> Iterator[str]:
    """How near the features stayed to the pretrained ones, and what became of the source task."""
    for row in pick(rows, labels=labels):
        if row["method"] not in ("full", RECIPE):
            continue
        mean, low, high = row["cka"]
        yield (
            f"With {row['method']} at {describe_labels(labels)} the features keep a linear CKA of "
            f"{mean:.2f} [{low:.2f}, {high:.2f}] to the pretrained ones on test (over seeds)."
        )
        if row["source_after"] is not None:
            mean, low, high = (100 * x for x in row["source_after"])
            yield (
                f"A linear probe of the source task reads {100 * row['source_before']:.1f} % before and "
                f"{mean:.1f} % [{low:.1f}, {high:.1f}] after {row['method']} (over seeds)."
            )


def not_shown(
    document: dict[str, Any], manifest: pd.DataFrame, certify: CertifyParams, evaluate: EvaluateParams
) -> Iterator[str]:
    """What the figures leave open, a sentence each."""
    budget = ", ".join(f"{p['epochs']} at {describe_labels(p['labels'])}" for p in document["points"])
    sizes = manifest["split"].value_counts()
    yield (
        f"Other pretraining: all figures rest on one pretraining run, the weights of {document['backbone']['name']}; "
        "another run or another backbone may differ by more than the intervals."
    )
    yield f"Longer training: every method had the same epochs ({budget}); with more of them scratch may catch up."
    yield (
        f"Fewer labels in all: the labels a class count training images alone; {sizes['validation']} labelled "
        f"validation images chose rates and epochs, and {sizes['calibration']} calibration images the temperature, "
        "at every number of labels."
    )
    yield from rate_sentences(document["chosen"], certify)
    if "mirror" not in set(manifest["split"]):
        yield "Deployment: the project names no mirror, so nothing is said of the place where the model will work."
    at = ", ".join(map(str, certify.severities)) or "none"
    yield f"Conditions other than those listed, and severities other than {at} (of 1 to 5), were not measured."
    small = small_slices(manifest, certify.min_slice)
    if small:
        yield f"Slices with fewer than {certify.min_slice} images carry no claim: {', '.join(small)}."
    for split, rows in iter_splits(manifest):
        groups, kind = rows["group"].nunique(), choose_clusters(rows, evaluate.min_clusters).kind
        if kind != "groups" and groups < len(rows):
            yield f"Other groups: {split} holds {groups}, too few to resample; its intervals speak for these alone."
    if document["forgetting"][0]["source_after"] is None:
        yield "Forgetting of the source task: the task of this backbone is not known here, so no probe of it was taken."
    count = sum(row["against"] is not None for kind in ("accuracy", "calibration", "groups") for row in document[kind])
    yield (
        f"All at once: each interval holds for itself, and of the {count} comparisons in certificate.json about "
        f"{100 * (1 - evaluate.level):g} % would seem proven if nothing differed anywhere."
    )
    yield (
        "True gaps of one training: gap and worst group are those of the accuracies averaged over the seeds; noise "
        "widens a gap, which the intervals allow for and the value does not."
    )


def rate_sentences(chosen: list[dict[str, Any]], certify: CertifyParams) -> Iterator[str]:
    """How far the search for the learning rates went."""
    own = []
    for row in chosen:
        if row["seeds_of_their_own"]:
            seeds = ", ".join(str(found["seed"]) for found in row["seeds_of_their_own"])
            own.append(f"{row['method']} at {describe_labels(row['labels'])} (seed {seeds})")
    yield (
        f"Each seed's own best rate: seed {certify.seeds[0]} chose for all; a seed whose validation loss was more than "
        f"{certify.retune:g} times as high tried the whole grid: {'; '.join(own) or 'none did'}."
    )
    yield from edges(chosen)


def edges(chosen: list[dict[str, Any]]) -> Iterator[str]:
    """Where a better rate may lie outside of what was tried."""
    found = [
        f"{c['method']} at {describe_labels(c['labels'])} ({c['rate']:g}, {c['edge']})" for c in chosen if c["edge"]
    ]
    if found:
        yield f"Rates outside the grids: the best rate is the edge of its grid for {', '.join(found)}."
