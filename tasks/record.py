"""Record a verdict: one finished MLflow run with all evidence, one entry in the ledger, one decision record."""

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Metric, Param
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks.bundle import BUNDLE, PAGES, bundled, flatten
from tasks.data_version import DataVersion
from tasks.decision import decision_body, render_decision, what_was_done, write_decision
from tasks.digests import sha256_file
from tasks.errors import DigestMismatch
from tasks.findings import Finding, index_findings, read_findings
from tasks.ledger import Entry, Ledger
from tasks.plan import load_plan
from tasks.registry import INTENT, Registry, trouble
from tasks.roles import load_roles
from tasks.selection import read_selection
from tasks.verdict import Verdict

DATA_DOCS = Path("great_expectations/uncommitted/data_docs/labelled/index.html")
# What decides a result; the records that a release itself writes are left out.
DECIDES = ("tasks", "flows", "governance", "great_expectations", "params.yaml", "dvc.yaml", "constraints.txt")
WRITTEN = (":(exclude)governance/decisions",)
SHOWN = 5  # changed files that a record names
logger = logging.getLogger("tasks.record")


@task(cache_policy=NO_CACHE)
def record(
    registry: Registry,
    run: Path,
    verdict: Verdict,
    data: DataVersion,
    params: dict[str, Any],
    rules: dict[str, Path],
    standing: dict[str, Any],
) -> Entry:
    """Record the verdict on `run` (runs/<project>); the same verdict on the same data twice running is one decision.

    `verdict` is the one under `run`, or what the ledger lets stand of it; both are part of the record. `rules` are the
    files that say how to train and judge, by name; their digests join the evidence. `standing` is how waivers and risks
    stand, for the entry as it is.
    """
    file = sha256_file(run / "verdict/verdict.json")
    others = {name: sha256_file(run / name / "verdict.json") for name in ("comparison", "latency")}
    evidence = {"verdict": file, **others, "sentence": verdict.sentence, "data": data.as_dict()}
    with registry.alone():
        entry = recorded(registry.ledger, registry.project, evidence)
        if entry is None:
            refuse_another_plan(verdict, rules["plan"])
            with (
                registry.change("record", {"verdict": verdict.overall}) as change,
                bundled(run, params, rules) as artifacts,
            ):
                run_id = log_run(registry, run, verdict, data, params, artifacts, change.number)
                body = _body(run, verdict, data, {**rules, "bundle": artifacts[BUNDLE]}) | standing
                entry = change.close("decision", {**body, "run": run_id, "recorded_for": evidence})
        else:
            logger.info("this verdict was recorded before, as decision %d", entry.number)
    page = publish(registry, entry, run)
    logger.info("decision %d: %s; record %s", entry.number, verdict.overall, page)
    return entry


@task(cache_policy=NO_CACHE)
def record_outcome(registry: Registry, decision: Entry, run: Path) -> None:
    """Write into the record what followed from the decision."""
    publish(registry, decision, run)


def publish(registry: Registry, decision: Entry, run: Path) -> Path:
    """Write the record as it stands, and show it where Prefect's users look."""
    done = what_was_done(decision, registry.ledger.read(registry.project))
    page = write_decision(decision, done)
    _show(registry, render_decision(decision, done), run)
    return page


def refuse_another_plan(verdict: Verdict, plan: Path) -> None:
    """The plan on record must be the one that judged."""
    if sha256_file(plan) != verdict.digests["plan"]:
        raise DigestMismatch(f"{plan} was changed after the verdict was made; run the release again to judge by it")


def recorded(ledger: Ledger, project: str, evidence: dict[str, Any]) -> Entry | None:
    """The project's last decision, or the one on another candidate of the same release, when it is this one.

    An older one was overtaken, and deciding so again is news.
    """
    decisions = ledger.read(project, "decision")
    newest = [d for d in decisions if d is decisions[-1] or d.number == decisions[-1].body.get("beside")]
    return next((d for d in newest if d.body["recorded_for"] == evidence), None)


