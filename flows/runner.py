"""Where the trials of a certificate run: one after another, in processes of this machine, or on a cluster.

    KEEL_TASK_RUNNER=threads     in this process, one at a time (the default)
    KEEL_TASK_RUNNER=processes   Prefect's pool of processes
    KEEL_TASK_RUNNER=dask        a Dask cluster: prefect-dask, KEEL_DASK_ADDRESS for one that runs already
    KEEL_TASK_RUNNER=ray         a Ray cluster: prefect-ray, KEEL_RAY_ADDRESS for one that runs already

KEEL_TASK_WORKERS is the number of processes that this machine starts; by default one a core.
"""

import os
from collections.abc import Callable
from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from tasks.errors import BadInput


def task_runner() -> TaskRunner[Any]:
    """The runner that the environment names."""
    name = os.environ.get("KEEL_TASK_RUNNER", "threads")
    if name not in RUNNERS:
        raise BadInput(f"KEEL_TASK_RUNNER is '{name}'; it takes {', '.join(RUNNERS)}")
    return RUNNERS[name]()


def workers() -> int:
    """How many processes this machine starts."""
    given = os.environ.get("KEEL_TASK_WORKERS", str(os.cpu_count() or 1))
    if not given.isdigit() or int(given) < 1:
        raise BadInput(f"KEEL_TASK_WORKERS is '{given}'; it takes a number of processes from 1 on")
    return int(given)


def _threads() -> TaskRunner[Any]:
    return ThreadPoolTaskRunner(max_workers=1)  # training seeds torch's one generator: two at once would mix


def _processes() -> TaskRunner[Any]:
    return ProcessPoolTaskRunner(max_workers=workers())


def _dask() -> TaskRunner[Any]:
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise _missing("dask") from error
    address = os.environ.get("KEEL_DASK_ADDRESS")
    if address:
        return DaskTaskRunner(address=address)
    return DaskTaskRunner(cluster_kwargs={"n_workers": workers(), "threads_per_worker": 1, "dashboard_address": None})


def _ray() -> TaskRunner[Any]:
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise _missing("ray") from error
    address = os.environ.get("KEEL_RAY_ADDRESS")
    return RayTaskRunner(address=address) if address else RayTaskRunner(init_kwargs={"num_cpus": workers()})


def _missing(name: str) -> BadInput:
    return BadInput(
        f"KEEL_TASK_RUNNER is '{name}' and prefect-{name} is not installed; "
        f"`pip install --constraint constraints.txt 'keel[{name}]'` installs it, or unset KEEL_TASK_RUNNER"
    )


RUNNERS: dict[str, Callable[[], TaskRunner[Any]]] = {
    "threads": _threads,
    "processes": _processes,
    "dask": _dask,
    "ray": _ray,
}
