"""Does the model hold up when images get worse: common corruptions, faults of a scanner, adversarial changes.

All conditions act on the same test images, so an image, or its subject, counts once however many conditions it is
under. `corruption_accuracy` is one minus the mean corruption error before it is divided by a baseline's (Hendrycks &
Dietterich 2019, section 4.1); what is said against the baseline here is the paired difference instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.errors import EvidenceMissing
from tasks.estimates import estimate_change, estimate_mean_gain, estimate_mean_share, estimate_rate
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.metrics import outcomes_of
from tasks.predictions import join_conditions, model_of

METRICS = (
    *("corruption_accuracy", "corruption_accuracy_drop", "corruption_gain_over_scratch"),
    *("condition_accuracy", "condition_overconfidence", "adversarial_accuracy"),
)
COLUMNS = ["family", "kind", "level", "model", "accuracy", "low", "high", "confidence", "n"]
CORRUPTION, SCANNER, ATTACK = "corruption", "scanner", "attack"


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """Means over severities on `test/corruption=shot noise`, over all corruptions on `test`; single conditions as
    `test/corruption=shot noise 3`, a scanner's faults as `test/scanner=faded 3`.

    `corruption_accuracy_drop` is against the same images as taken, `corruption_gain_over_scratch` against the baseline
    under the same conditions, both paired. `condition_overconfidence` is mean confidence minus accuracy, so the two
    findings of a condition also tell its mean confidence. `adversarial_accuracy` on `test` counts what is right under
    every attack. Without stressed predictions, nothing.
    """
    if evidence.stress is None:
        return
    ours, theirs = answers(evidence)
    params, rows = evidence.params, ours.images
    for place, chosen in ours.groups():
        each = int(chosen.sum())
        share, other = (a.hits[chosen].mean(axis=0) for a in (ours, theirs))
        yield estimate_mean_share("corruption_accuracy", place, share, each, rows, params)
        yield estimate_mean_gain("corruption_accuracy_drop", place, ours.as_taken - share, each, rows, params)
        yield estimate_mean_gain("corruption_gain_over_scratch", place, share - other, each, rows, params)
    for number, (family, condition) in enumerate(zip(ours.families, ours.conditions, strict=True)):
        place, hits = f"test/{family}={condition}", ours.hits[number]
        if family == ATTACK:
            yield estimate_rate("adversarial_accuracy", place, hits, rows, params)
        else:
            yield estimate_rate("condition_accuracy", place, hits, rows, params)
            yield estimate_change("condition_overconfidence", place, ours.confidence[number] - hits, rows, params)
    attacks = ours.hits[ours.families == ATTACK]
    if len(attacks):
        yield estimate_rate("adversarial_accuracy", "test", attacks.all(axis=0) & ours.as_taken, rows, params)


def curves(evidence: Evidence) -> pd.DataFrame:
    """Accuracy and mean confidence of candidate and scratch under each condition; level 0 is the images as taken."""
    found: list[dict[str, object]] = []
    both = () if evidence.stress is None else zip(("candidate", "scratch"), answers(evidence), strict=True)
    for model, answer in both:
        for family, kind, level, hits, confidence in answer.steps():
            figure = estimate_rate("condition_accuracy", "test", hits, answer.images, evidence.params)
            ends = {"accuracy": figure.value, "low": figure.low, "high": figure.high}
            sure = round(float(confidence.mean()), 10)
            row = {"family": family, "kind": kind, "level": level, "model": model, **ends, "confidence": sure}
            found.append(row | {"n": figure.n})
    return pd.DataFrame(found, columns=COLUMNS)


@dataclass(frozen=True, eq=False)
class Answers:
    """One model's answers to n images under C conditions; `images` are the manifest's rows of them."""

    images: pd.DataFrame
    families: np.ndarray  # (C,) corruption, scanner or attack
    conditions: list[str]  # `shot noise 3`
    hits: np.ndarray  # (C, n)
    confidence: np.ndarray  # (C, n) the largest probability
    as_taken: np.ndarray  # (n,) whether right on the images as they are
    confidence_as_taken: np.ndarray  # (n,)

    def groups(self) -> Iterator[tuple[str, np.ndarray]]:
        """Which conditions are averaged for which slice, as masks (C,): all corruptions, then each kind."""
        if (self.families == CORRUPTION).any():
            yield "test", self.families == CORRUPTION
        kinds = np.array([split(condition)[0] for condition in self.conditions])
        for family in (CORRUPTION, SCANNER):
            for kind in dict.fromkeys(kinds[self.families == family]):
                yield f"test/{family}={kind}", (self.families == family) & (kinds == kind)

    def steps(self) -> Iterator[tuple[str, str, str, np.ndarray, np.ndarray]]:
        """Family, kind, level, hits (n,), confidence (n,): for each kind the images as taken, then each condition."""
        before = None
        for number, (family, condition) in enumerate(zip(self.families, self.conditions, strict=True)):
            kind, level = split(condition)
            if kind != before:
                yield family, kind, "0", self.as_taken, self.confidence_as_taken
            yield family, kind, level, self.hits[number], self.confidence[number]
            before = kind


def split(condition: str) -> tuple[str, str]:
    """`shot noise 3` -> `shot noise` and `3`."""
    kind, _, level = condition.rpartition(" ")
    return kind, level


def answers(evidence: Evidence) -> tuple[Answers, Answers]:
    """The candidate's and the baseline's, on the same images under the same conditions."""
    if evidence.stress is None or evidence.baseline_judged is None:
        raise EvidenceMissing("there are no stressed predictions of two models; run the stage stress")
    ours, theirs = (_of_model(evidence, judged) for judged in (evidence.judged, evidence.baseline_judged))
    if ours.conditions != theirs.conditions or list(ours.images["image_id"]) != list(theirs.images["image_id"]):
        raise EvidenceMissing("candidate and baseline were stressed in different ways; run the stage stress again")
    return ours, theirs


def _of_model(evidence: Evidence, judged: pd.DataFrame) -> Answers:
    assert evidence.stress is not None
    table = join_conditions(evidence.stress, evidence.manifest, model_of(judged))
    heads = table.drop_duplicates("condition")
    count = len(heads)
    images = table.iloc[: len(table) // count]
    taken = outcomes_of(judged.set_index("image_id").loc[images["image_id"]].reset_index())
    outcomes = outcomes_of(table)
    return Answers(
        images=images,
        families=heads["family"].to_numpy(),
        conditions=list(heads["condition"]),
        hits=outcomes.hits.reshape(count, -1),
        confidence=outcomes.probabilities.max(axis=1).reshape(count, -1),
        as_taken=taken.hits,
        confidence_as_taken=taken.probabilities.max(axis=1),
    )
