"""One image file: from its bytes to an upright RGB image, or to a sentence that says why not.

The content decides, never the file's name. A file's size in pixels is read from its header before anything is decoded.
This module is shipped inside every logged model, so that training, evaluation and serving see the same pixels; it
imports nothing but Pillow, NumPy, the standard library and the errors.
"""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageChops

from tasks.errors import UnreadableImage

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
# The first bytes of files that people do bring, to name them in the message.
OTHERS = {
    b"%PDF": "a PDF document",
    b"8BPS": "a Photoshop file",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML file",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"PK\x03\x04": "a zip archive",
    b"\x00\x00\x01\x00": "an icon",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000 image",
    b"version https://git-lfs": "a Git LFS pointer; run `git lfs pull`",
}
BRANDS = {b"avif": "an AVIF image", b"heic": "a HEIC photograph", b"heix": "a HEIC photograph", b"mif1": "a HEIF image"}
# Above the 61 megapixels of today's largest full-frame cameras, below the 89 at which Pillow would only warn; as RGB
# it is 192 MB in memory.
MOST_PIXELS = 64_000_000
# EXIF 2.32, tag Orientation -> what makes the image upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
WHITE_IS_ZERO = 0  # TIFF 6.0, tag PhotometricInterpretation
SIGNED = 2  # TIFF 6.0, tag SampleFormat


