"""Does the model or its data give people away: images that it was trained on, personal data in the files.

The membership attack (tasks/membership.py) takes train for members and test for others; both are in proportion by
class, and neither figure depends on how many of each there are. Other subjects in test can be harder than those in
train without any memory of the model's: the calibrated attack takes that out, as far as the reference model can tell.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tasks.embeddings import JOINED, Embeddings
from tasks.errors import EvidenceMissing
from tasks.estimates import make_finding
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.intervals import clopper_pearson
from tasks.membership import attack_auc, attack_tpr, log_losses
from tasks.metrics import outcomes_of
from tasks.personal_data import KINDS
from tasks.predictions import model_of
from tasks.resampling import Clusters, choose_clusters

FPR = 0.01  # at which `membership_tpr` is read: the lowest that a few hundred images can tell
METRICS = (
    *("membership_auc", "membership_auc_calibrated", "membership_tpr", "membership_tpr_calibrated"),
    "personal_data_share",
)


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """The attack's area and its true positive rate, by loss and by calibrated loss, on test against train; the share
    of all images with personal data, of any kind and of each."""
    embedded = evidence.embedded
    if embedded is not None:
        yield from _attacks(evidence, embedded)
        yield from _personal(evidence, embedded)


def files(evidence: Evidence) -> list[dict[str, Any]]:
    """The files that carry personal data: path, split, and which kinds."""
    if evidence.embedded is None:
        return []
    rows = evidence.embedded.rows
    found = rows[rows["personal"] != ""]
    return [
        {"path": path, "split": split, "kinds": kinds.split(JOINED)}
        for path, split, kinds in found[["path", "split", "personal"]].to_numpy()
    ]


def _attacks(evidence: Evidence, embedded: Embeddings) -> Iterator[Finding]:
    params, judged = evidence.params, evidence.judged
    train, test = embedded.of("train"), embedded.of("test")
    if not len(train) or not len(test):
        return
    candidate, theirs = model_of(judged), model_of(embedded.rows)
    if candidate != theirs:
        raise EvidenceMissing(
            f"the predictions are those of model {candidate[:12]}, the embeddings of {theirs[:12]}; run the stage embed"
        )
    clusters = choose_clusters(embedded.rows.iloc[np.concatenate([train, test])], params.min_clusters)
    member = np.arange(len(train) + len(test)) < len(train)
    sides = clusters.of(member), clusters.of(~member)
    scored = outcomes_of(judged[judged["split"] == "test"])  # in the manifest's order, as the embeddings are
    truth = embedded.truth(train), scored.truth
    losses = log_losses(embedded.candidate(train), truth[0]), log_losses(scored.probabilities, truth[1])
    hard = log_losses(embedded.reference(train), truth[0]), log_losses(embedded.reference(test), truth[1])
    for suffix, members, others in (
        ("", -losses[0], -losses[1]),
        ("_calibrated", hard[0] - losses[0], hard[1] - losses[1]),
    ):
        value, ends = attack_auc(members, others, *sides, params.level)
        method = f"DeLong of {clusters.kind}"
        yield make_finding(f"membership_auc{suffix}", "test", value, [ends], clusters, method, params)
        value, ends = attack_tpr(members, others, *sides, params.level, FPR)
        method = f"order statistic and wilson of {clusters.kind}"
        yield make_finding(f"membership_tpr{suffix}", "test", value, [ends], clusters, method, params)


def _personal(evidence: Evidence, embedded: Embeddings) -> Iterator[Finding]:
    """Every file is looked at, so the count is exact; the interval is for files to come from the same source."""
    params, told = evidence.params, embedded.rows["personal"].str.split(JOINED)
    images = Clusters(np.arange(len(told)), len(told), "images")
    carried = {"all": told.map(any), **{f"all/personal={kind}": told.map(lambda t, k=kind: k in t) for kind in KINDS}}
    for name, hits in carried.items():
        ends = clopper_pearson(int(hits.sum()), len(hits), params.level)
        yield make_finding(METRICS[-1], name, float(hits.mean()), [ends], images, "clopper-pearson", params)
