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


def load_section(record: type[S], path: Path, overrides: dict[str, Any] | None = None, section: str | None = None) -> S:
    """Read the record's section of a params file, or another of that form, with a project's overrides laid over it."""
    name = section or record.section
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; it holds the parameters of every stage") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    values = {**(document.get(name) or {}), **(overrides or {})}
    try:
        return record.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        known = ", ".join(record.model_fields)
        raise BadInput(f"{path}, section {name}: {problems}; the keys are {known}") from error


# One record for each stage below.


class SplitParams(Section):
    """How groups are dealt out to the splits. Shares are of the images outside the mirror."""

    section: ClassVar[str] = "split"
    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    calibration: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    min_groups: int = Field(gt=0)  # distinct groups that the test split must hold, where there are groups
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
    threads: int = Field(default=1, gt=0)
    accelerator: str = "auto"
    devices: int = 1


AUTO = "auto"  # choose_backbone.name: take what the shortlist found


class ShortlistParams(Section):
    """How the backbones that the catalogue allows are compared on the project's own images."""

    section: ClassVar[str] = "shortlist"
    include_hub: bool  # also fetch what only a hub has; otherwise what is here, or was fetched before
    finalists: int = Field(gt=0)  # this many, the best by the frozen scores, get a short fine-tune
    phases: list[Phase] = Field(min_length=1)
    rates: list[float] = Field(min_length=1)
    least_steps: int = Field(ge=0)  # with few images all phases are lengthened to this many batches together
    most_images: int = Field(ge=20)  # of each split; more are drawn from at random
    resamples: int = Field(ge=100)
    level: float = Field(gt=0.5, lt=1)
    min_clusters: int = Field(ge=2)  # with fewer groups, units are resampled instead
    seed: int
    cache: str = "state/hub"  # as in choose_backbone
    hub_timeout_s: float = Field(default=10, gt=0)


class ChooseBackboneParams(Section):
    """Which entry of governance/backbones.yaml to start from, and how weights from a hub are fetched."""

    section: ClassVar[str] = "choose_backbone"
    name: str  # or AUTO
    cache: str = "state/hub"  # where files from a hub are kept
    hub_timeout_s: float = Field(default=10, gt=0)  # the longest single wait for a hub


class CheckDataParams(Section):
    """What the data contract asks of the images of a project and of a production window."""

    section: ClassVar[str] = "check_data"
    min_images: int = Field(gt=0)
    min_classes: int = Field(gt=1)
    min_images_per_class: int = Field(gt=0)
    min_window_images: int = Field(gt=0)
    min_side: int = Field(gt=0)  # pixels
    max_side: int = Field(gt=0)
    modes: list[str] = Field(min_length=1)  # Pillow's names, as the file has it
    min_brightness: float = Field(ge=0, le=255)  # mean grey level
    max_brightness: float = Field(ge=0, le=255)
    min_contrast: float = Field(ge=0)  # standard deviation of grey levels
    min_sharpness: float = Field(ge=0)  # variance of the Laplacian
    max_sharpness: float = Field(ge=0)
    consents: list[str] = Field(min_length=1)
    licences: list[str] = Field(min_length=1)
    require_consent: bool  # false: asked only of data that has the column
    require_licence: bool


class EvaluateParams(Section):
    """How findings get their intervals."""

    section: ClassVar[str] = "evaluate"
    level: float = Field(gt=0.5, lt=1)  # confidence; a plan names the same
    resamples: int = Field(ge=100)
    min_clusters: int = Field(ge=2)  # with fewer groups in a slice, units are resampled instead
    calibration_bins: int = Field(ge=2)
    seed: int


class PretrainParams(Section):
    """Pretraining on formula-drawn images; shares are of the steps. Other architectures have sections of their own."""

    section: ClassVar[str] = "pretrain"
    architecture: str
    precision: Literal["bf16", "fp32"] = "bf16"  # of the matrix products; what is quicker differs by architecture
    seed: int
    threads: int = Field(gt=0)  # another number gives other bytes
    classes: int = Field(gt=1)
    instances: int = Field(gt=0)  # drawn of each class
    image_size: int = Field(ge=16)
    small_size: int = Field(ge=16)  # pixels a side in the first part
    small_share: float = Field(ge=0, le=1)
    mean: list[float] = Field(min_length=3, max_length=3)  # of each channel of values in 0..1
    std: list[float] = Field(min_length=3, max_length=3)
    steps: int = Field(gt=0)
    batch_size: int = Field(gt=1)
    rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    label_smoothing: float = Field(ge=0, lt=1)
    clip: float = Field(gt=0)  # norm of the gradient
    average: float = Field(ge=0, lt=1)  # share of the moving average that a step keeps
    ramp_start: float = Field(ge=0, lt=1)  # randomisation grows from here
    ramp_end: float = Field(gt=0, le=1)  # to here, where it is full
