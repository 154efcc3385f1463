"""The knobs of params.yaml, one record for each stage; an unknown key or a wrong type is an error that names it."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.errors import BadInput

AUTO = "auto"  # the choice is left: of the backbone to the shortlist, of how to run a network to a timing


class Section(BaseModel):
    """One section of params.yaml; `section` is its name there."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    section: ClassVar[str]


S = TypeVar("S", bound=Section)


def load_section(record: type[S], path: Path, overrides: dict[str, Any] | None = None, section: str | None = None) -> S:
    """Read the record's section of a params file, or another of that form, with a project's overrides laid over it."""
    name = section or record.section
    try:
        document = _document(path.read_text(encoding="utf-8"))
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


@functools.lru_cache(maxsize=8)
def _document(text: str) -> dict[str, Any]:
    """The sections of a params file, only to be read; a release asks for seventy of them."""
    return yaml.safe_load(text) or {}


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


class Ingredient(BaseModel):
    """How strong one ingredient of augmentation is at most, and on which share of the images it acts.

    Written as a number it is the strength (the probability of what is either done or not), on every image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    strength: float = Field(ge=0)
    probability: float = Field(default=1, ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"strength": value} if isinstance(value, int | float) else value

    @property
    def acts(self) -> bool:
        """Whether it does anything at all."""
        return self.strength > 0 and self.probability > 0


class Switch(Ingredient):
    """An ingredient that is either done or not, with a probability."""

    strength: float = Field(default=1, ge=1, le=1)

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"probability": value} if isinstance(value, int | float) else value


class Augmentation(BaseModel):
    """The policy of augmentation: named ingredients. Each image draws evenly from nothing to the strength, or from
    minus to plus the strength where there are two ways; an ingredient that is not named is off. Pixels are 0 to 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    turn: Ingredient = Ingredient(strength=0)  # degrees, either way
    shift: Ingredient = Ingredient(strength=0)  # share of the side, either way, across and down
    scale: Ingredient = Ingredient(strength=0)  # share of the size, either way
    shear: Ingredient = Ingredient(strength=0)  # degrees, either way
    flip: Switch = Switch(probability=0)  # left and right change places
    contrast: Ingredient = Ingredient(strength=0)  # factor about the image's mean: 1 minus to 1 plus this
    brightness: Ingredient = Ingredient(strength=0)  # added to every pixel, either way
    saturation: Ingredient = Ingredient(strength=0)  # factor on the distance from grey: 1 minus to 1 plus this
    polarity: Switch = Switch(probability=0)  # light and dark change places
    blur: Ingredient = Ingredient(strength=0)  # standard deviation, share of the side
    noise: Ingredient = Ingredient(strength=0)  # standard deviation
    erase: Ingredient = Ingredient(strength=0)  # share of the area under a rectangle

    LIMITS: ClassVar[dict[str, float]] = {
        **{"turn": 180, "shift": 1, "scale": 0.9, "shear": 60, "flip": 1, "contrast": 1, "brightness": 1},
        **{"saturation": 1, "polarity": 1, "blur": 0.25, "noise": 1, "erase": 1},
    }

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        unknown = sorted(set(values) - set(cls.model_fields)) if isinstance(values, dict) else []
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no such ingredient; there are {', '.join(cls.model_fields)}")
        return values

    @model_validator(mode="after")
    def _within_limits(self) -> "Augmentation":
        for name, most in self.LIMITS.items():
            if self.ingredient(name).strength > most:
                raise ValueError(f"{name}: strength {self.ingredient(name).strength:g} is more than {most:g}")
        return self

    def ingredient(self, name: str) -> Ingredient:
        """The ingredient of that name."""
        found: Ingredient = getattr(self, name)
        return found

    def is_switch(self, name: str) -> bool:
        """Whether the ingredient has no strength of its own."""
        return isinstance(self.ingredient(name), Switch)

    def active(self) -> frozenset[str]:
        """The names of the ingredients that do something."""
        return frozenset(name for name in type(self).model_fields if self.ingredient(name).acts)

    def only(self, name: str) -> "Augmentation":
        """One ingredient alone, on every image."""
        return Augmentation.model_validate({name: {**self.ingredient(name).model_dump(), "probability": 1}})

    def within(self, names: Iterable[str]) -> "Augmentation":
        """The named ingredients as they are, the others off."""
        return Augmentation.model_validate({name: self.ingredient(name).model_dump() for name in names})

    def without(self, name: str) -> "Augmentation":
        """The policy with one ingredient off."""
        return self.within(self.active() - {name})


