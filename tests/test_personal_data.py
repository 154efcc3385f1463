"""Personal data that was planted in a file or its name is found, and ordinary files are left alone."""

import io

import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from tasks.personal_data import EMAIL, NAME, OWNER, PHONE, POSITION, SERIAL, UNREADABLE, in_path, personal_data


def jpeg(tags: dict[int, object] | None = None, block: int | None = None) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    (exif if block is None else exif.get_ifd(block)).update(tags or {})
    Image.new("RGB", (16, 16), "grey").save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("block", "tags", "kind"),
    [
        (
            ExifTags.IFD.GPSInfo,
            {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (48.0, 8.0, 0.0)},
            POSITION,
        ),
        (ExifTags.IFD.Exif, {ExifTags.Base.BodySerialNumber: "083024001234"}, SERIAL),
        (ExifTags.IFD.Exif, {ExifTags.Base.LensSerialNumber: "00001f4a"}, SERIAL),
        (ExifTags.IFD.Exif, {ExifTags.Base.CameraOwnerName: "A. Lovelace"}, OWNER),
        (None, {ExifTags.Base.Artist: "Ada Lovelace"}, OWNER),
        (None, {ExifTags.Base.XPAuthor: "Ada".encode("utf-16-le")}, OWNER),
    ],
)
def test_a_planted_tag_is_found(block: int | None, tags: dict[int, object], kind: str) -> None:
    assert personal_data(jpeg(tags, block), "images/1.jpg") == [kind]


@pytest.mark.parametrize(
    ("block", "tags"),
    [
        (None, {}),
        (None, {ExifTags.Base.Artist: "   ", ExifTags.Base.Make: "Canon", ExifTags.Base.Model: "EOS"}),
        (ExifTags.IFD.GPSInfo, {ExifTags.GPS.GPSVersionID: b"\2\3\0\0"}),
        (ExifTags.IFD.Exif, {ExifTags.Base.BodySerialNumber: "0000000000", ExifTags.Base.CameraOwnerName: "\0\0\0"}),
    ],
)
def test_blank_tags_and_cameras_models_are_no_personal_data(block: int | None, tags: dict[int, object]) -> None:
    assert personal_data(jpeg(tags, block), "images/IMG_1118.JPG") == []


def test_the_text_of_a_png_and_an_xmp_block_are_read() -> None:
    text, buffer, image = PngInfo(), io.BytesIO(), Image.new("RGB", (8, 8))
    text.add_text("Author", "Ada Lovelace")
    text.add_itxt("XML:com.adobe.xmp", "<x aux:SerialNumber='7' exif:GPSLatitude='48,8N'/>")
    image.save(buffer, "PNG", pnginfo=text)
    assert personal_data(buffer.getvalue(), "1.png") == [POSITION, SERIAL, OWNER]


def test_what_cannot_be_read_is_said_and_not_passed_over() -> None:
    assert personal_data(b"no image", "1.png") == [UNREADABLE]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("images/anna_schmidt_01.jpg", NAME),
        ("images/JohnMiller2.png", NAME),
        ("Maria Garcia/front.jpg", NAME),
        ("scan-sofia-rossi.tif", NAME),
        ("from_ada.l@example.org_3.jpg", EMAIL),
        ("form +49 170 1234567.png", PHONE),
        ("call (030) 123456.png", PHONE),
        ("555-010-9999.png", PHONE),
    ],
)
def test_names_and_addresses_in_a_path_are_found(path: str, kind: str) -> None:
    assert in_path(path) == {kind}


@pytest.mark.parametrize(
    "path",
    [
        *("images/0001.png", "IMG_20171212_111140.jpg", "2026-05-01T09:00:00.png", "cat-0012-000345.png"),
        *(
            "red_car_17.jpg",
            "a3f9c2d1e8b7.jpg",
            "scan 0000 white on dark.png",
            "DSC-2017-12-12 11.11.40.jpg",
            "rose.jpg",
        ),
        *("0912345678.png", "patient 000123456789.dcm.png", "v1.2.345-678-9012.png"),
    ],
)
def test_ordinary_names_are_left_alone(path: str) -> None:
    assert in_path(path) == set()


def test_a_class_that_bears_a_given_name_is_no_person() -> None:
    assert in_path("jasmin felix/felix_tree_3.png", label="felix tree") == set()
    assert in_path("felix_bauer_3.png", label="tree") == {NAME}
