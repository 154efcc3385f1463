"""A reference model that never saw the image it is asked about: a linear probe of frozen features, out of fold.

It says how difficult each image is by itself, and what label it seems to bear, independently of the candidate.
"""

import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tasks.transferability import PENALTIES

WIDEST = 256  # features of more columns are first rotated onto so many principal components
Fold = tuple[np.ndarray, np.ndarray]  # the numbers of the images to learn from, and of those to ask
LEAST = 1e-6  # of a probability: a fold that lacks a class cannot rule it out


def out_of_fold(
    features: np.ndarray, truth: np.ndarray, groups: np.ndarray, classes: int, folds: int, seed: int
) -> np.ndarray:
    """Probabilities (n, classes) for features (n, D) of images of class `truth` (n,), each from the other folds.

    No group is split by a fold, unless there are fewer groups than folds. The penalty is the one of the lowest loss
    over all folds, one number for all images.
    """
    splits = _folds(features, truth, groups, folds, seed)
    with threadpool_limits(1):  # small matrices: quicker, and the same bytes everywhere
        tried = [_probabilities(features, truth, splits, classes, penalty, seed) for penalty in PENALTIES]
    losses = [-np.log(told[np.arange(len(truth)), truth]).mean() for told in tried]
    return tried[int(np.argmin(losses))]


def _folds(features: np.ndarray, truth: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[Fold]:
    if len(np.unique(groups)) < folds:
        return list(KFold(folds, shuffle=True, random_state=seed).split(features))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer images than folds
        return list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(features, truth, groups))


def _probabilities(
    features: np.ndarray,
    truth: np.ndarray,
    splits: list[Fold],
    classes: int,
    penalty: float,
    seed: int,
) -> np.ndarray:
    told = np.full((len(truth), classes), LEAST)
    for known, asked in splits:
        probe = _probe(features.shape[1], len(known), penalty, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            probe.fit(features[known], truth[known])
        told[np.ix_(asked, probe.classes_)] += probe.predict_proba(features[asked])
    return told / told.sum(axis=1, keepdims=True)


def _probe(width: int, count: int, penalty: float, seed: int) -> Pipeline:
    narrow = [PCA(WIDEST, random_state=seed)] if width > WIDEST and count > WIDEST else []
    return make_pipeline(StandardScaler(), *narrow, LogisticRegression(C=penalty, max_iter=500))