class TrainerParams(BaseModel):
    """What reaches Lightning's Trainer (its own names and values), and how the work is laid out in memory."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    accelerator: str = "auto"
    devices: int = Field(default=1, gt=0)  # above 1: as many processes, each with its share of every batch
    strategy: str = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"  # auto: the faster, timed once a machine
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto"  # auto: as precision
    threads: Annotated[int, Field(gt=0)] | Literal["auto"] = 1  # of a process; bytes depend on it; auto: as precision
    memory_mb: int = Field(default=2048, gt=0)  # images and stored activations above this go to a mapped file
    views: int = Field(default=4, ge=0)  # augmented views an image whose frozen work is stored; 0: nothing is stored
    checkpoint_seconds: float = Field(default=20, ge=0)  # between checkpoints, from which a killed run goes on


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
    warmup_steps: int = Field(ge=0)  # at the start of every phase
    patience: int = Field(gt=0)  # epochs without a lower validation loss that end a phase
    stop_level: float = Field(default=0, ge=0, lt=0.5)  # of the paired test that lets the next stages open; 0: no test
    drop_path: float = Field(default=0, ge=0, lt=1)  # stochastic depth (Huang et al. 2016)
    mixup: float = Field(default=0, ge=0)  # alpha of Zhang et al. 2018; 0 switches it off, as below
    cutmix: float = Field(default=0, ge=0)  # alpha of Yun et al. 2019
    l2_sp: float = Field(default=0, ge=0)  # strength of the pull to the pretrained weights (Li et al. 2018)
    ema: float = Field(default=0, ge=0, lt=1)  # share of the moving average of the weights that a step keeps
    augmentation: Augmentation
    trainer: TrainerParams = TrainerParams()


class AuditParams(Section):
    """What the audit of augmentation looks at, and how much harm it lets pass."""

    section: ClassVar[str] = "audit_augmentation"
    seed: int
    max_images: int = Field(gt=0)  # of the training images, and of the validation images
    views: int = Field(gt=0)  # augmented copies of each training image
    phases: list[Phase] = Field(min_length=1)  # the short training with and without the policy
    each: bool  # also train without each single ingredient
    min_images: int = Field(gt=0)  # fewer say nothing: not assessable
    min_reading: float = Field(gt=0, lt=1)  # accuracy of the reader of labels on real images
    max_label_loss: float = Field(gt=0, lt=1)  # share of augmented images
    max_accuracy_loss: float = Field(gt=0, lt=1)  # share of clean validation images
    max_loss_increase: float = Field(gt=0)  # nats, mean over clean validation images


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


class EmbedParams(Section):
    """How the reference model is asked about images that it has not seen."""

    section: ClassVar[str] = "embed"
    folds: int = Field(ge=2)  # with fewer groups than these, units are kept together instead
    seed: int


class InterpolateParams(Section):
    """Which shares of the new weights are tried between the champion's and a candidate's."""

    section: ClassVar[str] = "interpolate"
    shares: list[Annotated[float, Field(gt=0, lt=1)]] = Field(min_length=1)


class EvaluateParams(Section):
    """How findings get their intervals, and what the evaluators' questions leave to be set."""

    section: ClassVar[str] = "evaluate"
    level: float = Field(gt=0.5, lt=1)  # confidence; a plan names the same
    resamples: int = Field(ge=100)
    min_clusters: int = Field(ge=2)  # with fewer groups in a slice, units are resampled instead
    calibration_bins: int = Field(ge=2)
    seed: int
    min_group: int = Field(default=20, ge=2)  # images; a smaller group or found slice is not assessable
    risk_bound: float = Field(default=0.02, gt=0, lt=1)  # share of wrong answers that `coverage_at_risk` allows
    conformal_alpha: float = Field(default=0.05, gt=0, lt=1)  # share of images whose prediction set may miss the truth
    beam: int = Field(default=10, ge=1)  # slices that the search goes on from, and at most proposes
    slice_bins: int = Field(default=4, ge=2)  # ranges, equally full, of brightness and the like
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)  # among the weak slices that are confirmed


