"""The body of a request: never more of it than the rules allow, then its parts.

`POST /predict` takes form data with one or many files `image`, or JSON `{"images": [base64, ...]}`; beside them `key`,
`consent` and `about`, the same in both.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.form import BadForm, Part, read_form
from tasks.serving_rules import RequestRules

FIELDS = ("images", "key", "consent", "about")
LONGEST = 200  # characters of a key or of a value of `about`
SPOKEN = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


@dataclass(frozen=True)
class Asked:
    """What somebody asks: the files' bytes, and what they say beside them."""

    images: list[bytes]
    key: str
    consent: bool
    about: dict[str, str]


class TooLong(Exception):
    """The body is longer than the rules allow."""


class TooSlow(Exception):
    """The body takes longer to come than the rules allow."""


class MostBody:
    """Stops reading a request that is longer than the rules allow, be its length declared or not, or that comes too
    slowly: who sends a byte a second would hold a connection and its memory for ever."""

    def __init__(self, app: ASGIApp, most: int, seconds: float) -> None:
        self.app, self.most, self.seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 or 408 before the application sees more than the limit."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        detail = {"detail": f"the request is longer than {self.most:,} bytes", "answers": []}
        refusal = JSONResponse(detail, 413, {"Connection": "close"})  # else what is still sent would be read to its end
        if declared.isdigit() and int(declared) > self.most:
            return await refusal(scope, receive, send)
        read, begun, whole = 0, False, False
        until = asyncio.get_running_loop().time() + self.seconds

        async def count() -> Message:
            nonlocal read, whole
            if whole:  # what comes now is that the client has left
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                raise TooSlow from error
            read, whole = read + len(message.get("body", b"")), not message.get("more_body", False)
            if read > self.most:
                raise TooLong
            return message

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, count, note)
        except TooLong:
            if not begun:
                await refusal(scope, receive, send)
        except TooSlow:
            detail = {"detail": f"the request did not come to its end within {self.seconds:g} s", "answers": []}
            if not begun:
                await JSONResponse(detail, 408, {"Connection": "close"})(scope, receive, send)
        except ClientDisconnect:
            if not begun:  # nobody reads it; the count and the journal do
                await JSONResponse({"detail": "the client left", "answers": []}, 499)(scope, receive, send)


async def read_asked(request: Request, rules: RequestRules, columns: Collection[str]) -> Asked:
    """The parts of the body; HTTPException 413, 415 or 422 says what is wrong with them.

    `columns` are the names that `about` may have.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        images, said = await _from_json(request)
    elif kind == "multipart/form-data":
        images, said = await _from_form(request, rules)
    else:
        raise HTTPException(415, "send multipart/form-data with files `image`, or application/json with `images`")
    if not 1 <= len(images) <= rules.most_images:
        raise HTTPException(422, f"{len(images)} images came; one request takes 1 to {rules.most_images}")
    key = said.get("key") or request.headers.get("x-keel-key") or ""
    if not is_told(key):
        raise HTTPException(422, f"key must be a text of at most {LONGEST} printable characters")
    consent = said.get("consent", False)
    if isinstance(consent, str):
        consent = SPOKEN.get(consent.lower(), consent)
    if not isinstance(consent, bool):
        raise HTTPException(422, "consent must be true or false")
    return Asked(images, key, consent, _about(said.get("about"), columns))


async def _from_json(request: Request) -> tuple[list[bytes], dict[str, Any]]:
    try:
        document = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, "the body is not valid JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise HTTPException(422, 'the body must be an object with a list "images" of base64 texts')
    unknown = sorted(str(name)[:40] for name in set(document) - set(FIELDS))
    if unknown:
        raise HTTPException(422, f"unknown fields: {', '.join(unknown)}; the fields are {', '.join(FIELDS)}")
    try:
        images = [base64.b64decode(text, validate=True) for text in document["images"]]
    except (binascii.Error, TypeError, ValueError) as error:
        raise HTTPException(422, "images must be base64 texts (RFC 4648, standard alphabet)") from error
    return images, document


async def _from_form(request: Request, rules: RequestRules) -> tuple[list[bytes], dict[str, Any]]:
    try:
        parts = await read_form(request.stream(), request.headers["content-type"], rules.most_images + len(FIELDS))
        said = _fields_of([part for part in parts if not part.is_file])
    except (BadForm, UnicodeDecodeError) as error:
        raise HTTPException(422, f"the form cannot be read: {error}") from error
    files = [part for part in parts if part.is_file]
    other = next((part.name for part in files if part.name != "image"), None)
    if other is not None:
        raise HTTPException(422, f"a file is called '{other[:40]}'; files are called image")
    return [bytes(part.content) for part in files], said


def _fields_of(parts: list[Part]) -> dict[str, Any]:
    said = dict[str, Any]()
    for part in parts:
        if part.name not in FIELDS[1:] or part.name in said:
            raise HTTPException(
                422, f"field '{part.name[:40]}' is unknown or comes twice; fields are {', '.join(FIELDS[1:])}"
            )
        said[part.name] = part.content.decode("utf-8")
    return said


def is_told(value: Any) -> bool:
    """Whether it is a text that can be hashed, logged and written into a table: no control characters, and none of the
    halves of characters that JSON lets through."""
    return isinstance(value, str) and len(value) <= LONGEST and value.isprintable()


def _about(given: Any, columns: Collection[str]) -> dict[str, str]:
    """Columns of the project, as texts."""
    if given is None or given == "":
        return {}
    try:
        found = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, "about is not valid JSON") from error
    if not isinstance(found, dict) or not all(map(is_told, found.values())):
        raise HTTPException(422, f"about must be an object of texts of at most {LONGEST} printable characters")
    unknown = sorted(str(name)[:40] for name in set(found) - set(columns))
    if unknown:
        raise HTTPException(422, f"about has unknown columns {', '.join(unknown)}; known are {', '.join(columns)}")
    return found
