"""The knobs of params.yaml, one record for each stage; an unknown key or a wrong type is an error that names it."""

from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

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
