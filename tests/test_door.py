"""The door lets in what the data contract lets in, and what it keeps says nothing but the picture."""

import io
import math
import time

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from tasks.contracts import FIRST, image_frame, image_parameters, run_contract
from tasks.door import ASKED, Demand, admit, limits_of, stored_form
from tasks.errors import BadInput
from tasks.folders import with_measures
from tasks.images import measure, read_image
from tasks.params import CheckDataParams
from tasks.rules import IMAGES, WINDOW
from tests.conftest import draw, encode
from tests.test_headers import strips, with_scans

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><exif:GPSLatitude>52,31N</exif:GPSLatitude></x:xmpmeta>'


def located(place: bool = True) -> bytes:
    """A JPEG with the camera's name, and with where it was taken."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera of somebody"
    if place:
        exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 0.0)
    return encode(draw(3), "JPEG", exif=exif, quality=95)


def grey(level: int, side: int = 24) -> bytes:
    return encode(Image.new("L", (side, side), level))


def float_tiff(value: float) -> bytes:
    return encode(Image.fromarray(np.full((24, 24), value, dtype=np.float32)), "TIFF")


def animated() -> bytes:
    buffer = io.BytesIO()
    draw(1).save(buffer, "GIF", save_all=True, append_images=[draw(2)])
    return buffer.getvalue()


def with_xmp() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return info


FILES = {
    "sound PNG": encode(draw(1)),
    "sound JPEG": encode(draw(1), "JPEG"),
    "sound WEBP": encode(draw(1), "WEBP", lossless=True),
    "sound TIFF": encode(draw(1), "TIFF"),
    "sound GIF": encode(draw(1), "GIF"),
    "sound BMP": encode(draw(1), "BMP"),
    "palette": encode(draw(1).convert("P")),
    "transparent": encode(draw(1).convert("RGBA")),
    "16 bits": encode(Image.fromarray(np.asarray(draw(1)).astype(np.uint16) * 257)),
    "camera's JPEG": located(place=False),
    "JPEG with a place": located(),
    "PNG with a place in XMP": encode(draw(1), "PNG", pnginfo=with_xmp()),
    "smallest": encode(draw(1, 16)),
    "too small": encode(draw(1, 15)),
    "largest": encode(draw(1, 200)),
    "too wide": encode(draw(1, 100).resize((201, 100))),
    "too high": encode(draw(1, 100).resize((100, 201))),
    "nearly black": grey(2),
    "nearly white": grey(254),
    "one grey": grey(120),
    "static": encode(Image.fromarray(np.random.default_rng(0).choice([0, 255], (60, 60)).astype(np.uint8))),
    "faint": encode(Image.fromarray((120 + np.asarray(draw(1)) // 60).astype(np.uint8))),
    "mode F": float_tiff(0.5),
    "not a number": float_tiff(math.nan),
    "infinite": float_tiff(math.inf),
    "animated": animated(),
    "cut short": encode(draw(1))[:-30],
    "empty": b"",
    "text": b"hello",
    "PDF": b"%PDF-1.7",
}


@pytest.fixture(scope="module")
def by_contract(check_data_params: CheckDataParams) -> dict[str, bool]:
    """Whether the real contract of a window lets each file in, by Great Expectations."""
    names = list(FILES)
    broken = {name for part in (names[::2], names[1::2]) for name in refused_by_contract(part, check_data_params)}
    return {name: name not in broken for name in names}


def refused_by_contract(names: list[str], params: CheckDataParams) -> set[str]:
    """The contract names five files for a rule, so there must be no more that break one."""
    rows = pd.DataFrame({"path": names, "label": "a", "consent": "given"})
    facts = [measure(FILES[name]) | {"sha256": name} for name in names]
    frame = image_frame(with_measures(rows, facts), None, params)
    checks = run_contract(WINDOW, frame, image_parameters(params, ["a"])).checks
    asked = [check for check in checks if check.name in ASKED]
    assert len(asked) == len(ASKED)
    assert all((check.unexpected or 0) <= FIRST for check in asked)
    return {said.partition(" (")[0] for check in asked for said in check.first}


@pytest.fixture
def limits(check_data_params: CheckDataParams):
    return limits_of(check_data_params)


@pytest.mark.parametrize("name", list(FILES))
def test_door_and_contract_agree(name: str, by_contract: dict[str, bool], limits) -> None:
    admitted = admit(FILES[name], limits)
    assert (not admitted.reasons) == by_contract[name], admitted.reasons
    assert (not admitted.reasons) <= (admitted.image is not None)


def test_table_of_files_breaks_every_rule_of_the_door(limits) -> None:
    facts = {name: measure(content) for name, content in FILES.items()}
    for demand in limits.demands:
        assert len({demand.holds(fact[demand.fact]) for fact in facts.values()}) == 2, demand.fact


def test_every_rule_of_the_contract_on_one_file_is_asked_at_the_door(limits) -> None:
    about_a_file = {r.arguments.get("column") for r in IMAGES} & set(measure(b""))
    assert {d.fact for d in limits.demands} == about_a_file == set(ASKED)


def test_measures_are_those_that_the_contract_reads(limits) -> None:
    admitted = admit(FILES["sound PNG"], limits)
    image, measures = read_image(FILES["sound PNG"])
    assert admitted.measures == measures
    assert np.array_equal(np.asarray(admitted.image), np.asarray(image))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nearly black", "the mean grey level is 5 to 250: neither nearly black nor nearly white; brightness is 2"),
        ("too small", "the width is 16 to 200 pixels; width is 15"),
        ("not a number", "the file holds floating-point grey outside 0 to 1"),
        ("PDF", "the file is a PDF document; save it as one of"),
        ("JPEG with a place", "no file says where it was taken; has_gps is True"),
    ],
)
def test_reasons_name_the_rule_and_the_value(name: str, reason: str, limits) -> None:
    assert any(told.startswith(reason) for told in admit(FILES[name], limits).reasons)


def test_bytes_and_pixels_are_limited_before_anything_is_decoded(check_data_params: CheckDataParams) -> None:
    narrow = limits_of(check_data_params, most_bytes=1000, most_pixels=400)
    assert admit(bytes(1001), narrow).reasons == (
        "the file has 1,001 bytes; at most 1,000 are taken, so save it smaller",
    )
    (reason,) = admit(encode(draw(1, 24)), narrow).reasons
    assert "is too large: 24 x 24; at most 400 pixels are decoded" in reason
    assert admit(encode(draw(1, 20)), narrow).reasons == ()


@pytest.mark.parametrize("content", [strips(100_000), with_scans(100_000)])
def test_files_that_would_keep_a_decoder_busy_are_turned_away_at_once(content: bytes, limits) -> None:
    began = time.process_time()
    assert admit(content, limits).reasons
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("value", [None, math.nan])
def test_fact_that_is_missing_or_no_number_meets_no_demand(value: float | None) -> None:
    assert not Demand("brightness", "", least=0, most=255).holds(value)


def test_door_that_lets_nothing_in_is_refused(check_data_params: CheckDataParams) -> None:
    with pytest.raises(BadInput, match="is shut"):
        limits_of(check_data_params, most_bytes=0)


def test_stored_form_has_the_upright_pixels_and_nothing_else() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "A. Body"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 0.0)
    picture = draw(4).convert("RGB").resize((40, 24))
    content = encode(picture, "JPEG", exif=exif, xmp=XMP, comment=b"a note", icc_profile=b"profile" * 20)
    image, _ = read_image(content)
    assert image is not None
    kept = stored_form(image)
    for told in (b"A. Body", b"GPS", b"xmp", b"a note", b"profile", b"Exif", b"eXIf", b"iTXt", b"tEXt", b"iCCP"):
        assert told not in kept
    again = Image.open(io.BytesIO(kept))
    assert (again.format, again.mode, again.size, again.info) == ("PNG", "RGB", (24, 40), {})
    assert again.tobytes() == image.tobytes()
