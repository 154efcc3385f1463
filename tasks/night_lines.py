"""The nights on record, for a terminal."""

from collections.abc import Iterable, Iterator

from tasks.ledger import Entry
from tasks.night_page import row
from tasks.nights import figures, nights_on_record

COLUMNS = {"night": 11, "verdict": 13, "images": 8, "labels": 7, "error": 20, "evidence": 13, "drift": 10, "version": 8}


def night_lines(entries: Iterable[Entry], level: float) -> Iterator[str]:
    """A header, and a line a night, the newest last."""
    held = list(entries)
    nights, known = nights_on_record(held), figures(held, level)
    if not nights:
        yield "no night is on record yet; `keel nightly` judges those that have a window"
        return
    yield "".join(name.ljust(width) for name, width in COLUMNS.items())
    for night in nights.values():
        shown = row(night, known)
        yield "".join(str(shown[name]).ljust(width) for name, width in COLUMNS.items()).rstrip()
