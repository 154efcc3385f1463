"""A file of rules under governance/, read into its record: every key known, every fault named with the file."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tasks.errors import BadInput
from tasks.strict_yaml import StrictLoader

R = TypeVar("R", bound=BaseModel)


def read_governance_file(record: type[R], path: Path, what: str, keys: str, it: str = "it") -> R:
    """Read and check it; BadInput says that `it` is to be brought back, or what is wrong and which `keys` there are."""
    try:
        return record.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader))
    except OSError as error:
        raise BadInput(f"cannot read the {what} {path}: {error.strerror}; bring {it} back from git") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc'])) or f'the {what}'}: {p['msg']}" for p in error.errors())
        raise BadInput(f"{path}: {problems}; the keys {keys}") from error
