"""What the prediction log has of the answers that reports are about."""

from typing import Any

from tasks.feedback import Filed, Told
from tasks.feedback_store import FeedbackStore
from tasks.prediction_log import lookup


def answer_of(place: str, project: str, request_id: str) -> dict[str, Any] | None:
    """The row of the log, by the fields of LoggedAnswer, that the client got; None when the log has none.

    A request of many images has none under its own id: a report names one image, <id>-0, <id>-1, ...
    """
    rows = lookup(place, project, request_id)
    told = rows[rows["answered"].astype(bool)] if len(rows) else rows
    return None if told.empty else dict(told.iloc[-1])


def look_up_answers(store: FeedbackStore, place: str, project: str) -> list[Filed]:
    """The project's reports, each with its answer where the log has one; found once, it is kept in the store."""
    for filed in store.read(project):
        row = None if filed.told else answer_of(place, project, filed.request_id)
        if row is not None and len(row["probabilities"]):
            sure = float(max(row["probabilities"]))
            store.tell(filed.id, Told(str(row["predicted"]), sure, str(row["version"]), str(row["sha256"])))
    return store.read(project)
