"""What a client is told of one image: a class or an abstention, a prediction set, and why.

The model answers when its largest probability reaches the threshold that cost least on the calibration split
(tasks/evaluators/selective.py); a prediction set holds each class whose score is within the conformal quantile of that
split (tasks/evaluators/conformal.py). Both are fixed at release and lie in guard.json.
"""

from dataclasses import dataclass

import numpy as np

from tasks.errors import BadInput


@dataclass(frozen=True)
class Terms:
    """`threshold`: the confidence from which the model answers, above 1 never, None always; `quantile`: of prediction
    sets, None for no sets."""

    threshold: float | None
    quantile: float | None


@dataclass(frozen=True)
class Told:
    """`label` is "" for an abstention, `predicted` the most probable class, `prediction_set` None where there are
    none, `reasons` those of the abstention."""

    label: str
    predicted: str
    prediction_set: tuple[str, ...] | None
    reasons: tuple[str, ...]


def tell(probabilities: np.ndarray, classes: list[str], terms: Terms) -> Told:
    """What to say of calibrated probabilities (K,); those that are no numbers get an abstention and no set."""
    if len(probabilities) != len(classes):
        raise BadInput(
            f"{len(probabilities)} probabilities came for {len(classes)} classes; ask the model that has them"
        )
    if not np.isfinite(probabilities).all():
        reason = "the model's answer is not a number for some class"
        return Told("", "", None if terms.quantile is None else (), (reason,))
    predicted, confidence = classes[int(probabilities.argmax())], float(probabilities.max())
    inside = None
    if terms.quantile is not None:
        inside = tuple(c for c, p in zip(classes, probabilities, strict=True) if 1 - p <= terms.quantile)
    if terms.threshold is not None and confidence < terms.threshold:
        reason = (
            f"confidence {confidence:.3f} is below {terms.threshold:.3f}, from which an answer costs less than a look"
        )
        return Told("", predicted, inside, (reason,))
    return Told(predicted, predicted, inside, ())
