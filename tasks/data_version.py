"""Which data this is: the DVC version when there is one, verified against the files, or a digest of the folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.digests import digest_of
from tasks.errors import DataRejected, DirtyData


@dataclass(frozen=True)
class DataVersion:
    """`versioned` says whether DVC can bring these bytes back; `dirty` whether they differ from what it recorded."""

    path: str
    digest: str  # DVC's md5 "<32 hex>.dir", or a sha256 over the sorted file list
    versioned: bool
    dirty: bool

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON has it."""
        return asdict(self)

    def sentence(self) -> str:
        """What a record says about it."""
        if not self.versioned:
            return f"{self.path} is not under DVC; digest of its files: {self.digest}"
        if self.dirty:
            return f"{self.path} differs from the version that DVC recorded; digest of its files: {self.digest}"
        return f"{self.path} at DVC version {self.digest}, verified against the files"


def data_version(data: Path, allow_dirty: bool) -> DataVersion:
    """Identify the folder `data`; changed files under DVC are refused unless `allow_dirty`."""
    pointer = data.with_name(data.name + ".dvc")
    if not pointer.is_file():
        return DataVersion(str(data), digest_of(data), versioned=False, dirty=False)
    if not _changed(pointer):
        return DataVersion(str(data), _recorded(pointer), versioned=True, dirty=False)
    if not allow_dirty:
        raise DirtyData(
            f"{data} differs from {pointer}; `dvc diff` shows where. Run `dvc add {data}` to record a new version, "
            f"`dvc checkout {data}` to return to the old one, or give --allow-dirty, which the record will say"
        )
    return DataVersion(str(data), digest_of(data), versioned=True, dirty=True)


def _recorded(pointer: Path) -> str:
    try:
        return str(yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"])
    except (KeyError, IndexError, TypeError) as error:
        data = pointer.with_suffix("")
        raise DataRejected(f"{pointer} records no version of {data}; `dvc add {data}` writes it anew") from error


def _changed(pointer: Path) -> bool:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(pointer.parent)) as repo:
            return bool(repo.status([str(pointer)]))
    except DvcException as error:
        raise DataRejected(
            f"DVC cannot compare {pointer.with_suffix('')} with {pointer}: {error}; mend it, or take {pointer} away "
            "to release these data without a version"
        ) from error