def decode(source: Path | bytes, name: str, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """The image of a file or of its bytes, upright, in mode RGB, transparent parts on white.

    `name` is what messages call it. Raises UnreadableImage for everything that is not one whole still image.
    """
    try:
        image, _ = _decode(_content(source), most_pixels)
    except UnreadableImage as problem:
        raise UnreadableImage(f"{name} {problem}") from problem.__cause__
    return image


def measure(content: bytes, most_pixels: int = MOST_PIXELS) -> dict[str, Any]:
    """What the data contract asks about one file: the facts of `read_image`."""
    return read_image(content, most_pixels)[1]


def read_image(content: bytes, most_pixels: int = MOST_PIXELS) -> tuple[Image.Image | None, dict[str, Any]]:
    """The upright RGB image, None where it cannot be decoded, and what the data contract asks about the file.

    `mode` is the file's own; width and height are those of the upright image. Brightness is the mean and contrast the
    standard deviation of grey levels (0 to 255); sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000,
    ICPR). Where the file cannot be decoded these are None and `problem` says why; otherwise `problem` is "".
    """
    unknown = ("format", "mode", "width", "height", "frames", "brightness", "contrast", "sharpness")
    facts: dict[str, Any] = dict.fromkeys(unknown)
    facts |= {"exif_orientation": 1, "has_gps": False, "decodable": False, "problem": ""}
    try:
        image, header = _decode(content, most_pixels)
    except UnreadableImage as problem:
        return None, facts | {"problem": str(problem)}
    grey = np.asarray(image.convert("L"))
    brightness, variance = _moments(grey.ravel().astype(np.int64))
    contrast, sharpness = math.sqrt(variance), _sharpness(grey)
    facts |= {"brightness": brightness, "contrast": contrast, "sharpness": sharpness}
    return image, facts | header | {"width": image.width, "height": image.height, "decodable": True}


def _content(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror}") from error


def _decode(content: bytes, most_pixels: int) -> tuple[Image.Image, dict[str, Any]]:
    """The upright RGB image, and what the header says. Raises UnreadableImage with a sentence that lacks the name."""
    image = _open(content, most_pixels)
    frames = _frames(image)
    header = {"format": image.format, "mode": image.mode, "frames": frames}
    try:
        exif = image.getexif()
        header["has_gps"] = _has_position(image, exif)
        header["exif_orientation"] = int(exif.get(ExifTags.Base.Orientation, 1))
        image.load()  # turns a TIFF upright by itself, and drops the tag
        left = image.getexif().get(ExifTags.Base.Orientation, 1)
        upright = _to_rgb(image)
        return (upright.transpose(TURNS[left]) if left in TURNS else upright), header
    except UnreadableImage:
        raise
    # Whatever a decoder raises on these bytes (OSError, SyntaxError, struct.error, ...) is a fact about them.
    except Exception as error:
        raise UnreadableImage(f"is damaged or cut short ({error}); copy it again from its source") from error


def _open(content: bytes, most_pixels: int) -> Image.Image:
    if not content:
        raise UnreadableImage("is empty (0 bytes); copy it again from its source")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(_too_large(str(error).partition(",")[0], most_pixels)) from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableImage(_not_an_image(content)) from error
    except Exception as error:
        raise UnreadableImage(f"has a damaged header ({error}); copy it again from its source") from error
    if image.width * image.height > most_pixels:
        raise UnreadableImage(_too_large(f"{image.width} x {image.height}", most_pixels))
    return image


def _too_large(size: str, most_pixels: int) -> str:
    return f"is too large: {size}; at most {most_pixels:,} pixels are decoded, so scale it down or leave it out"


def _not_an_image(content: bytes) -> str:
    brand = BRANDS.get(content[8:12]) if content[4:8] == b"ftyp" else None
    kind = brand or next((other for start, other in OTHERS.items() if content.startswith(start)), None)
    said = f"is {kind}" if kind else "is not an image in a format that Keel reads, or its first bytes are damaged"
    return f"{said}; save it as one of {', '.join(FORMATS)}"


def _frames(image: Image.Image) -> int:
    """The number of pictures in the file; more than one is refused, but for a camera's JPEG with a preview in it."""
    if image.format == "MPO":  # CIPA DC-007: the first is the photograph, the others are previews or depth maps
        return 1
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception as error:
        raise UnreadableImage(f"is damaged or cut short ({error}); copy it again from its source") from error
    if frames != 1:
        raise UnreadableImage(f"holds {frames} pictures (animated, or pages); save the one that counts alone")
    return frames


def _has_position(image: Image.Image, exif: Image.Exif) -> bool:
    """Whether a place is written into the file. Many cameras write a GPS block that holds its version alone."""
    tags = set(exif.get_ifd(ExifTags.IFD.GPSInfo)) - {ExifTags.GPS.GPSVersionID}
    xmp = image.info.get("xmp", image.info.get("XML:com.adobe.xmp", b""))
    return bool(tags) or b"GPSL" in (xmp.encode() if isinstance(xmp, str) else xmp)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in DEEP_GREY:
        return _to_eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(colours, mask=colours.getchannel("A"))
        return white
    if image.mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        # Adobe stores CMYK inverted and marks the file; Pillow takes every file for one of Adobe's.
        return ImageChops.invert(image).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled by the file's declared depth: by its content it would lose its exposure."""
    levels = np.asarray(image).astype(np.float64)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        if not (np.isfinite(levels).all() and levels.min() >= 0 and levels.max() <= 1):
            raise UnreadableImage("holds floating-point grey outside 0 to 1, of unknown scale; save it with 16 bits")
        full = 1.0
    else:
        bits = int(tags.get(ExifTags.Base.BitsPerSample, (16,))[0])
        signed = tags.get(ExifTags.Base.SampleFormat, (1,))[0] == SIGNED if tags else False
        if not signed:
            levels = np.where(levels < 0, levels + 2.0**32, levels)  # Pillow keeps 32 bits as a signed integer
        full = 2.0 ** (bits - signed) - 1
    shades = np.rint(np.clip(levels / full, 0, 1) * 255).astype(np.uint8)
    if tags and tags.get(ExifTags.Base.PhotometricInterpretation) == WHITE_IS_ZERO:
        shades = 255 - shades
    return Image.fromarray(shades)


def _sharpness(grey: np.ndarray) -> float:
    """The variance of the 4-neighbour Laplacian inside the border; 0 when there is no inside."""
    if min(grey.shape) < 3:
        return 0.0
    level = grey.astype(np.int16)
    laplacian = level[1:-1, :-2] + level[1:-1, 2:] + level[:-2, 1:-1] + level[2:, 1:-1] - 4 * level[1:-1, 1:-1]
    return _moments(laplacian.ravel().astype(np.int64))[1]


def _moments(whole: np.ndarray) -> tuple[float, float]:
    """Mean and variance of whole numbers, int64 (N,), from their exact sums."""
    n, total, squares = whole.size, int(whole.sum()), int(whole @ whole)
    return total / n, (squares * n - total**2) / n**2
