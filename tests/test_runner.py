"""Where trials run: what the environment names, what is missing, and a real run beside each other."""

import importlib.util
import os

import pytest
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from flows.runner import task_runner
from tasks.errors import BadInput


@task
def where(number: int) -> tuple[int, int]:
    return number, os.getpid()


@flow
def spread(count: int) -> list[tuple[int, int]]:
    return [future.result() for future in [where.submit(number) for number in range(count)]]


def test_trials_run_one_after_another_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEEL_TASK_RUNNER", raising=False)
    assert isinstance(runner := task_runner(), ThreadPoolTaskRunner)
    assert runner._max_workers == 1
    monkeypatch.setenv("KEEL_TASK_RUNNER", "processes")
    monkeypatch.setenv("KEEL_TASK_WORKERS", "3")
    assert isinstance(runner := task_runner(), ProcessPoolTaskRunner)
    assert runner._max_workers == 3


@pytest.mark.parametrize(("name", "value"), [("KEEL_TASK_RUNNER", "cluster"), ("KEEL_TASK_WORKERS", "none")])
def test_unknown_value_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_TASK_RUNNER", "processes")
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=f"{name} is '{value}'; it takes"):
        task_runner()


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_runner_that_is_not_installed_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec(f"prefect_{name}"):
        pytest.skip(f"prefect-{name} is installed")
    monkeypatch.setenv("KEEL_TASK_RUNNER", name)
    with pytest.raises(BadInput, match=rf"prefect-{name} is not installed; .*keel\[{name}\]"):
        task_runner()


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("name", ["dask", "ray"])
def test_cluster_runs_tasks_in_other_processes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(f"prefect_{name}")
    monkeypatch.setenv("KEEL_TASK_RUNNER", name)
    monkeypatch.setenv("KEEL_TASK_WORKERS", "2")
    found = spread.with_options(task_runner=task_runner())(4)
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert os.getpid() not in {process for _, process in found}
