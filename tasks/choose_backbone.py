"""Choose the backbone: admit its catalogue entry, verify its weights, and write its passport.

Reads the catalogue and, for weights that DVC keeps, the folder of weights; writes backbone.safetensors (a copy, byte
for byte), passport.json (what is known of the backbone) and NOTICE (what its publishers must be credited with).
The date of review is judged here when the stage runs; a kept result is not run again, so the flow also calls
`admit` or `check_review` of tasks/backbones.py each time.
"""

import datetime as dt
import json
import logging
import shutil
from pathlib import Path

from safetensors import safe_open

from tasks.backbones import Entry, Hub, RepositoryFile, admit, fetch_weights, input_facts, load_catalogue
from tasks.errors import BackboneRefused
from tasks.params import ChooseBackboneParams
from tasks.stage import stage

logger = logging.getLogger("tasks.choose_backbone")


@stage
def choose_backbone(catalogue: Path, weights: Path, params: ChooseBackboneParams, out: Path) -> None:
    """Write the chosen backbone; `weights` is the folder that DVC keeps, and its parent the root of its paths."""
    book = load_catalogue(catalogue)
    entry = admit(params.name, book, dt.date.today())
    check_watched(entry, weights)
    found = fetch_weights(entry, Path(params.cache), weights.parent, params.hub_timeout_s)
    shutil.copyfile(found, out / "backbone.safetensors")
    passport = {
        **entry.model_dump(mode="json"),
        **input_facts(entry),
        "tensors": count_tensors(out / "backbone.safetensors"),
        "policy": book.policy.model_dump(mode="json"),
    }
    (out / "passport.json").write_text(json.dumps(passport, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (out / "NOTICE").write_text(notice(entry), encoding="utf-8")
    logger.info("chose %s: %s, %d parameters, %s", entry.name, entry.architecture, entry.parameters, entry.licence)


def check_watched(entry: Entry, weights: Path) -> None:
    """Refuse a file outside the folder whose content this stage and DVC watch."""
    if not isinstance(entry.weights, RepositoryFile):
        return
    file = (weights.parent / entry.weights.file).resolve()
    if not file.is_relative_to(weights.resolve()):
        raise BackboneRefused(
            f"backbone '{entry.name}': {entry.weights.file} lies outside {weights}, the folder that DVC keeps; "
            f"move it there, or name its folder with `folder:` in the catalogue"
        )


def count_tensors(path: Path) -> dict[str, int]:
    """How many tensors of each number format the file stores, such as {"F16": 75, "I64": 15}."""
    counts: dict[str, int] = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (the file is no mapping)
            kind = file.get_slice(name).get_dtype()
            counts[kind] = counts.get(kind, 0) + 1
    return counts


def notice(entry: Entry) -> str:
    """The attribution that must travel with every model made from this backbone."""
    origin = entry.weights
    source = f"https://huggingface.co/{origin.hub} at commit {origin.revision}" if isinstance(origin, Hub) else ""
    lines = [
        f"This model was fine-tuned from the backbone {entry.name}.",
        "",
        entry.attribution.strip(),
        "",
        f"Licence of the weights: {entry.licence} (https://spdx.org/licenses/{entry.licence}.html)",
        *([f"Source: {source}"] if source else []),
        f"sha256 of the weights: {entry.sha256}",
        "Changes: the classifier was replaced and the weights were trained further.",
        "",
        "Please cite:",
        *[f"- {citation}" for citation in entry.citations],
    ]
    return "\n".join(lines) + "\n"
