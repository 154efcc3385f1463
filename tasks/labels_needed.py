"""How many more labels would settle a criterion that its interval leaves open, if the observed value holds."""

import math

from tasks.findings import Finding
from tasks.intervals import wilson

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


def _enough_by_scaling(finding: Finding, bound: float) -> int:
    end = finding.low if finding.value > bound else finding.high
    return math.ceil(finding.n * ((finding.value - end) / (finding.value - bound)) ** 2)


def _enough_for_wilson(finding: Finding, bound: float) -> int:
    """The smallest n at which the interval around the same share clears the bound: double, then halve the gap."""

    def clears(n: int) -> bool:
        low, high = wilson(finding.value * n, n, finding.level)
        return low >= bound if finding.value > bound else high < bound

    short, enough = finding.n, 2 * finding.n
    while not clears(enough):
        short, enough = enough, 2 * enough
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if clears(middle) else (middle, enough)
    return enough
