"""What a file is built of, read before a decoder is let at it: shapes that cost a decoder minutes and an eye nothing.

A JPEG of 10 MB can hold 300,000 passes over one picture, a TIFF of 10 MB 90,000 pages or a strip for each row of a
million: Pillow takes 40 seconds to an hour for them, and nothing can stop it on the way. Real files have a dozen
passes, one page, and no more strips than rows.
"""

import struct

MOST_SCANS = 64  # of a JPEG; progressive encoders write 6 to 14 (jpegtran's largest script has 18)
MOST_PARTS = 20_000  # strips or tiles of a TIFF: more than any sound one of the contract's 10,000 rows has
SCAN = b"\xff\xda"  # T.81, table B.1: a start of scan; inside coded data 0xFF is always followed by 0x00 or a restart
PARTS = (273, 324)  # TIFF 6.0: StripOffsets, TileOffsets


def overbuilt(content: bytes) -> str:
    """What is too much of it, as a sentence that lacks the file's name; "" where nothing is, or it is no such file."""
    if content.startswith(b"\xff\xd8"):
        scans = content.count(SCAN)
        if scans > MOST_SCANS:
            return f"has {scans:,} passes over its picture; at most {MOST_SCANS} are decoded, so save it again"
    if content[:2] in (b"II", b"MM"):
        return _overbuilt_tiff(content)
    return ""


def _overbuilt_tiff(content: bytes) -> str:
    """The first directory alone is read: how many strips it lists, and whether another one follows."""
    order = "<" if content.startswith(b"II") else ">"
    try:
        (kind,) = struct.unpack_from(order + "H", content, 2)
        big = kind == 43  # BigTIFF: 8-byte counts and places
        (first,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
        (tags,) = struct.unpack_from(order + ("Q" if big else "H"), content, first)
        start, size = first + (8 if big else 2), 20 if big else 12
        for place in range(min(tags, len(content) // size)):
            tag, _, parts = struct.unpack_from(order + ("HHQ" if big else "HHI"), content, start + size * place)
            if tag in PARTS and parts > MOST_PARTS:
                return f"is cut into {parts:,} parts; at most {MOST_PARTS:,} are decoded, so save it again"
        (following,) = struct.unpack_from(order + ("Q" if big else "I"), content, start + size * tags)
    except (struct.error, OverflowError):
        return ""  # cut short, or it points beyond its end: the decoder says so
    if following not in (0, first):
        return "holds several pictures (animated, or pages); save the one that counts alone"
    return ""
