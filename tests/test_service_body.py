"""The body of a request: what is too slow, what breaks off, and texts that no table can hold."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from service.body import MostBody, is_told


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads the whole body."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(f"{len(body)} bytes")(scope, receive, send)


def answer(parts: list[Message], pause: float = 0.0, seconds: float = 5.0) -> tuple[int, bytes]:
    """The status and the body of the answer to a request that comes in such parts, each after a pause."""
    left, sent = list(parts), list[Message]()

    async def receive() -> Message:
        await asyncio.sleep(pause)
        return left.pop(0) if left else {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(MostBody(read_all, most=100, seconds=seconds)(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def part(body: bytes, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_that_comes_whole_is_read() -> None:
    assert answer([part(b"ab", True), part(b"c", False)]) == (200, b"3 bytes")


def test_a_body_that_drips_is_ended_and_one_that_is_too_long_too() -> None:
    code, says = answer([], pause=0.02, seconds=0.1)
    assert code == 408
    assert b"did not come to its end within 0.1 s" in says
    assert answer([part(b"x" * 101, True)])[0] == 413


def test_a_client_that_leaves_is_no_failure_of_the_service() -> None:
    assert answer([part(b"ab", True), {"type": "http.disconnect"}])[0] == 499


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "two\nlines", "x" * 201, 5, None])
def test_what_is_told_is_a_short_text_of_printable_characters(text: Any) -> None:
    assert not is_told(text)
    assert is_told("Schreibtisch B, 7. Stock: Größe 4")
