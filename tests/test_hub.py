"""The hub client against a real server on the loopback address."""

import time

import pytest
from huggingface_hub import constants
from loopback_hub import REPOSITORY, REVISION, running_hub

from tasks.errors import BackboneRefused
from tasks.hub import fetch, resolve

FILE = "model.safetensors"


@pytest.fixture
def hub(monkeypatch):
    with running_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        server.files[FILE] = b"numbers"
        yield server


def get(cache, timeout=2.0):
    return fetch(REPOSITORY, REVISION, FILE, cache, timeout)


def test_a_file_is_fetched_at_its_commit_from_the_endpoint_that_the_environment_names(hub, tmp_path):
    assert get(tmp_path).read_bytes() == b"numbers"
    assert {request.split()[1] for request, _ in hub.seen} == {f"/{REPOSITORY}/resolve/{REVISION}/{FILE}"}


def test_a_cached_file_needs_no_request(hub, tmp_path):
    first = get(tmp_path)
    hub.seen.clear()
    assert get(tmp_path) == first
    assert hub.seen == []


def test_requests_carry_no_telemetry_and_the_clients_settings_come_back(hub, tmp_path):
    before = (constants.HF_HUB_DISABLE_TELEMETRY, constants.HF_HUB_DISABLE_XET, constants.HF_HUB_DOWNLOAD_TIMEOUT)
    get(tmp_path)
    assert hub.seen
    assert not [agent for _, agent in hub.seen if "torch" in agent or "agent/" in agent]
    after = (constants.HF_HUB_DISABLE_TELEMETRY, constants.HF_HUB_DISABLE_XET, constants.HF_HUB_DOWNLOAD_TIMEOUT)
    assert after == before


def test_a_file_that_the_hub_does_not_have_is_refused_with_its_404(hub, tmp_path):
    hub.files.clear()
    with pytest.raises(BackboneRefused, match=rf"answered 404 for {REPOSITORY}/{FILE} at commit {REVISION}"):
        get(tmp_path)


def test_a_hub_in_trouble_is_refused_at_once_with_its_500(hub, tmp_path):
    hub.status = 500
    started = time.monotonic()
    with pytest.raises(BackboneRefused, match=r"answered 500 .*try later"):
        get(tmp_path)
    assert time.monotonic() - started < 3


def test_a_download_that_fails_after_a_good_answer_is_refused(hub, tmp_path):
    hub.download_status = 500
    with pytest.raises(BackboneRefused, match="answered 500"):
        get(tmp_path)


def test_a_hub_that_is_down_is_told_within_seconds_with_a_way_out(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    started = time.monotonic()
    with pytest.raises(BackboneRefused, match=r"cannot get .* from http://127\.0\.0\.1:9 .*`folder:`.*HF_ENDPOINT"):
        get(tmp_path)
    assert time.monotonic() - started < 3


def test_a_hub_that_never_answers_is_given_up_after_the_timeout(hub, tmp_path):
    hub.delay = 2
    started = time.monotonic()
    with pytest.raises(BackboneRefused, match="cannot get"):
        get(tmp_path, timeout=0.2)
    assert time.monotonic() - started < 1.5


def test_offline_mode_asks_nobody_and_says_so(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BackboneRefused, match="HF_HUB_OFFLINE is set"):
        get(tmp_path)
    assert hub.seen == []


def test_offline_mode_uses_what_the_cache_holds(hub, tmp_path, monkeypatch):
    get(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert get(tmp_path).read_bytes() == b"numbers"


def test_a_branch_is_resolved_to_its_full_commit(hub):
    assert resolve(REPOSITORY, "main", 2.0) == REVISION


def test_a_branch_is_not_resolved_offline(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BackboneRefused, match="'main' cannot be resolved while HF_HUB_OFFLINE is set"):
        resolve(REPOSITORY, "main", 2.0)
