"""Lines of the journal: what goes wrong with one ends none of those that come after it."""

import json
import logging
from io import StringIO

from service.notes import Lines


class Full(StringIO):
    """A stream on a disk that is full at first."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("service.x", logging.INFO, "", 0, message, arguments, None)


def test_lines_are_written_together_in_their_order_and_none_is_lost_at_the_end() -> None:
    stream = StringIO()
    lines = Lines(stream)
    for number in range(100):
        lines.handle(record("number %d", number))
    lines.close()
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        f"number {number}" for number in range(100)
    ]


def test_a_line_that_cannot_be_made_or_written_is_not_the_last() -> None:
    stream = Full()
    lines = Lines(stream)
    lines.emit(record("lost"))
    lines._write()
    stream.full = False
    lines.emit(record("%d", "no number"))
    lines.emit(record("sound"))
    lines.close()
    assert [json.loads(line)["message"].partition(":")[0] for line in stream.getvalue().splitlines()] == [
        "not written",
        "sound",
    ]
