"""A stage: one function from files to one folder, run by a flow or by DVC, and only when something changed.

A stage writes into a fresh folder beside its output; that folder takes the output's place in one rename when the
function returns, so a killed stage leaves the old output or none. `stage.json` in the output says what it was made
from; while that still holds, the stage is not run again, whichever door asks. A long stage can leave checkpoints in the
folder `checkpoints` of its output: a kill spares them for the next try, the end removes them.

A stage reads results alone: of a folder the stamp does not count, nor a data folder's production windows, nor what
Great Expectations writes. So a stage that ran again and wrote the same ends there (early cut-off: Mokhov, Mitchell and
Peyton Jones 2018, "Build Systems a la Carte", 2.3). `.dvcignore` says the same to DVC.
"""

import functools
import inspect
import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from tasks.contracts import UNCOMMITTED
from tasks.digests import STAMP, canonical_json, digest_of, digest_of_code, sha256_text
from tasks.errors import BadInput
from tasks.folders import PRODUCTION
from tasks.project import load_project

CHECKPOINTS = "checkpoints"
NOT_READ = frozenset({STAMP, PRODUCTION, UNCOMMITTED})
F = TypeVar("F", bound=Callable[..., Any])
logger = logging.getLogger("tasks.stage")


def stage(function: Callable[..., Any]) -> Task[..., Path]:
    """Turn `function(inputs..., out)` into a Prefect task that returns `out`, and does nothing when nothing changed."""
    name = function.__name__

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Path:
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        out = Path(values.pop("out"))
        made_from = fingerprint(function, values)
        if is_current(out, made_from):
            logger.info("%s: unchanged, kept %s", name, out)
            return out
        started = time.perf_counter()
        fresh = out.with_name(out.name + ".partial")
        _clear(fresh)
        function(**values, out=fresh)
        shutil.rmtree(fresh / CHECKPOINTS, ignore_errors=True)
        made_from["outputs"] = _digests(fresh)
        (fresh / STAMP).write_text(json.dumps(made_from, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
        logger.info("%s: done in %.1f s, wrote %s", name, time.perf_counter() - started, out)
        return out

    return task(name=name, cache_policy=NO_CACHE)(run)


def project_keys(*keys: str) -> Callable[[F], F]:
    """Put below `@stage`: of the project file that it is given, the stage uses these keys and no others."""

    def mark(function: F) -> F:
        vars(function)["project_keys"] = keys
        return function

    return mark


def fingerprint(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """What a stage's result depends on: its code, the content of its input files, and its parameters."""
    inputs, params = {}, {}
    for name, value in values.items():
        if isinstance(value, Path):
            if not value.exists():
                raise BadInput(
                    f"{function.__name__} needs {name}={value}, which is not there; run the stage that writes it first"
                )
            keys = vars(function).get("project_keys") if name == "project" else None
            inputs[name] = _digest_of_keys(value, keys) if keys else digest_of(value, NOT_READ)
        else:
            params[name] = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    code = digest_of_code(function.__module__.removeprefix("tasks."))
    return {"stage": function.__name__, "code": code, "inputs": inputs, "params": params}


def is_current(out: Path, made_from: dict[str, Any]) -> bool:
    """Whether `out` was made from exactly this and has not been touched since."""
    try:
        stamp = json.loads((out / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    outputs = stamp.pop("outputs", None)
    return stamp == json.loads(json.dumps(made_from)) and outputs == _digests(out)


def _digest_of_keys(project: Path, keys: tuple[str, ...]) -> str:
    return sha256_text(canonical_json(load_project(project).model_dump(mode="json", include=set(keys))))


def _clear(folder: Path) -> None:
    """Make the folder, empty but for the checkpoints that a killed try left."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and path.name != CHECKPOINTS:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != STAMP)
    return {p.relative_to(folder).as_posix(): digest_of(p) for p in files}
