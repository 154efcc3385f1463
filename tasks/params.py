"""The knobs of params.yaml, one record for each stage; an unknown key or a wrong type is an error that names it."""

from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import BadInput


class Section(BaseModel):
    """One section of params.yaml; `section` is its name there."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    section: ClassVar[str]


S = TypeVar("S", bound=Section)


def load_section(record: type[S], path: Path, overrides: dict[str, Any] | None = None) -> S:
    """Read the record's section of a params file, with a project's overrides of single keys laid over it."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; it holds the parameters of every stage") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    values = {**(document.get(record.section) or {}), **(overrides or {})}
    try:
        return record.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        known = ", ".join(record.model_fields)
        raise BadInput(f"{path}, section {record.section}: {problems}; the keys are {known}") from error


# One record for each stage below.


class SplitParams(Section):
    """How groups are dealt out to the splits. Shares are of the images outside the mirror."""

    section: ClassVar[str] = "split"
    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    calibration: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int


class Phase(BaseModel):
    """One step of gradual unfreezing: what is open, for at most how long, at which share of the learning rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    open: Literal["head", "all"] | int
    epochs: int = Field(gt=0)
    rate: float = Field(gt=0)


class Augmentation(BaseModel):
    """How far a training image may be moved, either way; 0 switches an ingredient off."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    turn: float = Field(default=8, ge=0, le=180)  # degrees
    shift: float = Field(default=0.05, ge=0, lt=1)  # share of the side
    scale: float = Field(default=0.08, ge=0, lt=1)  # share of the size


class FinetuneParams(Section):
    """Fine-tuning from the backbone, and the same network from scratch at the same budget of epochs."""

    section: ClassVar[str] = "finetune"
    seed: int
    image_size: int = Field(ge=16)
    batch_size: int = Field(gt=0)
    phases: list[Phase] = Field(min_length=1)
    rates: list[float] = Field(min_length=1)
    scratch_rates: list[float] = Field(min_length=1)
    layer_decay: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    label_smoothing: float = Field(ge=0, lt=1)
    warmup_steps: int = Field(ge=0)
    patience: int = Field(gt=0)
    augmentation: Augmentation
    accelerator: str = "auto"
    devices: int = 1


class ChooseBackboneParams(Section):
    """Which entry of governance/backbones.yaml to start from, and how weights from a hub are fetched."""

    section: ClassVar[str] = "choose_backbone"
    name: str
    cache: str = "state/hub"  # where files from a hub are kept
    hub_timeout_s: float = Field(default=10, gt=0)  # the longest single wait for a hub
