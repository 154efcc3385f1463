"""Membership inference: how well an attacker who sees a model's losses tells the images it was trained on from others.

Scores are larger for what the attack takes for a member: minus the loss (Yeom et al. 2018, "Privacy Risk in Machine
Learning", section 3), or minus the loss beyond a reference's, which takes out how difficult each image is by itself
(Watson et al. 2022, "On the Importance of Difficulty Calibration in Membership Inference Attacks", equation 2).
"""

import math

import numpy as np
from scipy.stats import binom

from tasks.estimates import clustered_mean, effective_number, share_interval
from tasks.intervals import Interval, wilson
from tasks.resampling import Clusters


def log_losses(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The negative log probability of each image's class `truth` (n,), from probabilities (n, K)."""
    told = probabilities[np.arange(len(truth)), truth]
    return -np.log(np.clip(told, np.finfo(float).eps, 1))


def attack_auc(
    members: np.ndarray, others: np.ndarray, member_clusters: Clusters, other_clusters: Clusters, level: float
) -> tuple[float, Interval]:
    """The area under the attack's ROC curve from scores (m,) and (n,): 0.5 for a blind attacker, however many of each.

    The variance is DeLong's (DeLong, DeLong & Clarke-Pearson 1988), its components summed by cluster (Obuchowski
    1997); the interval is Wilson's at the number of independent images that would vary as much, which is at most the
    smaller side (Birnbaum & Klose 1957).
    """
    won, lost = placements(members, others)
    value = float(won.mean())
    spread = clustered_mean(won, member_clusters)[1] ** 2 + clustered_mean(lost, other_clusters)[1] ** 2
    fewer = min(member_clusters, other_clusters, key=lambda c: c.count)
    number = effective_number(min(len(members), len(others)), value * (1 - value), spread, fewer, level)
    return value, wilson(value * number, number, level)


def placements(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each member (m,) the share of others below it, for each other (n,) the share of members above; ties half."""
    below, above = np.sort(others), np.sort(members)
    won = np.searchsorted(below, members, "left") + np.searchsorted(below, members, "right")
    lost = np.searchsorted(above, others, "left") + np.searchsorted(above, others, "right")
    return won / (2 * len(others)), 1 - lost / (2 * len(members))


def attack_tpr(
    members: np.ndarray,
    others: np.ndarray,
    member_clusters: Clusters,
    other_clusters: Clusters,
    level: float,
    fpr: float,
) -> tuple[float, Interval]:
    """The share of members found at a threshold that a share `fpr` of the others passes (Carlini et al. 2022).

    The threshold is estimated from the others, so each end of the interval spends half its error on it: the true false
    positive rate of the k-th largest score is Beta(k, n - k + 1), whatever the distribution, which says between which
    scores the threshold lies. The other half goes to the members beyond that score. With clusters, n is their count.
    """
    ranked = np.sort(others)[::-1]
    n, count = len(others), other_clusters.count
    allowed = math.floor(fpr * n + 1e-9)
    value = float((members > ranked[allowed]).mean()) if allowed < n else 1.0
    part, inner = (1 - level) / 4, 1 - (1 - level) / 2
    least = math.floor(int(binom.ppf(part, count, fpr)) * n / count)
    most = math.ceil((int(binom.isf(part, count, fpr)) + 1) * n / count)
    low, high = 0.0, 1.0
    if least >= 1:
        low = share_interval(members > ranked[least - 1], member_clusters, inner).low
    if most <= n:
        high = share_interval(members >= ranked[most - 1], member_clusters, inner).high
    return value, Interval(low, high)
