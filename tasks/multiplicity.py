"""Many tests at once: how surely a finding misses its bound, and Holm's correction over a family of such tests."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import beta, norm

from tasks.findings import Finding


def holm(values: Sequence[float]) -> list[float]:
    """The p values adjusted by Holm's step-down procedure (1979): the family errs as rarely as a single test."""
    order = np.argsort(values, kind="stable")
    adjusted, highest = [0.0] * len(values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = highest
    return adjusted


def chance_of_miss(finding: Finding, bound: float, direction: str, growth: float = 1.0) -> float:
    """One-sided p: how likely a value this far on the wrong side of `bound` is when the bound is the truth.

    `growth` asks the same of a sample that many times as large with the same value. A finding carries one interval, not
    its sample, so the sample's size is read off the interval's end that faces the bound. For a share the end e of
    Wilson's interval solves (value - e)^2 = z^2 e (1 - e) / n, which yields n, an effective number where images are not
    independent; p is the binomial's, as in the interval of Korn & Graubard (1998): deep in the tail, where a correction
    for many tests looks, the normal approximation behind Wilson's interval is too bold. Any other figure counts as
    normal, its half-width towards the bound being z standard errors.
    """
    below = direction == "at_least"  # the wrong side
    end = finding.high if finding.value < bound else finding.low
    near, z = abs(finding.value - end), float(norm.ppf((1 + finding.level) / 2))
    if near == 0:
        return float(finding.value >= bound if below else finding.value <= bound)
    if finding.method.startswith("wilson"):
        n = growth * end * (1 - end) * (z / near) ** 2
        hits = finding.value * n if below else (1 - finding.value) * n
        worst = bound if below else 1 - bound
        return float(beta.sf(worst, hits + 1, n - hits)) if hits < n else 1.0
    far = (finding.value - bound) * (1 if below else -1)
    return float(norm.cdf(z * far / near * math.sqrt(growth)))
