"""Counts with noise: what one person adds or leaves out can hardly be told from them (differential privacy).

The geometric mechanism (Ghosh, Roughgarden & Sundararajan 2012, section 2.2): whole numbers with two-sided geometric
noise, which have none of the leaks that floating-point Laplace noise has (Mironov 2012).
"""

import math

import numpy as np


def noisy(count: int, epsilon: float, sensitivity: int, random: np.random.Generator) -> int:
    """The count with noise; `sensitivity` is the most that one person can change it by, `epsilon` what it may cost."""
    success = 1 - math.exp(-epsilon / sensitivity)
    return count + int(random.geometric(success)) - int(random.geometric(success))


def least_to_show(epsilon: float, delta: float, sensitivity: int) -> int:
    """The noisy count above which a cell may be shown although its very name is known from people's reports alone.

    One person can be in up to `sensitivity` cells that nobody else is in; with this bound, any of them shows with
    probability `delta` at most (Korolova, Kenthapadi, Mishra & Ntoulas 2009, section 4.1).
    """
    return sensitivity + math.ceil(sensitivity / epsilon * math.log(sensitivity / delta))
