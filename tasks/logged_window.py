"""A day of the prediction log as a production window: which of its rows are images of the night, and what else came.

A window of the log is a folder as tasks/windows.py knows it, with the images that were kept alone, and beside them
`answers.parquet` (a row for each model's answer to each image), `requests.parquet` (which request is of which image)
and `traffic.json`. An image is named after the first request that brought it; the same content sent again is the same
image. What the door turned away and what a model failed on are no images of the night: they are counted.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from tasks.digests import sha256_bytes
from tasks.folders import MEASURED
from tasks.log_labels import REPORTED
from tasks.night_tables import KEPT
from tasks.windows import Window

ANSWERS, REQUESTS, TRAFFIC = "answers.parquet", "requests.parquet", "traffic.json"
OWN = {"file_name", "label", "path", *MEASURED}  # columns that no client's words may fill


@dataclass(frozen=True, eq=False)
class LoggedWindow:
    """`metadata` is a row an image, `kept` its file where there is one; see the module for the others."""

    metadata: pd.DataFrame
    answers: pd.DataFrame
    requests: pd.DataFrame
    kept: dict[str, bytes]
    traffic: dict[str, Any]


def logged_window(rows: pd.DataFrame) -> LoggedWindow:
    """The window of a day's rows (tasks/log_reading.py, read_log)."""
    told = rows[rows["answered"]]
    sound = told[(told["arm"] != "") & (told["error"] == "")]
    images = sound.drop_duplicates("sha256")
    names = dict(zip(images["sha256"], images["request_id"] + ".png", strict=True))
    stored = rows[(rows["image"].map(len) > 0) & rows["sha256"].isin(names)].drop_duplicates("sha256")
    kept = {names[sha]: image for sha, image in zip(stored["sha256"], stored["image"], strict=True)}
    requests = sound[["request_id"]].assign(file_name=sound["sha256"].map(names))
    return LoggedWindow(_metadata(images, names), _answers(rows, images, names, kept), requests, kept, traffic(rows))


def labels_file(requests: pd.DataFrame, labels: pd.DataFrame, time_zone: str) -> pd.DataFrame:
    """labels.csv of a window: file_name, label, labelled_at in that time zone; the first told of an image stands.

    `requests` are those of the window, `labels` those of the log. Labels that users' reports became are left out: who
    reports an image does so because its answer was wrong, so a night that counted them would see nothing but errors.
    """
    found = requests.merge(labels[~labels["source"].str.startswith(REPORTED)], on="request_id")
    zone = ZoneInfo(time_zone)
    moments = pd.Series([_moment(text, zone) for text in found["labelled_at"]], index=found.index, dtype=str)
    found = found.assign(labelled_at=moments).sort_values(["labelled_at", "request_id"], kind="stable")
    once = found.drop_duplicates("file_name").sort_values("file_name")
    return once[["file_name", "label", "labelled_at"]]


def traffic(rows: pd.DataFrame) -> dict[str, Any]:
    """What came in a day, in counts; latency and guards of the answers that clients got."""
    told = rows[rows["answered"]]
    asked = told[told["arm"] != ""]
    sound = asked[asked["error"] == ""]
    scores = pd.DataFrame(list(sound["guards"])).select_dtypes("number")
    return {
        "requests": len(told),
        "turned_away": len(told) - len(asked),
        "errors": len(asked) - len(sound),
        "repeated": int(sound["sha256"].duplicated().sum()),
        "abstained": int((sound["label"] == "").sum()),
        "latency_ms": {f"p{q}": _percentile(sound["latency_ms"], q) for q in (50, 99)} if len(sound) else {},
        "guards": {name: {f"p{q}": _percentile(scores[name].dropna(), q) for q in (50, 95)} for name in scores},
    }


def traffic_of(window: Window) -> dict[str, Any]:
    """What came on the day of a window of the log; nothing for another window."""
    file = window.folder / TRAFFIC
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def say_traffic(found: dict[str, Any]) -> str:
    """The counts in one sentence."""
    return (
        f"of {found['requests']:,} requests {found['turned_away']:,} were turned away at the door, {found['errors']:,} "
        f"failed, {found['repeated']:,} repeated an image and {found['abstained']:,} got no label"
    )


def _metadata(images: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    further = pd.DataFrame(list(images["about"]), index=images.index, dtype=str).fillna("")
    further = further[sorted(set(further) - OWN)]
    return further.assign(file_name=images["sha256"].map(names)).sort_values("file_name").reset_index(drop=True)


def _answers(rows: pd.DataFrame, images: pd.DataFrame, names: dict[str, str], kept: dict[str, bytes]) -> pd.DataFrame:
    """path, sha256, kept, measures (JSON), and each model's classes, probabilities and embedding."""
    of_images = rows[rows["request_id"].isin(images["request_id"]) & (rows["error"] == "") & (rows["model"] != "")]
    once = of_images.drop_duplicates(["request_id", "model"])
    came = images.set_index("request_id")[["sha256", "measures"]].loc[once["request_id"]].reset_index(drop=True)
    once = once.reset_index(drop=True).assign(sha256=came["sha256"])
    paths = once["sha256"].map(names)
    files = {name: sha256_bytes(content) for name, content in kept.items()}
    table = once[["sha256", "model", "embedding"]].assign(
        path=paths,
        **{KEPT: paths.map(files).fillna("")},
        measures=_json(came["measures"]),
        classes=once["classes"].map(list),
        probabilities=once["probabilities"].map(list),
    )
    return table.sort_values(["path", "model"]).reset_index(drop=True)


def _json(values: Iterable[Any]) -> list[str]:
    return [json.dumps(value, ensure_ascii=False, sort_keys=True) for value in values]


def _moment(text: str, zone: ZoneInfo) -> str:
    at = pd.Timestamp(text).to_pydatetime()
    return (at.astimezone(zone).replace(tzinfo=None) if at.tzinfo else at).isoformat()


def _percentile(values: pd.Series, share: int) -> float:
    return round(float(np.percentile(values, share)), 3) if len(values) else 0.0
