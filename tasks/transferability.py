"""How well a frozen backbone's features suit some labels: cheap scores, and how far their ranking can be trusted.

Everything here is a function of features (N, D) and labels (N,):

    linear probe   a logistic regression on the standardised features, its penalty cross-validated on training images
    neighbours     the vote of the nearest training images by the cosine of centred features
    LogME          the largest log evidence of a Bayesian linear regression from the features to each class, per image,
                   averaged over classes (You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for
                   Transfer Learning", ICML); nothing is held out for it

The scores lie on different scales, so entries are ranked by the mean of their ranks under the three.
"""

import math
import warnings
from collections.abc import Iterator

import numpy as np
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTIES = (0.001, 0.01, 0.1, 1.0)  # inverse strengths; on standardised features the best has lain inside
FOLDS = 3
NEIGHBOURS = 5
STEPS, CLOSE = 500, 1e-6  # of the evidence's fixed point
SMALLEST = 1e-12  # bounds the noise and the weights' variance away from 0


def linear_probe(train: np.ndarray, labels: np.ndarray, groups: np.ndarray, *asked: np.ndarray) -> list[np.ndarray]:
    """The labels that a logistic regression gives to each of the `asked` features; `groups` are never split by a fold.

    Features wider than the training images are many are first rotated into the span of these, which changes no
    prediction of a model with a quadratic penalty and saves its time.
    """
    scaler = StandardScaler().fit(train)
    known, others = scaler.transform(train), [scaler.transform(features) for features in asked]
    if known.shape[1] > len(known):
        basis = np.linalg.svd(known, full_matrices=False)[2].T
        known, others = known @ basis, [features @ basis for features in others]
    enough = len(np.unique(groups)) >= FOLDS
    folds = GroupKFold(FOLDS) if enough else KFold(FOLDS, shuffle=True, random_state=0)
    search = GridSearchCV(LogisticRegression(max_iter=500), {"C": PENALTIES}, cv=folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(known, labels, groups=groups if enough else None)
    return [search.predict(features) for features in others]


def neighbours(train: np.ndarray, labels: np.ndarray, *asked: np.ndarray) -> list[np.ndarray]:
    """The labels that the NEIGHBOURS nearest training images vote for, nearer ones with more weight."""
    count = min(NEIGHBOURS, len(train))
    vote = KNeighborsClassifier(count, weights="distance", metric="cosine", algorithm="brute")
    model = make_pipeline(StandardScaler(with_std=False), vote).fit(train, labels)
    return [model.predict(features) for features in asked]


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of the maximal log evidence per image (You et al. 2021, section 4, algorithm 1)."""
    wide = features.astype(np.float64)
    targets = (labels[:, None] == np.unique(labels)[None]).astype(np.float64)  # (N, K)
    left, singular, _ = np.linalg.svd(wide, full_matrices=False)
    power = singular**2  # (R,)
    inside = (left.T @ targets) ** 2  # (R, K)
    outside = np.maximum((targets**2).sum(0) - inside.sum(0), 0)  # what no combination of features explains
    alpha, beta = most_evident(power[:, None], inside, outside, len(wide))
    return float(np.mean(evidence(alpha, beta, power[:, None], inside, outside, len(wide))) / len(wide))


def most_evident(
    power: np.ndarray, inside: np.ndarray, outside: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The precisions (alpha of the weights, beta of the noise), each (K,), at which the evidence is largest.

    MacKay's fixed point: the effective number of parameters, then each precision from what it explains.
    """
    alpha, beta = np.ones(inside.shape[1]), np.ones(inside.shape[1])
    for _ in range(STEPS):
        known = beta * power / (alpha + beta * power)  # (R, K)
        effective = known.sum(0)
        weights = (known**2 * inside / np.maximum(power, SMALLEST)).sum(0)
        residual = ((1 - known) ** 2 * inside).sum(0) + outside
        before = alpha / beta
        alpha = effective / np.maximum(weights, SMALLEST)
        beta = (count - effective) / np.maximum(residual, SMALLEST)
        alpha, beta = np.maximum(alpha, SMALLEST), np.maximum(beta, SMALLEST)
        if np.all(np.abs(alpha / beta - before) <= CLOSE * before):
            break
    return alpha, beta


def evidence(
    alpha: np.ndarray, beta: np.ndarray, power: np.ndarray, inside: np.ndarray, outside: np.ndarray, count: int
) -> np.ndarray:
    """The log evidence (K,) at given precisions, from the squared singular values and the projected targets."""
    known = beta * power / (alpha + beta * power)
    weights = (known**2 * inside / np.maximum(power, SMALLEST)).sum(0)
    residual = ((1 - known) ** 2 * inside).sum(0) + outside
    determinant = np.log(alpha + beta * power).sum(0) - len(power) * np.log(alpha)  # beyond the rank both are log alpha
    fit = count * np.log(beta) - beta * residual - alpha * weights - determinant
    return 0.5 * (fit - count * math.log(2 * math.pi))


def half_samples(codes: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Row numbers of random halves of the clusters `codes` (N,), drawn without putting back.

    A mean over half of n clusters, drawn so, varies as much as a mean over n does (the jackknife that deletes half,
    Shao & Wu 1989). A bootstrap would repeat images, and a regression's evidence takes repeats for proof.
    """
    random = np.random.default_rng(seed)
    count = int(codes.max()) + 1
    for _ in range(resamples):
        chosen = np.zeros(count, dtype=bool)
        chosen[random.permutation(count)[: math.ceil(count / 2)]] = True
        yield np.flatnonzero(chosen[codes])


def resampled_logme(
    features: np.ndarray, labels: np.ndarray, codes: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """LogME as it might have come out, (resamples,): its value on all images plus each half's distance from the mean.

    Two halves of one seed are the same images for every backbone, so their difference is paired.
    """
    halves = np.array([logme(features[rows], labels[rows]) for rows in half_samples(codes, resamples, seed)])
    return logme(features, labels) + halves - halves.mean()


def mean_ranks(scores: np.ndarray) -> np.ndarray:
    """(..., entries, metrics), more is better -> (..., entries): the mean over metrics of the rank, 1 for the best."""
    return rankdata(-scores, axis=-2).mean(-1)


def places(scores: np.ndarray) -> np.ndarray:
    """(..., entries, metrics) -> (..., entries): the place of each entry by mean rank, 0 for the first.

    Ties go to the better first metric, then to the better next ones, then to the entry that is listed first.
    """
    flat = scores.reshape(-1, *scores.shape[-2:])
    keys = [-flat[..., metric] for metric in reversed(range(flat.shape[-1]))]
    order = np.lexsort([*keys, mean_ranks(flat)], axis=-1)
    return np.argsort(order, axis=-1).reshape(scores.shape[:-1])


def rank_shares(resampled: np.ndarray) -> np.ndarray:
    """(B, entries, metrics) -> (entries, entries): how often each entry came first, second, ... in the resamples."""
    found = places(resampled)
    return np.stack([(found == place).mean(0) for place in range(resampled.shape[1])], axis=1)
