"""Rules that teams use to notice that a model has got worse, beside which benchmarks/monitor.py puts the e-detector.

Each takes `errors` (R, T), how many of a night's `n` labels were errors, in R runs of T nights, or the single answers
(R, T * n) in order, and returns the night (R,) of the first alarm, counted from 1, NEVER when there is none.
"""

import numpy as np
from scipy.stats import binom

NEVER = 10**9
CELLS = 400  # states of the Markov chain that stands for a CUSUM


def first_night(alarmed: np.ndarray) -> np.ndarray:
    """The first true place of each row (R, T), counted from 1."""
    return np.where(alarmed.any(axis=1), alarmed.argmax(axis=1) + 1, NEVER)


def nightly_test(errors: np.ndarray, n: int, bound: float, level: float = 0.05) -> np.ndarray:
    """Every night an exact binomial test of `errors / n <= bound`, each at `level`, as if it were the only one."""
    return first_night(binom.sf(errors - 1, n, bound) <= level)


def cusum(errors: np.ndarray, n: int, bound: float, harm: float, threshold: float) -> np.ndarray:
    """Page's CUSUM (1954) of the log likelihood ratio of risk `harm`, which it must know, against `bound`."""
    up, down = np.log(harm / bound), np.log((1 - harm) / (1 - bound))
    level, alarmed = np.zeros(len(errors)), np.zeros(errors.shape, bool)
    for night in range(errors.shape[1]):
        level = np.maximum(0, level + errors[:, night] * up + (n - errors[:, night]) * down)
        alarmed[:, night] = level >= threshold
    return first_night(alarmed)


def cusum_threshold(n: int, bound: float, harm: float, run_length: float) -> float:
    """The threshold at which the mean time to a false alarm on the bound is `run_length`, by bisection."""
    low, high = 1e-3, 30.0
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if cusum_run_length(n, bound, harm, middle) < run_length else (low, middle)
    return high


def cusum_run_length(n: int, bound: float, harm: float, threshold: float) -> float:
    """The mean time to a false alarm from the Markov chain of Brook & Evans (1972)."""
    counts = np.arange(n + 1)
    steps = counts * np.log(harm / bound) + (n - counts) * np.log((1 - harm) / (1 - bound))
    chances, width = binom.pmf(counts, n, bound), threshold / CELLS
    reached = np.maximum(0.0, np.arange(CELLS)[:, None] * width + steps[None, :])
    inside = reached < threshold
    cells = np.minimum(np.rint(reached / width).astype(int), CELLS - 1)
    chain = np.zeros((CELLS, CELLS))
    np.add.at(chain, (np.nonzero(inside)[0], cells[inside]), np.broadcast_to(chances, inside.shape)[inside])
    return float(np.linalg.solve(np.eye(CELLS) - chain, np.ones(CELLS))[0])


def page_hinkley(answers: np.ndarray, n: int, slack: float = 0.005, threshold: float = 50.0) -> np.ndarray:
    """The Page-Hinkley test on single errors with its usual settings (Gama et al. 2014, section 3.2)."""
    places = np.arange(1, answers.shape[1] + 1)
    sums = np.cumsum(answers - np.cumsum(answers, axis=1) / places - slack, axis=1)
    alarmed = (sums - np.minimum.accumulate(sums, axis=1) > threshold) & (places >= 30)
    return _to_nights(alarmed, n)


def ddm(answers: np.ndarray, n: int, width: float = 3.0) -> np.ndarray:
    """The drift detection method: the error rate rises by 3 standard deviations (Gama et al. 2004)."""
    places = np.arange(1, answers.shape[1] + 1)
    rate = np.cumsum(answers, axis=1) / places
    spread = np.sqrt(rate * (1 - rate) / places)
    sums = np.where(places >= 30, rate + spread, np.inf)
    lowest = np.maximum.accumulate(np.where(sums <= np.minimum.accumulate(sums, axis=1), places - 1, 0), axis=1)
    best, width_then = np.take_along_axis(rate, lowest, axis=1), np.take_along_axis(spread, lowest, axis=1)
    return _to_nights((places >= 30) & (rate + spread > best + width * width_then), n)


def adwin(errors: np.ndarray, n: int, confidence: float = 0.002) -> np.ndarray:
    """Adaptive windowing (Bifet & Gavalda 2007) with nights as buckets; a cut below a higher rate is an alarm."""
    return np.array([_adwin(run, n, confidence) for run in errors])


def _adwin(errors: np.ndarray, n: int, confidence: float) -> int:
    start = 0
    for night in range(1, len(errors)):
        cut = _cut(errors[start : night + 1], n, confidence)
        while cut is not None:
            if cut > 0:
                return night + 1
            start += 1
            cut = _cut(errors[start : night + 1], n, confidence)
    return NEVER


def _cut(window: np.ndarray, n: int, confidence: float) -> float | None:
    """By how much the rate has risen at the clearest place to cut the window; None when there is none."""
    if len(window) < 2:
        return None
    total, nights = window.sum(), np.arange(1, len(window))
    old, size = np.cumsum(window)[:-1], len(window) * n
    rise = (total - old) / ((len(window) - nights) * n) - old / (nights * n)
    harmonic = 1 / (1 / (nights * n) + 1 / ((len(window) - nights) * n))
    log = np.log(2 * np.log(size) / confidence)
    least = np.sqrt(2 / harmonic * (total / size) * (1 - total / size) * log) + 2 / (3 * harmonic) * log
    best = int(np.argmax(np.abs(rise) - least))
    return float(rise[best]) if abs(rise[best]) >= least[best] else None


def _to_nights(alarmed: np.ndarray, n: int) -> np.ndarray:
    places = first_night(alarmed)
    return np.where(places == NEVER, NEVER, (places - 1) // n + 1)
