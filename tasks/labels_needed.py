"""How many more labels would settle a criterion that its interval leaves open, if the observed value holds."""

import math
from collections.abc import Callable

from tasks.findings import Finding
from tasks.intervals import wilson
from tasks.multiplicity import chance_of_miss

ON_THE_BOUND = 1e-9  # nearer than this, a value counts as the bound itself


def labels_needed(finding: Finding, bound: float) -> int | None:
    """Images to add to the finding's slice until the interval clears the bound; None when no number does.

    Exact for a share with Wilson's interval; otherwise the half-width towards the bound is taken to shrink as
    1 / sqrt(n), the images to come being clustered like those at hand.
    """
    if abs(finding.value - bound) <= ON_THE_BOUND:
        return None
    enough = _enough_for_wilson(finding, bound) if finding.method == "wilson" else _enough_by_scaling(finding, bound)
    return max(1, enough - finding.n)


def labels_to_fail(finding: Finding, bound: float, direction: str, error: float) -> int:
    """Images to add until a value on the wrong side of the bound is significant at the one-sided `error`."""

    def settles(n: int) -> bool:
        return chance_of_miss(finding, bound, direction, n / finding.n) < error

    return max(1, smallest(settles, finding.n) - finding.n)


def smallest(settles: Callable[[int], bool], short: int) -> int:
    """The smallest number above `short` that settles, by doubling and halving; what settles keeps settling above."""
    enough = 2 * short
    while not settles(enough):
        short, enough = enough, 2 * enough
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if settles(middle) else (middle, enough)
    return enough


def _enough_by_scaling(finding: Finding, bound: float) -> int:
    end = finding.low if finding.value > bound else finding.high
    return math.ceil(finding.n * ((finding.value - end) / (finding.value - bound)) ** 2)


def _enough_for_wilson(finding: Finding, bound: float) -> int:
    """The smallest n at which the interval around the same share clears the bound."""

    def clears(n: int) -> bool:
        low, high = wilson(finding.value * n, n, finding.level)
        return low >= bound if finding.value > bound else high < bound

    return smallest(clears, finding.n)
