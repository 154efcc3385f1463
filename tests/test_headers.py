"""Files that are small and yet take a decoder minutes are told before it sees them; real ones are let by."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tasks.headers import overbuilt
from tasks.images import FORMATS
from tests.conftest import draw, encode


def pages(count: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    first, *more = [draw(number) for number in range(count)]
    first.save(buffer, "TIFF", save_all=True, append_images=more, big_tiff=kind == "big")
    return buffer.getvalue()


def strips(count: int, order: str = "<") -> bytes:
    """A grey TIFF of one column, a strip for each row."""
    tags = {256: 1, 257: count, 258: 8, 259: 1, 262: 1, 273: None, 277: 1, 278: 1, 279: None}
    first = 8 + 2 + 12 * len(tags) + 4
    places = {273: first, 279: first + 4 * count}
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    for tag, value in tags.items():
        many = tag in places
        head += struct.pack(order + "HHII", tag, 4, count if many else 1, places[tag] if many else value)
    starts = np.arange(count, dtype=order + "u4") + first + 8 * count
    return head + struct.pack(order + "I", 0) + starts.tobytes() + np.ones(count, order + "u4").tobytes() + bytes(count)


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last pass is told so many times more."""
    plain = encode(draw(1), "JPEG", progressive=True)
    last = plain[plain.rindex(b"\xff\xda") : -2]
    return plain[:-2] + last * count + plain[-2:]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"big_tiff": True}])
def test_sound_files_of_every_format_are_let_by(kind: str, options: dict[str, bool]) -> None:
    assert overbuilt(encode(draw(2, 200).convert("RGB"), kind, **options)) == ""


def test_pictures_of_noise_hold_no_marks_of_passes_by_chance() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    assert overbuilt(encode(Image.fromarray(noise), "JPEG", quality=100)) == ""


@pytest.mark.parametrize("kind", ["classic", "big"])
def test_second_page_of_a_tiff_is_seen_in_the_first_directory(kind: str) -> None:
    assert overbuilt(pages(1, kind)) == ""
    assert overbuilt(pages(2, kind)).startswith("holds several pictures")


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_in_more_parts_than_rows_of_any_sound_one_is_refused(order: str) -> None:
    assert overbuilt(strips(20_000, order)) == ""
    assert overbuilt(strips(20_001, order)) == "is cut into 20,001 parts; at most 20,000 are decoded, so save it again"


def test_jpeg_of_a_thousand_passes_is_refused() -> None:
    assert overbuilt(with_scans(40)) == ""
    assert overbuilt(with_scans(1000)).endswith("passes over its picture; at most 64 are decoded, so save it again")


def test_every_cut_of_a_tiff_is_read_without_an_error() -> None:
    whole = pages(2, "classic")
    assert {overbuilt(whole[:length]) for length in range(0, len(whole), 7)} <= {"", overbuilt(whole)}
