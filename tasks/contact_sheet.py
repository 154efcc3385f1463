"""A contact sheet of augmentation: the same dozen images under each ingredient alone and under the whole policy."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from tasks.augment import Fixed, apply, augment
from tasks.params import Augmentation

GAP = 4  # pixels between images
TYPICAL, STRONGEST = 0.5, 1.0  # shares of an ingredient's strength


@dataclass(frozen=True)
class Strip:
    """One row of the sheet: what was done, and a PNG of the images side by side in base64."""

    ingredient: str
    strength: str
    png: str


def contact_sheet(images: torch.Tensor, policy: Augmentation, seed: int) -> list[Strip]:
    """float (N, 3, S, S) in 0..1 -> a strip as taken, two for each ingredient, and three of the whole policy."""
    strips = [Strip("as taken", "", to_png(images))]
    for name in sorted(policy.active(), key=list(type(policy).model_fields).index):
        alone = policy.only(name)
        shares = {"always": STRONGEST} if policy.is_switch(name) else {"typical": TYPICAL, "strongest": STRONGEST}
        for words, share in shares.items():
            strips.append(Strip(name, words, to_png(apply(images, Fixed(alone, len(images), share)))))
    generator = torch.Generator().manual_seed(seed)
    return strips + [
        Strip("the whole policy", "as drawn", to_png(augment(images, policy, generator))) for _ in range(3)
    ]


def a_dozen(labels: list[str], count: int = 12) -> list[int]:
    """Positions of images to show: one of each class in turn until there are enough."""
    turn = {label: [k for k, other in enumerate(labels) if other == label] for label in sorted(set(labels))}
    rounds = max(map(len, turn.values()), default=0)
    return [places[r] for r in range(rounds) for places in turn.values() if r < len(places)][:count]


def to_png(images: torch.Tensor) -> str:
    """The images side by side on white, as a PNG in base64."""
    tiles = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    count, side = tiles.shape[:2]
    sheet = np.full((side, count * (side + GAP) - GAP, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        sheet[:, place * (side + GAP) : place * (side + GAP) + side] = tile
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
