"""Record a night: one MLflow run with its evidence, and one entry in the ledger together with the labels it counted."""

import json
import logging
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.counted import counted
from tasks.decision import decided_by
from tasks.digests import sha256_file
from tasks.night import DOCUMENT, Night
from tasks.night_tables import CONTRACT, EMBEDDINGS, PREDICTIONS, SCORES, WINDOW
from tasks.nights import KIND, night_of
from tasks.registry import INTENT, Registry, trouble
from tasks.whole_files import write_whole

LARGEST = 50_000_000  # bytes of embeddings that are kept in MLflow: a larger window is scored again from its images
logger = logging.getLogger("tasks.record_night")


@task(cache_policy=NO_CACHE)
def record_night(registry: Registry, body: dict[str, Any], rows: list[dict[str, Any]], folder: Path) -> Night:
    """Enter the night, with `rows` of counted labels, and keep its evidence; `folder` is the night's.

    The night's number is that of its entry. A killed recording leaves nothing: the same night, run again, is recorded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / DOCUMENT, (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode())
    files = evidence_in(folder, body["model"])
    digests = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
    with registry.alone(), registry.change(KIND, {"night": body["night"], "window": body["window"]}) as change:
        run_id = log_run(registry, body, folder, files, change.number)
        content = {**body, "run": run_id, "evidence": digests, "by": decided_by()}
        entry = change.close(KIND, content, (counted, rows))
    logger.info("%s", entry.body["sentence"])
    return night_of(entry)


def evidence_in(folder: Path, model: str) -> list[Path]:
    """The files on which the verdict rests: the window, its contract, the champion's answers, the drift record."""
    scores = folder / SCORES / model
    names = [folder / DOCUMENT, folder / WINDOW, folder / CONTRACT, scores / PREDICTIONS, folder / "drift.json"]
    found = [path for path in names if path.is_file()]
    embeddings = scores / EMBEDDINGS
    return found + ([embeddings] if embeddings.is_file() and embeddings.stat().st_size <= LARGEST else [])


def log_run(registry: Registry, body: dict[str, Any], folder: Path, files: list[Path], intent: int) -> str:
    """One finished MLflow run: tags, figures, files."""
    tags = {
        INTENT: str(intent),
        "mlflow.runName": f"{registry.project} night {body['night']} {body['verdict']}",
        "kind": KIND,
        "night": body["night"],
        "verdict": body["verdict"],
        "mlflow.note.content": "\n".join(body["sentences"])[:5000],
    }
    with trouble(registry.chosen):
        run_id = str(registry.client.create_run(registry.experiment_id(), tags=tags).info.run_id)
        metrics = [Metric(name, value, 0, 0) for name, value in metrics_of(body).items()]
        registry.client.log_batch(run_id, metrics=metrics)
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            for path in files:
                place = path.relative_to(folder).parent.as_posix()
                mlflow.log_artifact(str(path), None if place == "." else place)
    return run_id


def metrics_of(body: dict[str, Any]) -> dict[str, float]:
    """The night's figures by the names that MLflow plots."""
    found: dict[str, float] = {"images": body["images"], "labels counted": body["harm"].get("counted", 0)}
    if "harm" in body["harm"]:
        found["evidence for harm"] = body["harm"]["harm"]["evidence"]
    if body["night"] in body["harm"].get("figures", {}):
        found["error"] = body["harm"]["figures"][body["night"]]["error"]
    if "drift" in body["drift"]:
        found["drift p"] = body["drift"]["drift"]["p"]
    return found | {f"expected accuracy/{row['method']}": row["accuracy"] for row in body["drift"].get("expected", [])}
