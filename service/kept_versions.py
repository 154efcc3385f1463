"""Registered versions in a local folder, as MLflow serves them: downloaded once, checked against the ledger each time.

`state/serving/<project>/v<version>-<digest>/` is what was registered, whole: model, guard, code. A model that the
ledger knows nothing of, or another one than it knows, is not loaded.
"""

import json
import logging
import shutil
from pathlib import Path

from service.messages import Kept
from tasks.digests import digest_of, identity
from tasks.errors import DigestMismatch, EvidenceMissing
from tasks.guard import GUARD
from tasks.history import deployments, registrations
from tasks.ledger import Entry
from tasks.registry import META, Registry
from tasks.scorer import FACTS, WEIGHTS

logger = logging.getLogger("service.kept_versions")


def keep_version(registry: Registry, version: str, place: Path) -> Kept:
    """The version below `place`, downloaded if need be.

    DigestMismatch when it is not what was registered, EvidenceMissing when the ledger has no registration of it.
    """
    tags, about = registry.version_tags(version), f"version {version} of {registry.project}"
    intent, registered = _registration(registry.project, version, registry.ledger.read(registry.project))
    if tags.get("model_digest") != intent.body["model_digest"]:
        raise DigestMismatch(
            f"MLflow says that {about} is the model {tags.get('model_digest')}, the ledger registered "
            f"{intent.body['model_digest']}; `keel audit` says what else was changed"
        )
    folder = _folder_of_version(place, registry.project, version, intent)
    if not folder.is_dir():
        _download(registry, version, folder)
    if not _is_registered(folder, intent, registered):
        shutil.rmtree(folder)  # so that the next try asks MLflow again
        raise DigestMismatch(
            f"what MLflow serves as {about} is not what was registered in entry {registered.number}; `keel audit` "
            "says what was changed; restore it from a backup of MLflow's artifact store"
        )
    return _kept(folder, version, intent, int(tags["decision"]), tags["data_version"])


def kept_champion(project: str, entries: list[Entry], place: Path) -> Kept:
    """The champion by the ledger alone, as it was kept below `place` before: for a start while MLflow is away.

    EvidenceMissing when the ledger has no champion or its version was never kept, DigestMismatch when what was kept is
    not what was registered.
    """
    live = deployments(entries)[-1:]
    if not live or live[0].end is not None:
        raise EvidenceMissing(f"the ledger has no champion of {project}; `keel release --project {project}` makes one")
    version, decision = live[0].version, live[0].decision
    intent, registered = _registration(project, version, entries)
    folder = _folder_of_version(place, project, version, intent)
    if not folder.is_dir():
        raise EvidenceMissing(
            f"version {version} of {project} was never served from here, so {folder} does not have it"
        )
    if not _is_registered(folder, intent, registered):
        raise DigestMismatch(
            f"{folder} is not what was registered in entry {registered.number}; remove it, it is fetched again when "
            "MLflow is back"
        )
    return _kept(folder, version, intent, decision.number, str(decision.body["data"]["digest"]))


def _registration(project: str, version: str, entries: list[Entry]) -> tuple[Entry, Entry]:
    found = registrations(entries)
    if version not in found:
        raise EvidenceMissing(
            f"the ledger has no registration of version {version} of {project}; `keel audit` says more"
        )
    return found[version]


def _folder_of_version(place: Path, project: str, version: str, intent: Entry) -> Path:
    return place / project / f"v{version}-{intent.body['model_digest'][:12]}"


def _is_registered(folder: Path, intent: Entry, registered: Entry) -> bool:
    same = identity(_folder_of(WEIGHTS, folder)) == intent.body["model_digest"]
    return same and digest_of(folder, {META}) == registered.body["logged"]


def _kept(folder: Path, version: str, intent: Entry, decision: int, data_version: str) -> Kept:
    model = _folder_of(WEIGHTS, folder)
    facts = json.loads((model / FACTS).read_text(encoding="utf-8"))
    digest, guard = str(intent.body["model_digest"]), _folder_of(GUARD, folder)
    return Kept(
        version, digest, model, guard, decision, data_version, tuple(facts["classes"]), int(facts["image_size"])
    )


def _download(registry: Registry, version: str, folder: Path) -> None:
    """Whole or not at all."""
    fresh = folder.with_name(folder.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    with registry.logged(version) as logged:
        shutil.copytree(logged, fresh)
    fresh.rename(folder)
    logger.info("fetched version %s of %s", version, registry.project)


def _folder_of(file: str, logged: Path) -> Path:
    """Where that file lies among what was logged: MLflow calls an artifact's folder as it was called at the release."""
    return next(iter(logged.rglob(file)), logged).parent
