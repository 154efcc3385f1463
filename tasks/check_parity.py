"""Check that the same images get the same probabilities on every path: training, the table of predictions, and MLflow.

A model is judged on one path and used on another; where the two resize, order or round differently, nobody notices
before production (training-serving skew: Breck et al. 2017, "The ML Test Score", test Monitor 3).
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import pandas as pd

from tasks.errors import AnswersDiffer
from tasks.images import decode
from tasks.metrics import PROBABILITY
from tasks.packaging import IMAGE, packaged
from tasks.pixels import load_pixels
from tasks.predict import TABLE, scored_images
from tasks.scorer import BATCH, Scorer, to_pixels
from tasks.stage import stage

PARITY = "parity.json"
ALONE = 16  # images that are also asked for one by one
# How far apart two paths may be: on a CPU the same batch gives the same bits, and in another batch sums may be rounded
# otherwise; on a GPU kernels are picked by timing, and may round to TF32.
SAME_BATCH, OTHER_BATCH, ON_GPU = 0.0, 1e-5, 1e-4
logger = logging.getLogger("tasks.check_parity")


@dataclass(frozen=True)
class Parity:
    """Two paths beside each other: the largest difference on `images` images, and the largest that is allowed."""

    between: str
    images: int
    largest: float
    allowed: float


@stage
def check_parity(data: Path, manifest: Path, predictions: Path, model: Path, out: Path) -> None:
    """Write parity.json; AnswersDiffer names the path that differs."""
    table = scored_images(manifest).head(BATCH)  # the first batch of the stage predict
    scorer = Scorer(model)
    judged = pd.read_parquet(predictions / TABLE).set_index("image_id").loc[table["image_id"]]
    found = list(compare_paths(data, table, judged, model, scorer))
    document = {"device": scorer.device.type, "paths": [asdict(pair) for pair in found]}
    (out / PARITY).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for pair in found:
        if not pair.largest <= pair.allowed:  # NaN differs as well
            raise AnswersDiffer(
                f"{pair.between}: apart by up to {pair.largest:.3g} on {pair.images} images, where {pair.allowed:g} is "
                f"allowed on this {scorer.device.type}; if {predictions} came from another machine, remove it and run "
                "the release again, else look at tasks/scorer.py, tasks/images.py and tasks/served_model.py"
            )
    logger.info("the logged model answers as judged: %d comparisons, %d images", len(found), len(table))


def compare_paths(
    data: Path, table: pd.DataFrame, judged: pd.DataFrame, model: Path, scorer: Scorer
) -> Iterator[Parity]:
    """Pixels, then probabilities. `table` lists one batch of images, `judged` what predict says of them, row by row."""
    size, contents = scorer.facts["image_size"], [(data / path).read_bytes() for path in table["path"]]
    trained = load_pixels(data, table, size)
    served = np.stack([to_pixels(decode(c, path), size) for c, path in zip(contents, table["path"], strict=True)])
    told = judged[[PROBABILITY + label for label in scorer.classes]].to_numpy()
    allowed = SAME_BATCH if scorer.device.type == "cpu" else ON_GPU
    grey = float(np.abs(trained.numpy().astype(int) - served.astype(int)).max())
    yield Parity("pixels in training and in use, grey levels", len(table), grey, 0.0)
    ours = scorer.probabilities(trained)
    yield Parity("training's pixels through the network and predict's table", len(table), _apart(ours, told), allowed)
    logged = ask_logged(model, [contents, *([content] for content in contents[:ALONE])], scorer.classes)
    batch, alone = logged[0], np.concatenate(logged[1:])
    yield Parity("the logged model and predict's table", len(table), _apart(batch, told), allowed)
    far = _apart(alone, told[:ALONE])
    yield Parity("the logged model, image by image, and predict's table", len(alone), far, max(allowed, OTHER_BATCH))


def ask_logged(model: Path, requests: list[list[bytes]], classes: list[str]) -> list[np.ndarray]:
    """Save the model as it would be logged, load it, and answer each request: probabilities (n, K), float64."""
    with TemporaryDirectory() as folder, packaged(model, {}) as arguments:
        mlflow.pyfunc.save_model(path=str(Path(folder, "model")), **arguments)
        loaded = mlflow.pyfunc.load_model(str(Path(folder, "model")))
        answers = [loaded.predict(pd.DataFrame({IMAGE: request})) for request in requests]
    wanted = [PROBABILITY + label for label in classes]
    named = [column for column in answers[0].columns if column.startswith(PROBABILITY)]
    if named != wanted:
        raise AnswersDiffer(f"the logged model answers for {', '.join(named)}, it was judged on {', '.join(wanted)}")
    return [answer[wanted].to_numpy() for answer in answers]


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max())
