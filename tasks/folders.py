"""Read an image folder: which images it lists, under which labels, with which further columns.

The form is Hugging Face's `imagefolder`: a `metadata.csv` with `file_name`, `label` and any further columns; without
it, one folder a class. Production windows lie under `production/<date>/` in the same form, where labels may be
missing. Everything that would make two machines read two different data sets is refused here.
"""

import csv
import hashlib
import io
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from tasks.errors import BadInput, DataRejected, NoImages
from tasks.images import measure

METADATA = "metadata.csv"
PRODUCTION = "production"
# Files that are taken for images where no metadata.csv lists them, and that one must list where there is one. Keel
# reads those of the first line; the data contract refuses the others by name, which leaving them out would not.
SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
        *(".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".j2c", ".jpx", ".jpf", ".jxl", ".apng", ".mpo", ".qoi"),
        *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".dcm", ".fits", ".exr", ".hdr"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".tga", ".sgi", ".dds", ".ico", ".psd", ".xcf", ".svg", ".eps"),
    }
)
LICENCE = "licence"  # or, as much of the world spells it, license
MEASURED = (
    *("format", "mode", "width", "height", "frames", "brightness", "contrast", "sharpness"),
    *("has_gps", "exif_orientation", "decodable", "problem", "sha256"),
)
WHOLE_NUMBERS = ("width", "height", "frames")
FIRST = 5  # names shown in a message
PROGRESS_EVERY = 1000  # images
logger = logging.getLogger("tasks.folders")


def read_folder(root: Path) -> pd.DataFrame:
    """The labelled images below `root`, `production/` left out: columns path, label and the further ones, all text.

    Sorted by path. Raises BadInput when there is no such folder, DataRejected when its content is not sound.
    """
    rows = _read(root)
    missing = [row["path"] for row in rows if not row["label"]]
    _refuse(missing, f"in {root} have an empty label; fill it in, or leave them out of {METADATA}")
    return _table(rows)


def read_window(root: Path) -> pd.DataFrame:
    """The images of one production window, in the form of `read_folder`; an unknown label is "".

    NoImages where there is no such window, or an empty one.
    """
    if not root.is_dir():
        raise NoImages(f"there is no window {root}")
    return _table(_read(root, labels_required=False))


def read_labels(root: Path) -> dict[str, str]:
    """The label of each image that metadata.csv lists, "" where it is unknown; nothing where there is no such file."""
    if not (root / METADATA).is_file():
        return {}
    return {row["path"]: row["label"] for row in _read_metadata(root, labels_required=False)}


def measure_folder(root: Path, images: pd.DataFrame) -> pd.DataFrame:
    """The rows of `images` (column path) with what the data contract asks about each file: the columns MEASURED.

    Every file is read and decoded once. A file that cannot be decoded keeps its row: `problem` says why.
    """
    refuse_measured_columns(root, images)
    facts = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for facts_of_one in pool.map(_measure_file, (root / path for path in images["path"])):
            facts.append(facts_of_one)
            if len(facts) % PROGRESS_EVERY == 0:
                logger.info("measured %d of %d images", len(facts), len(images))
    return with_measures(images, facts)


def refuse_measured_columns(root: Path, images: pd.DataFrame) -> None:
    """DataRejected where metadata.csv already has a column of MEASURED."""
    taken = sorted(set(MEASURED) & set(images.columns))
    if taken:
        raise DataRejected(f"{root}: {METADATA} has the columns {taken}, which Keel measures itself; rename them")


def with_measures(images: pd.DataFrame, facts: list[dict[str, Any]] | list[tuple[Any, ...]]) -> pd.DataFrame:
    """The rows of `images` with what was measured on each, in their order: the columns MEASURED, named or in turn."""
    measured = images.assign(**pd.DataFrame(facts, columns=MEASURED, index=images.index))
    for column in WHOLE_NUMBERS:
        measured[column] = measured[column].astype("Int64" if measured[column].isna().any() else "int64")
    return measured


