"""Which labels are probably wrong, by confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70).

From given labels (n,) as class numbers and out-of-fold probabilities (n, K): an image counts as of class j when its
probability of j reaches the mean one that the images labelled j get, which allows for a model that is surer of some
classes than of others. How many images labelled i count as j is the confident joint, and what lies off its diagonal
are label errors, as far as the model is right: a weak model raises the estimate.
"""

import numpy as np

from tasks.estimates import clustered_mean, effective_number
from tasks.intervals import Interval, wilson
from tasks.resampling import Clusters


def confident_classes(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The class that each image confidently counts as, (n,), the most probable where several do; -1 for none.

    Section 3.1, equations 1 and 2.
    """
    sizes = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.bincount(labels, probabilities[np.arange(len(labels)), labels], minlength=len(sizes))
    thresholds = np.divide(sums, sizes, out=np.full(len(sizes), np.inf), where=sizes > 0)
    reached = np.where(probabilities >= thresholds - 1e-12, probabilities, -1.0)
    return np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1)


def confident_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How many images labelled i confidently count as j, (K, K)."""
    counted, k = confident_classes(labels, probabilities), probabilities.shape[1]
    inside = counted >= 0
    return np.bincount(labels[inside] * k + counted[inside], minlength=k * k).reshape(k, k)


def joint_distribution(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The estimated joint distribution of given and true labels, (K, K), summing to 1 (section 3.1, equation 3).

    A class none of whose images counts as anything is taken for rightly labelled.
    """
    counts = confident_joint(labels, probabilities).astype(float)
    counts += np.diag(counts.sum(axis=1) == 0)
    sizes = np.bincount(labels, minlength=len(counts))
    return counts / counts.sum(axis=1, keepdims=True) * sizes[:, None] / len(labels)


def error_share(
    labels: np.ndarray, probabilities: np.ndarray, clusters: Clusters, level: float
) -> tuple[float, Interval]:
    """The estimated share of label errors, what `joint_distribution` has off its diagonal, with its interval.

    Wilson's at the effective number that the estimate's influence values tell, the thresholds taken as known; it
    covers the chance of the sample and not the mistakes of the model.
    """
    counted = confident_classes(labels, probabilities)
    sure, off = counted >= 0, (counted >= 0) & (counted != labels)
    k = probabilities.shape[1]
    sizes, known = np.bincount(labels, minlength=k), np.bincount(labels[sure], minlength=k)
    rates = np.bincount(labels[off], minlength=k) / np.maximum(known, 1)
    influence = rates[labels] + sure * (off - rates[labels]) * (sizes / np.maximum(known, 1))[labels]
    share, error = clustered_mean(influence, clusters)
    share = min(1.0, max(0.0, share))
    number = effective_number(max(1, int(sure.sum())), share * (1 - share), error**2, clusters, level)
    return share, wilson(share * number, number, level)


def suspects(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple[int, int]]:
    """(image, suggested class) of the probable label errors, the least likely given label first.

    Pruning by noise rate (section 3.2): for each i and j as many images labelled i as the joint distribution says are
    of class j, those with the largest margin of j's probability over i's; an image is named once, for its largest.
    """
    joint = joint_distribution(labels, probabilities)
    margins: dict[int, tuple[float, int]] = {}
    for given, other in np.argwhere(joint > 0):
        if given == other:
            continue
        inside = np.flatnonzero(labels == given)
        margin = probabilities[inside, other] - probabilities[inside, given]
        order = np.argsort(-margin, kind="stable")[: int(np.rint(joint[given, other] * len(labels)))]
        for place in order:
            image, size = int(inside[place]), float(margin[place])
            if size > margins.get(image, (0.0, 0))[0]:
                margins[image] = (size, int(other))
    return sorted(
        ((image, other) for image, (_, other) in margins.items()), key=lambda s: (probabilities[s[0], labels[s[0]]], s)
    )
