"""Where the prediction log lies: a folder, or any place that fsspec reaches; files appear whole or not at all.

What replaces other files is journalled, as moves of an alias are: `<name>.replaces` lists the old ones, then the new
file appears, then the old ones go, then the list. Whatever moment a kill picks, a reader that skips the listed files
once the new one is there reads every row once, and the next one who tidies up finishes the work.
"""

import datetime as dt
import json
import os
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import BadInput
from tasks.settings import without_password
from tasks.whole_files import write_whole

SUFFIX, JOURNAL, PARTIAL = ".parquet", ".replaces", ".partial"
LEFT_OVER = 3600  # seconds after which nobody is writing a temporary file any more


@dataclass(frozen=True)
class LogStore:
    """Files below one root, by names with slashes. Errors are OSErrors, or what the file system of a URL raises."""

    files: Any  # an fsspec file system
    root: str
    local: bool

    def write(self, name: str, content: bytes) -> None:
        """Write the file whole; it is on disk when this returns."""
        if self.local:
            path = Path(self.root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write_whole(path, content)
            except OSError:
                with suppress(OSError):
                    path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}").unlink()
                raise
            _force(path.parent)
            return
        self.files.makedirs(f"{self.root}/{name}".rpartition("/")[0], exist_ok=True)
        self.files.pipe_file(f"{self.root}/{name}{PARTIAL}", content)
        self.files.mv(f"{self.root}/{name}{PARTIAL}", f"{self.root}/{name}")

    def read(self, name: str) -> bytes:
        """The file's content; FileNotFoundError where there is none."""
        content: bytes = self.files.cat_file(f"{self.root}/{name}")
        return content

    def names(self, folder: str) -> list[str]:
        """What lies in the folder, sorted; nothing where there is no such folder."""
        self.files.invalidate_cache()
        try:
            found = self.files.ls(f"{self.root}/{folder}".rstrip("/"), detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def remove(self, name: str) -> None:
        """Take the file away, if it is there."""
        with suppress(FileNotFoundError):
            self.files.rm_file(f"{self.root}/{name}")

    def parts(self, folder: str) -> list[str]:
        """The names of the part files of a folder that count: those that another one has replaced do not."""
        names = self.names(folder)
        parts = {name for name in names if name.endswith(SUFFIX)}
        for journal in (name for name in names if name.endswith(JOURNAL)):
            if journal.removesuffix(JOURNAL) in parts:
                with suppress(FileNotFoundError):  # finished meanwhile
                    parts -= set(json.loads(self.read(f"{folder}/{journal}")))
        return sorted(parts)

    def replace(self, folder: str, old: Iterable[str], content: bytes | None) -> None:
        """Put one new part in the place of old ones; None where nothing is left of them."""
        if content is not None:
            fresh = part_name()
            self.write(f"{folder}/{fresh}{JOURNAL}", json.dumps(sorted(old)).encode())
            self.write(f"{folder}/{fresh}", content)
            self.tidy(folder)
            return
        for name in old:
            self.remove(f"{folder}/{name}")

    def tidy(self, folder: str) -> None:
        """Finish the replacements that were begun, drop those that were not, and remove temporary files left behind."""
        names = self.names(folder)
        for journal in (name for name in names if name.endswith(JOURNAL)):
            if journal.removesuffix(JOURNAL) in names:
                for name in json.loads(self.read(f"{folder}/{journal}")):
                    self.remove(f"{folder}/{name}")
            self.remove(f"{folder}/{journal}")
        for name in (name for name in names if name.endswith(PARTIAL)):
            if not self.local or time.time() - Path(self.root, folder, name).stat().st_mtime > LEFT_OVER:
                self.remove(f"{folder}/{name}")


def open_store(place: str) -> LogStore:
    """The store at a folder or a URL; BadInput where fsspec cannot reach it."""
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(place)
    except (ValueError, ImportError) as error:
        raise BadInput(
            f"the prediction log cannot lie at {without_password(place)}: {error}; give KEEL_LOG a folder or a URL, "
            "and install what fsspec needs for it (such as `pip install s3fs`)"
        ) from error
    return LogStore(files, root.rstrip("/"), isinstance(files, fsspec.implementations.local.LocalFileSystem))


def part_name() -> str:
    """A name that no other writer picks; names sort by the time at which they were made."""
    return f"part-{time.time_ns():x}-{uuid.uuid4().hex[:8]}{SUFFIX}"


def written_at(part: str) -> dt.datetime:
    """When the part of that name was made."""
    return dt.datetime.fromtimestamp(int(part.split("-")[1], 16) / 1e9, dt.UTC)


def _force(folder: Path) -> None:
    """Force the folder's list of names to disk, so that a power cut does not undo the rename."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
