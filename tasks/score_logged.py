"""Take what the models answered in production from a window of the log, and ask them only where they did not.

What the clients got is what is judged, also where the image was not kept. A model that did not answer an image (an
earlier version, a challenger out of the request's path) is asked now, where the image was kept; where it was not, that
model has no answer to it.
"""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.contracts import CONTEXT
from tasks.digests import identity, sha256_file
from tasks.errors import DataRejected, NoImages
from tasks.folders import METADATA, with_measures
from tasks.images import decode
from tasks.logged_window import ANSWERS, TRAFFIC, say_traffic
from tasks.night_tables import KEPT, SCORES, WINDOW, ScoredWindow, window_table
from tasks.params import CheckDataParams
from tasks.penultimate import FeatureScorer
from tasks.project import Project
from tasks.score_window import CHUNK, MADE_FROM, forget_others, hold_to_contract, keep, made_from
from tasks.scorer import WEIGHTS, to_pixels
from tasks.window_of_log import PROBLEM, SOURCE
from tasks.windows import Window

logger = logging.getLogger("tasks.score_logged")


def is_logged(window: Window) -> bool:
    """Whether the window is one of the prediction log."""
    return (window.folder / SOURCE).is_file()


def is_current(window: Window, scored: ScoredWindow) -> bool:
    """Whether no row of the log came to the window or was forgotten since it was scored; True for any other window."""
    if not is_logged(window) or not (window.folder / ANSWERS).is_file():
        return True
    made = [json.loads(file.read_text(encoding="utf-8")) for file in scored.folder.glob(f"{SCORES}/*/{MADE_FROM}")]
    answers = sha256_file(window.folder / ANSWERS)
    return all(source.get("log") == answers for source in made)


@task(cache_policy=NO_CACHE)
def score_logged(
    window: Window, about: Project, params: CheckDataParams, models: list[Path], out: Path, contracts: Path = CONTEXT
) -> ScoredWindow:
    """Write what tasks/score_window.py writes, from a window of the log; the first of the `models` is the champion.

    NoImages where no request was answered; DataRejected where the day's files cannot be read, or the champion answered
    no image and none was kept.
    """
    if (window.folder / PROBLEM).is_file():
        raise DataRejected((window.folder / PROBLEM).read_text(encoding="utf-8"))
    logged = pd.read_parquet(window.folder / ANSWERS)
    if logged.empty:
        raise NoImages(say_traffic(json.loads((window.folder / TRAFFIC).read_text(encoding="utf-8"))))
    measured = measured_images(window.folder, logged)
    source = made_from(list(measured["path"]), list(measured["sha256"]))
    source |= {"log": sha256_file(window.folder / ANSWERS)}
    forget_others(source, out)
    out.mkdir(parents=True, exist_ok=True)
    for number, model in enumerate(models):
        place = out / SCORES / identity(model)
        if (
            not place.is_dir()
            and not keep_answers(window.folder, measured, logged, model, source, place)
            and not number
        ):
            raise DataRejected(
                f"the champion answered none of the {len(measured)} images that came, and none was kept to ask it now"
            )
    asked = params.model_copy(update={"require_consent": False, "require_licence": False})  # asked at the door
    hold_to_contract(measured, about, asked, models[0], out, contracts)
    table = window_table(measured, about, window.name).assign(**{KEPT: measured[KEPT]})
    table.to_parquet(out / WINDOW, index=False)
    return ScoredWindow(window.name, out)


def measured_images(folder: Path, logged: pd.DataFrame) -> pd.DataFrame:
    """A row an image, by path: the columns of metadata.csv, no label, what the door measured, sha256 and KEPT."""
    images = logged.drop_duplicates("path").reset_index(drop=True)
    facts = [json.loads(text) | {"sha256": sha} for text, sha in zip(images["measures"], images["sha256"], strict=True)]
    further = pd.read_csv(folder / METADATA, dtype=str, keep_default_na=False).rename(columns={"file_name": "path"})
    listed = images[["path", KEPT]].merge(further, on="path", how="left", validate="one_to_one")
    return with_measures(listed.assign(label=""), facts)


def keep_answers(
    folder: Path, measured: pd.DataFrame, logged: pd.DataFrame, model: Path, source: dict[str, str], out: Path
) -> int:
    """One model's predictions and embeddings, and how many there are; without any, nothing is written."""
    classes = json.loads((model / "model.json").read_text(encoding="utf-8"))["classes"]
    own = logged[(logged["model"] == identity(model)) & (logged["embedding"].map(len) > 0)]
    strange = [path for path, told in zip(own["path"], own["classes"], strict=True) if list(told) != classes]
    if strange:
        raise DataRejected(f"the log has other classes than the model for {strange[0]}; its rows are of another model")
    found = {
        path: (np.asarray(told, dtype=float), np.frombuffer(seen, "<f2"))
        for path, told, seen in zip(own["path"], own["probabilities"], own["embedding"], strict=True)
    }
    more = measured["path"][(measured[KEPT] != "") & ~measured["path"].isin(found)]
    found |= ask(folder, list(more), model) if len(more) else {}
    paths = measured["path"][measured["path"].isin(found)]
    if not len(paths):
        return 0
    probabilities = np.stack([found[path][0] for path in paths])
    features = np.stack([found[path][1] for path in paths])
    keep(classes, sha256_file(model / WEIGHTS), paths, probabilities, features, source, out)
    logger.info("%s: %d answers from the log, %d asked for now", out.name[:12], len(paths) - len(more), len(more))
    return len(paths)


def ask(folder: Path, paths: list[str], model: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What the model says and sees of images that were kept."""
    scorer = FeatureScorer(model)
    size = scorer.facts["image_size"]
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for start in range(0, len(paths), CHUNK):
        part = paths[start : start + CHUNK]
        pixels = np.stack([to_pixels(decode(folder / path, path), size) for path in part])
        found |= dict(zip(part, zip(*scorer.answer(torch.from_numpy(pixels)), strict=True), strict=True))
    return found
