"""Which backbones of the catalogue a project could start from today, and why each of the others not.

An entry is a candidate when the policy admits it and its weights are at hand and verified: files of this repository,
local folders, and from a hub only what was fetched before, unless the caller allows to fetch.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.backbones import Catalogue, Entry, Hub, admit, check_watched, fetch_weights, input_facts
from tasks.errors import BackboneRefused
from tasks.hub import cached


@dataclass(frozen=True)
class Candidate:
    """An admitted entry with its verified weights."""

    entry: Entry
    weights: Path

    @property
    def passport(self) -> dict[str, Any]:
        """What is known of the backbone, as fine-tuning asks for it."""
        return {**self.entry.model_dump(mode="json"), **input_facts(self.entry)}


def find_candidates(
    catalogue: Catalogue, folder: Path, cache: Path, include_hub: bool, timeout: float, today: dt.date
) -> tuple[list[Candidate], dict[str, str]]:
    """The candidates in the catalogue's order, and the reason for each entry that is none.

    `folder` is the one that DVC keeps; its parent is the root of the catalogue's paths.
    """
    found, reasons = [], {}
    for name in catalogue.entries:
        try:
            entry = admit(name, catalogue, today)
            check_at_hand(entry, cache, include_hub)
            check_watched(entry, folder)
            found.append(Candidate(entry, fetch_weights(entry, cache, folder.parent, timeout)))
        except BackboneRefused as error:
            reasons[name] = str(error)
    return found, reasons


def check_at_hand(entry: Entry, cache: Path, include_hub: bool) -> None:
    """Refuse an entry whose weights would have to be fetched when that is not asked for."""
    origin = entry.weights
    if include_hub or not isinstance(origin, Hub):
        return
    if cached(origin.hub, origin.revision or "", origin.file, cache) is None:
        raise BackboneRefused(
            f"backbone '{entry.name}' lies on a hub and was not fetched before; set shortlist.include_hub to compare it"
        )
