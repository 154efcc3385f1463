import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from tasks.errors import DataRejected, UnreadableImage
from tasks.images import FORMATS, decode, measure

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def corner_marked(size=(30, 20)) -> Image.Image:
    """White with a red upper left quarter."""
    image = Image.new("RGB", size, WHITE)
    image.paste(RED, (0, 0, size[0] // 2, size[1] // 2))
    return image


def noise(side=40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def grey_of(content: bytes) -> int:
    pixel = decode(content, "x").getpixel((0, 0))
    assert len(set(pixel)) == 1
    return pixel[0]


def tiff(values: np.ndarray, bits: int, photometric: int = 1, sample_format: int = 1, order: str = "<") -> bytes:
    """An uncompressed one-strip grey TIFF, written by hand: Pillow writes only some of the kinds that it reads."""
    height, width = values.shape
    body = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(body)}
    tags |= {339: sample_format}
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(body))
    return head + body + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)


def without_adobe_marker(jpeg: bytes) -> bytes:
    place = jpeg.index(b"\xff\xee")
    length = int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return jpeg[:place] + jpeg[place + 2 + length :]


def bomb(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes that claims to be huge."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_comes_back_as_rgb_of_its_size(kind):
    image = decode(encoded(corner_marked(), kind), "x")
    assert (image.mode, image.size) == ("RGB", (30, 20))
    assert np.abs(np.subtract(image.getpixel((3, 3)), RED)).max() < 40
    assert np.abs(np.subtract(image.getpixel((25, 15)), WHITE)).max() < 40


def test_the_content_decides_and_not_the_name(tmp_path):
    file = tmp_path / "photo.jpg"
    file.write_bytes(encoded(corner_marked(), "PNG"))
    assert decode(file, "photo.jpg").getpixel((0, 0)) == RED


def test_palette_and_one_bit_images_keep_their_colours():
    assert decode(encoded(corner_marked().quantize(4)), "x").getpixel((0, 0)) == RED
    assert grey_of(encoded(Image.new("1", (4, 4), 1))) == 255


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_transparent_parts_are_white(mode):
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    content = encoded(clear.convert(mode)) if mode != "PA" else encoded(clear.quantize(2, Image.Quantize.FASTOCTREE))
    assert decode(content, "x").getpixel((2, 2)) == WHITE


def test_half_transparent_black_is_mid_grey():
    assert grey_of(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)))) == 127


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_transparent_colour_named_beside_the_pixels_is_white(mode):
    black = Image.new(mode, (4, 4))
    content = encoded(black, transparency=(0, 0, 0) if mode == "RGB" else 0)
    assert decode(content, "x").getpixel((1, 1)) == WHITE


def test_cmyk_is_right_with_and_without_adobes_inversion():
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    content = encoded(cmyk, "JPEG", quality=95)
    plain = encoded(Image.eval(cmyk, lambda level: 255 - level), "JPEG", quality=95)  # stored as it is, not inverted
    for jpeg in (content, without_adobe_marker(plain)):
        assert np.abs(np.subtract(decode(jpeg, "x").getpixel((8, 8)), RED)).max() < 6
    assert decode(encoded(cmyk, "TIFF"), "x").getpixel((8, 8)) == RED


def test_sixteen_bit_grey_is_scaled_by_depth_and_not_by_content():
    dark = np.full((4, 4), 0x1010, dtype=np.uint16)  # the brightest value present is a sixteenth of the range
    assert grey_of(encoded(Image.fromarray(dark))) == 0x10
    assert grey_of(tiff(dark, 16)) == 0x10
    assert grey_of(tiff(dark, 16, order=">")) == 0x10


def test_other_deep_greys_are_scaled_by_their_depth():
    assert grey_of(tiff(np.full((4, 4), 0xC0C0C0C0, dtype=np.uint32), 32)) == 0xC0
    assert grey_of(tiff(np.full((4, 4), 2**30, dtype=np.int32), 32, sample_format=2)) == 128
    assert grey_of(tiff(np.full((4, 4), 0.5, dtype=np.float32), 32, sample_format=3)) == 128
    assert grey_of(tiff(np.full((4, 4), 0xF0F0, dtype=np.uint16), 16, photometric=0)) == 0x0F


