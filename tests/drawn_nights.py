"""Scored windows and a champion's evidence, drawn from a seed without a model: real in form, small in size."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.findings import Finding, write_findings
from tasks.night_tables import CONTRACT, EMBEDDINGS, PREDICTIONS, SCORES, WINDOW, ScoredWindow
from tasks.versions import Served

MODEL = "m" * 64
CLASSES = np.array(["cat", "dog"])


def draw_window(
    root: Path,
    night: str,
    images: int = 30,
    wrong: int = 0,
    labelled: int | None = None,
    shift: float = 0,
    seed: int = 0,
) -> ScoredWindow:
    """The answers to `images`, the first `wrong` of them wrong and the first `labelled` with a label; `shift` moves
    what the model sees."""
    random, folder = np.random.default_rng([seed, *night.encode()]), root / night
    (folder / SCORES / MODEL).mkdir(parents=True)
    names, truth = [f"{place:03d}.png" for place in range(images)], np.arange(images) % 2
    told = truth ^ (np.arange(images) < wrong)
    confidence = random.uniform(0.6, 0.99, images)
    labels = np.where(np.arange(images) < (images if labelled is None else labelled), CLASSES[truth], "")
    table = pd.DataFrame({"image_id": names, "path": names, "label": labels, "group": names})
    table = table.assign(unit=[f"{night}/{name}" for name in names], sha256=[f"{night}{name}" for name in names])
    table["slice_device"] = np.where(np.arange(images) % 3, "new", "old")
    for column in ("width", "height", "brightness", "contrast", "sharpness"):
        table[column] = random.normal(100, 5, images)
    table.to_parquet(folder / WINDOW, index=False)
    (folder / CONTRACT).write_text('{"checks": []}')
    answers = pd.DataFrame({"image_id": names, "predicted": CLASSES[told], "model": "w" * 64})
    answers["prob_cat"] = np.where(told == 0, confidence, 1 - confidence)
    answers["prob_dog"] = 1 - answers["prob_cat"]
    answers.to_parquet(folder / SCORES / MODEL / PREDICTIONS, index=False)
    seen = random.normal(shift, 1, (images, 4)).astype(np.float16)
    np.save(folder / SCORES / MODEL / EMBEDDINGS, seen)
    return ScoredWindow(night, folder)


def break_contract(window: ScoredWindow) -> None:
    """One rule that does not hold."""
    check = {"says": "labels are known", "success": False, "unexpected": None, "first": [], "observed": "bird"}
    (window.folder / CONTRACT).write_text(json.dumps({"checks": [check]}))


def draw_served(folder: Path, accuracy: float = 0.95, right: float = 0.9, images: int = 200) -> Served:
    """A version accepted with at least `accuracy` on test, a share `right` of its calibration images answered right."""
    released = folder / "released"
    released.mkdir(parents=True)
    places = {"test": accuracy, "test/device=new": accuracy, "test/device=old": accuracy}
    findings = [Finding("accuracy", s, (1 + low) / 2, low, 1.0, 100, 100, "drawn") for s, low in places.items()]
    findings += [Finding("brier", "test", 0.01, 0.005, 0.02, 100, 100, "drawn")]
    write_findings(findings, released / "report.json")
    names, predicted = [f"c{place}" for place in range(images)], np.arange(images) % 2
    truth = predicted ^ (np.arange(images) >= right * images)
    manifest = pd.DataFrame({"image_id": names, "label": CLASSES[truth], "split": "calibration"})
    manifest.assign(group=names, unit=names).to_parquet(released / "manifest.parquet", index=False)
    confidence = np.random.default_rng(0).uniform(0.6, 0.99, images)
    answers = pd.DataFrame({"image_id": names, "predicted": CLASSES[predicted], "model": "w" * 64})
    answers["prob_cat"] = np.where(predicted == 0, confidence, 1 - confidence)
    answers["prob_dog"] = 1 - answers["prob_cat"]
    answers.to_parquet(released / "predictions.parquet", index=False)
    return Served("1", MODEL, folder, 1)
