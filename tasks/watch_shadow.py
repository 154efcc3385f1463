"""Let the challenger answer the champion's windows, and ask whether it may take over (tasks/shadow.py)."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.counted import counted_images, rows_to_count
from tasks.digests import sha256_text
from tasks.errors import DataRejected
from tasks.ledger import Ledger
from tasks.night_tables import ScoredWindow, with_labels
from tasks.rollout_rules import RolloutRules
from tasks.shadow import ShadowState, advance_shadow, judge_shadow
from tasks.versions import Served
from tasks.watch_harm import fairly
from tasks.windows import Window

logger = logging.getLogger("tasks.watch_shadow")


@task(cache_policy=NO_CACHE)
def watch_shadow(
    ledger: Ledger,
    project: str,
    rules: RolloutRules,
    champion: Served,
    challenger: Served,
    tonight: Window,
    scored: list[tuple[Window, ScoredWindow]],
    before: dict[str, Any],
    requests: dict[str, dict[str, float]],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the night's record says of the challenger, and the rows of the labels that count from it on.

    `scored` are windows that both have answered; `before` is what the last night's record said, or nothing;
    `requests` are the images that were asked for, night by night, with the weights of their losses.
    """
    pair = sha256_text(f"{champion.digest} {challenger.digest}")
    known = counted_images(ledger, project, pair)
    tables = [fairly(table, known, requests) for table in readable(scored, champion, challenger, tonight)]
    parts = [table[table["weight"] == 1] for table in tables]  # a weighted difference is not fair to bet on
    fresh = pd.concat(parts) if parts else pd.DataFrame()
    state = ShadowState(champion=champion.digest, challenger=challenger.digest)
    if before and (before["state"]["champion"], before["state"]["challenger"]) == (state.champion, state.challenger):
        state = ShadowState.model_validate(before["state"])
    ours, theirs = ((wrong(fresh, name) if len(fresh) else np.empty(0)) for name in ("predicted", "predicted_other"))
    units = fresh["unit"].to_numpy() if len(fresh) else np.empty(0, object)
    state = advance_shadow(state, ours, theirs, units, rules.margin)
    verdict, said = judge_shadow(state, rules.margin, rules.error)
    sentence = f"challenger, version {challenger.version}: {verdict}, {said}"
    logger.info("%s", sentence)
    facts = {"version": challenger.version, "verdict": verdict, "sentence": sentence}
    rows = rows_to_count(project, pair, tonight.name, fresh) if len(fresh) else []
    return facts | {"state": state.model_dump(mode="json")}, rows


def readable(
    scored: list[tuple[Window, ScoredWindow]], champion: Served, challenger: Served, tonight: Window
) -> Iterator[pd.DataFrame]:
    """What `both` have answered, window by window; labels that cannot be read hold up no others, and wait."""
    for window, table in scored:
        try:
            yield both(window, table, champion, challenger, tonight)
        except DataRejected as error:
            logger.warning("the labels of the night %s wait: %s", window.name, error)


def both(window: Window, scored: ScoredWindow, champion: Served, challenger: Served, tonight: Window) -> pd.DataFrame:
    """The champion's answers to what the challenger answered too, with both and the labels as known by tonight."""
    theirs = scored.answers(challenger.digest).set_index("image_id")["predicted"]
    ours = scored.answers(champion.digest)
    joined = ours.assign(predicted_other=ours["image_id"].map(theirs), window=window.name)
    return with_labels(joined.dropna(subset="predicted_other"), window.folder, tonight.date)


def wrong(rows: pd.DataFrame, column: str) -> np.ndarray:
    """1 where the answer in the column is not the label, else 0."""
    return (rows[column] != rows["label"]).to_numpy(float)