def _body(run: Path, verdict: Verdict, data: DataVersion, rules: dict[str, Path]) -> dict[str, Any]:
    model = json.loads((run / "model/model.json").read_text(encoding="utf-8"))
    passport = json.loads((run / "backbone/passport.json").read_text(encoding="utf-8"))
    images = pd.read_parquet(run / "split/manifest.parquet")["split"].value_counts().sort_index().to_dict()
    about = {**data.as_dict(), "sentence": data.sentence(), "images": images}
    selection = read_selection(run / "shortlist")
    digests, plan = {name: sha256_file(file) for name, file in rules.items()}, load_plan(rules["plan"])
    body = decision_body(
        verdict, digests, plan, about, model, passport, git_state(), selection, load_roles(rules["roles"])
    )
    return {**body, "accuracy": _figure(read_findings(run / "report"), "accuracy", "test")}


def _figure(findings: list[Finding], metric: str, name: str) -> dict[str, float] | None:
    """One finding's value, ends and n, for later candidates to be compared with; None where it is no number."""
    found = index_findings(findings).get((metric, name))
    return {k: getattr(found, k) for k in ("value", "low", "high", "n")} if found and found.is_number else None


def log_run(
    registry: Registry,
    run: Path,
    verdict: Verdict,
    data: DataVersion,
    params: dict[str, Any],
    artifacts: dict[str, Path],
    intent: int,
) -> str:
    """Write one MLflow run: parameters, metrics, training curves, the data set with its version, all evidence."""
    client = registry.client
    flow = FlowRunContext.get()
    tags = {
        INTENT: str(intent),
        "mlflow.runName": f"{registry.project} {verdict.overall}",
        "verdict": verdict.overall,
        "mlflow.note.content": verdict.sentence,
        "data_version": data.digest,
        "prefect.flow_run": str(flow.flow_run.id) if flow and flow.flow_run else "",
        **{f"git.{key}": value for key, value in git_state().items()},
    }
    with trouble(registry.chosen):
        run_id = str(client.create_run(registry.experiment_id(), tags=tags).info.run_id)
        flat = [Param(name, str(value)[:5900]) for name, value in flatten(params)]
        overall = json.loads((run / "report/metrics.json").read_text(encoding="utf-8"))
        metrics = [Metric(name, float(v), 0, 0) for name, v in flatten(overall) if v is not None]
        client.log_batch(run_id, metrics=metrics + curve_metrics(run), params=flat)
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            manifest = pd.read_parquet(run / "split/manifest.parquet")[["path", "label", "split", "sha256"]]
            source = from_pandas(manifest, source=data.path, name=registry.project, targets="label")
            source._digest = data.digest[:36]
            mlflow.log_input(source, context="training", tags={"data_version": data.digest})
            for name, file in artifacts.items():
                mlflow.log_artifact(str(file), None if "/" not in name else str(Path(name).parent))
    return run_id


def curve_metrics(run: Path) -> list[Metric]:
    """The training curves of the model and of the scratch baseline, one series a learning rate."""
    metrics = []
    for name in ("model", "scratch"):
        curves = pd.read_csv(run / name / "curves.csv")
        for row in curves.to_dict("records"):
            for column in ("train_loss", "validation_loss", "validation_accuracy"):
                key = f"{name}/rate {row['rate']:g}/{column}"
                metrics.append(Metric(key, float(row[column]), 0, int(row["epoch"])))
    return metrics


def git_state() -> dict[str, str]:
    """The commit that is checked out, and the files that decide a result and are not as committed there."""
    try:
        commit = _git("rev-parse", "HEAD")
        lines = _git("status", "--porcelain", "--untracked-files=all", "--", *DECIDES, *WRITTEN).splitlines()
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "not a git checkout", "changed": "unknown"}
    changed = [line.split(maxsplit=1)[1] for line in lines]
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return {"commit": commit, "changed": ", ".join(changed[:SHOWN]) + more if changed else "none"}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _show(registry: Registry, page: str, run: Path) -> None:
    """The same record where Prefect's users look."""
    if FlowRunContext.get() is None:
        return
    create_markdown_artifact(page, key=f"{registry.project}-decision", description="Verdict")
    for name, file in {**{name: run / page for name, page in PAGES.items()}, "data-docs": DATA_DOCS}.items():
        if file.is_file():
            create_link_artifact(file.absolute().as_uri(), name, key=f"{registry.project}-{name}")
