"""Fetch the champion's model folder from the registry, so that a candidate can be compared with it."""

import json
import logging
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.bundle import fetch_recorded
from tasks.digests import identity
from tasks.findings import TIMINGS
from tasks.registry import Registry
from tasks.versions import fetch_model

VERSION = "version.json"
logger = logging.getLogger("tasks.fetch_champion")


@task(cache_policy=NO_CACHE)
def fetch_champion(registry: Registry, candidate: Path, out: Path) -> Path:
    """Write version.json (version and digest; null where nobody but the candidate is champion) and the folder `model`,
    and timings.json where the champion's last decision has one.

    DigestMismatch when what MLflow serves is not what was registered.
    """
    version = registry.aliases()["champion"]
    digest = registry.version_tags(version)["model_digest"] if version else None
    if digest == identity(candidate):
        version = digest = None
    if version is None or not (out / "model").is_dir() or identity(out / "model") != digest:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
    if version is not None and digest is not None and not (out / "model").is_dir():
        fetch_model(registry, version, digest, out / "model")
        logger.info("fetched the champion, version %s of %s", version, registry.project)
    if version is not None:
        fetch_timings(registry, version, out)
    (out / VERSION).write_text(json.dumps({"version": version, "model_digest": digest}) + "\n", encoding="utf-8")
    return out


def fetch_timings(registry: Registry, version: str, out: Path) -> None:
    """The timings on which the newest decision on the version rests."""
    number = int(registry.version_tags(version)["decision"])
    decision = next((e for e in registry.ledger.read(registry.project, "decision") if e.number == number), None)
    if decision is None or "timings" not in decision.body["evidence"]:
        return
    with TemporaryDirectory() as folder:
        files = fetch_recorded(registry, decision, ("timings",), Path(folder))
        shutil.copyfile(files["timings"], out / TIMINGS)
