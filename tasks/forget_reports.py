"""Remove what users asked to remove, or what may not be kept any longer, everywhere, and leave a tombstone.

write the plan into the store -> announce it in the ledger -> cases and data -> windows of the log, which the nights
write anew -> log -> page of the queue -> reports -> tombstone in the ledger -> the plan goes. A deletion is never
undone: one that was killed is carried on by the next start, from whichever step, since each can be done twice. The
ledger keeps hashes of the ids, counts and places.

Out of reach, and said so: older versions in DVC's and git's history, backups, and thumbnails in the pages of the
nights, which are records with a digest; the tombstone names those that may have one.
"""

import datetime as dt
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.cases import LIST
from tasks.cases_gone import FORGOTTEN
from tasks.decision import decided_by
from tasks.digests import sha256_text
from tasks.errors import BadInput
from tasks.feedback_page import page_of
from tasks.feedback_store import FeedbackStore
from tasks.image_lists import remove_images, sweep
from tasks.ledger import Entry, Ledger
from tasks.prediction_log import forget, lookup
from tasks.project import Project
from tasks.review_feedback import PREFIX, case_file
from tasks.traces import traces

BEGUN, DONE = "forgetting", FORGOTTEN
ASKED, EXPIRED = "asked", "expired"
logger = logging.getLogger("tasks.forget_reports")


@task(cache_policy=NO_CACHE)
def plan_to_forget(
    store: FeedbackStore, about: Project, place: str, run: Path, ids: Iterable[str], why: str
) -> str | None:
    """Write into the store what these requests and reports, by their ids, have left where; the plan's id.

    `run` is the project's folder of results. A report stands for its request, with all that was said and kept of it.
    None without ids; BadInput for an id that neither the store nor the log knows.
    """
    reports = {filed.id: filed for filed in store.read(about.name)}
    requests = sorted({reports[i].request_id if i in reports else i for i in ids})
    if not requests:
        return None
    concerned = store.of_requests(about.name, requests)
    rows = pd.concat([lookup(place, about.name, request) for request in requests])
    unknown = sorted(set(requests) - {filed.request_id for filed in concerned} - set(rows["request_id"]))
    if unknown:
        raise BadInput(
            f"neither a report nor a request of {about.name}: {', '.join(unknown)[:200]}; nothing was removed"
        )
    said = {"why": why, "requests": requests, "reports": [filed.id for filed in concerned], "rows": len(rows)}
    found = traces(about, run, rows, [case_file(filed.id) for filed in concerned])
    return store.plan_deletion(about.name, said | found)


@task(cache_policy=NO_CACHE)
def carry_out(store: FeedbackStore, ledger: Ledger, about: Project, place: str, state: Path) -> list[Entry]:
    """Carry out every plan in the store; the tombstones, one for each plan."""
    return [
        carry_out_one(store, ledger, about, place, state, deletion, plan)
        for deletion, plan in store.planned_deletions(about.name).items()
    ]


def carry_out_one(
    store: FeedbackStore, ledger: Ledger, about: Project, place: str, state: Path, deletion: str, plan: dict[str, Any]
) -> Entry:
    """From the announcement to the tombstone; whatever was done before is found done."""
    said = {"deletion": deletion, "why": plan["why"], "by": decided_by()}
    said |= {"requests": [sha256_text(request) for request in plan["requests"]]}
    enter(ledger, BEGUN, about.name, said)
    for path, names in plan["images"].items():
        remove_images(Path(path), names)
    if about.cases is not None:
        sweep(about.cases / LIST, f"{PREFIX}*.png")
    for window in plan["windows"]:
        shutil.rmtree(window, ignore_errors=True)
    forget(place, about.name, plan["requests"])
    page_of(state, about.name).unlink(missing_ok=True)
    store.blank(plan["reports"])
    removed = {"reports": len(plan["reports"]), "rows of the log": plan["rows"]}
    removed |= {path: len(names) for path, names in plan["images"].items()}
    cases = plan["images"].get(str(about.cases / LIST) if about.cases else "", [])
    hashed = [sha256_text(Path(name).stem) for name in cases]
    tombstone = enter(
        ledger, DONE, about.name, {**said, "removed": removed, "cases": hashed, "may_show": plan["pages"]}
    )
    store.end_deletion(deletion)
    logger.info("removed: %s", ", ".join(f"{what}: {count}" for what, count in removed.items()))
    return tombstone


def expired(store: FeedbackStore, project: str, today: dt.date) -> list[str]:
    """The reports that may not be kept today. All that is kept of a request goes with the first report to expire."""
    return [filed.id for filed in store.read(project) if filed.expires is not None and filed.expires <= today]


def enter(ledger: Ledger, kind: str, project: str, body: dict[str, Any]) -> Entry:
    """Add the entry unless an earlier start did."""
    held = ledger.read(project, kind)
    before = next((e for e in held if e.body["deletion"] == body["deletion"]), None)
    return before or ledger.append(kind, project, body)
