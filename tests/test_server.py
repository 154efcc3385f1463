"""A real Prefect server plans the nights that prefect.yaml asks for.

With a SQLAlchemy that Prefect does not expect, its server starts, takes deployments, runs what is asked for, and never
plans a run; only the absence of one shows it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.prefect_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "checkout").mkdir()
    one = Site(tmp_path, tmp_path / "log", {"PREFECT_SERVER_UI_ENABLED": "false"})
    try:
        one.start_server()
        yield one
    finally:
        one.close()


def test_deployment_with_the_schedule_of_the_nights_has_runs_planned_within_seconds(site: Site) -> None:
    deployments = yaml.safe_load(Path("prefect.yaml").read_text())["deployments"]
    (schedule,) = next(d["schedules"] for d in deployments if d["name"] == "nightly")
    timing = {"cron": schedule["cron"], "timezone": schedule["timezone"]}
    flow = site.ask("POST", "flows/", {"name": "nightly"})["id"]
    body = {"name": "nightly", "flow_id": flow, "entrypoint": "flows/nightly.py:nightly"}
    site.ask("POST", "deployments/", {**body, "schedules": [{"schedule": timing, "active": schedule["active"]}]})
    planned = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    site.wait(lambda: site.runs(**planned), 60, "a planned run")
    assert {run["expected_start_time"][11:16] for run in site.runs(**planned)} == {"02:00"}
