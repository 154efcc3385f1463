"""Digests: what a file, a folder, the code and the environment were when a result was made."""

import ast
import functools
import hashlib
import json
import re
from collections.abc import Collection
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

TASKS = Path(__file__).parent
TEMPLATE = re.compile(r"\"([a-z_.]+\.j2)\"")  # named in Python, or included by another template
STAMP = "stage.json"  # in a stage's folder: what it was made from, which is no part of what was made
PLUMBING = frozenset({"errors", "digests", "stage", "params", "project", "__init__", "__main__"})


def sha256_text(text: str) -> str:
    """The hexadecimal sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_bytes(content: bytes | memoryview) -> str:
    """The hexadecimal sha256 of some bytes, or of an array's buffer, which is not copied."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """The hexadecimal sha256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """One spelling for equal values: sorted keys, no spaces, no NaN (RFC 8785 in spirit)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str)


def digest_of(path: Path, without: Collection[str] = ()) -> str:
    """The digest of a file, or of a folder as the sorted list of its files' names and digests.

    Entries of the folder itself that are named in `without` are left out, with all that lies below them.
    """
    if path.is_file():
        return sha256_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.relative_to(path).parts[0] not in without)
    return sha256_text("\n".join(f"{sha256_file(p)}  {p.relative_to(path).as_posix()}" for p in files))


def identity(model: Path) -> str:
    """What tells one model from another: the names and digests of its folder's files, but for how it was made."""
    return digest_of(model, {STAMP})


def modules_behind(module: str) -> list[str]:
    """The files under tasks/ that a module runs by: itself, what it imports, and the templates that these name.

    Found by reading the files, so that `dvc.yaml` can be checked without running anything; plumbing is left out.
    """
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        file = _file_of(name)
        if name in seen or name in PLUMBING or file is None:
            continue
        seen.add(name)
        text = file.read_text(encoding="utf-8")
        todo += [*TEMPLATE.findall(text), *(_imports(text) if file.suffix == ".py" else ())]
    return sorted(f"tasks/{_file_of(name).relative_to(TASKS).as_posix()}" for name in seen)  # type: ignore[union-attr]


def digest_of_code(module: str) -> str:
    """The digest of the source text of `modules_behind(module)`."""
    files = modules_behind(module)
    return sha256_text("\n".join(f"{sha256_file(TASKS.parent / f)}  {f}" for f in files))


@functools.cache
def digest_of_environment() -> str:
    """The digest of `installed_versions`."""
    return sha256_text("\n".join(installed_versions()))


@functools.cache
def installed_versions() -> tuple[str, ...]:
    """The installed distributions as sorted lines `name==version`; reading them takes a second."""
    return tuple(sorted({f"{d.metadata['Name']}=={d.version}".lower() for d in distributions()}))


def _file_of(name: str) -> Path | None:
    if name.endswith(".j2"):
        return TASKS / name
    base = TASKS / name.replace(".", "/")
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


@functools.lru_cache(maxsize=1024)
def _imports(text: str) -> tuple[str, ...]:
    """The modules of tasks/ that a source text imports; a release asks for the same ones fifty times."""
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tasks":
            rest = node.module.partition(".")[2]
            names += [f"{rest}.{a.name}" if rest else a.name for a in node.names] + ([rest] if rest else [])
        elif isinstance(node, ast.Import):
            names += [a.name.partition(".")[2] for a in node.names if a.name.startswith("tasks.")]
    return tuple(names)
