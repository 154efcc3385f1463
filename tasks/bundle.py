"""The bundle of a verdict: all that it takes to recompute it, as artifacts of the decision's MLflow run.

Below `evidence/` lie what the stages wrote (predictions, manifest, report, verdict, ...), in `rules/` the files that
say how to train and judge, and `bundle.json`: the sha256 of every artifact, the parameters in force, the criteria that
do not apply, and which code and environment were used. The ledger's entry holds the digest of `bundle.json`, and those
of predictions, manifest, report, plan and verdict beside it, so that no artifact can be replaced unseen.
"""

import json
import platform
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tasks.digests import digest_of_code, digest_of_environment, installed_versions, sha256_file
from tasks.errors import DigestMismatch, EvidenceMissing
from tasks.ledger import Entry
from tasks.project import load_project
from tasks.registry import Registry, trouble

EVIDENCE = "evidence"  # the folder of artifacts
BUNDLE = f"{EVIDENCE}/bundle.json"
STAGES = (
    *("check_data/contract.json", "split", "shortlist", "backbone", "audit"),
    *("predictions", "scratch_predictions", "parity", "guard", "stress", "attributions", "embeddings"),
    *("cases", "external", "report", "verdict", "comparison", "latency"),
)
PAGES = {
    "report": "pages/report.html",
    "brief": "pages/brief.html",
    "card": "card/card.html",
    "card-for-the-hub": "card/README.md",
    "selection": "shortlist/selection.html",
    "audit": "audit/audit.html",
}
JUDGING = (
    "report",
    "gate",
    "comparison",
    "latency",
)  # from predictions to findings, from those to a verdict
# What a replay needs: the artifact, and the key of its digest in the ledger's entry.
NEEDED = {
    "predictions": f"{EVIDENCE}/predictions/predictions.parquet",
    "scratch_predictions": f"{EVIDENCE}/scratch_predictions/predictions.parquet",
    "manifest": f"{EVIDENCE}/split/manifest.parquet",
    "stress": f"{EVIDENCE}/stress/stress.parquet",
    "attributions": f"{EVIDENCE}/attributions/attributions.parquet",
    "embeddings": f"{EVIDENCE}/embeddings/embeddings.parquet",
    "cases": f"{EVIDENCE}/cases/cases.parquet",
    "external": f"{EVIDENCE}/external/external.parquet",
    "plan": f"{EVIDENCE}/rules/plan.yaml",
    "bundle": BUNDLE,
    "report": f"{EVIDENCE}/report/report.json",
    "verdict": f"{EVIDENCE}/verdict/verdict.json",
    "champion": f"{EVIDENCE}/comparison/champion.json",
    "champion_predictions": f"{EVIDENCE}/comparison/predictions.parquet",
    "champion_cases": f"{EVIDENCE}/comparison/cases.parquet",
    "comparison": f"{EVIDENCE}/comparison/report.json",
    "comparison_verdict": f"{EVIDENCE}/comparison/verdict.json",
    "timings": f"{EVIDENCE}/latency/timings.json",
    "champion_timings": f"{EVIDENCE}/latency/champion.json",
    "latency": f"{EVIDENCE}/latency/report.json",
    "latency_verdict": f"{EVIDENCE}/latency/verdict.json",
}
OPTIONAL = {"champion_predictions", "champion_cases"}  # where there was nobody to compare with


@contextmanager
def bundled(run: Path, params: dict[str, Any], rules: dict[str, Path]) -> Iterator[dict[str, Path]]:
    """Every artifact of a verdict on the stages below `run`, as its path in MLflow -> its file here.

    `params` are all sections in force, `rules` the files that say how to train and judge, by name.
    """
    files = dict(_from_stages(run))
    with TemporaryDirectory() as folder:
        for name, file in rules.items():
            copy = Path(folder, f"{name}{'.json' if file.suffix == '.json' else '.yaml'}")
            shutil.copyfile(file, copy)
            files[f"{EVIDENCE}/rules/{copy.name}"] = copy
        document = {
            "files": {name: sha256_file(file) for name, file in sorted(files.items())},
            "params": params,
            "not_applicable": load_project(rules["project"]).not_applicable,
            "code": judging_code(),
            "environment": {
                "digest": digest_of_environment(),
                "python": platform.python_version(),
                "machine": platform.platform(),
                "installed": installed_versions(),
            },
        }
        page = Path(folder, Path(BUNDLE).name)
        page.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        yield {**files, BUNDLE: page}


def judging_code() -> dict[str, str]:
    """The digests of the code that makes findings and verdicts, as it is here and now."""
    return {module: digest_of_code(module) for module in JUDGING}


def recorded_digests(decision: Entry) -> dict[str, str]:
    """Artifact -> the sha256 that the ledger's entry has for it, for those that a replay needs."""
    judged = decision.body["recorded_for"]
    verdicts = {"verdict": "verdict", "comparison_verdict": "comparison", "latency_verdict": "latency"}
    known = {**decision.body["evidence"], **{key: judged[name] for key, name in verdicts.items()}}
    return {artifact: known[key] for key, artifact in NEEDED.items() if key in known or key not in OPTIONAL}


class Artifacts:
    """The artifacts of one MLflow run; EvidenceMissing when there is no such run."""

    def __init__(self, registry: Registry, run_id: str) -> None:
        self.run_id = run_id
        with trouble(registry.chosen):
            try:
                place = registry.client.get_run(run_id).info.artifact_uri
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise EvidenceMissing(
                    f"MLflow run {run_id} is gone; restore MLflow's database from a backup"
                ) from error
            self.store = get_artifact_repository(place, tracking_uri=registry.chosen.tracking_uri)

    def fetch(self, artifact: str, folder: Path) -> Path:
        """Download one artifact below `folder`; EvidenceMissing when MLflow does not have it."""
        try:
            return Path(self.store.download_artifacts(artifact, str(folder)))
        except (MlflowException, requests.RequestException, OSError) as error:
            cause = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise EvidenceMissing(
                f"{artifact} of MLflow run {self.run_id} cannot be fetched ({cause}); bring it back from a backup of "
                "MLflow's artifact store"
            ) from error


def fetch_recorded(registry: Registry, decision: Entry, keys: Iterable[str], folder: Path) -> dict[str, Path]:
    """Download what NEEDED calls `keys`; DigestMismatch when one is not the file that the ledger has on record."""
    artifacts, digests, files = Artifacts(registry, decision.body["run"]), recorded_digests(decision), {}
    for key in keys:
        file, digest = artifacts.fetch(NEEDED[key], folder), digests[NEEDED[key]]
        if sha256_file(file) != digest:
            raise DigestMismatch(
                f"{NEEDED[key]} of MLflow run {artifacts.run_id} is not the one of decision {decision.number}: its "
                f"sha256 is {sha256_file(file)[:16]}, the ledger says {digest[:16]}; `keel audit` looks at all else"
            )
        files[key] = file
    return files


def flatten(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested dictionaries as (path/to/key, value) pairs."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        pairs += flatten(value, f"{name}/") if isinstance(value, dict) else [(name, value)]
    return pairs


def _from_stages(run: Path) -> Iterator[tuple[str, Path]]:
    for name in STAGES:
        place = run / name
        for file in sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]:
            yield f"{EVIDENCE}/{file.relative_to(run).as_posix()}", file
    for page in PAGES.values():
        yield Path(page).name, run / page
