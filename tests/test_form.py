"""Forms, taken apart in memory: whole, in any pieces that they come in, or refused with the reason."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from service.form import LONGEST_FIELD, BadForm, Part, read_form

KIND = "multipart/form-data; boundary=b"
FIELD = b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nme\r\n'


def read(body: bytes, kind: str = KIND, most: int = 9, piece: int = 1000) -> list[Part]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    return asyncio.run(read_form(chunks(), kind, most))


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_parts_come_out_as_a_client_put_them_in_whatever_pieces_they_travel_in(piece: int) -> None:
    picture = bytes(range(256)) * 20 + b"\r\n--b"
    sent = httpx.Request("POST", "http://x", data={"key": "ich und du"}, files={"image": ("ä.png", picture)})
    found = read(sent.read(), sent.headers["content-type"], piece=piece)
    assert [(part.name, part.is_file) for part in found] == [("key", False), ("image", True)]
    assert [bytes(part.content) for part in found] == [b"ich und du", picture]


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (FIELD + b"--b--\r\n", "multipart/form-data", "boundary"),
        (FIELD, KIND, "cut short"),
        (b"", KIND, "cut short"),
        (b"no form", KIND, "boundary"),
        (FIELD * 10 + b"--b--\r\n", KIND, "more than 9 parts"),
        (b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n", KIND, "no name"),
        (FIELD.replace(b"\nme", b"\n" + b"x" * (LONGEST_FIELD + 1)) + b"--b--\r\n", KIND, "bytes"),
    ],
)
def test_a_form_that_cannot_be_read_says_why(body: bytes, kind: str, says: str) -> None:
    with pytest.raises(BadForm, match=says):
        read(body, kind)
