"""The verdict: what the gate decided, criterion by criterion, in the words that everyone reads; verdict.json."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tasks.errors import EvidenceMissing

VERDICT = "verdict.json"
PASS, FAIL, INCONCLUSIVE, NOT_APPLICABLE = "PASS", "FAIL", "INCONCLUSIVE", "NOT APPLICABLE"


@dataclass(frozen=True)
class Judgement:
    """One criterion on one slice. Figures are None where there was no finding or it was not a number."""

    criterion: str
    metric: str
    slice: str
    outcome: str
    severity: str
    sentence: str
    reason: str
    direction: str
    bound: float
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    labels_needed: int | None = None  # None: not asked, or no number settles it


@dataclass(frozen=True)
class Verdict:
    """PASS, FAIL or INCONCLUSIVE, why, and the sha256 digests of what it rests on."""

    overall: str
    sentence: str
    judgements: tuple[Judgement, ...]
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the model may be released."""
        return self.overall == PASS


def write_verdict(verdict: Verdict, path: Path) -> None:
    """Write the verdict as JSON."""
    text = json.dumps(asdict(verdict), indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_verdict(path: Path) -> Verdict:
    """Read a verdict, given as the file or its folder; anything but a sound one is EvidenceMissing."""
    file = path / VERDICT if path.is_dir() else path
    try:
        row = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvidenceMissing(f"cannot read a verdict from {file}: {error}; run the stage judge") from error
    _check(row, [f.name for f in fields(Verdict)], (PASS, FAIL, INCONCLUSIVE), "overall", str(file))
    for judgement in row["judgements"]:
        outcomes = (PASS, FAIL, INCONCLUSIVE, NOT_APPLICABLE)
        _check(judgement, [f.name for f in fields(Judgement)], outcomes, "outcome", f"{file}, judgements")
    return Verdict(**row | {"judgements": tuple(Judgement(**j) for j in row["judgements"])})


def _check(row: Any, names: list[str], allowed: tuple[str, ...], key: str, place: str) -> None:
    if not isinstance(row, dict) or sorted(row) != sorted(names):
        raise EvidenceMissing(f"{place}: expected the keys {', '.join(names)}; run the stage judge")
    if row[key] not in allowed:
        raise EvidenceMissing(f"{place}: {key} is {row[key]!r}, which is none of {', '.join(allowed)}")
