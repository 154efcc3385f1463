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
from tasks.history import registrations
from tasks.registry import META, Registry
from tasks.scorer import FACTS, WEIGHTS

logger = logging.getLogger("service.kept_versions")


def keep_version(registry: Registry, version: str, place: Path) -> Kept:
    """The version below `place`, downloaded if need be.

    DigestMismatch when it is not what was registered, EvidenceMissing when the ledger has no registration of it.
    """
    tags, about = registry.version_tags(version), f"version {version} of {registry.project}"
    found = registrations(registry.ledger.read(registry.project))
    if version not in found:
        raise EvidenceMissing(f"the ledger has no registration of {about}; `keel audit` says more")
    intent, registered = found[version]
    if tags.get("model_digest") != intent.body["model_digest"]:
        raise DigestMismatch(
            f"MLflow says that {about} is the model {tags.get('model_digest')}, the ledger registered "
            f"{intent.body['model_digest']}; `keel audit` says what else was changed"
        )
    digest = str(intent.body["model_digest"])
    folder = place / registry.project / f"v{version}-{digest[:12]}"
    if not folder.is_dir():
        _download(registry, version, folder)
    model = _folder_of(WEIGHTS, folder)
    if identity(model) != digest or digest_of(folder, {META}) != registered.body["logged"]:
        shutil.rmtree(folder)  # so that the next try asks MLflow again
        raise DigestMismatch(
            f"what MLflow serves as {about} is not what was registered in entry {registered.number}; `keel audit` "
            "says what was changed; restore it from a backup of MLflow's artifact store"
        )
    facts = json.loads((model / FACTS).read_text(encoding="utf-8"))
    return Kept(
        version,
        digest,
        model,
        _folder_of(GUARD, folder),
        int(tags["decision"]),
        tags["data_version"],
        tuple(facts["classes"]),
        int(facts["image_size"]),
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
