"""Ask whether a window looks as the reference does, and, without its labels, what the champion's answers are worth.

Drift is decided by the calibrated tests of tasks/drift.py on what the champion says and sees. Estimates of accuracy
without labels (tasks/unlabelled.py) warn early; they never make a night HARM. The images whose labels would tell most
are listed for a person.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from threadpoolctl import threadpool_limits

from tasks.drift import Drift, judge_drift
from tasks.errors import DataRejected, EvidenceMissing
from tasks.harm import ALL, accepted_risks
from tasks.intervals import Interval
from tasks.metrics import PROBABILITY, classes_of
from tasks.night import CANNOT_JUDGE, WATCH, Answer, is_benign
from tasks.night_tables import KEPT, ScoredWindow, with_labels
from tasks.slices import SLICE
from tasks.snapshot import Snapshot
from tasks.unlabelled import AccuracyEstimate, Answers, estimate_accuracy, to_label
from tasks.versions import Served
from tasks.watch import Watch
from tasks.whole_files import write_whole
from tasks.windows import Window

FILE = "drift.json"
RESAMPLES = 500
EARLY = "CBPE"  # of the estimates without labels, the one that holds best where inputs change
logger = logging.getLogger("tasks.watch_drift")


@task(cache_policy=NO_CACHE)
def watch_drift(
    window: Window,
    tonight: ScoredWindow,
    reference: list[ScoredWindow],
    champion: Served,
    watch: Watch,
    harm: Answer,
    seed: int,
) -> Answer:
    """The answer of the images alone; writes drift.json beside what was scored of the window.

    `reference` are the windows that it is measured against, fewer than the rules ask for while they are gathered.
    """
    facts: dict[str, Any] = {"reference": [window.night for window in reference]}
    facts |= early_figures(window, tonight, champion, watch, seed)
    tolerated = tolerated_error(watch, champion)
    wanted = watch.reference.nights
    if len(reference) < wanted:
        said = f"{len(reference)} of the {wanted} nights that drift is measured against are there: not asked tonight"
        unasked = Answer(False, "", (said,), facts)
        return kept(tonight, with_early_sign(unasked, tonight.night, harm, tolerated))
    before = snapshot(reference, champion.digest)
    try:
        with threadpool_limits(1):  # the matrices are small: threads would only wait for each other
            drift = judge_drift(before, snapshot([tonight], champion.digest), watch.drift, seed)
    except EvidenceMissing as error:
        return kept(tonight, Answer(True, CANNOT_JUDGE, (str(error),), facts))
    facts["drift"] = {**drift.as_dict(), "p": drift.p, "notes": list(drift.sentences)}
    answer = answer_of(drift, facts, tonight.night, harm, tolerated)
    return kept(tonight, with_early_sign(answer, tonight.night, harm, tolerated))


def answer_of(drift: Drift, facts: dict[str, Any], night: str, harm: Answer, tolerated: float | None) -> Answer:
    """What the drift record says against the night: nothing where the night's own labels prove the change benign."""
    said = drift.sentences[:1]
    if not drift.calibrated:
        return Answer(True, CANNOT_JUDGE, said, facts)
    if not drift.alarm:
        return Answer(True, "", said, facts)
    figure = harm.facts.get("figures", {}).get(night)
    if figure and tolerated is not None and is_benign(Interval(figure["low"], figure["high"]), tolerated):
        benign = (
            "the window differs and the labels prove that it does no harm: at most "
            f"{100 * figure['high']:.1f} % of the answers are wrong, {100 * tolerated:.1f} % are tolerated"
        )
        return Answer(True, "", (benign, *said), facts | {"benign": True})
    return Answer(True, WATCH, said, facts)


def with_early_sign(answer: Answer, night: str, harm: Answer, tolerated: float | None) -> Answer:
    """The answer, WATCH where no label of the night has come and more errors are expected than are tolerated.

    That holds where even the upper end of the accuracy that the champion's confidence promises is too low.
    """
    found = [row for row in answer.facts.get("expected", ()) if row["method"] == EARLY]
    labelled = night in harm.facts.get("figures", {})
    if labelled or tolerated is None or not found or found[0]["high"] >= 1 - tolerated:
        return answer
    sign = (
        f"without labels, {100 * found[0]['accuracy']:.1f} % right answers are expected, at most "
        f"{100 * found[0]['high']:.1f} %, and {100 * (1 - tolerated):.1f} % are asked for: an early sign only, "
        "which labels have to confirm"
    )
    against = answer.against or WATCH
    said = (*answer.said, sign) if answer.against else (sign, *answer.said)
    return Answer(answer.asked, against, said, answer.facts | {"early_sign": True})


