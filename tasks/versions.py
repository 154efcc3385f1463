"""Registered versions on disk, with what they were released on: weights, findings, answers to calibration images."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from tasks.bundle import fetch_recorded
from tasks.digests import identity
from tasks.errors import DigestMismatch, RegistryTrouble
from tasks.findings import Found, index_findings, read_findings
from tasks.ledger import Entry
from tasks.predictions import join_predictions
from tasks.registry import Registry
from tasks.scorer import WEIGHTS

CALIBRATION = ("calibration",)
logger = logging.getLogger("tasks.versions")


@dataclass(frozen=True)
class Served:
    """A registered version on disk: `folder/model` is the model, `folder/released` what its decision rests on."""

    version: str
    digest: str
    folder: Path
    decision: int

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.folder / "model"

    def findings(self) -> Found:
        """What the release found, by metric and slice."""
        return index_findings(read_findings(self.folder / "released/report.json"))

    def calibration(self) -> pd.DataFrame:
        """The answers to the calibration images: columns as tasks/predictions.py joins them."""
        released = self.folder / "released"
        predictions, manifest = (pd.read_parquet(released / f"{name}.parquet") for name in ("predictions", "manifest"))
        return join_predictions(predictions, manifest, splits=CALIBRATION)


def fetch_version(registry: Registry, version: str, folder: Path) -> Served:
    """The version in `folder`, downloaded once, whole or not at all.

    DigestMismatch when MLflow serves another model or other evidence than the ledger has on record.
    """
    tags = registry.version_tags(version)
    decision = decision_on(registry, version, int(tags["decision"]))
    served = Served(version, tags["model_digest"], folder, decision.number)
    mark = folder / "decision.json"
    if mark.is_file() and json.loads(mark.read_text()) == decision.number and identity(served.model) == served.digest:
        return served
    fresh = folder.with_name(folder.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    fetch_model(registry, version, served.digest, fresh / "model")
    released = fresh / "released"
    released.mkdir()
    with TemporaryDirectory() as place:
        for key, file in fetch_recorded(registry, decision, ("report", "predictions", "manifest"), Path(place)).items():
            shutil.copyfile(file, released / f"{key}{file.suffix}")
    (fresh / "decision.json").write_text(json.dumps(decision.number), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    logger.info("fetched version %s of %s", version, registry.project)
    return served


def fetch_model(registry: Registry, version: str, digest: str, out: Path) -> None:
    """The model folder that MLflow serves as the version, copied to `out`."""
    with served_model(registry, version, digest) as folder:
        shutil.copytree(folder, out)


@contextmanager
def served_model(registry: Registry, version: str, digest: str) -> Iterator[Path]:
    """The model folder that MLflow serves as the version, gone afterwards; DigestMismatch where it is another model."""
    with registry.logged(version) as logged:
        folder = next(iter(logged.rglob(WEIGHTS)), logged).parent
        if identity(folder) != digest:
            raise DigestMismatch(
                f"what MLflow serves as version {version} of {registry.project} is not the model that was "
                f"registered ({digest}); `keel audit --project {registry.project}` says what else was changed"
            )
        yield folder


def decision_on(registry: Registry, version: str, number: int) -> Entry:
    """The ledger's decision of that number, which the version's tags name."""
    found = [e for e in registry.ledger.read(registry.project, "decision") if e.number == number]
    if not found:
        raise RegistryTrouble(
            f"version {version} of {registry.project} names decision {number}, which the ledger does not have; "
            f"`keel audit --project {registry.project}` says what else was changed"
        )
    return found[0]
