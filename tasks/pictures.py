"""The pictures of a page: thumbnails inside the page itself, of mistakes, of examples and of negative flips."""

import base64
import io
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.images import decode
from tasks.metrics import PROBABILITY, classes_of
from tasks.slices import JUDGED, SLICE

MISTAKES = 18
FLIPS = 24
EXAMPLES = 3  # of each weak slice
PAIRS, DOUBTFUL = 12, 18  # near-duplicates and labels that look wrong, the surest of each
THUMBNAIL, SMALL = 96, 40  # pixels


def mistakes(scored: pd.DataFrame, data: Path) -> list[dict[str, Any]]:
    """The wrong answers given with most confidence, half from test and half from the mirror where there are enough."""
    wrong = scored[(scored["predicted"] != scored["label"]) & scored["split"].isin(JUDGED)]
    chosen = _surest(wrong).groupby("split", sort=False).head(MISTAKES // 2)
    return [_picture(row, data) for row in chosen.to_dict("records")]


def negative_flips(scored: pd.DataFrame, champion: pd.DataFrame, data: Path) -> dict[str, Any]:
    """The images that the champion had right and the candidate has wrong, the most confident first, and their number.

    `champion` holds the champion's predictions with the columns image_id and predicted.
    """
    before = scored["image_id"].map(champion.set_index("image_id")["predicted"])
    lost = scored[(before == scored["label"]) & (scored["predicted"] != scored["label"]) & scored["split"].isin(JUDGED)]
    shown = [_picture(row, data) for row in _surest(lost).head(FLIPS).to_dict("records")]
    return {"count": len(lost), "shown": shown}


def with_examples(weak: list[dict[str, Any]], scored: pd.DataFrame, data: Path) -> list[dict[str, Any]]:
    """The weak slices, the confirmed ones with thumbnails of some wrong answers."""
    paths = scored.set_index("image_id")["path"]
    for row in weak:
        shown = row["examples"][:EXAMPLES] if row["confirmed"] else []
        row["images"] = [{"image": thumbnail(data / paths[i], paths[i], SMALL), "path": paths[i]} for i in shown]
    return weak


def with_pictures(found: dict[str, Any] | None, data: Path) -> dict[str, Any] | None:
    """The surest near-duplicates with both images, and the labels that look most wrong with theirs."""
    if found is None:
        return None
    pairs = [
        {**row, "pictures": [thumbnail(data / row[key], row[key], THUMBNAIL) for key in ("image", "of")]}
        for row in sorted(found["pairs"], key=lambda row: row["p"])[:PAIRS]
    ]
    doubtful = sorted(found["label_errors"], key=lambda row: row["probability_of_given"])[:DOUBTFUL]
    shown = [{**row, "picture": thumbnail(data / row["image"], row["image"], THUMBNAIL)} for row in doubtful]
    counts = {"pairs_in_all": len(found["pairs"]), "doubtful_in_all": len(found["label_errors"])}
    return {**found, **counts, "pairs": pairs, "label_errors": shown}


def thumbnail(file: Path, name: str, side: int) -> str:
    """A PNG of an image file in base64, `side` pixels at most."""
    image = decode(file, name)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _surest(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.assign(confidence=rows[[PROBABILITY + c for c in classes_of(rows)]].max(axis=1))
    return rows.sort_values(["confidence", "image_id"], ascending=[False, True])


def _picture(row: dict[str, Any], data: Path) -> dict[str, str]:
    """A thumbnail with what was said of it."""
    slices = [str(v) for k, v in row.items() if k.startswith(SLICE) and v]
    return {
        "image": thumbnail(data / row["path"], row["path"], THUMBNAIL),
        "path": row["path"],
        "actual": row["label"],
        "predicted": row["predicted"],
        "confidence": f"{100 * row['confidence']:.0f} %",
        "where": ", ".join([row["split"], *slices]),
    }