def tolerated_error(watch: Watch, champion: Served) -> float | None:
    """The least error on all images that a monitor tolerates; None where no monitor is on it."""
    accepted = accepted_risks(list(champion.findings().values())).get(("error", ALL))
    margins = [monitor.margin for monitor in watch.harm.monitors if (monitor.risk, monitor.slice) == ("error", ALL)]
    return accepted + min(margins) if margins and accepted is not None else None


def snapshot(windows: list[ScoredWindow], model: str) -> Snapshot:
    """What one model says and sees of some windows; equal units of two windows are one unit."""
    table = pd.concat([window.answers(model).assign(night=window.night) for window in windows], ignore_index=True)
    columns = [PROBABILITY + c for c in classes_of(table)]
    return Snapshot(
        image_ids=tuple(table["night"] + "/" + table["image_id"]),
        probabilities=table[columns].to_numpy(float),
        embeddings=np.concatenate([window.embeddings(model) for window in windows]).astype(np.float32),
        slices=table[[c for c in table if c.startswith(SLICE)]].rename(columns=lambda c: c.removeprefix(SLICE)),
        units=table["unit"].to_numpy(),
        nights=table["night"].to_numpy() if len(windows) > 1 else None,
    )


def early_figures(window: Window, tonight: ScoredWindow, champion: Served, watch: Watch, seed: int) -> dict[str, Any]:
    """The accuracy that is expected without labels, and the images to ask for."""
    now, then = tonight.answers(champion.digest), champion.calibration()
    columns = [PROBABILITY + c for c in classes_of(now)]
    facts: dict[str, Any] = {}
    try:
        found = estimate_accuracy(
            Answers(then[columns].to_numpy(float), then["unit"].to_numpy()),
            (then["predicted"] == then["label"]).to_numpy(),
            Answers(now[columns].to_numpy(float), now["unit"].to_numpy()),
            watch.level,
            RESAMPLES,
            seed,
        )
        facts["expected"] = [expected(estimate) for estimate in found]
    except EvidenceMissing as error:
        facts["expected_missing"] = str(error)
    known = not_to_ask(window, now)
    features = np.asarray(tonight.embeddings(champion.digest), dtype=np.float32)
    asked = to_label(now[columns].to_numpy(float), features, known, watch.labels_to_ask, seed)
    facts["to_label"] = [{"image": now["path"].iloc[ask.image], "weight": ask.weight} for ask in asked]
    return facts


def not_to_ask(window: Window, table: pd.DataFrame) -> np.ndarray:
    """Images that no label is asked for (n,): of units with a label, not kept, and all but one of each unit."""
    units = table["unit"]
    known = units.isin(units[labelled_already(window, table)])
    if KEPT in table:  # nobody can label what was not kept
        known |= table[KEPT] == ""
    known |= units.where(~known).duplicated() & ~known
    return known.to_numpy()


def labelled_already(window: Window, table: pd.DataFrame) -> np.ndarray:
    """Whether each image's label is known by the night, wherever it was told (n,)."""
    try:
        told = with_labels(table, window.folder, window.date)
    except DataRejected:  # the answer of the labels names it
        told = table
    return (told["label"] != "").to_numpy()


def expected(estimate: AccuracyEstimate) -> dict[str, Any]:
    """An estimate as JSON has it."""
    return {
        "method": estimate.method,
        "accuracy": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "holds": estimate.holds,
    }


def kept(tonight: ScoredWindow, answer: Answer) -> Answer:
    """The answer, with its facts on disk beside the window."""
    text = json.dumps({"said": answer.said, **answer.facts}, indent=1, ensure_ascii=False)
    write_whole(Path(tonight.folder) / FILE, f"{text}\n".encode())
    return answer
