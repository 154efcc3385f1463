"""Pin a backbone: write the commit and the sha256 of its weights into the catalogue, for a person to review.

Run by hand on a machine that reaches the weights: `python -m tasks pin_backbone name=...`. It changes two values of
one entry and nothing else, comments included; the change takes effect when it is reviewed and committed.
"""

import logging
from pathlib import Path
from typing import Any

from prefect import task
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from tasks.backbones import COMMIT, Hub, check_licence, fetch_weights, find, load_catalogue, locate
from tasks.digests import sha256_file
from tasks.errors import BackboneRefused
from tasks.hub import resolve

logger = logging.getLogger("tasks.pin_backbone")


@task
def pin_backbone(
    name: str,
    catalogue: Path = Path("governance/backbones.yaml"),
    reference: str = "main",
    cache: Path = Path("state/hub"),
    timeout: float = 10.0,
) -> None:
    """Pin an entry to what `reference` (a branch, a tag or a commit of the hub) names now."""
    book = load_catalogue(catalogue)
    entry = find(name, book)
    check_licence(entry, book)
    origin = entry.weights
    if isinstance(origin, Hub):
        revision = reference if COMMIT.fullmatch(reference) else resolve(origin.hub, reference, timeout)
        origin = origin.model_copy(update={"revision": revision})
    entry = entry.model_copy(update={"weights": origin})
    path, way_out = locate(entry, cache, Path(), timeout)
    if not path.is_file():
        raise BackboneRefused(f"backbone '{name}': the weights file {path} is not there; {way_out}")
    entry = entry.model_copy(update={"sha256": sha256_file(path)})
    fetch_weights(entry, cache, Path(), timeout)  # no pickle, valid, and it fits the architecture
    changed = write_pin(catalogue, name, getattr(origin, "revision", None), str(entry.sha256))
    logger.info("%s in %s: %s", name, catalogue, "; ".join(changed) or "already pinned to this")


def write_pin(catalogue: Path, name: str, revision: str | None, sha256: str) -> list[str]:
    """Change the two values in place, keep the rest of the text, and say what changed."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(catalogue.read_text(encoding="utf-8"))
    entry = next(entry for entry in document["backbones"] if entry["name"] == name)
    changed = _set(entry, "sha256", sha256)
    if revision:
        changed += _set(entry["weights"], "revision", revision)
    if changed:
        with catalogue.open("w", encoding="utf-8") as file:
            yaml.dump(document, file)
    return changed


def _set(mapping: Any, key: str, value: str) -> list[str]:
    before = mapping[key]
    if before == value:
        return []
    mapping[key] = DoubleQuotedScalarString(value)
    return [f"{key} {before or 'null'} -> {value}"]
