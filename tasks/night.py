"""A night and its verdict: what each question came to, and what follows from all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.intervals import Interval

HEALTHY, WATCH, HARM, NO_DATA, CANNOT_JUDGE = "HEALTHY", "WATCH", "HARM", "NO DATA", "CANNOT JUDGE"
VERDICTS = (HEALTHY, WATCH, HARM, NO_DATA, CANNOT_JUDGE)


DOCUMENT = "night.json"  # the night's record among its evidence


@dataclass(frozen=True)
class Answer:
    """What one question of a night came to: whether it speaks against the night, whether it could be asked, and how.

    `against` is HARM, WATCH, CANNOT_JUDGE, NO_DATA or "" where nothing speaks against the night; `asked` is False
    where there was nothing to ask, which is no sign of health. `said` are sentences for people, `facts` what the record
    keeps.
    """

    asked: bool
    against: str
    said: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Night:
    """One night as the ledger has it. `body` is the entry's body, `number` the entry's number."""

    night: str
    verdict: str
    sentence: str
    number: int
    body: dict[str, Any]


def together(answers: dict[str, Answer]) -> tuple[str, list[str]]:
    """The verdict of a night, and its sentences, those that decide it first.

    `answers` are those of `data` (was there a window, did its contract hold), `harm` and `drift`. Without a window, or
    with one that broke its contract, nothing else counts. Then harm shown by labels comes first, and next labels that
    cannot be read or a drift monitor that is out of calibration; a night is healthy only if somebody looked: by labels,
    or by a calibrated monitor.
    """
    data, harm, drift = answers["data"], answers["harm"], answers["drift"]
    if data.against:
        return data.against, list(data.said)
    said = [*harm.said, *drift.said]
    if harm.against == HARM:
        return HARM, said
    if CANNOT_JUDGE in (harm.against, drift.against):
        return CANNOT_JUDGE, said if harm.against == CANNOT_JUDGE else [*drift.said, *harm.said]
    if not harm.asked and not drift.asked:
        return CANNOT_JUDGE, said
    if WATCH in (harm.against, drift.against):
        return WATCH, said if harm.against else [*drift.said, *harm.said]
    return HEALTHY, said


def is_benign(error: Interval | None, tolerated: float) -> bool:
    """Whether the labels of the very night prove that what changed does no harm: the interval's end is tolerated."""
    return error is not None and error.high <= tolerated


def sentence_of(night: str, verdict: str, said: Sequence[str]) -> str:
    """The night in one line."""
    return f"{verdict} {night}: {said[0] if said else 'nothing was asked'}"
