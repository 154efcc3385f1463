"""Keep a certificate or an ablation: its files, one finished MLflow run, one entry in the ledger, one link in Prefect.

Writes `<kind>.json` (all figures and sentences) and `<kind>.html` below the study's folder. The same document is
recorded once.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param
from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks import ablation, certificate
from tasks.decision import decided_by
from tasks.digests import sha256_file
from tasks.ledger import Entry
from tasks.registry import INTENT, Registry, trouble
from tasks.study_page import ablation_page, certificate_page

PAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    certificate.NAME: certificate_page,
    ablation.NAME: ablation_page,
}
logger = logging.getLogger("tasks.record_study")


@task(cache_policy=NO_CACHE)
def record_study(registry: Registry, kind: str, document: dict[str, Any], out: Path) -> Entry:
    """Write the files and record them; returns the ledger's entry of that kind."""
    out.mkdir(parents=True, exist_ok=True)
    written = out / f"{kind}.json"
    written.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = out / f"{kind}.html"
    page.write_text(PAGES[kind](json.loads(written.read_text(encoding="utf-8"))), encoding="utf-8")
    digest = sha256_file(written)
    with registry.alone():
        entry = next((e for e in registry.ledger.read(registry.project, kind) if e.body["document"] == digest), None)
        if entry is None:
            with registry.change(kind, {"document": digest}) as change:
                run_id = log_run(registry, kind, document, [written, page], change.number)
                body = {
                    "claims": [sentence for sentences in document["claims"].values() for sentence in sentences],
                    "not_shown": document["not_shown"],
                    "document": digest,
                    "page": sha256_file(page),
                    "evidence": document["evidence"],
                    "data": document["data"],
                    "run": run_id,
                    "by": decided_by(),
                }
                entry = change.close(kind, body)
        else:
            logger.info("this %s was recorded before, as entry %d of the ledger", kind, entry.number)
    if FlowRunContext.get() is not None:
        create_link_artifact(page.absolute().as_uri(), kind, key=f"{registry.project}-{kind}")
    logger.info("%s: entry %d of the ledger; page %s", kind, entry.number, page)
    return entry


def log_run(registry: Registry, kind: str, document: dict[str, Any], files: list[Path], intent: int) -> str:
    """Write one MLflow run with the accuracies, the differences and both files."""
    tags = {
        INTENT: str(intent),
        "mlflow.runName": f"{registry.project} {kind}",
        "kind": kind,
        "data_version": document["data"]["digest"],
        "mlflow.note.content": "\n".join(s for sentences in document["claims"].values() for s in sentences)[:5000],
    }
    with trouble(registry.chosen):
        run_id = str(registry.client.create_run(registry.experiment_id(), tags=tags).info.run_id)
        metrics = [Metric(metric_name(row), float(row["value"]), 0, 0) for row in headline_rows(document)]
        flat = [Param(name, json.dumps(value)[:5900]) for name, value in document["params"].items()]
        registry.client.log_batch(run_id, metrics=metrics, params=flat)
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            for file in files:
                mlflow.log_artifact(str(file))
    return run_id


def headline_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The accuracies and differences on whole splits; slices are in the JSON."""
    return [row for row in document["accuracy"] if "/" not in row["place"]]


def metric_name(row: dict[str, Any]) -> str:
    """`test/10 labels/gradual over scratch`, in the characters that MLflow allows."""
    against = f" over {row['against']}" if row["against"] else ""
    name = f"{row['place']}/{row['labels']} labels/{row['method']}{against}"
    return "".join(c if c.isalnum() or c in "/_-. " else "-" for c in name)
