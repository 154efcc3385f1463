"""The door: a file that somebody sends is let in as an image, or turned away with the reasons.

What a file must be like is what the data contract asks of every image (tasks/rules.py): the same rules with the same
bounds, held against the same facts (tasks/images.py), without Great Expectations, which takes seconds where a request
has milliseconds. A size is read from the header before anything is decoded. A decoder cannot be interrupted, so its
time is bounded by what it is given: see `DoorLimits`.
"""

import io
import math
from dataclasses import dataclass
from typing import Any

from PIL import Image

from tasks.errors import BadInput
from tasks.headers import overbuilt
from tasks.images import read_image
from tasks.params import CheckDataParams
from tasks.rules import IMAGES

# The facts of one file that rules are about; the others are about rows of a table (labels, groups, licences).
ASKED = ("problem", "width", "height", "mode", "brightness", "contrast", "sharpness", "has_gps")
BETWEEN, AMONG = "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet"


@dataclass(frozen=True)
class Demand:
    """One rule of the contract with its bounds filled in: a fact is among `values`, or from `least` to `most`."""

    fact: str
    says: str
    values: tuple[Any, ...] | None = None
    least: float = -math.inf
    most: float = math.inf

    def holds(self, value: Any) -> bool:
        """Whether the fact is as asked; one that is missing or not a number is not."""
        if self.values is not None:
            return value in self.values
        return value is not None and self.least <= value <= self.most


@dataclass(frozen=True)
class DoorLimits:
    """What is let in. At 10 MB and 16 million pixels the worst file of benchmarks/fuzz.py takes about a second and
    450 MB (grey of 16 bits, in a PNG); both fall with the pixels.
    """

    most_bytes: int
    most_pixels: int
    demands: tuple[Demand, ...]


@dataclass(frozen=True, eq=False)
class Admitted:
    """The upright RGB image (None where there is none), the facts of `read_image`, and why it is turned away.

    No reasons: it is let in.
    """

    image: Image.Image | None
    measures: dict[str, Any]
    reasons: tuple[str, ...]


def limits_of(params: CheckDataParams, most_bytes: int = 10_000_000, most_pixels: int = 16_000_000) -> DoorLimits:
    """The contract's demands on one file, with the bounds of `params`."""
    if most_bytes <= 0 or most_pixels <= 0:
        raise BadInput(f"a door that lets in {most_bytes} bytes and {most_pixels} pixels is shut; both must be above 0")
    given = params.model_dump()
    demands = []
    for rule in IMAGES:
        fact = rule.arguments.get("column")
        if fact not in ASKED or rule.expectation not in (BETWEEN, AMONG):
            continue
        asked = {key: given[v[1:]] if isinstance(v, str) else v for key, v in rule.arguments.items() if key != "column"}
        says = rule.says.format(**{name: _told(value) for name, value in given.items()})
        if rule.expectation == AMONG:
            demands.append(Demand(fact, says, values=tuple(asked["value_set"])))
        else:
            most = asked.get("max_value", math.inf)
            demands.append(Demand(fact, says, least=asked["min_value"], most=most))
    return DoorLimits(most_bytes, most_pixels, tuple(demands))


def admit(content: bytes, limits: DoorLimits) -> Admitted:
    """Decode the bytes of one file and hold it against the limits; never raises for what the bytes are."""
    problem = _too_much(content, limits)
    if problem:
        return Admitted(None, read_image(b"")[1] | {"problem": problem}, (f"the file {problem}",))
    image, measures = read_image(content, limits.most_pixels)
    if image is None:
        return Admitted(None, measures, (f"the file {measures['problem']}",))
    broken = [d for d in limits.demands if not d.holds(measures[d.fact])]
    return Admitted(image, measures, tuple(f"{d.says}; {d.fact} is {_told(measures[d.fact])}" for d in broken))


def stored_form(image: Image.Image) -> bytes:
    """What is kept of an upright RGB image: a PNG of its pixels alone, with no profile, place, date or text."""
    bare = Image.frombytes("RGB", image.size, image.tobytes())
    buffer = io.BytesIO()
    bare.save(buffer, "PNG")
    return buffer.getvalue()


def _too_much(content: bytes, limits: DoorLimits) -> str:
    if len(content) > limits.most_bytes:
        return f"has {len(content):,} bytes; at most {limits.most_bytes:,} are taken, so save it smaller"
    return overbuilt(content)


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
