"""The guard of one model: which images are stranger to it than those that it was released on, and what to say of them.

Fitted at release (tasks/fit_guard.py) and logged beside the model, so that each version brings its own. `guard.json`
holds the thresholds with their rates, the terms of an answer, the classes, and the digest of the model that it belongs
to; `guard.safetensors` the tensors of the Mahalanobis distance, opened only where its sha256 is the one in guard.json.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from tasks.digests import sha256_bytes, sha256_file
from tasks.errors import BadInput, DigestMismatch, EvidenceMissing
from tasks.suspicion import HIGH_FREQUENCY, OOD, SCORES, SQUEEZING, distances, high_frequency, moved, squeezed
from tasks.told import Terms

GUARD, TENSORS = "guard.json", "guard.safetensors"
SAYS = {
    OOD: "the image is unlike those that the model learnt from: its distance {score:.3g} is above {threshold:.3g}",
    SQUEEZING: "the answer hangs on fine detail: without it, it moves by {score:.3g}, more than {threshold:.3g}",
    HIGH_FREQUENCY: "{score:.3g} of the image is the finest detail, more than {threshold:.3g}",
}
Answer = Callable[[torch.Tensor], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Threshold:
    """A score above `threshold` is flagged. `rate` bounds the share of ordinary images that are, on average over
    calibration splits of `n` images; given this one, the share lies from `low` to `high` at confidence `level`.

    `flagged` of `checked` validation images, which the threshold has not seen, are above it.
    """

    threshold: float
    rate: float
    low: float
    high: float
    level: float
    n: int
    flagged: int
    checked: int


@dataclass(frozen=True)
class Facts:
    """What guard.json says beside thresholds and terms: of the model, and how the scores are made."""

    model: str  # the digest of the model folder that it was fitted on
    classes: tuple[str, ...]
    bits: int
    window: int
    squeeze_share: float
    radius: float


class Guard:
    """Scores images as they are asked, and says which of them are too strange."""

    def __init__(
        self, facts: Facts, terms: Terms, thresholds: Mapping[str, Threshold], whitener: np.ndarray, centres: np.ndarray
    ) -> None:
        self.facts, self.terms, self.thresholds = facts, terms, dict(thresholds)
        self.whitener, self.centres = whitener, centres

    @classmethod
    def load(cls, folder: Path) -> "Guard":
        """The guard of a folder; EvidenceMissing where a part is not there, DigestMismatch where one was changed."""
        for name in (GUARD, TENSORS):
            if not (folder / name).is_file():
                raise EvidenceMissing(
                    f"{folder} has no {name}; a model without its guard is not served, release it again"
                )
        try:
            document = json.loads((folder / GUARD).read_text(encoding="utf-8"))
            facts = Facts(**{**document["facts"], "classes": tuple(document["facts"]["classes"])})
            terms = Terms(**document["terms"])
            thresholds = {name: Threshold(**document["thresholds"][name]) for name in SCORES}
            wanted = document["tensors"]
        except (ValueError, KeyError, TypeError) as error:
            raise EvidenceMissing(f"{folder / GUARD} is not a guard ({error}); release the model again") from error
        if sha256_file(folder / TENSORS) != wanted:
            raise DigestMismatch(f"{folder / TENSORS} is not the file that {GUARD} names; bring it back from MLflow")
        tensors = load_file(folder / TENSORS)
        return cls(facts, terms, thresholds, tensors["whitener"], tensors["centres"])

    def save(self, folder: Path) -> None:
        """Write both files."""
        save_file({"whitener": self.whitener, "centres": self.centres}, folder / TENSORS)
        document = {
            "facts": asdict(self.facts),
            "terms": asdict(self.terms),
            "thresholds": {name: asdict(self.thresholds[name]) for name in SCORES},
            "tensors": sha256_file(folder / TENSORS),
        }
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / GUARD).write_text(text + "\n", encoding="utf-8")

    def ask(self, pixels: np.ndarray, answer: Answer) -> tuple[np.ndarray, np.ndarray, list[dict[str, float]]]:
        """What a model says of uint8 (N, 3, S, S), probabilities (N, K) and features (N, D), and N times the scores.

        `answer` is asked once, for the images and for squeezed copies of those sampled; "squeezing" is not there for an
        image that was not.
        """
        images = torch.from_numpy(np.ascontiguousarray(pixels))
        sampled = [place for place, image in enumerate(pixels) if self.is_sampled(image)]
        asked = [images, squeezed(images[sampled], self.facts.bits, self.facts.window)] if sampled else [images]
        probabilities, features = answer(torch.cat(asked))
        if not len(probabilities) == len(features) == len(images) + 2 * len(sampled):
            raise BadInput(
                f"{len(images)} images and {2 * len(sampled)} copies came with {len(probabilities)} answers and "
                f"{len(features)} rows of features"
            )
        (probabilities, told), features = np.split(probabilities, [len(images)]), features[: len(images)]
        apart = distances(features, self.whitener, self.centres)
        fine = high_frequency(images, self.facts.radius)
        found = [{OOD: float(a), HIGH_FREQUENCY: float(f)} for a, f in zip(apart, fine, strict=True)]
        for place, score in zip(sampled, moved(probabilities[sampled], told), strict=True):
            found[place][SQUEEZING] = float(score)
        return probabilities, features, found

    def is_sampled(self, image: np.ndarray) -> bool:
        """Whether squeezing is asked of an image: a fixed share of all, told by the sha256 of their pixels."""
        place = int(sha256_bytes(np.ascontiguousarray(image).tobytes())[:13], 16) / 2**52
        return place < self.facts.squeeze_share

    def flags(self, scores: Mapping[str, float]) -> tuple[str, ...]:
        """A sentence for each score above its threshold; one that is not a number is above any."""
        return tuple(
            self._sentence(name, scores[name]) for name in SCORES if name in scores and self._is_over(name, scores)
        )

    def blocks(self, scores: Mapping[str, float], names: Collection[str] = (OOD,)) -> tuple[str, ...]:
        """The sentences of those scores on which the rules say to abstain: `names`.

        EvidenceMissing where one of them was not made, but for squeezing, which is sampled.
        """
        missing = [name for name in names if name not in scores and name != SQUEEZING]
        if missing:
            raise EvidenceMissing(f"the scores {', '.join(missing)} are missing, on which an answer depends")
        return self.flags({name: score for name, score in scores.items() if name in names})

    def _is_over(self, name: str, scores: Mapping[str, float]) -> bool:
        return not scores[name] <= self.thresholds[name].threshold

    def _sentence(self, name: str, score: float) -> str:
        if math.isnan(score):
            return f"the score {name} is not a number"
        return SAYS[name].format(score=score, threshold=self.thresholds[name].threshold)
