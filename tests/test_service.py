"""One real server: what it answers, whom, with which model, and what it puts on record."""

import base64
import contextlib
import datetime as dt
import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.live import Live
from tasks.digests import sha256_text
from tasks.prediction_log import read_log
from tasks.registry import Registry
from tasks.rollout import TAG, Standing
from tasks.scorer import Scorer
from tests.accepted_versions import PROJECT, copy_project, local
from tests.served import Server, serving, wait_until, write_rules

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
TOKENS = ["red", "traffic", "greedy", "fuzz", "canary", "patient"]


@pytest.fixture(scope="module")
def root(three_versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copy_project(three_versions, tmp_path_factory.mktemp("served") / "pets")
    write_rules(root)
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    with serving(root, ",".join(TOKENS)) as server:
        yield server


@pytest.fixture(scope="module")
def red(server: Server) -> Iterator[httpx.Client]:
    with server.client("red") as client:
        yield client


@pytest.fixture(scope="module")
def registry(root: Path) -> Registry:
    return Registry(PROJECT, local(root))


@pytest.fixture(scope="module")
def pictures(root: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((root / "ground/data").glob("*.png"))]


def move(registry: Registry, tags: dict[str, dict[str, str]] | None = None, **aliases: str | None) -> None:
    with registry.alone(), registry.change("move", {}):
        for version, said in (tags or {}).items():
            registry.tag(version, said)
        registry.set_aliases({**registry.aliases(), **aliases})


def champion(client: httpx.Client) -> str:
    return str(client.get("/version").json()["version"])


def test_answers_are_those_of_the_model_in_both_forms_of_a_request(
    red: httpx.Client, root: Path, pictures: list[bytes]
) -> None:
    expected = Scorer(root / "ground/model2", "cpu").score_files(pictures[:5])
    form = red.post("/predict", files=[("image", one) for one in pictures[:5]]).json()["answers"]
    texts = [base64.b64encode(one).decode() for one in pictures[:5]]
    document = red.post("/predict", json={"images": texts}).json()["answers"]
    single = red.post("/predict", files={"image": pictures[0]}).json()["answers"]
    for answers in (form, document, single):
        given = np.array([[answer["probabilities"][c] for c in ("cat", "dog")] for answer in answers])
        assert np.allclose(given, expected[: len(given)], atol=1e-6)
        assert all((a["label"] is None) == bool(a["reasons"]) for a in answers)
        assert {a["version"] for a in answers} == {"3"}
        assert set(answers[0]["guards"]) == {"ood", "squeezing", "high_frequency", "burst"}


def test_strangers_learn_nothing_and_whoever_balances_load_needs_no_token(server: Server, red: httpx.Client) -> None:
    for header in ({}, {"Authorization": "Bearer blue"}, {"Authorization": "Basic red"}):
        for way, path in (("POST", "/predict"), ("POST", "/feedback"), ("GET", "/version"), ("GET", "/metrics")):
            assert httpx.request(way, server.url + path, headers=header).status_code == 401
    assert httpx.get(server.url + "/ready").json() == {"ready": True, "trouble": []}
    assert httpx.get(server.url + "/health").json()["status"] == "ok"
    assert red.get("/version").json()["arms"][0]["share"] == 1


def test_an_image_that_is_none_is_turned_away_with_its_reason_and_leaves_the_others_alone(
    red: httpx.Client, pictures: list[bytes]
) -> None:
    alone = red.post("/predict", files={"image": ("cat.png", b"%PDF-1.4 no cat")})
    assert alone.status_code == 422
    assert "PDF" in alone.json()["answers"][0]["reasons"][0]
    both = red.post("/predict", files=[("image", b"%PDF-1.4 no cat"), ("image", pictures[0])])
    assert both.status_code == 200
    assert [a["predicted"] is None for a in both.json()["answers"]] == [True, False]


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "multipart"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "valid JSON"),
        ({"json": {"images": []}}, 422, "0 images"),
        ({"json": {"images": ["no base64"]}}, 422, "base64"),
        ({"json": {"images": ["AAAA"] * 33}}, 422, "33 images"),
        ({"json": {"images": ["AAAA"], "about": {"home": "x"}}}, 422, "unknown columns home"),
        ({"json": {"images": ["AAAA"], "sudo": "x"}}, 422, "sudo"),
        ({"files": {"picture": b"x"}}, 422, "files are called image"),
        ({"files": {"image": b"x"}, "data": {"consent": "perhaps"}}, 422, "consent"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=y"}}, 422, "form"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(red: httpx.Client, body: dict[str, Any], code: int, says: str) -> None:
    answer = red.post("/predict", **body)
    assert (answer.status_code, says in answer.json()["detail"]) == (code, True), answer.text


def test_a_body_that_is_too_long_is_not_read_whether_it_says_so_or_not(red: httpx.Client) -> None:
    declared = red.post("/predict", files={"image": b"x" * 2_100_000})
    assert declared.status_code == 413
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 100_000
            yield b"x" * 100_000

    with contextlib.suppress(httpx.TransportError):  # it hangs up on whoever goes on sending
        answer = red.post("/predict", content=endless(), headers={"content-type": "application/json"})
        assert answer.status_code == 413
    assert sent < 50_000_000


def test_whoever_asks_too_much_is_told_when_to_come_back_and_others_are_not_held_up(
    server: Server, red: httpx.Client, pictures: list[bytes]
) -> None:
    texts = [base64.b64encode(pictures[0]).decode()] * 32
    with server.client("greedy") as greedy:
        answers = [greedy.post("/predict", json={"images": texts}) for _ in range(20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert answers[0].status_code == 200
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1
    assert red.post("/predict", files={"image": pictures[0]}).status_code == 200


def test_metrics_count_by_conventional_names(red: httpx.Client, pictures: list[bytes]) -> None:
    red.post("/predict", files={"image": pictures[0]})
    page = red.get("/metrics").text
    assert 'keel_requests_total{arm="champion",code="200",route="/predict"}' in page
    for name in (
        "keel_request_seconds_bucket",
        "keel_batch_size_count",
        "keel_log_lag_seconds",
        "keel_log_lost_total 0",
    ):
        assert name in page
    assert 'keel_model_info{alias="champion"' in page


def test_a_burst_of_near_duplicates_is_flagged_and_counted_and_blocks_nothing(
    server: Server, red: httpx.Client, pictures: list[bytes]
) -> None:
    with server.client("patient") as patient:
        answers = [patient.post("/predict", files={"image": pictures[0]}).json()["answers"][0] for _ in range(21)]
    assert [answer["guards"]["burst"] for answer in answers] == list(range(21))
    flagged = [any("burst" in flag for flag in answer["flags"]) for answer in answers]
    assert flagged == [False] * 20 + [True]
    assert answers[20]["label"] == answers[0]["label"]
    assert 'keel_guard_flags_total{guard="burst"}' in red.get("/metrics").text


def test_feedback_is_filed_with_consent_and_refused_without_sense(red: httpx.Client) -> None:
    said = {"request_id": "abc", "consent": True, "retention": "days-30", "rating": 2}
    assert red.post("/feedback", json=said).json()["id"]
    assert red.post("/feedback", json={**said, "consent": False}).json() == {"id": None}
    refused = red.post("/feedback", json={**said, "rating": None})
    assert (refused.status_code, "says nothing" in refused.json()["detail"]) == (422, True)
    assert red.post("/feedback", json={"request_id": "abc"}).status_code == 422


def test_every_operation_of_the_schema_answers_as_described(server: Server) -> None:
    schema = schemathesis.openapi.from_url(server.url + "/openapi.json")
    tried = 0
    for operation in schema.get_all_operations():

        @settings(
            max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(case=operation.ok().as_strategy())
        def ask(case: Any) -> None:
            nonlocal tried
            tried += 1
            answer = case.call(headers={"Authorization": "Bearer fuzz"})
            case.validate_response(answer, checks=CHECKS)

        ask()
    assert tried >= 25


def test_a_move_of_the_champion_is_followed_without_a_lost_request(
    server: Server, red: httpx.Client, registry: Registry, pictures: list[bytes]
) -> None:
    codes, versions, stop = list[int](), list[str](), threading.Event()

    def send() -> None:
        with server.client("traffic") as client:
            while not stop.is_set():
                answer = client.post("/predict", files={"image": pictures[0]})
                codes.append(answer.status_code)
                versions.extend(a["version"] for a in answer.json()["answers"])
                time.sleep(0.03)

    senders = [threading.Thread(target=send) for _ in range(2)]
    for sender in senders:
        sender.start()
    try:
        for version in ("2", "3"):
            move(registry, champion=version)
            wait_until(lambda version=version: champion(red) == version, 60)
            time.sleep(0.3)
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert set(codes) == {200}
    changes = [a for a, b in itertools.pairwise(versions) if a != b]
    assert set(versions) == {"2", "3"}
    assert versions[-1] == "3"
    assert len(changes) <= 2 * len(senders)


def test_a_version_that_is_not_what_was_registered_is_not_followed(
    red: httpx.Client, registry: Registry, pictures: list[bytes]
) -> None:
    right = registry.version_tags("1")["model_digest"]
    move(registry, {"1": {"model_digest": "0" * 64}}, champion="1")
    wait_until(lambda: any("registered" in said for said in red.get("/health").json()["trouble"]), 60)
    assert champion(red) == "3"
    assert red.post("/predict", files={"image": pictures[0]}).json()["answers"][0]["version"] == "3"
    move(registry, {"1": {"model_digest": right}}, champion="3")
    wait_until(lambda: red.get("/health").json()["status"] == "ok", 60)


def test_the_last_good_model_answers_while_the_registry_is_away(
    red: httpx.Client, root: Path, pictures: list[bytes]
) -> None:
    whole = (root / "mlflow.db").read_bytes()
    (root / "mlflow.db").write_bytes(b"gone" * (len(whole) // 4))
    try:
        wait_until(lambda: "registry" in " ".join(red.get("/health").json()["trouble"]), 60)
        assert red.post("/predict", files={"image": pictures[0]}).status_code == 200
        assert "keel_registry_up 0.0" in red.get("/metrics").text
        assert red.get("/ready").status_code == 200
    finally:
        (root / "mlflow.db").write_bytes(whole)
    wait_until(lambda: red.get("/health").json()["status"] == "ok", 60)


def standing_of(kind: str, share: float, entry: int) -> Standing:
    return Standing(kind, kind, share, "salt", "2026-06-01T00:00:00+00:00", "2", "3", entry, 1)


def test_a_rollout_is_followed_and_the_other_model_is_asked_off_the_path(
    server: Server, red: httpx.Client, registry: Registry, pictures: list[bytes]
) -> None:
    shadow, canary = standing_of("shadow", 0.0, 1), standing_of("canary", 0.5, 2)
    move(registry, {"2": {TAG: shadow.text()}}, challenger="2")
    wait_until(lambda: (red.get("/version").json()["rollout"] or {}).get("kind") == "shadow", 60)
    answer = red.post("/predict", files={"image": pictures[1]}, data={"key": "in shadow"}).json()["answers"][0]
    assert (answer["arm"], answer["version"]) == ("champion", "3")
    move(registry, {"2": {TAG: canary.text()}})
    wait_until(lambda: (red.get("/version").json()["rollout"] or {}).get("kind") == "canary", 60)
    live = Live(champion=None, guards={}, since=dt.datetime.now(dt.UTC), rollout=canary, challenger=True)  # type: ignore[arg-type]
    with server.client("canary") as client:
        for number in range(12):
            said = client.post("/predict", files={"image": pictures[2]}, headers={"X-Keel-Key": f"client {number}"})
            arm, _, _ = live.route(sha256_text(f"client {number}"))
            assert said.json()["answers"][0]["arm"] == arm
    wait_until(lambda: 'keel_off_path_total{outcome="answered"}' in red.get("/metrics").text, 60)
    wait_until(lambda: red.get("/health").json()["off_path"]["waiting"] == 0, 60)
    move(registry, {"2": {TAG: ""}}, challenger=None)
    wait_until(lambda: red.get("/version").json()["rollout"] is None, 60)


def test_what_was_answered_is_on_record_after_the_end(server: Server, root: Path, pictures: list[bytes]) -> None:
    with server.client("red") as client:
        said = client.post(
            "/predict",
            files={"image": pictures[3]},
            data={"consent": "true", "about": json.dumps({"source": "desk"}), "key": "me"},
        ).json()
    assert server.end() == 0
    rows = read_log(str(root / "log"), PROJECT, dt.datetime.now(dt.UTC).date(), "UTC").set_index("request_id")
    row = rows.loc[said["request_id"]]
    assert row["image"].startswith(b"\x89PNG")
    assert row["key"] == sha256_text("me")
    assert row["about"] == {"source": "desk"}
    assert np.allclose(list(row["probabilities"]), list(said["answers"][0]["probabilities"].values()))
    off_path = rows[~rows["answered"]]
    assert set(off_path["arm"]) == {"champion", "challenger"}
    assert (off_path["error"] == "").all()
    told = rows[rows["answered"]]
    assert set(off_path.index) <= set(told.index)
    refused = told[told["arm"] == ""]
    assert len(refused)
    assert all(len(reasons) for reasons in refused["reasons"])
