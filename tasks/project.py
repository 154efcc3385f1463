"""A project: everything that belongs to one data set, in one file, `governance/projects/<name>.yaml`."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import BadInput

NAME = r"^[a-z][a-z0-9-]{0,59}$"  # it becomes a part of file names


class Mirror(BaseModel):
    """Which images mirror the place of deployment: kept out of training, judged on their own.

    `column` and `values` pick rows by a metadata column (another device, another site); `latest` takes that share of
    the images, the newest by `captured_at`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    column: str | None = None
    values: list[str] = []
    latest: float | None = Field(default=None, gt=0, lt=1)


class Project(BaseModel):
    """One data set's own facts. Columns are those of its metadata.csv."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=NAME)
    data: Path
    plan: Path = Path("governance/plan.yaml")
    watch: Path = Path("governance/watch.yaml")  # how the nights are judged
    windows: str | None = None  # a folder or URL of production windows, or `log`; None: `production` below the data
    feedback: Path = Path("governance/feedback.yaml")  # what may be told of what users report
    serving: Path = Path("governance/serving.yaml")  # what the scoring service takes, keeps and watches
    classes: list[str] | None = None  # None: the labels found in the data
    group: str | None = None  # rows that share it never lie in two splits
    unit: str | None = None  # the thing photographed; rows that share it are resampled together
    split: str | None = None  # a column that already says which split a row belongs to
    slices: list[str] = []
    mirror: Mirror | None = None
    cases: Path | None = None  # a folder of must-pass cases: cases.csv and images (tasks/cases.py)
    not_applicable: dict[str, str] = {}  # criterion of the plan -> why it cannot apply here
    params: dict[str, dict[str, Any]] = {}  # overrides of params.yaml, by section


def check_name(name: str) -> None:
    """Refuse what cannot name a project."""
    if not re.fullmatch(NAME, name):
        raise BadInput(
            f"'{name[:80]}' cannot name a project; take small letters, digits and hyphens, a letter first, "
            "no more than 60 in all"
        )


def load_project(path: Path) -> Project:
    """Read and check a project file; errors name the file and the key."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot read the project file {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    try:
        about = Project.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise BadInput(f"{path}: {problems}; the keys are {', '.join(Project.model_fields)}") from error
    if about.name != path.stem:
        raise BadInput(
            f"{path} says name: {about.name}, so its models would be published as those of {about.name}; "
            f"say name: {path.stem}, or rename the file to {about.name}.yaml"
        )
    return about
