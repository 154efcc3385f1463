"""Settle a report: a label for the log, a must-pass case, or noise. Nothing that was not reviewed comes any further.

What follows is done first and can be done twice; then the ledger's entry, then the store. A review that was killed is
given again.
"""

import datetime as dt
import logging
from typing import Any

import pandas as pd

from tasks.cases import LIST
from tasks.decision import decided_by
from tasks.digests import sha256_bytes, sha256_text
from tasks.errors import BadInput, EvidenceMissing
from tasks.feedback import CASE, LABEL, NEW, VERDICTS, Filed
from tasks.feedback_answers import answer_of
from tasks.feedback_store import FeedbackStore
from tasks.image_lists import add_image, sweep
from tasks.ledger import Ledger
from tasks.log_labels import REPORTED
from tasks.prediction_log import add_labels
from tasks.project import Project

KIND = "feedback"
PREFIX = "feedback-"  # of the file names of cases that come from reports
logger = logging.getLogger("tasks.review_feedback")


def review(
    store: FeedbackStore,
    ledger: Ledger,
    about: Project,
    place: str,
    report: str,
    verdict: str,
    why: str,
    label: str | None,
) -> list[str]:
    """Settle the report as `label`, `case` or `noise`; sentences of what was done.

    `label` is the right class where the reviewer knows better than the user. Raises BadInput for a report that is not
    new or a class that the model does not know, EvidenceMissing where the log has no answer or no image.
    """
    if verdict not in VERDICTS or not why.strip():
        raise BadInput(f"a review says one of {', '.join(VERDICTS)}, and why; it says '{verdict[:20]}'")
    filed = store.find(about.name, report)
    if filed.state != NEW:
        raise BadInput(f"report {report} was settled as {filed.state} by {filed.reviewed_by} on {filed.reviewed_at}")
    digest, done = "", [f"report {report} is noise"]
    if verdict == LABEL:
        digest, done = accept_label(place, about, filed, label)
    elif verdict == CASE:
        digest, done = make_case(place, about, filed, label, why)
    entered = any(e.body["report"] == report for e in ledger.read(about.name, KIND))
    if not entered:
        body = {"report": report, "request": sha256_text(filed.request_id), "as": verdict, "image": digest}
        ledger.append(KIND, about.name, {**body, "by": decided_by()})
    store.review(report, verdict, decided_by(), why)
    return done


def accept_label(place: str, about: Project, filed: Filed, label: str | None) -> tuple[str, list[str]]:
    """Hand the class to the log, where it stands by its request as what a user reported."""
    row = _answer(place, about, filed)
    right = _right_label(filed, row, label)
    labels = {"request_id": filed.request_id, "label": right, "labelled_at": _now(), "source": f"{REPORTED}{filed.id}"}
    add_labels(place, about.name, pd.DataFrame([labels]))
    return str(row["sha256"]), [
        f"{right} is the label of request {filed.request_id} in the log; nights and rollouts do not bet on it"
    ]


def make_case(place: str, about: Project, filed: Filed, label: str | None, why: str) -> tuple[str, list[str]]:
    """Write the image and its row into the project's cases, both or neither."""
    if about.cases is None:
        raise BadInput(f"{about.name} has no folder of must-pass cases; name one in its project file, key `cases`")
    row = _answer(place, about, filed)
    image = bytes(row["image"])
    if not row["consent"] or not image:
        raise EvidenceMissing(
            f"the log keeps no image of request {filed.request_id}: the client gave no consent to it, or it was not "
            "among those that are kept; take the report as a label instead"
        )
    right, listing = _right_label(filed, row, label), about.cases / LIST
    said = {"label": right, "added": _now()[:10], "why": why.strip()}
    said["provenance"] = f"feedback {filed.id} of {filed.at:%Y-%m-%d}"
    sweep(listing, f"{PREFIX}*.png")
    add_image(listing, {"file_name": case_file(filed.id), **said}, image)
    done = [f"{about.cases / case_file(filed.id)} must be read as {right} from the next release on; commit {listing}"]
    pointer = next((p for p in about.cases.parents if p.name and p.with_name(p.name + ".dvc").is_file()), None)
    done += [f"the folder is under DVC: `dvc add {pointer}` records the new version"] if pointer else []
    return sha256_bytes(image), done


def case_file(report: str) -> str:
    """The file name of the case that a report became."""
    return f"{PREFIX}{report}.png"


def _answer(place: str, about: Project, filed: Filed) -> dict[str, Any]:
    row = answer_of(place, about.name, filed.request_id)
    if row is None:
        raise EvidenceMissing(
            f"the log has no answer to request {filed.request_id}, so report {filed.id} is about nothing known; "
            "settle it as noise"
        )
    return row


def _right_label(filed: Filed, row: dict[str, Any], label: str | None) -> str:
    right = label or filed.correct_label
    if right is None or right not in list(row["classes"]):
        known = ", ".join(row["classes"])
        raise BadInput(f"report {filed.id} names no class that the model knows; give --label, one of {known}")
    return right


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
