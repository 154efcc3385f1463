"""Findings: one measured figure with its interval, its n and its slice; report.json is a list of them.

A slice is `<split>` or `<split>/<column>=<value>`, the split being test or mirror: `test`, `mirror/condition=faded`.
What is said of the data itself can also be of train, or of all images; `cases/case=<name>` is one must-pass case,
`external/<name>` an external set.
JSON has no NaN: a figure that could not be computed is stored as null and read back as NaN, which no gate passes.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tasks.errors import EvidenceMissing

REPORT, EVIDENCE = "report.json", "evidence.json"
TIMINGS = "timings.json"  # how long a model took to answer (tasks/measure_latency.py)
# What is measured, by its argument to the stage evaluate.
TABLES = ("predictions", "scratch_predictions", "manifest", "stress", "attributions", "embeddings", "cases", "external")
SLICE = r"^(train|test|mirror|all|cases|external/[a-z0-9-]+)(/[^/=]+=.+)?$"


@dataclass(frozen=True)
class Finding:
    """`metric` on `slice`: `value` in [`low`, `high`] at confidence `level`, from `n` images.

    `clusters` counts the independent units among them; `method` says how the interval was made.
    """

    metric: str
    slice: str
    value: float
    low: float
    high: float
    n: int
    clusters: int
    method: str
    level: float = 0.95

    @property
    def is_number(self) -> bool:
        """Whether value and interval are all finite."""
        return all(math.isfinite(x) for x in (self.value, self.low, self.high))


Found = dict[tuple[str, str], Finding]  # by metric and slice
FLOATS = ("value", "low", "high")
TYPES = {"metric": str, "slice": str, "n": int, "clusters": int, "method": str, "level": float}


def write_findings(findings: Iterable[Finding], path: Path) -> None:
    """Write the list as JSON, one finding a line."""
    lines = [json.dumps(without_nan(asdict(f)), allow_nan=False, ensure_ascii=False) for f in findings]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def read_findings(path: Path) -> list[Finding]:
    """Read a report, given as the file or its folder; anything but a sound list is EvidenceMissing."""
    file = path / REPORT if path.is_dir() else path
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvidenceMissing(f"cannot read findings from {file}: {error}; run the stage evaluate") from error
    if not isinstance(rows, list):
        raise EvidenceMissing(f"{file} holds a {type(rows).__name__}, not a list of findings; run the stage evaluate")
    findings = [_finding(row, f"{file}, entry {place}") for place, row in enumerate(rows)]
    index_findings(findings)
    return findings


def read_measured(report: Path) -> dict[str, str]:
    """The digests of what the report folder measured: the model, the model from scratch, and every table."""
    file = report / EVIDENCE
    try:
        evidence = json.loads(file.read_text(encoding="utf-8"))
        return {key: str(evidence[key]) for key in ("model", "scratch_model", *TABLES)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceMissing(
            f"cannot read what was measured from {file}: {error!r}; run the stage evaluate"
        ) from error


def index_findings(findings: Iterable[Finding]) -> Found:
    """The findings by (metric, slice); two with the same key are EvidenceMissing, for neither can be believed."""
    index: Found = {}
    for finding in findings:
        key = (finding.metric, finding.slice)
        if key in index:
            raise EvidenceMissing(f"two findings for {finding.metric} on {finding.slice}; run the stage evaluate again")
        index[key] = finding
    return index


def without_nan(value: Any) -> Any:
    """The same for JSON, which has no number for what is none: None in its place, at any depth."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _finding(row: Any, place: str) -> Finding:
    names = [f.name for f in fields(Finding)]
    if not isinstance(row, dict) or sorted(row) != sorted(names):
        raise EvidenceMissing(f"{place}: expected the keys {', '.join(names)}; run the stage evaluate")
    for key in names:
        allowed: Any = (int, float, type(None)) if key in FLOATS else TYPES[key]
        if not isinstance(row[key], allowed) or isinstance(row[key], bool):
            raise EvidenceMissing(f"{place}: {key} is {row[key]!r}; run the stage evaluate")
    finding = Finding(**row | {key: math.nan if row[key] is None else float(row[key]) for key in FLOATS})
    if finding.is_number and not finding.low <= finding.value <= finding.high:
        raise EvidenceMissing(
            f"{place}: {finding.metric} on {finding.slice} is {finding.value}, outside its own interval "
            f"[{finding.low}, {finding.high}]; run the stage evaluate"
        )
    return finding
