"""Images with a list beside them, cases.csv or metadata.csv: one added, or some taken out, in both places.

The two files cannot change in one step. The image goes in just before the list and out just after it, so that a kill in
between leaves a file that nobody listed, which `sweep` takes away.
"""

import csv
import io
from collections.abc import Collection, Mapping
from pathlib import Path

from tasks.digests import sha256_file
from tasks.errors import BadInput
from tasks.whole_files import write_whole

NAME = "file_name"


def add_image(listing: Path, row: Mapping[str, str], image: bytes) -> None:
    """Put the image beside the list and its row into the list; nothing of it stays where that fails."""
    fields, rows = _read(listing)
    file = listing.parent / row[NAME]
    before = file.is_file()
    try:
        write_whole(file, image)
        others = [other for other in rows if other[NAME] != row[NAME]]
        _write(listing, fields, [*others, {**dict.fromkeys(fields, ""), **row}])
    except BaseException:
        if not before:
            file.unlink(missing_ok=True)
        raise


def listed(listing: Path, digests: Collection[str]) -> list[str]:
    """The images of the list, by their names in it, whose bytes have one of these sha256."""
    files = {row[NAME]: listing.parent / row[NAME] for row in _read(listing)[1]}
    return [name for name, file in files.items() if file.is_file() and sha256_file(file) in digests]


def remove_images(listing: Path, names: Collection[str]) -> None:
    """Take these images out of the list and out of the folder; those that are gone already are no error."""
    fields, rows = _read(listing)
    left = [row for row in rows if row[NAME] not in names]
    if len(left) < len(rows):
        _write(listing, fields, left)
    for name in names:
        (listing.parent / name).unlink(missing_ok=True)


def sweep(listing: Path, pattern: str) -> None:
    """Take away what a killed writer left: files like `pattern` that are in no row, and half-written ones."""
    known = {row[NAME] for row in _read(listing)[1]}
    for file in [*listing.parent.glob(pattern), *listing.parent.glob("*.partial")]:
        if file.name not in known:
            file.unlink(missing_ok=True)


def _read(listing: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        reader = csv.DictReader(io.StringIO(listing.read_text(encoding="utf-8"), newline=""))
        return list(reader.fieldnames or ()), list(reader)
    except OSError as error:
        raise BadInput(f"cannot read {listing}: {error.strerror}; bring it back first") from error


def _write(listing: Path, fields: list[str], rows: list[dict[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(listing, text.getvalue().encode())
