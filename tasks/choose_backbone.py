"""Choose the backbone: admit its catalogue entry, verify its weights, and write its passport.

Reads the catalogue, the selection (who won the shortlist, or what it would have said of a name that a person fixed)
and, for weights that DVC keeps, the folder of weights; writes backbone.safetensors (a copy, byte for byte),
passport.json (what is known of the backbone, and why it was chosen) and NOTICE (what its publishers must be credited
with). The date of review is judged here when the stage runs; a kept result is not run again, so the flow also calls
`admit` of tasks/backbones.py each time.
"""

import datetime as dt
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tasks.backbones import Entry, Hub, admit, check_watched, fetch_weights, input_facts, load_catalogue
from tasks.params import AUTO, ChooseBackboneParams
from tasks.selection import read_selection
from tasks.stage import stage

logger = logging.getLogger("tasks.choose_backbone")


@stage
def choose_backbone(catalogue: Path, weights: Path, selection: Path, params: ChooseBackboneParams, out: Path) -> None:
    """Write the chosen backbone; `weights` is the folder that DVC keeps, and its parent the root of its paths."""
    book, compared = load_catalogue(catalogue), read_selection(selection)
    entry = admit(compared["winner"] if params.name == AUTO else params.name, book, dt.date.today())
    check_watched(entry, weights)
    found = fetch_weights(entry, Path(params.cache), weights.parent, params.hub_timeout_s)
    shutil.copyfile(found, out / "backbone.safetensors")
    passport = {
        **entry.model_dump(mode="json"),
        **input_facts(entry),
        "tensors": count_tensors(out / "backbone.safetensors"),
        "policy": book.policy.model_dump(mode="json"),
        "chosen": chosen_by(params.name, compared),
    }
    (out / "passport.json").write_text(json.dumps(passport, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (out / "NOTICE").write_text(notice(entry), encoding="utf-8")
    logger.info("chose %s: %s, %d parameters, %s", entry.name, entry.architecture, entry.parameters, entry.licence)


def chosen_by(name: str, selection: dict[str, Any]) -> dict[str, str]:
    """Who chose, in a sentence, and what the shortlist's comparison says."""
    winner, reason = selection["winner"], selection["why"][0]
    if name == AUTO:
        return {"by": "the shortlist", "shortlist": winner, "sentence": f"The shortlist chose {reason}"}
    compared = {row["name"] for row in selection["candidates"]}
    if name == winner:
        said = f"the shortlist says the same: {reason}"
    elif name in compared:
        said = f"the shortlist would have chosen {reason}"
    else:
        said = f"the shortlist did not compare it, and would have chosen {reason}"
    return {"by": "a person", "shortlist": winner, "sentence": f"A person chose {name} (choose_backbone.name); {said}"}


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
