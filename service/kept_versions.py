"""Registered versions in a local folder, as MLflow serves them: downloaded once, checked against the ledger each time.

`state/serving/<project>/v<version>-<digest>/` is what was registered, whole: model, guard, code. A model that the
ledger knows nothing of, or another one than it knows, is not loaded.
"""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from tasks.digests import digest_of, identity
from tasks.errors import DigestMismatch, EvidenceMissing
from tasks.history import registrations
from tasks.registry import META, Registry
from tasks.scorer import FACTS

logger = logging.getLogger("service.kept_versions")


@dataclass(frozen=True)
class Kept:
    """A checked version on disk, and what answers say about it."""

    version: str
    digest: str  # of the model folder
    folder: Path
    decision: int
    data_version: str
    classes: tuple[str, ...]
    image_size: int

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.folder / "artifacts/model"

    @property
    def guard(self) -> Path:
        """The guard that was fitted on it."""
        return self.folder / "artifacts/guard"


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
    if identity(folder / "artifacts/model") != digest or digest_of(folder, {META}) != registered.body["logged"]:
        shutil.rmtree(folder)  # so that the next try asks MLflow again
        raise DigestMismatch(
            f"what MLflow serves as {about} is not what was registered in entry {registered.number}; `keel audit` "
            "says what was changed; restore it from a backup of MLflow's artifact store"
        )
    facts = json.loads((folder / "artifacts/model" / FACTS).read_text(encoding="utf-8"))
    return Kept(
        version,
        digest,
        folder,
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