class MeasureLatencyParams(Section):
    """How long and under which load a model is timed."""

    section: ClassVar[str] = "measure_latency"
    images: int = Field(gt=0)  # of test, in turn
    singles: int = Field(ge=20)  # images that are timed alone
    batches: int = Field(ge=20)  # that are timed
    batch_size: int = Field(gt=1)
    blocks: int = Field(ge=5)  # of singles and batches in turn; what lies in one block counts as dependent
    threads: int = Field(gt=0)  # of the model, on a processor
    rate_per_s: float = Field(gt=0)  # images that arrive in a second, evenly
    deadline_ms: float = Field(gt=0)  # from the arrival of an image to its answer

    @model_validator(mode="after")
    def _in_equal_blocks(self) -> "MeasureLatencyParams":
        for name, count in (("singles", self.singles), ("batches", self.batches)):
            if count % self.blocks:
                raise ValueError(f"{name} ({count}) must be a multiple of blocks ({self.blocks})")
        return self


class StressParams(Section):
    """Under which conditions candidate and baseline are stressed, on how many test images."""

    section: ClassVar[str] = "stress"
    images: int = Field(ge=10)  # of test, drawn at random
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(min_length=1)  # of each corruption
    conditions: list[str]  # simulated faults of a scanner beside the corruptions, by their names in tasks/conditions.py
    radii: list[Annotated[str, Field(pattern=r"^[1-9]\d*/[1-9]\d*$")]]  # of an attack, most change of a pixel of 0 to 1
    steps: int = Field(ge=1)  # of projected gradient descent
    seed: int


class FitGuardParams(Section):
    """How the guard of a released model scores what is sent to it."""

    section: ClassVar[str] = "fit_guard"
    false_rejection: float = Field(gt=0, lt=0.5)  # share of ordinary images that each score may flag
    bits: int = Field(ge=1, le=7)  # of each channel, that are left in a squeezed copy
    window: int = Field(ge=2, le=9)  # pixels a side of the median filter
    squeeze_share: float = Field(ge=0, le=1)  # of all requests, whose squeezed copies are asked too
    radius: float = Field(gt=0, lt=1.4)  # beyond it detail counts as finest; 1 is the finest along a row


class AttributeParams(Section):
    """What attribution looks at; lengths are shares of the side."""

    section: ClassVar[str] = "attribute"
    images: int = Field(ge=10)  # of test, drawn at random
    steps: int = Field(ge=4)  # of the integral
    cells: int = Field(ge=2)  # a side: regions that are taken out and put in together
    orders: int = Field(ge=1)  # random orders of the cells, as control
    blur: float = Field(gt=0, le=1)  # standard deviation of the blurred image that stands for no evidence
    border: float = Field(gt=0, lt=0.5)  # width of the frame
    shown: int = Field(ge=1)  # images a row of the gallery
    seed: int


METHODS = ("scratch", "probe", "full", "lp-ft", "gradual")  # what a certificate compares; tasks/recipes.py says how


class CertifyParams(Section):
    """The transfer certificate and the ablation: how many seeds, labels and learning rates, and for how long."""

    section: ClassVar[str] = "certify"
    seeds: list[int] = Field(min_length=3)  # the first of them chooses the rates
    retune: float = Field(gt=1)  # a seed whose validation loss is this many times the first one's tries the whole grid
    labels: list[int | Literal["all"]] = Field(min_length=1)  # a class, of the training split
    epochs: int = Field(ge=3)  # of every method alike
    least_steps: int = Field(ge=0)  # few labels make short epochs: as many epochs as it takes to reach this
    rates: dict[str, list[float]]  # method -> its grid, as long as every other's
    lp_ft_rate: float = Field(gt=0, le=1)  # of the fine-tuning after the probe, as a share of the probe's
    severities: list[Annotated[int, Field(ge=1, le=5)]]  # of each simulated condition, 1 to 5
    min_slice: int = Field(ge=2)  # images; smaller slices are left out of worst group and gap, by name
    ablate_labels: int | Literal["all"]
    quick: dict[str, Any] = {}  # what `--quick` changes of the above

    @model_validator(mode="after")
    def _equal_grids(self) -> "CertifyParams":
        sizes = {name: len(set(grid)) for name, grid in self.rates.items()}
        if set(sizes) != set(METHODS) or len(set(sizes.values())) != 1 or 0 in sizes.values():
            raise ValueError(f"rates must give {', '.join(METHODS)} a grid of equal length each, and gives {sizes}")
        if any(isinstance(count, int) and count < 1 for count in self.labels) or len(set(self.seeds)) < 3:
            raise ValueError("labels must be positive, and seeds at least three different ones")
        return self

    def in_a_hurry(self) -> "CertifyParams":
        """The same with what `quick` changes."""
        return CertifyParams.model_validate({**self.model_dump(), **self.quick, "quick": {}})


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
