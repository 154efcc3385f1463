"""Read what the log and the nights have on a challenger since its rollout began, and carry the evidence on."""

import datetime as dt
import logging
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.canary import agreements_due, compare, errors_of, side_by_side
from tasks.counted import counted_images, rows_to_count
from tasks.digests import sha256_text
from tasks.ledger import Entry, Ledger
from tasks.log_labels import REPORTED
from tasks.nights import shadow_of
from tasks.prediction_log import read_labels_of, read_log
from tasks.project import Project
from tasks.rollout import Standing, began_at, last_of
from tasks.rollout_evidence import (
    Evidence,
    at_step,
    no_evidence,
    of_the_nights,
    telling,
    with_agreements,
    with_answers,
    with_labels,
)
from tasks.watch import Watch

COLUMNS = ("request_id", "at", "key", "arm", "model", "predicted", "label", "error", "latency_ms", "about", "classes")
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
    known_classes = {name for told in answers["classes"] for name in told}
    on_record = read_labels_of(place, about.name)
    labels = table["request_id"].map(usable_labels(on_record, known_classes)).fillna("")
    counter = sha256_text(f"rollout {found.begun} {' '.join(digests)}")
    known = counted_images(ledger, about.name, counter)
    new = np.array([pair not in known for pair in zip(table["window"], table["request_id"], strict=True)], dtype=bool)
    fresh = (labels != "").to_numpy() & new & ~bet_on_before(table, ~new)
    late = (table["at"] < pd.Timestamp(found.since)).to_numpy()  # of requests of an earlier step
    used = []
    for in_step, chosen in ((False, fresh & late), (True, fresh & ~late)):
        compared = compare(table[chosen], errors_of(table[chosen], labels[chosen]))
        evidence = with_labels(evidence, compared, watch.rollout.margin, in_step)
        used.append(table[chosen][compared.used])
    due = agreements_due(table[~late], (labels != "").to_numpy()[~late])
    evidence = with_agreements(evidence, due, watch.rollout.margin)
    evidence = with_answers(evidence, table, found, watch.rollout)
    asked = telling(table, ~table["request_id"].isin(on_record["request_id"]).to_numpy(), watch.labels_to_ask)
    counts = pd.concat(used).rename(columns={"request_id": "image_id"})
    rows = rows_to_count(about.name, counter, watch.today(now).isoformat(), counts)
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


def bet_on_before(table: pd.DataFrame, counted: np.ndarray) -> np.ndarray:
    """Which requests are of a unit of which others have counted: of the project's, or between the arms of a client.

    A unit is bet on once in a rollout, in the run in which its first labels come. Bet on again in each run, it would
    be taken for as many units as there were runs, and five clients for proof.
    """
    both = (table["predicted_champion"].notna() & table["predicted_challenger"].notna()).to_numpy()
    named = (table["unit"] != "").to_numpy()
    unit = np.where(named, "unit " + table["unit"], np.where(both, "request " + table["request_id"], table["key"]))
    return np.isin(unit, unit[counted])


def usable_labels(told: pd.DataFrame, classes: set[str]) -> dict[str, str]:
    """The label of each request that has one which may be bet on.

    Those of users' reports may not: who complains does so because of an answer, in shadow the champion's, so that its
    errors alone would be labelled. Nor may one that is none of the classes: both models would err on it, and what can
    tell nothing would count as proof that they are equal.
    """
    reported = told["source"].str.startswith(REPORTED)
    strange = ~told["label"].isin(classes) & ~reported
    if strange.any():
        first = ", ".join(
            f"{r} ({label!r})" for r, label in told.loc[strange, ["request_id", "label"]].head(3).to_numpy()
        )
        logger.warning("%d labels are no class of the models and do not count, the first: %s", strange.sum(), first)
    left = told[~reported & ~strange]
    return dict(zip(left["request_id"], left["label"], strict=True))
