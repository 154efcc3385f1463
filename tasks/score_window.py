"""Read one window once: measure every image, hold them against the data contract, ask every model.

Every core decodes and scores a chunk of images at a time, so memory does not grow with the window. What was
scored is kept by the digests of the images and of the model: a label that comes late scores nothing again.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.contracts import CONTEXT, image_frame, image_parameters, run_contract
from tasks.digests import canonical_json, digest_of_code, identity, sha256_bytes, sha256_file, sha256_text
from tasks.folders import MEASURED, read_window, refuse_measured_columns, with_measures
from tasks.frozen import FrozenScorer
from tasks.images import read_image
from tasks.memory import give_memory_back
from tasks.metrics import PROBABILITY
from tasks.night_tables import CONTRACT, EMBEDDINGS, PREDICTIONS, SCORES, WINDOW, ScoredWindow, window_table
from tasks.params import CheckDataParams
from tasks.penultimate import FeatureScorer
from tasks.project import Project
from tasks.rules import WINDOW as WINDOW_CONTRACT
from tasks.scorer import WEIGHTS, to_pixels
from tasks.windows import Window

MADE_FROM = "made_from.json"
CHUNK = 64  # images that one thread decodes, and then scores at once
PROGRESS_EVERY = 10_000  # images
GIVE_BACK_EVERY = 2_000  # images
FROZEN_FROM = 5_000  # images, from which a frozen model earns the second or two in which it is made
logger = logging.getLogger("tasks.score_window")
Told = tuple[np.ndarray, np.ndarray]  # probabilities and features
Looked = tuple[list[dict[str, Any]], dict[str, Told]]  # what was measured, and what each model says


@task(cache_policy=NO_CACHE)
def score_window(
    window: Window, about: Project, params: CheckDataParams, models: list[Path], out: Path, contracts: Path = CONTEXT
) -> ScoredWindow:
    """Write window.parquet, contract.json, and for each model `scores/<digest>/` with predictions and embeddings.

    Raises BadInput or DataRejected when the window cannot be read at all; a broken contract is on record, not raised.
    """
    listed = read_window(window.folder)
    give_memory_back()
    refuse_measured_columns(window.folder, listed)
    contents = [sha256_file(window.folder / path) for path in listed["path"]]
    forget_others(made_from(list(listed["path"]), contents), out)
    wanted = {identity(model): model for model in models}
    missing = {digest: model for digest, model in wanted.items() if not (out / SCORES / digest).is_dir()}
    if missing:
        keep_scores(window, listed, missing, out)
    measured = pd.read_parquet(out / "measured.parquet")
    give_memory_back()
    images = listed.merge(measured, on="path", how="left", validate="one_to_one")
    hold_to_contract(images, about, params, models[0], out, contracts)
    window_table(images, about, window.name).to_parquet(out / WINDOW, index=False)
    give_memory_back()
    return ScoredWindow(window.name, out)


def hold_to_contract(
    images: pd.DataFrame, about: Project, params: CheckDataParams, model: Path, out: Path, contracts: Path
) -> None:
    """Write contract.json: how the measured images fare; the classes are the project's, or else the model's."""
    classes = about.classes or json.loads((model / "model.json").read_text(encoding="utf-8"))["classes"]
    group = about.group if about.group in images else None
    result = run_contract(
        WINDOW_CONTRACT, image_frame(images, group, params), image_parameters(params, classes), contracts
    )
    (out / CONTRACT).write_text(json.dumps(result.record(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def made_from(paths: list[str], contents: list[str]) -> dict[str, str]:
    """What the scores of a window depend on, beside the model: which image has which name, and the code."""
    named = sorted(zip(paths, contents, strict=True))
    return {"images": sha256_text(canonical_json(named)), "code": digest_of_code("frozen")}


def forget_others(source: dict[str, str], out: Path) -> None:
    """Remove the scores of every model that were made from other images, or by other code."""
    for folder in (out / SCORES).glob("*"):
        try:
            kept = json.loads((folder / MADE_FROM).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            kept = None
        if kept != source:
            shutil.rmtree(folder)


def keep_scores(window: Window, listed: pd.DataFrame, models: dict[str, Path], out: Path) -> None:
    """Measure and score every image in one pass; each folder of scores appears whole."""
    kind = FrozenScorer if len(listed) >= FROZEN_FROM else FeatureScorer
    scorers = {digest: kind(model) for digest, model in models.items()}
    answers: dict[str, list[Told]] = {digest: [] for digest in scorers}
    facts: list[tuple[Any, ...]] = []
    for measures, told in looked_at(window.folder, list(listed["path"]), scorers):
        facts += [tuple(measured.get(name) for name in MEASURED) for measured in measures]
        for digest, answer in told.items():
            answers[digest].append(answer)
        if len(facts) % GIVE_BACK_EVERY < CHUNK:
            give_memory_back()
        if len(facts) % PROGRESS_EVERY < CHUNK and len(facts) > CHUNK:
            logger.info("%s: %d of %d images scored", window.name, len(facts), len(listed))
    measured = with_measures(listed[["path"]], facts)
    readable_paths = measured["path"][measured["decodable"]]
    out.mkdir(parents=True, exist_ok=True)
    measured.to_parquet(out / "measured.parquet", index=False)
    source = made_from(list(measured["path"]), list(measured["sha256"]))
    for digest, scorer in scorers.items():
        weights = sha256_file(models[digest] / WEIGHTS)
        given = together(answers[digest], len(scorer.classes))
        keep(scorer.classes, weights, readable_paths, *given, source, out / SCORES / digest)
    logger.info("%s: %d images scored by %d models", window.name, len(readable_paths), len(scorers))


def together(answers: list[Told], classes: int) -> Told:
    """Probabilities (N, K) and features (N, D) of all batches."""
    if not answers:
        return np.empty((0, classes)), np.empty((0, 0), np.float16)
    return np.concatenate([p for p, _ in answers]), np.concatenate([f for _, f in answers])


def keep(
    classes: list[str],
    weights: str,
    paths: pd.Series,
    probabilities: np.ndarray,
    features: np.ndarray,
    source: dict[str, str],
    out: Path,
) -> None:
    """One model's predictions.parquet and embeddings.npy, in the order of the images that could be read."""
    fresh = out.with_name(out.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    predicted = [classes[k] for k in probabilities.argmax(axis=1)]
    columns = {f"{PROBABILITY}{label}": probabilities[:, k] for k, label in enumerate(classes)}
    table = pd.DataFrame({"image_id": paths.to_numpy(), "predicted": predicted, "model": weights, **columns})
    table.to_parquet(fresh / PREDICTIONS, index=False)
    np.save(fresh / EMBEDDINGS, features, allow_pickle=False)
    (fresh / MADE_FROM).write_text(canonical_json(source) + "\n", encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)


def looked_at(root: Path, paths: list[str], scorers: dict[str, FeatureScorer]) -> Iterator[Looked]:
    """What was measured on a chunk of images after another, and what each model says of those that could be read.

    Each core takes a chunk from its files to its answers: threads that share a network's sums wait for one another.
    """
    sizes = {scorer.facts["image_size"] for scorer in scorers.values()}

    def look_at(chunk: list[str]) -> Looked:
        read = [read_pixels((root / path).read_bytes(), sizes) for path in chunk]
        readable = [pixels for _, pixels in read if pixels]
        told = {}
        for digest, scorer in scorers.items() if readable else ():
            stacked = np.stack([pixels[scorer.facts["image_size"]] for pixels in readable])
            told[digest] = scorer.answer(torch.from_numpy(stacked))
        return [facts for facts, _ in read], told

    with ThreadPoolExecutor(os.cpu_count(), "looked-at", torch.set_num_threads, (1,)) as pool:
        yield from pool.map(look_at, [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)])


def read_pixels(content: bytes, sizes: set[int]) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """What is measured on a file, and its pixels at each size; none where it cannot be decoded."""
    image, facts = read_image(content)
    pixels = {} if image is None else {size: to_pixels(image, size) for size in sizes}
    return facts | {"sha256": sha256_bytes(content)}, pixels
