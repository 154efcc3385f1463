"""Rows of a prediction log: drawn without a model, or a window folder as a model answers it."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tasks.digests import identity, sha256_bytes
from tasks.folders import read_window
from tasks.images import read_image
from tasks.logged_answer import LoggedAnswer
from tasks.penultimate import FeatureScorer
from tasks.prediction_log import PredictionLog
from tasks.scorer import to_pixels
from tests.conftest import encode

DAY = dt.date(2026, 6, 1)
NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


def draw_row(number: int, **changes: Any) -> LoggedAnswer:
    """The champion's answer to the request `r<number>`, `number` seconds after noon of the first of June."""
    drawn: dict[str, Any] = {
        "request_id": f"r{number:05d}",
        "at": NOON + dt.timedelta(seconds=number),
        "project": "pets",
        "key": "k" * 16,
        "sha256": f"{number:064d}",
        "consent": True,
        "measures": {"width": 32, "mode": "RGB", "brightness": 120.5, "problem": ""},
        "arm": "champion",
        "model": "m" * 64,
        "version": "3",
        "decision": 7,
        "classes": ("cat", "dog"),
        "probabilities": (0.25, 0.75),
        "predicted": "dog",
        "label": "dog",
        "prediction_set": ("dog",),
        "embedding": np.arange(4, dtype="<f2").tobytes(),
        "guards": {"ood": 0.5},
        "latency_ms": 3.5,
        "image": b"\x89PNG" + number.to_bytes(4, "big"),
        "about": {"device": "new"},
    }
    return LoggedAnswer(**{**drawn, **changes})


def log_folder(place: str, project: str, window: Path, model: Path, keep: float = 1.0, **changes: Any) -> None:
    """Log a window's images as if the model had answered each, in the order of their names; a share of them is kept."""
    scorer, digest = FeatureScorer(model), identity(model)
    listed = read_window(window)
    first = dt.datetime.fromisoformat(f"{window.name}T08:00+00:00")
    contents = [(window / path).read_bytes() for path in listed["path"]]
    read = [read_image(content) for content in contents]
    pixels = np.stack([to_pixels(image, scorer.facts["image_size"]) for image, _ in read if image is not None])
    probabilities, features = scorer.answer(torch.from_numpy(pixels))
    log = PredictionLog(place)
    for number, row in enumerate(listed.to_dict("records")):
        image, facts = read[number]
        about = {name: row[name] for name in listed if name not in ("path", "label") and row[name]}
        given = {
            "request_id": f"{window.name}-{number:04d}",
            "at": first + dt.timedelta(seconds=number),
            "project": project,
            "sha256": sha256_bytes(contents[number]),
            "measures": facts,
            "model": digest,
            "classes": tuple(scorer.classes),
            "probabilities": tuple(map(float, probabilities[number])),
            "predicted": scorer.classes[int(probabilities[number].argmax())],
            "embedding": features[number].astype("<f2").tobytes(),
            "image": encode(image) if image is not None and number < keep * len(listed) else b"",
            "about": about,
        }
        log.append(draw_row(number, **{**given, **changes}))
    assert log.close().lost == 0


def labels_of(window: Path) -> pd.DataFrame:
    """The window's labels as rows for `add_labels`, under the request ids of `log_folder`."""
    rows = [
        {"request_id": f"{window.name}-{number:04d}", "label": label, "labelled_at": window.name, "source": "desk"}
        for number, label in enumerate(read_window(window)["label"])
    ]
    return pd.DataFrame([row for row in rows if row["label"]])
