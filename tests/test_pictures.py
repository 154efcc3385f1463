"""A page shows both images of a near-duplicate, and the images whose labels look wrong."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tasks.pictures import PAIRS, THUMBNAIL, with_pictures


def picture(code: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(code)))


def test_pairs_and_doubtful_labels_come_with_their_images_the_surest_first(image_folder: Callable[..., Path]) -> None:
    wide = Image.new("RGB", (200, 50), "black")
    data = image_folder({"images/wide.png": ("a", wide)})
    pairs = [{"image": "images/00.png", "of": "images/wide.png", "p": 1e-3 / (k + 1)} for k in range(PAIRS + 1)]
    labels = [{"image": f"images/0{k}.png", "probability_of_given": 0.3 - k / 10} for k in range(3)]
    shown = with_pictures({"pairs": pairs, "label_errors": labels}, data)
    assert shown is not None
    assert [row["p"] for row in shown["pairs"]] == sorted(row["p"] for row in pairs)[:PAIRS]
    assert (shown["pairs_in_all"], shown["doubtful_in_all"]) == (PAIRS + 1, 3)
    asked, of = map(picture, shown["pairs"][0]["pictures"])
    assert (asked.size, of.size) == ((24, 24), (THUMBNAIL, THUMBNAIL // 4))
    assert [row["image"] for row in shown["label_errors"]] == [f"images/0{k}.png" for k in (2, 1, 0)]
    assert picture(shown["label_errors"][0]["picture"]).size == (24, 24)
    assert with_pictures(None, data) is None
