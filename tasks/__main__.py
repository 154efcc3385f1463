"""The door for DVC and for a shell: `python -m tasks STAGE name=value ...` calls the stage of that name.

A value is turned into what the stage's signature says; for a parameter record it is the YAML file that holds the
record's section, or FILE:SECTION where the file has several sections of that form.
"""

import importlib
import inspect
import logging
import sys
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from tasks.errors import BadInput, KeelError
from tasks.params import Section, load_section


def call(argv: list[str]) -> Any:
    """Run the stage named first with the `name=value` pairs after it."""
    name, pairs = (argv[0] if argv else ""), [a.partition("=") for a in argv[1:]]
    file = Path(__file__).parent / f"{name}.py"
    module = importlib.import_module(f"tasks.{name}") if name.isidentifier() and file.is_file() else None
    stage: Any = getattr(module, name, None)
    if not hasattr(stage, "fn"):
        raise BadInput(f"there is no stage '{name}'; usage: python -m tasks STAGE name=value ...")
    signature = inspect.signature(stage.fn)
    needed = {k for k, p in signature.parameters.items() if p.default is p.empty}
    given = {key for key, _, _ in pairs}
    unknown, missing = sorted(given - signature.parameters.keys()), sorted(needed - given)
    if unknown or missing:
        raise BadInput(f"{name} takes {', '.join(signature.parameters)}; unknown: {unknown}, missing: {missing}")
    values = {key: _convert(signature.parameters[key].annotation, value) for key, _, value in pairs}
    return stage.fn(**values)


def _convert(annotation: Any, text: str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        file, _, section = text.partition(":")
        return load_section(annotation, Path(file), section=section or None)
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType] or [annotation]  # `Path | None` is a Path
    return kinds[0](text)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        call(sys.argv[1:])
    except KeelError as error:
        sys.exit(f"{type(error).__name__}: {error}")