def _measure_file(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return measure(content) | {"sha256": hashlib.sha256(content).hexdigest()}


def _table(rows: list[dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(sorted(rows, key=lambda row: row["path"]), dtype=str)


def _read(root: Path, labels_required: bool = True) -> list[dict[str, str]]:
    if not root.is_dir():
        raise BadInput(f"there is no data folder {root}; `dvc pull` fetches the recorded version")
    files = sorted(_images_below(root))
    if (root / METADATA).is_file():
        rows = _read_metadata(root, labels_required)
        _refuse_unsound_names(root, [row["path"] for row in rows], set(files))
    else:
        rows = [_row_of_class_folder(root, file, labels_required) for file in files]
        _refuse_empty_classes(root, {row["label"] for row in rows})
    if not rows:
        raise NoImages(f"{root} holds no images; expected {METADATA} with images beside it, or one folder a class")
    _refuse_twins(root, {row["path"] for row in rows} | set(files))
    padded = [f"{row['path']} ({row['label']!r})" for row in rows if row["label"] != row["label"].strip()]
    _refuse(padded, f"in {root} have a label that begins or ends with a space; remove it")
    return rows


def _images_below(root: Path) -> Iterator[str]:
    """The paths, relative to `root`, of files named like images; hidden ones and production windows left out."""
    for folder, below, files in os.walk(root):
        here = Path(folder)
        below[:] = [name for name in below if not name.startswith(".") and (here != root or name != PRODUCTION)]
        linked = [(here / name).relative_to(root).as_posix() for name in below if (here / name).is_symlink()]
        _refuse(linked, f"in {root} are links to folders, whose images would go unseen; copy the folders", "folders")
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield _utf8((here / name).relative_to(root).as_posix(), root)


def _utf8(name: str, root: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="surrogateescape")
        raise DataRejected(f"{root} holds a file whose name is not UTF-8: {shown!r}; rename it") from error
    return name


def _row_of_class_folder(root: Path, file: str, labels_required: bool) -> dict[str, str]:
    label, _, rest = file.partition("/")
    if rest:
        _refuse_outside(root, file)
        return {"path": file, "label": label}
    if labels_required:
        raise DataRejected(
            f"{root} has no {METADATA}, so its folders name the classes, yet {file} lies in none; "
            f"move it into its class's folder, or write {METADATA}"
        )
    return {"path": file, "label": ""}


def _refuse_empty_classes(root: Path, found: set[str]) -> None:
    folders = {folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")}
    empty = sorted(folders - found - {PRODUCTION})
    _refuse(empty, f"in {root} name classes and hold no images; fill them or take them out", "folders")


def _read_metadata(root: Path, labels_required: bool) -> list[dict[str, str]]:
    file = root / METADATA
    header, records = _read_csv(file)
    spelled = [name for name in header if name.lower() in (LICENCE, "license")]
    if len(spelled) > 1:
        raise DataRejected(f"{file} has the columns {' and '.join(spelled)}, which mean the same; keep one")
    for column in ("file_name", "label") if labels_required else ("file_name",):
        if column not in header:
            raise DataRejected(f"{file} has no column '{column}'; its columns are {', '.join(header)}")
    if "path" in header:
        raise DataRejected(f"{file} has a column 'path', which Keel makes of file_name; rename it")
    rows = []
    for record in records:
        path = _utf8(PurePosixPath(record["file_name"]).as_posix(), root)
        further = {
            LICENCE if key in spelled else key: value
            for key, value in record.items()
            if key not in ("file_name", "label")
        }
        rows.append({"path": path, "label": record.get("label", ""), **further})
    return rows


def _read_csv(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataRejected(f"{file} is not UTF-8 (byte {error.start}); save it again as CSV UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        unsound = [name for name, times in Counter(header).items() if times > 1 or not name or name != name.strip()]
        if unsound:
            raise DataRejected(
                f"{file}: the column names {unsound} are empty, doubled or padded; correct the first line"
            )
        records = []
        for fields in filter(None, reader):
            if len(fields) != len(header):
                raise DataRejected(
                    f"{file}, line {reader.line_num}: {len(fields)} fields where the first line has {len(header)}; "
                    "a field that holds a comma needs quotes"
                )
            records.append(dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise DataRejected(f"{file}, line {reader.line_num}: not valid CSV ({error})") from error
    return header, records


def _refuse_unsound_names(root: Path, listed: list[str], files: set[str]) -> None:
    doubled = [path for path, times in Counter(listed).items() if times > 1]
    _refuse(doubled, f"are listed more than once in {root / METADATA}; keep one line for each")
    _refuse_all_outside(root, listed)
    windows = [path for path in listed if path.split("/", 1)[0] == PRODUCTION]
    _refuse(windows, f"in {root / METADATA} lie in a production window; the labelled data and the windows are apart")
    lost = [path for path in listed if path not in files and not (root / path).is_file()]
    spelled = {_alike(file): file for file in files} if lost else {}
    hints = [f"{path} (there is {spelled[_alike(path)]!a})" if _alike(path) in spelled else path for path in lost]
    _refuse(hints, f"are listed in {root / METADATA} and not there; `dvc pull` fetches the recorded version")
    _refuse(sorted(files - set(listed)), f"in {root} are not listed in {METADATA}; list them or take them out")


def _refuse_all_outside(root: Path, paths: list[str]) -> None:
    """`_refuse_outside` for many: a folder is followed once, and a file only where it is a link."""
    for parent in {path.rpartition("/")[0] for path in paths}:
        _refuse_outside(root, f"{parent}/any" if parent else "any")
    for path in paths:
        unnamed = path.startswith("/") or path.rpartition("/")[2] in ("", ".", "..") or "\0" in path
        if unnamed or os.path.islink(f"{root}/{path}"):  # noqa: PTH114  a Path takes longer to make than to ask
            _refuse_outside(root, path)


def _refuse_outside(root: Path, path: str) -> None:
    """Refuse a name that leaves `root`, by itself or by a symbolic link."""
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\0" in path:
        raise DataRejected(
            f"{root / METADATA}: file_name {path!r} does not name a file below {root}; use a relative one"
        )
    if not (root / path).resolve().is_relative_to(root.resolve()):
        raise DataRejected(
            f"{path} is a link to a file outside {root}, which its recorded version does not hold; "
            "copy the file (`dvc config cache.type copy` when DVC made the link)"
        )


def _refuse_twins(root: Path, paths: Iterable[str]) -> None:
    """Refuse names that are one name on a file system which ignores case or normalises Unicode (macOS, Windows)."""
    names = set(paths)
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in names:
            names.add(path)
    spellings: dict[str, str] = {}
    twins = set()
    for name in sorted(names):
        first = spellings.setdefault(_alike(name), name)
        if first != name:
            twins.add(f"{first!a} and {name!a}")
    _refuse(
        sorted(twins), f"in {root} differ only by case or Unicode form: one name on some systems; rename one", "names"
    )


def _alike(name: str) -> str:
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _refuse(names: list[str], said: str, what: str = "images") -> None:
    if names:
        first = ", ".join(names[:FIRST])
        raise DataRejected(f"{what} {said} ({len(names)} in all, the first: {first})")
