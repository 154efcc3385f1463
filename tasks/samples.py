"""Two samples of images as a model tells of them, and both laid together to be permuted in blocks.

Under the hypothesis that both come from one distribution it does not matter which image stands in which sample. So the
labels may be permuted, but images of one unit (subject, scan) only together; and where there are a great many units,
equally large random groups of them may be permuted together too, which costs next to no power and bounds the work.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from tasks.errors import EvidenceMissing


@dataclass(frozen=True, eq=False)
class Sample:
    """What a model says of n images: `probabilities` (n, K), `embeddings` (n, D), `units` (n,) or each on its own."""

    probabilities: np.ndarray
    embeddings: np.ndarray
    units: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.probabilities)

    def take(self, images: np.ndarray) -> "Sample":
        """The images numbered so."""
        units = None if self.units is None else self.units[images]
        return Sample(self.probabilities[images], self.embeddings[images], units)

    @cached_property
    def unit_codes(self) -> np.ndarray:
        """The number (n,) of each image's unit, from 0."""
        return np.arange(len(self)) if self.units is None else np.unique(self.units, return_inverse=True)[1]

    @property
    def unit_count(self) -> int:
        """How many units the images are of."""
        return int(self.unit_codes.max()) + 1

    def check(self, name: str) -> None:
        """Refuse what is empty, not finite, of uneven length or no distribution, by the sample's name."""
        lengths = {len(part) for part in (self.probabilities, self.embeddings, self.units) if part is not None}
        if lengths != {len(self)} or self.probabilities.ndim != 2 or self.embeddings.ndim != 2 or len(self) == 0:
            raise EvidenceMissing(
                f"the {name} images: probabilities {self.probabilities.shape}, embeddings {self.embeddings.shape} and "
                f"units {None if self.units is None else self.units.shape} must have one row for each image, and some"
            )
        if self.units is not None and pd.isna(self.units).any():
            raise EvidenceMissing(
                f"{int(pd.isna(self.units).sum())} of the {len(self)} {name} images have no unit; say of which subject "
                "or scan each is, or give no units at all"
            )
        sound = np.isfinite(self.embeddings.sum(axis=1)) & np.isfinite(self.probabilities.sum(axis=1))
        if not sound.all():
            raise EvidenceMissing(
                f"{(~sound).sum()} of the {len(self)} {name} images have a probability or an embedding that is not "
                f"a finite number, the first is number {int(np.argmin(sound))}; score them again"
            )
        if (self.probabilities < 0).any() or (np.abs(self.probabilities.sum(axis=1) - 1) > 1e-4).any():
            raise EvidenceMissing(f"the probabilities of the {name} images do not add up to 1; score them again")


@dataclass(frozen=True, eq=False)
class Pool:
    """Both samples laid together, the reference first, as blocks that are permuted whole.

    Of N images, `probabilities` (N, K) are read, and of the r images whose places among them are `read`, also
    `embeddings` (r, D). `images` (N,) are their numbers, the current ones going on from the reference's last; `block`
    (N,) is each one's block in 0..M-1, and `current` (M,) says whose a block is. Up to `largest` units a side a block
    is a unit, and every image's embedding is read. Above, equally many units of either side are dealt to each of at
    most `largest` blocks, and of the embeddings one of each block is read. Where one side has many times more units
    than the other, part of it is left out altogether.
    """

    probabilities: np.ndarray
    embeddings: np.ndarray
    images: np.ndarray
    block: np.ndarray
    current: np.ndarray
    read: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """The images in each block, (M,)."""
        return np.bincount(self.block, minlength=len(self.current)).astype(float)

    @property
    def counts(self) -> tuple[int, int]:
        """The images of reference and of current that ranks and classes read."""
        current = int(self.sizes[self.current].sum())
        return len(self.block) - current, current

    @property
    def distances_read(self) -> tuple[int, int]:
        """The images of reference and of current whose distances are read."""
        current = int(self.current[self.block[self.read]].sum())
        return len(self.read) - current, current


def lay_together(reference: Sample, current: Sample, largest: int, random: np.random.Generator) -> Pool:
    """The pool of two samples; `largest` bounds the blocks of either side.

    A unit that is in both samples counts as two: what it makes alike only makes alarms rarer. Raises EvidenceMissing
    for samples that do not fit together or are not sound.
    """
    reference.check("reference")
    current.check("current")
    if (reference.units is None) != (current.units is None):
        raise EvidenceMissing("one of the two samples has units and the other has none; give units to both or neither")
    shapes = [(s.probabilities.shape[1], s.embeddings.shape[1]) for s in (reference, current)]
    if shapes[0] != shapes[1]:
        raise EvidenceMissing(f"(classes, features) are {shapes[0]} in the reference and {shapes[1]} now; one model?")
    units = [sample.unit_count for sample in (reference, current)]
    together = max(1, min(units) // largest)  # units in a block
    images, blocks = zip(
        *(_deal(s.unit_codes, n, together, largest, random) for s, n in zip((reference, current), units, strict=True)),
        strict=True,
    )
    first = int(blocks[0].max()) + 1
    block = np.concatenate([blocks[0], blocks[1] + first])
    told = np.concatenate([reference.probabilities[images[0]], current.probabilities[images[1]]])
    numbers = np.concatenate([images[0], images[1] + len(reference)])
    read = np.arange(len(block)) if together == 1 else np.unique(block, return_index=True)[1]
    ours = numbers[read] < len(reference)
    seen = np.concatenate(
        [reference.embeddings[numbers[read][ours]], current.embeddings[numbers[read][~ours] - len(reference)]]
    )
    return Pool(told, seen, numbers, block, np.arange(block.max() + 1) >= first, read)


def _deal(
    codes: np.ndarray, units: int, together: int, largest: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The images that are used, in random order, and the block of each, in 0..blocks-1."""
    block_of = random.permutation(units) // together
    images = random.permutation(len(codes))
    block = block_of[codes[images]]
    kept = block < min(units // together, largest)
    return images[kept], block[kept]


def distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The Euclidean distances (n, m) of points (n, D) from others (m, D), by one matrix product, in their precision.

    Points that coincide come out apart by up to a thousandth of their distance from the middle of all in float32.
    """
    middle = others.mean(axis=0)
    one, two = points - middle, others - middle
    squares = np.einsum("nd,nd->n", one, one)[:, None] - 2 * (one @ two.T)
    squares += np.einsum("nd,nd->n", two, two)
    return np.asarray(np.sqrt(np.maximum(squares, 0, out=squares), out=squares))
