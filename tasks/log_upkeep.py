"""What changes the prediction log after it was written: many small parts become one, and requests are forgotten.

Both rewrite whole parts (tasks/log_store.py says how a kill is survived). One process of a machine does so at a time;
where several machines share a log, let one of them do it.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from tasks.log_parts import (
    ANSWER_SCHEMA,
    LABEL_SCHEMA,
    ONCE,
    answers_folder,
    content_of,
    days_written,
    labels_folder,
    read_part,
)
from tasks.log_store import LogStore, open_store
from tasks.settings import settings

MERGED_BYTES = 256_000_000  # of the parts that become one, so that a day of images fits into memory


def compact(place: str, project: str, before: dt.date) -> int:
    """Make one part of the many that each day of UTC before that one has, and say how many files that saves."""
    store = open_store(place)
    saved = 0
    with _alone(place, project):
        for day in (day for day in days_written(store, project) if day < before):
            folder = answers_folder(project, day)
            store.tidy(folder)
            for parts in _bundles(store, folder):
                tables = [read_part(store, f"{folder}/{name}", ANSWER_SCHEMA) for name in parts]
                store.replace(folder, parts, content_of(_once(pa.concat_tables(tables))))
                saved += len(parts) - 1
    return saved


def forget(place: str, project: str, request_ids: Iterable[str]) -> int:
    """Remove requests everywhere, with images and labels, and say how many rows of answers that were.

    What waits in a writer's memory is not reached: call it again after `flush_seconds`, or for requests of the past.
    """
    store, names = open_store(place), pa.array(sorted(set(request_ids)), pa.string())
    gone = 0
    with _alone(place, project):
        for day in days_written(store, project):
            gone += _without(store, answers_folder(project, day), ANSWER_SCHEMA, names)
        _without(store, labels_folder(project), LABEL_SCHEMA, names)
    return gone


def _without(store: LogStore, folder: str, schema: pa.Schema, names: pa.Array) -> int:
    """Rewrite the parts of a folder that hold such rows, and count the rows."""
    store.tidy(folder)
    gone = 0
    for part in store.parts(folder):
        ids = read_part(store, f"{folder}/{part}", schema, ["request_id"])["request_id"]
        hit = pc.is_in(ids, value_set=names)
        count = pc.sum(hit).as_py() or 0
        if count:
            left = read_part(store, f"{folder}/{part}", schema).filter(pc.invert(hit))
            store.replace(folder, [part], content_of(left) if len(left) else None)
            gone += count
    return gone


def _bundles(store: LogStore, folder: str) -> Iterator[list[str]]:
    """Parts that become one: in their order, two at least, together no larger than MERGED_BYTES."""
    bundle: list[str] = []
    weight = 0
    for name in store.parts(folder):
        size = store.files.size(f"{store.root}/{folder}/{name}")
        if bundle and weight + size > MERGED_BYTES:
            if len(bundle) > 1:
                yield bundle
            bundle, weight = [], 0
        bundle.append(name)
        weight += size
    if len(bundle) > 1:
        yield bundle


def _once(table: pa.Table) -> pa.Table:
    """The rows, each once."""
    keys = table.select(ONCE).to_pandas()
    return table.filter(pa.array(~keys.duplicated().to_numpy()))


@contextmanager
def _alone(place: str, project: str) -> Iterator[None]:
    """Nobody else of this machine rewrites the log meanwhile."""
    state = settings().state
    state.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(f"{place}\n{project}".encode()).hexdigest()[:16]
    with FileLock(state / f"log-{name}.lock"):
        yield
