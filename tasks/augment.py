"""Augmentation of whole batches as tensors, by a policy of named ingredients (`Augmentation` in tasks/params.py).

It works on pixel values in 0..1, before they are brought into the backbone's units, so that a strength means the same
for every backbone. A batch takes one draw from the caller's generator, whatever the policy; each ingredient's own draws
follow from that number and the ingredient's name. So an ingredient that is off costs nothing, and switching one on, off
or up changes no draw of another: an ablation compares like with like.

The order is that of a photograph: the scene moves, its light and polarity change, the lens blurs, the sensor is noisy.
Noise is cut from one fixed table of normal numbers at a place and with a sign of each image's own, ten times as fast as
drawing it; an image without colour gets noise without colour, as its sensor would make it.
"""

import math
import zlib
from functools import cache

import torch
from torch.nn import functional as F

from tasks.params import Augmentation

GEOMETRY = ("turn", "shift", "scale", "shear", "flip")
LIGHT = ("contrast", "brightness", "polarity")
TABLE = 1 << 20  # numbers; an image of 64 pixels a side can lie at a million places in it
LUMA = (0.299, 0.587, 0.114)  # what each of red, green and blue adds to grey (ITU-R BT.601)


class Draws:
    """The draws of one batch: a stream for each ingredient, all from one number of the caller's generator."""

    def __init__(self, policy: Augmentation, count: int, generator: torch.Generator) -> None:
        self.policy, self.count = policy, count
        self.seed = int(torch.randint(1 << 32, (), generator=generator, device=generator.device))
        self.stream = torch.Generator()

    def amount(self, name: str, more: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether the ingredient acts on each image, (N,), and even draws from 0..1, (1 + more, N)."""
        drawn = torch.rand(
            2 + more, self.count, generator=self.stream.manual_seed(self.seed ^ zlib.crc32(name.encode()))
        )
        return drawn[0] < self.policy.ingredient(name).probability, drawn[1:]

    def either_way(self, name: str, more: int = 0) -> torch.Tensor:
        """Even draws between minus and plus the strength, (1 + more, N); 0 where the ingredient does not act."""
        acts, drawn = self.amount(name, more)
        return (drawn * 2 - 1) * self.policy.ingredient(name).strength * acts


class Fixed(Draws):
    """No draws of strength: every ingredient acts on every image at one share of its strength, for a contact sheet.

    Where there are two ways, neighbouring images take turns.
    """

    def __init__(self, policy: Augmentation, count: int, share: float) -> None:
        super().__init__(policy, count, torch.Generator().manual_seed(0))
        self.share = share

    def amount(self, name: str, more: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Acts everywhere; the first row is the share."""
        _, drawn = super().amount(name, more)
        drawn[0] = self.share
        return torch.ones(self.count, dtype=torch.bool), drawn

    def either_way(self, name: str, more: int = 0) -> torch.Tensor:
        """Plus or minus the share of the strength; each further row changes sign half as often."""
        signs = [1 - 2 * ((torch.arange(self.count) >> row) & 1) for row in range(1 + more)]
        return torch.stack(signs) * self.share * self.policy.ingredient(name).strength


def augment(images: torch.Tensor, policy: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """float (N, C, S, S) in 0..1 -> the same, each image by its own draw; the input is left as it was.

    A pure function of the images, the policy and the state of the generator.
    """
    return apply(images, Draws(policy, len(images), generator))


def apply(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """The policy of `draws` on float images (N, C, S, S) in 0..1."""
    active = draws.policy.active()
    if not active:
        return images
    images = move(images, draws, active) if active.intersection(GEOMETRY) else images.clone()
    if "saturation" in active:
        saturate_(images, draws)
    if active.intersection(LIGHT):
        light_(images, draws, active)
    if "blur" in active:
        blur_(images, draws)
    if "noise" in active:
        noise_(images, draws)
    if active.difference(GEOMETRY):
        images.clamp_(0, 1)
    if "erase" in active:
        erase_(images, draws)
    return images


def move(images: torch.Tensor, draws: Draws, active: frozenset[str]) -> torch.Tensor:
    """Turn, shear, scale, mirror and shift in one resampling; what comes into view repeats the border."""
    nothing = torch.zeros(1, draws.count)
    drawn = {name: draws.either_way(name) if name in active else nothing for name in ("turn", "scale", "shear")}
    angle, size, slope = (
        torch.deg2rad(drawn["turn"][0]),
        1 + drawn["scale"][0],
        torch.tan(torch.deg2rad(drawn["shear"][0])),
    )
    across, down = 2 * draws.either_way("shift", 1) if "shift" in active else nothing.expand(2, -1)
    mirror = 1 - 2 * draws.amount("flip")[0].float() if "flip" in active else torch.ones(draws.count)
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    # where in the image each place of the result comes from, in units of half a side
    rows = (cosine * mirror, cosine * slope - sine, across), (sine * mirror, sine * slope + cosine, down)
    side = images.shape[-1]
    place = ((torch.arange(side) * 2 + 1) / side - 1).to(images)
    grid = images.new_empty(draws.count, side, side, 2)
    for axis, (by_column, by_row, offset) in enumerate(rows):
        column = by_column.to(images)[:, None, None] * place
        row = by_row.to(images)[:, None, None] * place[:, None] + offset.to(images)[:, None, None]
        torch.add(column, row, out=grid[..., axis])
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


# The functions below change the images in place, as their underscore says: fresh memory costs more than the arithmetic.


def saturate_(images: torch.Tensor, draws: Draws) -> None:
    """More or less colour: away from the image's own grey, or towards it. Images of one channel have none."""
    if images.shape[1] == 3:
        grey = (images * torch.tensor(LUMA).to(images).view(1, 3, 1, 1)).sum(1, keepdim=True)
        images.lerp_(grey.expand_as(images), _per_image(-draws.either_way("saturation")[0], images))


def light_(images: torch.Tensor, draws: Draws, active: frozenset[str]) -> None:
    """Contrast about the image's own mean, brightness and polarity: all linear, so one factor and one sum."""
    gain, offset = torch.ones(draws.count).to(images), torch.zeros(draws.count).to(images)
    if "contrast" in active:
        gain = 1 + draws.either_way("contrast")[0].to(images)
        offset = (1 - gain) * images.mean((1, 2, 3))
    if "brightness" in active:
        offset = offset + draws.either_way("brightness")[0].to(images)
    if "polarity" in active:
        turned = draws.amount("polarity")[0].to(images.device)
        gain, offset = torch.where(turned, -gain, gain), torch.where(turned, 1 - offset, offset)
    images.mul_(_per_image(gain, images)).add_(_per_image(offset, images))


def blur_(images: torch.Tensor, draws: Draws) -> None:
    """Gaussian blur, the standard deviation a share of the side; one small matrix averages each row and column."""
    acts, drawn = draws.amount("blur")
    places = acts.nonzero()[:, 0]
    side = images.shape[-1]
    spread = (drawn[0][places] * draws.policy.blur.strength * side).clamp(min=0.05)  # less than this moves nothing
    pixel = torch.arange(side)
    distance = ((pixel[:, None] - pixel) ** 2).float()
    weights = torch.softmax(-distance / (2 * spread.view(-1, 1, 1, 1) ** 2), dim=-1).to(images)  # (n, 1, S, S)
    places = places.to(images.device)
    images[places] = weights @ images[places] @ weights.mT


def noise_(images: torch.Tensor, draws: Draws) -> None:
    """Independent Gaussian noise on each pixel, the standard deviation drawn for each image."""
    acts, drawn = draws.amount("noise", 2)
    spreads, wheres, signs = (drawn * torch.tensor([[draws.policy.noise.strength], [1], [1]])).tolist()
    size = images[0].numel()
    table = _normal_numbers(max(TABLE, 4 << size.bit_length()), images.device)
    for place in acts.nonzero()[:, 0].tolist():
        image, start = images[place], int(wheres[place] * (len(table) - size))
        static = table[start : start + size].view(image.shape)
        if all(torch.equal(image[0], channel) for channel in image[1:]):
            static = static[:1]
        image.add_(static, alpha=spreads[place] if signs[place] < 0.5 else -spreads[place])


def erase_(images: torch.Tensor, draws: Draws) -> None:
    """Paint a rectangle of up to the given share of the area with the image's mean (Zhong et al. 2020)."""
    acts, (area, aspect, across, down) = draws.amount("erase", 3)
    ratio = torch.exp((aspect * 2 - 1) * math.log(2))  # from half as wide as high to twice
    area = area * draws.policy.erase.strength * acts
    half = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()]).clamp(max=1) / 2  # (2, N), shares of the side
    place = (torch.arange(images.shape[-1]) + 0.5) / images.shape[-1]
    inside = (place - torch.stack([across, down])[..., None]).abs() < half[..., None]  # (2, N, S)
    covered = (inside[0][:, None, None, :] & inside[1][:, None, :, None]).to(images.device)
    images.copy_(torch.where(covered, images.mean((1, 2, 3), keepdim=True), images))


@cache
def _normal_numbers(count: int, device: torch.device) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(0)).to(device)


def _per_image(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return values.to(images).view(-1, 1, 1, 1)
