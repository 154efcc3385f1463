"""Checkouts of a benchmark's own: a folder with data, rules, registry and ledger, in which the real flows run."""

import logging
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from prefect.settings import PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from tasks.errors import BadInput

HERE = Path(__file__).parent.parent
PARAMS, PLAN = Path("params.yaml"), Path("governance/plan.yaml")
OWN = ("uncommitted", "decisions", "*.partial")  # what another checkout made, and is not its rules
# Fewer resamples, fewer stressed images, fewer timed answers: for verdicts that do not hang by a hair.
QUICK: dict[str, dict[str, Any]] = {
    "evaluate": {"resamples": 300},
    "stress": {"images": 160, "severities": [1, 3], "conditions": [], "steps": 5},
    "attribute": {"steps": 8, "orders": 1, "images": 160},
    "embed": {"folds": 3},
    "measure_latency": {"singles": 200, "batches": 80, "batch_size": 2, "blocks": 40},
}


def write_checkout(root: Path, folders: Iterable[str], leave_out: Iterable[str] = ()) -> None:
    """Copy these folders, the governance, the data contracts and the knobs of this checkout; those not there are not.

    `leave_out` are patterns of what is not copied. BadInput where the bundled data were asked for and never fetched.
    """
    wanted = list(folders)
    if "data" in wanted and not (HERE / "data/metadata.csv").is_file():
        raise BadInput(f"{HERE / 'data'} is not there; `dvc pull` fetches it")
    for name in (*wanted, "governance", "great_expectations"):
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, root / name, ignore=shutil.ignore_patterns(*OWN, *leave_out))
    for name in (str(PARAMS), "dvc.yaml"):
        shutil.copy(HERE / name, root / name)


def change_params(root: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Change single knobs of some sections of the checkout's params.yaml."""
    file = root / PARAMS
    params = yaml.safe_load(file.read_text(encoding="utf-8"))
    write_yaml(file, {**params, **{section: params[section] | dict(new) for section, new in changes.items()}})


def write_yaml(file: Path, document: Mapping[str, Any]) -> None:
    """Write a file of rules or knobs, in the order of its keys."""
    file.write_text(yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True), encoding="utf-8")


@contextmanager
def working_in(root: Path) -> Iterator[None]:
    """Work inside a checkout, with its own registry and ledger, and come back."""
    before, environment = Path.cwd(), dict(os.environ)
    os.chdir(root)
    for name in ("MLFLOW_TRACKING_URI", "KEEL_LEDGER_URL"):
        os.environ.pop(name, None)
    os.environ["KEEL_STATE"] = str(root / "state")
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)


@contextmanager
def quiet_flows() -> Iterator[None]:
    """One Prefect server for all flows of a benchmark, and nothing in the terminal but what the benchmark prints."""
    logging.disable(logging.CRITICAL)  # Prefect would print the trace of every refusal
    warnings.simplefilter("ignore", UserWarning)
    with temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False}), prefect_test_harness(120):
        yield
