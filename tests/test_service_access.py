"""Tokens and buckets."""

import base64

import pytest

from service.access import Buckets, caller_of, is_known, tokens_for
from tasks.errors import BadInput
from tasks.serving_rules import RateRules


def buckets(callers: int = 10) -> Buckets:
    return Buckets(RateRules(a_second=2, burst=4, callers=callers, reason="for the test"))


def test_others_than_this_machine_are_not_served_without_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_TOKENS", " , ")
    assert tokens_for("127.0.0.1") == ()
    with pytest.raises(BadInput, match="KEEL_TOKENS"):
        tokens_for("0.0.0.0")
    monkeypatch.setenv("KEEL_TOKENS", "red, blue")
    assert tokens_for("0.0.0.0") == (b"red", b"blue")


def test_a_token_is_known_whole_or_not_at_all() -> None:
    tokens = (b"red", b"blue")
    assert is_known("Bearer blue", tokens)
    assert is_known("bearer red ", tokens)
    for header in ("", "Bearer", "Bearer re", "Bearer redd", "Basic red", "Bearer réd", "red"):
        assert not is_known(header, tokens), header


def test_a_bucket_gives_its_burst_and_then_as_much_as_flows_in() -> None:
    mine = buckets()
    assert [mine.take("me", 1, now=0.0) for _ in range(5)] == [0, 0, 0, 0, 1]
    assert mine.take("you", 4, now=0.0) == 0
    assert mine.take("me", 2, now=0.5) == 1  # one token has flowed in, and is not taken
    assert mine.take("me", 2, now=1.0) == 0
    assert mine.take("me", 5, now=100.0) == 1  # never more than the burst
    # 10 seconds of tries, 4 at once and 2 a second: 24 images
    other = buckets()
    assert sum(other.take("me", 1, now=k / 100) == 0 for k in range(1001)) == 24


def test_callers_are_forgotten_beyond_the_limit_and_counted_by_token_before_address() -> None:
    few = buckets(callers=3)
    for number in range(50):
        few.take(f"caller {number}", 1, now=0.0)
    assert len(few.left) == 3
    assert (
        caller_of("Bearer anything", "10.0.0.1", ()) == "10.0.0.1"
    )  # nobody checks it: it would name a new caller each time
    red = caller_of("Bearer red", "10.0.0.1", (b"red",))
    assert "red" not in red
    basic = base64.b64encode(b"anybody:red").decode()
    assert red == caller_of("bearer  red", "10.0.0.2", (b"red",)) == caller_of(f"Basic {basic}", "", (b"red",))
