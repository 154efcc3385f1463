"""The gallery of attributions: the answers given most and least surely, right and wrong, each above its heat map."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.nn import functional as F

TILE, GAP = 96, 4  # pixels
PNG, CAPTIONS = "gallery.png", "gallery.csv"
ROWS = (
    ("right, most sure", True, False),
    ("right, least sure", True, True),
    ("wrong, most sure", False, False),
    ("wrong, least sure", False, True),
)


def choose(right: np.ndarray, confidence: np.ndarray, shown: int) -> list[tuple[str, list[int]]]:
    """Title and images of each row; where there are fewer than two rows' worth, half go to either."""
    chosen = []
    for title, wanted, rising in ROWS:
        found = np.flatnonzero(right == wanted)
        order = found[np.argsort(confidence[found] if rising else -confidence[found], kind="stable")]
        most = min(shown, len(found) // 2 if rising else -(-len(found) // 2))
        if most:
            chosen.append((title, [int(k) for k in order[:most]]))
    return chosen


def write_gallery(
    images: torch.Tensor, cells: torch.Tensor, captions: pd.DataFrame, rows: list[tuple[str, list[int]]], out: Path
) -> None:
    """Write gallery.png, and gallery.csv with what was said of each image: row, column and the columns of `captions`.

    `images` are float (N, 3, S, S) of 0 to 1, `cells` their attributions (N, cells * cells).
    """
    tops, maps = tiles(images), tiles(heat(images, cells))
    most = max(len(places) for _, places in rows)
    step = TILE + GAP
    sheet = np.full((len(rows) * (2 * TILE + 3 * GAP), most * step - GAP, 3), 255, np.uint8)
    listed = []
    for row, (title, places) in enumerate(rows):
        top = row * (2 * TILE + 3 * GAP)
        for column, place in enumerate(places):
            left = column * step
            sheet[top : top + TILE, left : left + TILE] = tops[place]
            sheet[top + TILE : top + 2 * TILE, left : left + TILE] = maps[place]
            listed.append({"row": title, "column": column + 1, **captions.iloc[place].to_dict()})
    Image.fromarray(sheet).save(out / PNG)
    pd.DataFrame(listed).to_csv(out / CAPTIONS, index=False)


def heat(images: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """The images in pale grey, red where a cell speaks for the answer and blue where against it."""
    side, across = images.shape[-1], round(cells.shape[1] ** 0.5)
    strength = cells / cells.abs().amax(1, keepdim=True).clamp(min=1e-12)
    grown = F.interpolate(strength.view(-1, 1, across, across), size=(side, side), mode="nearest")
    pale = 0.5 + images.mean(1, keepdim=True) / 2
    fade = 1 - grown.abs()
    channels = [torch.where(grown > 0, pale, pale * fade), pale * fade, torch.where(grown > 0, pale * fade, pale)]
    return torch.cat(channels, dim=1)


def tiles(images: torch.Tensor) -> np.ndarray:
    """float (N, 3, S, S) of 0 to 1 -> uint8 (N, TILE, TILE, 3)."""
    grown = F.interpolate(images, size=(TILE, TILE), mode="nearest")
    return (grown.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