def test_floating_point_grey_of_unknown_scale_is_refused():
    with pytest.raises(UnreadableImage, match="x holds floating-point grey outside 0 to 1"):
        decode(tiff(np.full((4, 4), 300, dtype=np.float32), 32, sample_format=3), "x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind, orientation):
    flips = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what a camera held so would have stored: the inverse turn
    stored = corner_marked().transpose(flips[orientation]) if orientation > 1 else corner_marked()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encoded(stored, kind, exif=exif)
    image = decode(content, "x")
    assert image.size == (30, 20)
    assert np.abs(np.subtract(image.getpixel((3, 3)), RED)).max() < 40
    assert measure(content)["exif_orientation"] == orientation


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_file_cut_short_is_refused_by_name(kind, share):
    content = encoded(noise(), kind)
    with pytest.raises(UnreadableImage, match=r"a/b\.png (is|has) .*(damaged|cut short)"):
        decode(content[: max(8, int(len(content) * share))], "a/b.png")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_more_than_one_picture_is_refused(kind):
    content = encoded(corner_marked(), kind, save_all=True, append_images=[noise(20).resize((30, 20)), corner_marked()])
    with pytest.raises(UnreadableImage, match="x holds 3 pictures"):
        decode(content, "x")


def test_a_cameras_jpeg_with_a_preview_is_its_photograph():
    content = encoded(corner_marked(), "MPO", save_all=True, append_images=[noise(20)])
    assert decode(content, "x").size == (30, 20)
    assert measure(content)["frames"] == 1


@pytest.mark.parametrize("side", [9_000, 9_600, 60_000])  # below, above and far above Pillow's own limits
def test_a_decompression_bomb_is_refused_from_its_header(side):
    with pytest.raises(UnreadableImage, match=r"x is too large: .*at most 64,000,000 pixels"):
        decode(bomb(side, side), "x")


def test_the_limit_on_pixels_is_an_argument():
    with pytest.raises(UnreadableImage, match="30 x 20; at most 599"):
        decode(encoded(corner_marked()), "x", most_pixels=599)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"not an image at all", "is not an image in a format that Keel reads"),
        (b"%PDF-1.7 ...", "is a PDF document; save it as one of PNG"),
        (b"\0\0\0\x18ftypheic....", "is a HEIC photograph"),
        (encoded(noise(16), "ICO"), "is an icon"),
        (encoded(noise(16), "PPM"), "is not an image in a format that Keel reads"),
    ],
)
def test_what_is_not_an_image_says_what_it_is_and_the_way_out(content, said):
    with pytest.raises(UnreadableImage, match=said):
        decode(content, "x")


def test_a_missing_file_is_an_unreadable_image_and_that_is_rejected_data():
    with pytest.raises(DataRejected, match="lost cannot be read: No such file"):
        decode(Path("/nowhere/lost.png"), "lost")


def test_any_garbled_file_is_decoded_or_refused_and_nothing_else():
    random = np.random.default_rng(1)
    for kind in FORMATS:
        content = np.frombuffer(encoded(corner_marked(), kind), dtype=np.uint8)
        for _ in range(60):
            garbled = content.copy()
            garbled[random.integers(0, len(content), 8)] = random.integers(0, 256, 8)
            facts = measure(garbled.tobytes())
            assert facts["decodable"] == (facts["problem"] == "")


def test_measures_of_a_plain_image_are_those_worked_out_by_hand():
    facts = measure(encoded(Image.fromarray(np.array([[0, 0, 0], [0, 90, 0], [0, 0, 0], [0, 0, 0]], dtype=np.uint8))))
    assert (facts["format"], facts["mode"], facts["width"], facts["height"]) == ("PNG", "L", 3, 4)
    assert facts["brightness"] == pytest.approx(7.5)  # 90 / 12
    assert facts["contrast"] == pytest.approx(90 * np.sqrt(11) / 12)
    assert facts["sharpness"] == pytest.approx(225**2)  # inside, the Laplacian is -360 and 90
    assert (facts["decodable"], facts["problem"], facts["frames"]) == (True, "", 1)


def test_measures_of_an_unreadable_file_are_missing_and_the_problem_is_said():
    facts = measure(b"")
    assert facts["brightness"] is None
    assert facts["problem"].startswith("is empty")
    assert not facts["decodable"]


@pytest.mark.parametrize(("tags", "expected"), [({1: "N", 2: (50.0, 1.0, 2.0)}, True), ({0: b"\2\3\0\0"}, False)])
def test_a_position_is_found_and_a_bare_gps_version_is_not_one(tags, expected):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "a camera"  # Pillow writes no block that holds nothing but a position into a PNG
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(tags)
    files = [encoded(corner_marked(), kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP")]
    files.append(encoded(corner_marked(), "TIFF", tiffinfo={ExifTags.IFD.GPSInfo: tags}))
    assert [measure(content)["has_gps"] for content in files] == [expected] * 4


def test_the_exif_block_of_a_png_counts_behind_the_pixels_too():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    content = encoded(corner_marked(), exif=exif)
    start = content.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(content[start : start + 4], "big")
    moved = content[:start] + content[stop:-12] + content[start:stop] + content[-12:]
    assert decode(moved, "x").getpixel((25, 15)) == RED


def test_a_position_in_xmp_is_found():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><exif:GPSLatitude>50,1N</exif:GPSLatitude></x:xmpmeta>'
    assert measure(encoded(corner_marked(), "JPEG", xmp=xmp))["has_gps"]
