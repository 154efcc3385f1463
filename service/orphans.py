"""A process that ends when the one that started it is gone, however that ended."""

import multiprocessing as mp
import os
import threading


def end_with_parent() -> None:
    """Watch the parent on a thread; without one there is nothing to watch."""
    parent = mp.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for, args=(parent,), name="orphan", daemon=True).start()


def _wait_for(parent: mp.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)  # whatever else hangs in here
