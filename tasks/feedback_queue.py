"""The reports that wait for a reviewer, the most useful first."""

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.feedback import NEW, Filed


@dataclass(frozen=True)
class Waiting:
    """A report in the queue; `same` others say the same of the same image."""

    filed: Filed
    same: int

    def line(self) -> str:
        """For a terminal: everything but the text, which `keel feedback page` shows."""
        told, filed = self.filed.told, self.filed
        answer = (
            f"told {told.answer} ({100 * told.sure:.0f} %) by version {told.version}" if told else "no answer known"
        )
        said = [f"says {filed.correct_label}"] if filed.correct_label else []
        said += [f"rated {filed.rating}"] if filed.rating is not None else []
        said += ["with a text"] if filed.text else []
        said += [f"{self.same} more say so"] if self.same else []
        return f"{filed.id}  {filed.at:%Y-%m-%d}  {answer}; {', '.join(said)}"


def queue(filed: Iterable[Filed]) -> list[Waiting]:
    """New reports by what a review of them can teach.

    First those that name another class than the model did, then those of which the model was less sure (uncertainty
    sampling: Lewis & Gale 1994), then those that more people sent; the oldest first among equals.
    """
    held = list(filed)
    waiting = [Waiting(f, sum(_subject(f) == _subject(other) for other in held) - 1) for f in held if f.state == NEW]
    return sorted(waiting, key=_rank)


def _subject(filed: Filed) -> tuple[str, str | None]:
    """What a report is about and what it says is right."""
    return (filed.told.sha256 if filed.told else filed.request_id, filed.correct_label)


def _rank(waiting: Waiting) -> tuple[int, float, int, str, str]:
    filed = waiting.filed
    sure = filed.told.sure if filed.told else 1.0
    return -int(bool(filed.disagrees)), sure, -waiting.same, f"{filed.at}", filed.id
