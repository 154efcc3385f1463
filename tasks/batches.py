"""The batches of an epoch: in a new order each time, augmented as whole tensors while the step before still runs.

Nothing here keeps a state: order, augmentation and the choice among stored views follow from (seed, phase, epoch,
batch), so that a run that was killed goes on with the very batches that it would have seen.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset

from tasks.augment import augment
from tasks.boundary import Activations
from tasks.params import Augmentation

Batch = tuple[torch.Tensor, torch.Tensor, int]  # inputs, targets, and how many images the batch has over all processes
Made = TypeVar("Made")
Prepare = Callable[[torch.Tensor], torch.Tensor]  # float (B, 3, S, S) of 0 to 1 -> what the network takes


@dataclass
class Place:
    """Where in the schedule an epoch lies, and how many of its batches are behind it already."""

    phase: int = 0
    epoch: int = 0
    batch: int = 0


@dataclass
class Epochs(IterableDataset[Batch]):
    """The training batches of the epoch at `place`: images, or what is stored of them while `stored` is there."""

    pixels: torch.Tensor  # uint8 (N, 3, S, S)
    targets: torch.Tensor  # int64 (N,)
    size: int
    seed: int
    policy: Augmentation
    prepare: Prepare
    place: Place = field(default_factory=Place)
    stored: Activations | None = None
    rank: int = 0
    world: int = 1  # processes; each takes every `world`-th image of a batch

    def __len__(self) -> int:
        return math.ceil(len(self.targets) / self.size)

    def __iter__(self) -> Iterator[Batch]:
        batches = self.order().split(self.size)
        make = self._stored if self.stored is not None else self._augmented
        yield from ahead(lambda number: make(number, batches[number]), range(self.place.batch, len(batches)))

    def order(self) -> torch.Tensor:
        """The images of this epoch, in order."""
        return torch.randperm(len(self.targets), generator=self.generator(0))

    def generator(self, *what: int) -> torch.Generator:
        """Random numbers that belong to this phase and epoch, and to nothing else."""
        return torch.Generator().manual_seed(mix(self.seed, self.place.phase, self.place.epoch, *what))

    def view_generator(self, number: int) -> torch.Generator:
        """Random numbers for one part of the views that are stored in this phase."""
        return torch.Generator().manual_seed(mix(self.seed, self.place.phase, 3, number))

    def as_taken(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (B, 3, S, S) as the network takes them, without augmentation."""
        return self.prepare(pixels.float() / 255)

    def augmented(self, places: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The images at `places`, augmented, as the network takes them."""
        return self.prepare(augment(self.pixels[places].float().div_(255), self.policy, generator))

    def _augmented(self, number: int, places: torch.Tensor) -> Batch:
        images = self.augmented(places, self.generator(1, number))  # the whole batch, whoever takes which part of it
        return images[self._mine], self.targets[places][self._mine], len(places)

    def _stored(self, number: int, places: torch.Tensor) -> Batch:
        assert self.stored is not None
        generator = torch.Generator().manual_seed(mix(self.seed, self.place.phase))
        first = torch.randint(self.stored.views, (len(self.targets),), generator=generator)  # in the first epoch
        mine = places[self._mine]
        views = (first[mine] + self.place.epoch) % self.stored.views  # every view before any comes again
        return self.stored.take(views, mine), self.targets[mine], len(places)

    @property
    def _mine(self) -> slice:
        return slice(self.rank, None, self.world)

    def loader(self) -> DataLoader[Batch]:
        """A loader that passes the batches on as they are, in this process: decoding is already done."""
        return DataLoader(self, batch_size=None)


def ahead(make: Callable[[int], Made], numbers: range) -> Iterator[Made]:
    """make(number) for each number, the next one being made on another core while this one is used.

    Where sums are already split over threads no core is idle, and each is made when it is asked for.
    """
    if torch.get_num_threads() > 1:
        yield from map(make, numbers)
        return
    with ThreadPoolExecutor(1, "batches", torch.set_num_threads, (1,)) as pool:
        coming = [pool.submit(make, number) for number in numbers[:1]]
        for number in numbers:
            batch = coming.pop().result()
            if number + 1 < numbers.stop:
                coming.append(pool.submit(make, number + 1))
            yield batch


def mix(*parts: int) -> int:
    """One seed from several numbers: different parts give unrelated seeds (the constant of a 64-bit linear step)."""
    value = 0
    for part in parts:
        value = ((value ^ (part + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**63
    return value
