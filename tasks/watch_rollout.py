"""Read what the log and the nights have on a challenger since its rollout began, and carry the evidence on."""

import datetime as dt
import logging
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.canary import compare, errors_of, side_by_side
from tasks.counted import counted_images, rows_to_count
from tasks.digests import sha256_text
from tasks.ledger import Entry, Ledger
from tasks.nights import shadow_of
from tasks.prediction_log import read_labels_of, read_log
from tasks.project import Project
from tasks.rollout import Standing, began_at, last_of
from tasks.rollout_evidence import Evidence, at_step, no_evidence, of_the_nights, telling, with_answers, with_labels
from tasks.watch import Watch

COLUMNS = ("request_id", "at", "key", "arm", "model", "predicted", "label", "error", "latency_ms", "about")
logger = logging.getLogger("tasks.watch_rollout")


@task(cache_policy=NO_CACHE)
def watch_rollout(
    ledger: Ledger,
    place: str,
    about: Project,
    watch: Watch,
    found: Standing,
    digests: tuple[str, str],
    now: dt.datetime,
) -> tuple[Evidence, list[dict[str, Any]]]:
    """The evidence of the rollout that stands there, and the rows of the labels that count from this run on.

    `place` is the prediction log's; `digests` are those of the champion's and the challenger's model folders.
    """
    entries = ledger.read(about.name)
    evidence = at_step(_before(last_of(entries, found), found, digests), found)
    answers = read_answers(place, about.name, found, watch, entries, now)
    nights = shadow_of(found.version, digests[0], entries)
    if not (answers["model"] == digests[1]).any():
        logger.info("the log holds no answer of version %s; the nights' record is looked at", found.version)
        return (of_the_nights(evidence, nights) if nights else evidence), []
    table = side_by_side(answers, *digests, about.unit)
    table["window"] = table["at"].dt.tz_convert(ZoneInfo(watch.time_zone)).dt.date.astype(str)
    labels = table["request_id"].map(known_labels(place, about.name)).fillna("")
    counter = sha256_text(f"rollout {found.begun} {' '.join(digests)}")
    known = counted_images(ledger, about.name, counter)
    new = [pair not in known for pair in zip(table["window"], table["request_id"], strict=True)]
    fresh = (labels != "").to_numpy() & np.array(new, dtype=bool)
    compared = compare(table[fresh], errors_of(table[fresh], labels[fresh]))
    evidence = with_answers(with_labels(evidence, compared, watch.rollout.margin), table, found, watch.rollout)
    asked = telling(table, (labels == "").to_numpy(), watch.labels_to_ask)
    used = table[fresh][compared.used].rename(columns={"request_id": "image_id"})
    rows = rows_to_count(about.name, counter, watch.today(now).isoformat(), used)
    return evidence.model_copy(update={"to_label": asked}), rows


def _before(last: Entry | None, found: Standing, digests: tuple[str, str]) -> Evidence:
    if last is None or last.body["evidence"] is None:
        return no_evidence(found.entry, *digests)
    return Evidence.model_validate(last.body["evidence"])


def read_answers(
    place: str, project: str, found: Standing, watch: Watch, entries: list[Entry], now: dt.datetime
) -> pd.DataFrame:
    """The log's rows from the day on which the rollout began to today, those before its beginning left out."""
    began = began_at(entries, found)
    first, last = watch.today(began), watch.today(now)
    days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    parts = [read_log(place, project, day, watch.time_zone, COLUMNS) for day in days]
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return rows[rows["at"] >= began]


def known_labels(place: str, project: str) -> dict[str, str]:
    """The label of each request that has one."""
    told = read_labels_of(place, project)
    return dict(zip(told["request_id"], told["label"], strict=True))
