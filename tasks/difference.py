"""What is between two versions of a project: data, parameters, figures side by side, and the images that flipped.

Read from the ledger and from the bundles of the decisions that the versions are tied to; each file must have the digest
that the ledger has for it. Figures of two versions side by side do not say whether one is better: where the same images
were judged with the same labels, the paired difference with its interval does.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from tasks.bundle import fetch_recorded, flatten
from tasks.estimates import estimate_gain
from tasks.findings import Finding, read_findings
from tasks.history import in_short, newest_decision
from tasks.ledger import Entry
from tasks.params import EvaluateParams
from tasks.predictions import join_predictions, read_table
from tasks.registry import Registry
from tasks.sentences import describe_finding, describe_place
from tasks.slices import JUDGED

NO_BOUND = float("nan")  # there is none to tell the figures from
GAIN = "accuracy_gain"


@dataclass(frozen=True)
class Side:
    """One version with the evidence of its newest decision; `table` has a row a judged image, with its sha256."""

    version: str
    decision: Entry
    params: dict[str, Any]
    findings: dict[tuple[str, str], Finding]
    table: pd.DataFrame


@dataclass(frozen=True)
class Flips:
    """A split's images that both versions were judged on: the paired difference in accuracy, and who flipped.

    `lost` were right before and are wrong now, `won` the reverse, as counts per class; `left_out` counts the images of
    the split that the two do not share, or label differently. `gain` is None when they share none.
    """

    split: str
    gain: Finding | None
    lost: dict[str, int]
    won: dict[str, int]
    left_out: int


def difference(registry: Registry, before: str, now: str) -> str:
    """The difference between two versions, given as numbers, in plain text."""
    with TemporaryDirectory() as folder:
        old, new = (load_side(registry, version, Path(folder, version)) for version in (before, now))
    sides = [f"version {side.version} (decision {side.decision.number})" for side in (old, new)]
    lines = [f"{registry.project}: {' -> '.join(sides)}", ""]
    lines += [*_data(old, new), *_changes(old, new), "", *_figures(old, new), ""]
    for split in JUDGED:
        lines += _flip_lines(flips(old, new, split))
    return "\n".join(lines).rstrip()


def load_side(registry: Registry, version: str, folder: Path) -> Side:
    """Fetch a version's evidence; BadInput when no release made it, DigestMismatch when a file was replaced."""
    decision = newest_decision(version, registry.ledger.sound(registry.project))
    folder.mkdir(exist_ok=True)
    files = fetch_recorded(registry, decision, ("bundle", "report", "predictions", "manifest"), folder)
    manifest = read_table(files["manifest"])
    table = join_predictions(read_table(files["predictions"]), manifest)
    table = table.merge(manifest[["image_id", "sha256"]], on="image_id", validate="one_to_one")
    params = json.loads(files["bundle"].read_text(encoding="utf-8"))["params"]
    findings = {(f.metric, f.slice): f for f in read_findings(files["report"])}
    return Side(version, decision, params, findings, table)


def flips(old: Side, new: Side, split: str) -> Flips:
    """The paired comparison on the images of a split that both versions were judged on, under the same label.

    The interval is Tango's (1998), and its envelope with a bootstrap where images are not independent.
    """
    was, now = (side.table[side.table["split"] == split] for side in (old, new))
    shared = now.merge(was[["sha256", "label", "predicted"]], on=["sha256", "label"], suffixes=("", "_before"))
    left_out = len(was) + len(now) - 2 * len(shared)
    if shared.empty:
        return Flips(split, None, {}, {}, left_out)
    before, after = shared["predicted_before"] == shared["label"], shared["predicted"] == shared["label"]
    params = EvaluateParams.model_validate(new.params[EvaluateParams.section])
    gain = estimate_gain(GAIN, split, (after.astype(int) - before.astype(int)).to_numpy(), shared, params)
    return Flips(split, gain, _per_class(shared[before & ~after]), _per_class(shared[after & ~before]), left_out)


def _per_class(rows: pd.DataFrame) -> dict[str, int]:
    return {str(label): int(n) for label, n in rows["label"].value_counts().sort_index().items()}


def _data(old: Side, new: Side) -> Iterator[str]:
    was, now = old.decision.body["data"], new.decision.body["data"]
    if was["digest"] == now["digest"]:
        yield f"{'data':12}the same: {now['sentence']}"
        return
    for side, data in ((old, was), (new, now)):
        counts = ", ".join(f"{name} {count}" for name, count in data["images"].items())
        yield f"{'data':12}version {side.version}: {data['sentence']} ({counts})"


def _changes(old: Side, new: Side) -> Iterator[str]:
    """Parameters and what the decisions say of model, plan and code, where they differ."""
    parts = {"params": (old.params, new.params)}
    parts |= {key: (old.decision.body[key], new.decision.body[key]) for key in ("model", "plan", "code")}
    for part, (before, after) in parts.items():
        was, now = dict(flatten(before)), dict(flatten(after))
        odd = [key for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key)]
        for key in odd:
            yield f"{part:12}{key}: {in_short(was.get(key, 'none'))} -> {in_short(now.get(key, 'none'))}"
        if not odd:
            yield f"{part:12}the same"


def _figures(old: Side, new: Side) -> Iterator[str]:
    """All metrics on whole splits, and accuracy on every slice."""
    shown = [(m, place) for m, place in {**old.findings, **new.findings} if "/" not in place or m == "accuracy"]
    rows = [("", f"version {old.version}", f"version {new.version}")]
    for key in shown:
        rows.append((describe_place(*key), _figure(old.findings.get(key)), _figure(new.findings.get(key))))
    first, second = (max(len(row[column]) for row in rows) + 2 for column in (0, 1))
    for name, was, now in rows:
        yield f"{name:{first}}{was:{second}}{now}"


def _figure(finding: Finding | None) -> str:
    if finding is None:
        return "not measured"
    return describe_finding(finding, NO_BOUND) if finding.is_number else f"not a number (n = {finding.n})"


def _flip_lines(found: Flips) -> Iterator[str]:
    apart = f"; {found.left_out} judged by one of them alone, or under another label" if found.left_out else ""
    if found.gain is None:
        if found.left_out:
            yield f"{found.split:12}no image is shared, so there is no paired difference{apart}"
        return
    value, low, high = (f"{100 * x:+.1f}" for x in (found.gain.value, found.gain.low, found.gain.high))
    yield (
        f"{found.split:12}accuracy {value} points [{low}, {high}] on the same {found.gain.n} images "
        f"({found.gain.method}){apart}"
    )
    yield f"{'':12}right before and wrong now: {_counts(found.lost)}"
    yield f"{'':12}wrong before and right now: {_counts(found.won)}"


def _counts(per_class: dict[str, int]) -> str:
    if not per_class:
        return "none"
    return f"{sum(per_class.values())} ({', '.join(f'{label} {n}' for label, n in per_class.items())})"
