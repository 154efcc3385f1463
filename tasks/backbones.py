"""The catalogue of backbones, governance/backbones.yaml: which pretrained weights may be used, and what is known.

Everything about an entry that is missing, unknown, overdue or unpinned is a refusal. `admit` judges the entry,
`fetch_weights` gets the file and verifies it; tasks/weights.py then builds the network with `create_backbone`.
"""

import datetime as dt
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError
from ruamel.yaml import YAML, YAMLError
from timm.models import get_pretrained_cfg
from torch import nn

from tasks.errors import BackboneRefused, BadInput
from tasks.hub import fetch
from tasks.weights import SUFFIX, check_architecture, check_name, check_weights, create_backbone

COMMIT = re.compile(r"[0-9a-f]{40}")
Text = Annotated[str, Field(min_length=1)]
Sentences = Annotated[list[Text], Field(min_length=1)]
Triple = tuple[float, float, float]


class Record(BaseModel):
    """A part of the catalogue: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Policy(Record):
    """What every entry must meet."""

    licences: Sentences  # SPDX identifiers
    formats: list[Literal["safetensors"]] = Field(min_length=1)


class RepositoryFile(Record):
    """Weights that DVC keeps in this repository."""

    file: Text  # relative to the repository's root


class Folder(Record):
    """Weights in a local folder as `timm.models.save_for_hf` lays it out: model.safetensors and config.json."""

    folder: Text


class Hub(Record):
    """Weights of a hub repository at one commit."""

    hub: Text
    revision: str | None  # a full commit hash; null: not pinned yet
    file: Text = "model.safetensors"


def _origin(value: Any) -> str:
    keys = set(value) if isinstance(value, dict) else {type(value).__name__.lower()}
    return next((kind for kind in ("hub", "folder") if kind in keys), "file")


class Entry(Record):
    """One backbone: where its weights come from, and everything that a reviewer must know about them."""

    name: Text
    architecture: Text  # as timm spells it, with the tag of the pretrained configuration where there is one
    weights: Annotated[
        Annotated[Hub, Tag("hub")] | Annotated[Folder, Tag("folder")] | Annotated[RepositoryFile, Tag("file")],
        Discriminator(lambda v: _origin(v if isinstance(v, dict) else v.model_dump())),
    ]
    sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$")  # null: not pinned yet
    licence: str | None = None
    parameters: int = Field(gt=0)  # without the classifier
    mean: Triple | None = None  # None: as timm's configuration says
    std: Triple | None = None
    training_data: Text
    intended_use: Sentences
    excluded_use: Sentences
    limitations: Sentences
    biases: Sentences
    risks: Sentences
    rationale: Text
    steward: Text
    review_by: dt.date
    citations: Sentences
    attribution: Text


@dataclass(frozen=True)
class Catalogue:
    """The catalogue as read from `source`."""

    source: Path
    policy: Policy
    entries: dict[str, Entry]


def load_catalogue(path: Path) -> Catalogue:
    """Read and check the catalogue; errors name the file, the entry and the key."""

    class Document(Record):
        policy: Policy
        backbones: list[Entry]

    try:
        document = Document.model_validate(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInput(f"cannot read the catalogue of backbones {path}: {error.strerror}") from error
    except YAMLError as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise BadInput(f"{path}: {problems}; an entry's keys are {', '.join(Entry.model_fields)}") from error
    names = [entry.name for entry in document.backbones]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"{path} lists {', '.join(twice)} more than once; keep one entry of each name")
    return Catalogue(path, document.policy, dict(zip(names, document.backbones, strict=True)))


def admit(name: str, catalogue: Catalogue, today: dt.date) -> Entry:
    """The entry of that name when the policy allows it today; the file itself is judged by `fetch_weights`."""
    entry = find(name, catalogue)
    check_architecture(entry.architecture)
    check_licence(entry, catalogue)
    check_review(entry, catalogue, today)
    check_pinned(entry, catalogue)
    return entry


def find(name: str, catalogue: Catalogue) -> Entry:
    """The entry of that name."""
    if name not in catalogue.entries:
        raise BackboneRefused(
            f"backbone '{name}' is not listed in {catalogue.source}; it lists {', '.join(catalogue.entries)}; "
            "choose one of them, or have an entry for it reviewed and added"
        )
    return catalogue.entries[name]


def check_licence(entry: Entry, catalogue: Catalogue) -> None:
    """Refuse a licence that is missing, no SPDX identifier, or not allowed."""
    allowed = f"{catalogue.source} allows {', '.join(catalogue.policy.licences)}"
    if not entry.licence:
        raise BackboneRefused(
            f"backbone '{entry.name}' has no licence; {allowed}; find out which one its publisher declares"
        )
    try:
        licence = canonicalize_license_expression(entry.licence)
    except InvalidLicenseExpression as error:
        raise BackboneRefused(
            f"backbone '{entry.name}' has licence '{entry.licence}', which is no SPDX identifier; {allowed}"
        ) from error
    if licence not in catalogue.policy.licences:
        raise BackboneRefused(
            f"backbone '{entry.name}' has licence '{entry.licence}', which is not allowed; {allowed}; "
            "choose another backbone, or have the policy changed"
        )


def check_review(entry: Entry, catalogue: Catalogue, today: dt.date) -> None:
    """Refuse an entry whose date of review has passed; on the day itself it still holds."""
    if today > entry.review_by:
        raise BackboneRefused(
            f"backbone '{entry.name}' was to be reviewed by {entry.review_by} and today is {today}; "
            f"its steward ({entry.steward}) reviews it and sets a new review_by in {catalogue.source}"
        )


def check_pinned(entry: Entry, catalogue: Catalogue) -> None:
    """Refuse weights that could change under the same name."""
    pin = (
        f"run `python -m tasks pin_backbone name={entry.name}` on a machine that reaches the weights, "
        "review the change, commit it"
    )
    revision = entry.weights.revision if isinstance(entry.weights, Hub) else None
    if revision and not COMMIT.fullmatch(revision):
        raise BackboneRefused(
            f"backbone '{entry.name}' in {catalogue.source} has revision '{revision}', a name that can move, "
            f"not a full commit hash: {pin}"
        )
    if entry.sha256 is None or (isinstance(entry.weights, Hub) and not revision):
        raise BackboneRefused(f"backbone '{entry.name}' in {catalogue.source} is not pinned: {pin}")


def fetch_weights(entry: Entry, cache: Path, root: Path = Path(), timeout: float = 10.0) -> Path:
    """The verified weights of an admitted entry; paths of the catalogue are relative to `root`.

    `cache` keeps what comes from the hub; `timeout` (seconds) bounds each wait for it. Whatever is wrong with the file
    is a BackboneRefused.
    """
    owner = f"backbone '{entry.name}'"
    path, way_out = locate(entry, cache, root, timeout)
    check_weights(path, entry.sha256, owner, way_out)
    check_size(entry, create_backbone(entry.architecture, path, num_classes=0))
    return path


def check_size(entry: Entry, net: nn.Module) -> None:
    """Refuse a passport that states another number of parameters than the network has."""
    found = sum(tensor.numel() for tensor in net.parameters())
    if found != entry.parameters:
        raise BackboneRefused(
            f"backbone '{entry.name}': the catalogue says {entry.parameters} parameters, {entry.architecture} has "
            f"{found} without its classifier; correct the entry"
        )


def locate(entry: Entry, cache: Path, root: Path, timeout: float) -> tuple[Path, str]:
    """Where the weights of an entry lie, fetched first when they come from the hub, and how to get them right."""
    match entry.weights:
        case Hub(hub=hub, revision=revision, file=file):
            check_name(file, f"backbone '{entry.name}'")
            path = fetch(hub, revision or "", file, cache, timeout)
            return path, f"delete it and fetch it again, and if nothing changes, ask {hub} what changed"
        case Folder(folder=folder):
            check_folder(entry, root / Path(folder).expanduser())
            return root / Path(folder).expanduser() / f"model{SUFFIX}", f"put the right file into {folder}"
        case RepositoryFile(file=file):
            return root / file, (
                "run `dvc pull`, or, where the new file is meant, "
                f"`python -m tasks pin_backbone name={entry.name}`, review the change and commit it"
            )


def check_watched(entry: Entry, weights: Path) -> None:
    """Refuse a file outside the folder whose content this stage and DVC watch."""
    if not isinstance(entry.weights, RepositoryFile):
        return
    file = (weights.parent / entry.weights.file).resolve()
    if not file.is_relative_to(weights.resolve()):
        raise BackboneRefused(
            f"backbone '{entry.name}': {entry.weights.file} lies outside {weights}, the folder that DVC keeps; "
            f"move it there, or name its folder with `folder:` in the catalogue"
        )


def check_folder(entry: Entry, folder: Path) -> None:
    """Refuse a folder whose config.json is missing or speaks of another architecture."""
    config = folder / "config.json"
    try:
        architecture = json.loads(config.read_text(encoding="utf-8"))["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneRefused(
            f"backbone '{entry.name}': {config} does not say which architecture it is ({type(error).__name__}); "
            "write the folder with timm.models.save_for_hf(..., safe_serialization=True)"
        ) from error
    if architecture.split(".")[0] != entry.architecture.split(".")[0]:
        raise BackboneRefused(
            f"backbone '{entry.name}': {config} says architecture '{architecture}', the catalogue says "
            f"'{entry.architecture}'; correct the one that is wrong"
        )


def input_facts(entry: Entry) -> dict[str, Any]:
    """What the backbone expects of an image: mean and std of each channel (of values in 0..1), and its image size."""
    cfg = get_pretrained_cfg(entry.architecture)
    if cfg is None:
        raise BackboneRefused(f"timm has no configuration of '{entry.architecture}'; name one of its tags")
    return {
        "mean": list(entry.mean or cfg.mean),
        "std": list(entry.std or cfg.std),
        "input_size": list(cfg.input_size),
        "fixed_input_size": cfg.fixed_input_size,
    }
