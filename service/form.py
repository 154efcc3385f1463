"""The parts of a form, kept in memory: the body they come in is bounded already, and most of them are an image each.

The library's own parser tells where each part begins and ends (RFC 7578); there are no files on disk in between.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

LONGEST_FIELD = 1_000_000  # bytes of a part that is no file


class BadForm(Exception):
    """The form cannot be read; the message says why."""


@dataclass
class Part:
    """One part; it is a file where it says what the file is called."""

    name: str = ""
    is_file: bool = False
    content: bytearray = field(default_factory=bytearray)


class Parts:
    """What the parser calls as it goes through the body; `most` parts are taken."""

    def __init__(self, most: int) -> None:
        self.most, self.found, self.is_whole = most, list[Part](), False
        self.header, self.value = bytearray(), bytearray()

    def on_part_begin(self) -> None:
        """Another part."""
        if len(self.found) >= self.most:
            raise BadForm(f"it has more than {self.most} parts")
        self.found.append(Part())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's name."""
        self.header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of its value."""
        self.value += data[start:end]

    def on_header_end(self) -> None:
        """A header is whole; the only one that counts says what the part is called."""
        if self.header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self.value))
            self.found[-1].name = options.get(b"name", b"").decode("utf-8", "replace")
            self.found[-1].is_file = b"filename" in options
        self.header.clear()
        self.value.clear()

    def on_headers_finished(self) -> None:
        """What follows is its content."""
        if not self.found[-1].name:
            raise BadForm("a part of it has no name")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of the content."""
        part = self.found[-1]
        part.content += data[start:end]
        if not part.is_file and len(part.content) > LONGEST_FIELD:
            raise BadForm(f"a field of it has more than {LONGEST_FIELD:,} bytes")

    def on_end(self) -> None:
        """The last boundary came."""
        self.is_whole = True


async def read_form(chunks: AsyncIterator[bytes], content_type: str, most: int) -> list[Part]:
    """The parts, at most so many, of the body that comes in chunks; BadForm says what is wrong with it."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise BadForm("its Content-Type names no boundary")
    parts = Parts(most)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.on_part_begin,
                "on_header_field": parts.on_header_field,
                "on_header_value": parts.on_header_value,
                "on_header_end": parts.on_header_end,
                "on_headers_finished": parts.on_headers_finished,
                "on_part_data": parts.on_part_data,
                "on_end": parts.on_end,
            },
        )
        async for chunk in chunks:
            parser.write(chunk)
    except FormParserError as error:
        raise BadForm(str(error)) from error
    if not parts.is_whole:
        raise BadForm("it was cut short")
    return parts.found
