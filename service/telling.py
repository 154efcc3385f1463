"""From what a model says of an image to what the client is told, and to the row of the log."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from service.messages import Answers, Kept
from tasks.guard import Guard
from tasks.logged_answer import LoggedAnswer
from tasks.told import Told, tell

BURST = "burst"  # the score that is of a caller and not of an image


@dataclass(frozen=True, eq=False)
class Said:
    """What one model says of one image, what is told of it, and which guard scores are above their thresholds."""

    arm: str
    kept: Kept
    probabilities: np.ndarray  # (K,)
    features: np.ndarray  # (D,)
    scores: dict[str, float]
    told: Told
    flags: dict[str, str]  # the sentence of each score above its threshold, by its name


def judge(arm: str, kept: Kept, guard: Guard, answers: Answers, place: int, abstain_on: Collection[str]) -> Said:
    """The class, or an abstention: for the model's doubt, or for the guard scores that the rules name (but BURST)."""
    probabilities, scores = answers.probabilities[place], answers.scores[place]
    told = tell(probabilities, list(kept.classes), guard.terms)
    blocked = guard.blocks(scores, [name for name in abstain_on if name != BURST])
    if blocked:
        told = replace(told, label="", reasons=(*blocked, *told.reasons))
    flags = {name: sentence for name in scores for sentence in guard.flags({name: scores[name]})}
    return Said(arm, kept, probabilities, answers.features[place], scores, told, flags)


def with_burst(said: Said, near: int, most: int, blocks: bool) -> Said:
    """The same, with how many near-duplicates its caller sent lately: `most` are flagged, and get no label where the
    rules say so."""
    said = replace(said, scores={**said.scores, BURST: float(near)})
    if near < most:
        return said
    sentence = f"{near} pictures that are nearly this one came from the same caller lately; {most} are a burst"
    told = replace(said.told, label="", reasons=(sentence, *said.told.reasons)) if blocks else said.told
    return replace(said, told=told, flags={**said.flags, BURST: sentence})


def answer_of(row: LoggedAnswer, flags: Collection[str] = (), sets: bool = False) -> dict[str, Any]:
    """What the client gets of a row; `sets` says that the model has prediction sets."""
    return {
        "request_id": row.request_id,
        "label": row.label or None,
        "predicted": row.predicted or None,
        "probabilities": {
            c: p if np.isfinite(p) else None for c, p in zip(row.classes, row.probabilities, strict=True)
        },
        "prediction_set": list(row.prediction_set) if sets else None,
        "reasons": list(row.reasons),
        "model": row.model or None,
        "version": row.version or None,
        "arm": row.arm or None,
        "guards": {name: score if np.isfinite(score) else None for name, score in row.guards.items()},
        "flags": list(flags),
    }


def with_said(row: LoggedAnswer, said: Said, milliseconds: float) -> LoggedAnswer:
    """The row of an image with what was said of it."""
    return replace(
        row,
        arm=said.arm,
        model=said.kept.digest,
        version=said.kept.version,
        decision=said.kept.decision,
        classes=said.kept.classes,
        probabilities=tuple(said.probabilities.tolist()),
        predicted=said.told.predicted,
        label=said.told.label,
        prediction_set=said.told.prediction_set or (),
        reasons=said.told.reasons,
        embedding=said.features.astype("<f2").tobytes(),
        guards=said.scores,
        latency_ms=milliseconds,
    )


def with_error(row: LoggedAnswer, arm: str, kept: Kept, error: str, milliseconds: float) -> LoggedAnswer:
    """The row of an image that its model did not answer."""
    return replace(
        row,
        arm=arm,
        model=kept.digest,
        version=kept.version,
        decision=kept.decision,
        classes=kept.classes,
        error=error,
        latency_ms=milliseconds,
    )
