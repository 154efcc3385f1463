"""Workers that are killed or hang are replaced while the service answers, and it says how many it has."""

import os
import signal
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.accepted_versions import copy_project
from tests.served import Server, serving, wait_until, write_rules

HEADERS = {"Authorization": "Bearer red"}
BUFFER = BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 36, 3), np.uint8)).save(BUFFER, "PNG")
IMAGE = BUFFER.getvalue()


@pytest.fixture(scope="module")
def server(three_versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = copy_project(three_versions, tmp_path_factory.mktemp("workers") / "pets")
    write_rules(root, request={"seconds": 3})
    with serving(root, "red") as server:
        yield server


def health(server: Server) -> dict[str, Any]:
    return dict(httpx.get(f"{server.url}/health", timeout=10).json())


def is_ready(server: Server) -> bool:
    return httpx.get(f"{server.url}/ready", timeout=10).status_code == 200


def ask(server: Server) -> int:
    return httpx.post(f"{server.url}/predict", files={"image": IMAGE}, headers=HEADERS, timeout=20).status_code


def workers(server: Server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if any("libtorch" in region.path for region in child.memory_maps())]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_gone_or_hangs_is_told_of_and_replaced(server: Server, how: signal.Signals) -> None:
    assert (ask(server), health(server)["trouble"]) == (200, [])
    (before,) = workers(server)
    os.kill(before.pid, how)
    if how == signal.SIGSTOP:
        assert ask(server) == 504
    wait_until(lambda: any("1 of 1 workers" in one for one in health(server)["trouble"]), 20)
    assert not is_ready(server)
    wait_until(lambda: is_ready(server) and health(server)["status"] == "ok", 60)
    assert ask(server) == 200
    assert [worker.pid for worker in workers(server)] != [before.pid]


def test_a_web_process_that_is_killed_leaves_no_process_behind(server: Server) -> None:
    family = psutil.Process(server.process.pid).children(recursive=True)
    server.process.kill()
    server.process.wait()
    assert len(family) >= 2
    assert psutil.wait_procs(family, timeout=20)[1] == []
