"""Tables of predictions and a manifest, drawn from a seed: real in form, small in size."""

import numpy as np
import pandas as pd

from tasks.external import no_answers
from tasks.params import EvaluateParams
from tasks.predictions import ATTRIBUTED

CLASSES = ["a", "b", "c"]
PARAMS = EvaluateParams(level=0.95, resamples=300, min_clusters=10, calibration_bins=10, seed=3)


def draw_manifest(test: int = 60, scans: int = 12, train: int = 6) -> pd.DataFrame:
    """`test` test images that stand alone, `scans` scans of the mirror under three conditions each, 40 to calibrate."""
    rows = [("train", f"train/{i}", i, "as scanned") for i in range(train)]
    rows += [("validation", f"validation/{i}", i, "as scanned") for i in range(6)]
    rows += [("test", f"test/{i}", i, "as scanned") for i in range(test)]
    conditions = ("faded", "noise", "white on dark")
    rows += [("mirror", f"mirror/{i} {condition}", i, condition) for i in range(scans) for condition in conditions]
    rows += [("calibration", f"calibration/{i}", i, "as scanned") for i in range(40)]
    table = pd.DataFrame(rows, columns=["split", "image_id", "number", "slice_condition"])
    table["label"] = [CLASSES[n % len(CLASSES)] for n in table["number"]]
    table["group"] = [f"{split} {n % 4}" for split, n in zip(table["split"], table["number"], strict=True)]
    table["unit"] = table["image_id"].where(table["split"] != "mirror", "mirror/" + table["number"].astype(str))
    table["path"] = table["image_id"]
    return table.drop(columns="number")


def draw_predictions(manifest: pd.DataFrame, skill: float, seed: int, model: str | None = None) -> pd.DataFrame:
    """Predictions for all but train; more `skill` makes more of them right."""
    rows = manifest[manifest["split"] != "train"].reset_index(drop=True)
    random = np.random.default_rng(seed)
    truth = pd.Index(CLASSES).get_indexer(rows["label"])
    scores = random.normal(size=(len(rows), len(CLASSES))) + skill * np.eye(len(CLASSES))[truth]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    columns = {f"prob_{label}": probabilities[:, k] for k, label in enumerate(CLASSES)}
    predicted = [CLASSES[k] for k in probabilities.argmax(axis=1)]
    return pd.DataFrame(
        {
            "image_id": rows["image_id"],
            "condition": "as taken",
            "predicted": predicted,
            "model": model or f"{seed:064x}",
        }
    ).assign(**columns)


def draw_tables(manifest: pd.DataFrame, ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Every table that evaluators read, by its name."""
    tables = {"predictions": ours, "scratch_predictions": theirs, "manifest": manifest}
    return tables | {
        "stress": draw_stress(manifest, ours, theirs),
        "attributions": draw_attributions(manifest, ours),
        "embeddings": draw_embeddings(manifest, 3, model=str(ours["model"].iloc[0])),
        "cases": draw_cases(ours),
        "external": no_answers(),
    }


def draw_cases(ours: pd.DataFrame) -> pd.DataFrame:
    """The first three answers as must-pass cases that were read right."""
    said = {"added": "2026-03-01", "provenance": "drawn", "why": "a test", "at_least": np.nan}
    rows = ours.head(3).drop(columns="condition").assign(**said).reset_index(drop=True)
    return rows.assign(case=[f"case-{place}" for place in rows.index], label=rows["predicted"])


def draw_stress(manifest: pd.DataFrame, ours: pd.DataFrame, theirs: pd.DataFrame, skill: float = 2) -> pd.DataFrame:
    """What two models say of 30 test images under two corruptions, a scanner's fault and an attack; skill falls."""
    rows = manifest[manifest["split"] == "test"].head(30)
    conditions = [("corruption", f"{kind} {s}", s) for kind in ("shot noise", "fog") for s in (1, 3)]
    conditions += [("scanner", "faded 3", 3), ("attack", "pgd 2/255", 4)]
    parts = []
    for place, (family, name, severity) in enumerate(conditions):
        for seed, model in enumerate((ours, theirs)):
            answers = draw_predictions(rows, skill - severity / 2 - seed, 2 * place + seed, model["model"].iloc[0])
            parts.append(answers.assign(condition=name, family=family))
    return pd.concat(parts, ignore_index=True)


def draw_attributions(manifest: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """What the stage attribute says of 20 test images."""
    rows, random = manifest[manifest["split"] == "test"].head(20), np.random.default_rng(5)
    shares = {name: random.uniform(0, 1, 20) for name in ATTRIBUTED}
    shares |= {name: (values < 0.2).astype(float) for name, values in shares.items() if name.endswith("changes")}
    return pd.DataFrame({"image_id": rows["image_id"].to_numpy(), "model": ours["model"].iloc[0], **shares})


def draw_embeddings(manifest: pd.DataFrame, seed: int, skill: float = 2, model: str = f"{1:064x}") -> pd.DataFrame:
    """What the stage embed might say: clouds of features by class, no two images alike, a probe of some skill."""
    random = np.random.default_rng(seed)
    truth, n = pd.Index(CLASSES).get_indexer(manifest["label"]), len(manifest)
    features = random.normal(size=(n, 6)) + 2 * np.eye(len(CLASSES), 6)[truth]
    scores = random.normal(size=(n, len(CLASSES))) + skill * np.eye(len(CLASSES))[truth]
    told = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    columns: dict[str, object] = {"image_id": manifest["image_id"], "picture": [f"{i:064x}" for i in range(n)]}
    columns |= {
        "hash": [f"{b:016x}" for b in random.integers(0, 2**64, n, dtype=np.uint64)],
        "personal": "",
        "model": model,
    }
    columns |= {"embedding": list(features.astype(np.float16))}
    for prefix, splits in (("reference_", ("train", "test")), ("prob_", ("train",))):
        inside = manifest["split"].isin(splits).to_numpy()[:, None]
        columns |= {prefix + c: np.where(inside, told, np.nan)[:, k] for k, c in enumerate(CLASSES)}
    return pd.DataFrame(columns)
