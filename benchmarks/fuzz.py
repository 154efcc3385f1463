"""Damaged, forged and overbuilt files at the door (tasks/door.py): does it ever raise, hang, or take more than it says?

    python -m benchmarks.fuzz [--quick]

Files of six formats are mutated (bytes set at random, cut, doubled, dropped, sizes in headers driven to extremes,
checksums of PNG mended afterwards so that the decoder sees the damage), and let through the door in processes of their
own, so that a crash is counted. Beside them stand the shapes that are known to keep decoders busy: a JPEG of thousands
of passes, a TIFF of thousands of pages or strips, bombs, and sound pictures at the limits. Bars: nothing raised or
crashed, no file slower than SLOWEST seconds of a processor, no process above MEMORY megabytes more than it began with.
"""

import argparse
import io
import multiprocessing
import os
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from tasks.door import DoorLimits, admit, limits_of
from tasks.params import CheckDataParams, load_section

SLOWEST, MEMORY = 3.0, 700.0  # seconds of one processor, megabytes: the bars
FULL, QUICK, PART = 60_000, 6_000, 250  # mutated files, and those of one task of a process
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
LET_IN, BY_RULE, BY_FILE = "let in", "turned away by a rule", "not an image"


@dataclass
class Tally:
    """What became of the files of one task: counts of (format, outcome), the slowest, and the memory it took."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    megabytes: float = 0.0
    raised: list[str] = field(default_factory=list)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of the file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sound_files() -> dict[str, list[bytes]]:
    """Small files of every format, in the variants whose decoders differ."""
    random = np.random.default_rng(0)
    grey = np.clip(random.normal(150, 50, (40, 36)), 0, 255).astype(np.uint8)
    colour = Image.fromarray(np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2))
    plain, clear = Image.fromarray(grey), colour.convert("RGBA")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "maker"
    meta: dict[str, object] = {"exif": exif, "icc_profile": b"profile" * 30}
    more: dict[str, object] = {"save_all": True, "append_images": [colour.transpose(Image.Transpose.ROTATE_180)]}
    tiffs = [encoded(colour, "TIFF", compression=c) for c in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    located = Image.Exif()
    located.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 0.0)
    tiffs += [encoded(plain.convert("1"), "TIFF", compression="group4"), encoded(deep, "TIFF")]
    pngs = (plain, colour, clear, colour.convert("P"), deep, plain.convert("1"))
    jpegs = [encoded(i, "JPEG", progressive=p, **meta) for i in (plain, colour) for p in (False, True)]
    webps = [encoded(i, "WEBP", lossless=x, **meta) for i in (colour, clear) for x in (False, True)]
    return {
        "PNG": [encoded(i, "PNG", **meta) for i in pngs],
        "JPEG": [*jpegs, encoded(colour.convert("CMYK"), "JPEG"), encoded(colour, "JPEG", exif=located)],
        "WEBP": [*webps, encoded(colour, "WEBP", **more)],
        "BMP": [encoded(i, "BMP") for i in (plain, colour, clear, plain.convert("1"))],
        "TIFF": [
            *tiffs,
            encoded(colour, "TIFF", big_tiff=True),
            encoded(Image.fromarray(grey / 255.0).convert("F"), "TIFF"),
        ],
        "GIF": [encoded(plain, "GIF"), encoded(colour, "GIF"), encoded(colour, "GIF", **more)],
    }


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """One to four changes, near the head more often than not."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 5)):
        end = max(len(changed), 1)
        place = int(random.integers(min(end, 120)) if random.random() < 0.6 else random.integers(end))
        length = int(min(random.geometric(0.1), 400))
        how = random.integers(6)
        if how == 0:
            changed[place : place + 1] = random.integers(256, size=1, dtype=np.uint8).tobytes()
        elif how == 1:
            width, order = random.choice([1, 2, 4]), random.choice(["little", "big"])
            value = int(random.choice(EXTREMES)) & (256 ** int(width) - 1)
            changed[place : place + width] = value.to_bytes(width, order)
        elif how == 2:
            del changed[max(place, 8) :]
        elif how == 3:
            changed[place:place] = changed[place : place + length] * int(random.integers(1, 20))
        elif how == 4:
            del changed[place : place + length]
        else:
            changed[place : place + length] = random.integers(256, size=length, dtype=np.uint8).tobytes()
    return mended(bytes(changed)) if random.random() < 0.7 else bytes(changed)


def mended(content: bytes) -> bytes:
    """A PNG with the right checksum after each chunk as it is now; other files as they are."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    found, place = [content[:8]], 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        end = min(place + 8 + length, len(content) - 4)
        body = content[place + 4 : end]
        found.append(content[place : place + 4] + body + struct.pack(">I", zlib.crc32(body)))
        place = end + 4
    return b"".join(found)


def shapes(limits: DoorLimits) -> Iterator[tuple[str, str, bytes]]:
    """(format, name, file): small ones that are much work, and sound ones at the limits."""
    side = int(limits.most_pixels**0.5)
    flat, room = Image.new("L", (side, side), 120), limits.most_bytes - 200_000
    jpeg = encoded(flat, "JPEG", progressive=True)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    yield "JPEG", "as many passes as are let by", jpeg[:-2] + last * 55 + jpeg[-2:]
    yield "JPEG", "passes to the limit of bytes", jpeg[:-2] + last * (room // len(last)) + jpeg[-2:]
    gif = encoded(Image.new("L", (16, 16)), "GIF")[:-1]
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    yield "GIF", "frames to the limit of bytes", gif + frame * (room // len(frame)) + b"\x3b"
    yield "TIFF", "pages to the limit of bytes", _pages(room // 114)
    yield "TIFF", "a strip for each row", _strips(16, room // 24)
    for width, height in ((50_000, 50_000), (65_535, 65_535), (16_383, 16_383)):
        forged = bytearray(encoded(Image.new("L", (8, 8)), "PNG"))
        forged[16:24] = struct.pack(">II", width, height)
        yield "PNG", f"says {width} x {height}", mended(bytes(forged))
    webp = bytearray(encoded(Image.new("RGBA", (8, 8)), "WEBP", exif=b"Exif\0\0"))
    webp[24:30] = (16_382).to_bytes(3, "little") * 2
    yield "WEBP", "says 16383 x 16383", bytes(webp)
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (1800, 1800, 3), dtype=np.uint8))
    yield "PNG", "noise to the limit of bytes", encoded(noise, "PNG")
    deep = Image.fromarray(np.full((side, side), 3000, dtype=np.uint16))
    clear = Image.new("RGBA", (side, side), (3, 4, 5, 6))
    for kind, image in (("PNG", flat), ("PNG", clear), ("PNG", deep), ("JPEG", flat), ("WEBP", clear), ("GIF", flat)):
        yield kind, f"{side} x {side} {image.mode}", encoded(image, kind)
    yield "TIFF", f"{side} x {side} I;16", encoded(deep, "TIFF", compression="tiff_lzw")


def _pages(count: int) -> bytes:
    tags = ((256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 16), (279, 256))
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    size = 2 + len(body) + 4
    parts = [struct.pack("<H", len(tags)) + body + struct.pack("<I", 8 + size * (n + 1)) for n in range(count - 1)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(parts) + struct.pack("<H", len(tags)) + body + bytes(4)


def _strips(width: int, rows: int) -> bytes:
    first = 8 + 2 + 12 * 9 + 4
    values = {256: width, 257: rows, 258: 8, 259: 1, 262: 1, 273: first, 277: 1, 278: 1, 279: first + 4 * rows}
    tags = [struct.pack("<HHII", t, 4, rows if t in (273, 279) else 1, v) for t, v in values.items()]
    starts = first + 8 * rows + width * np.arange(rows, dtype="<u4")
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(tags) + bytes(4)
    return head + starts.astype("<u4").tobytes() + np.full(rows, width, "<u4").tobytes() + bytes(width * rows)


def ask(kind: str, name: str, content: bytes, limits: DoorLimits, tally: Tally) -> None:
    """Let one file through the door and note what became of it."""
    began = time.process_time()
    try:
        admitted = admit(content, limits)
        outcome = BY_FILE if admitted.image is None else BY_RULE if admitted.reasons else LET_IN
        tally.outcomes[kind, outcome] += 1
    except Exception as error:
        tally.raised.append(f"{kind}, {name}: {type(error).__name__}: {error}")
    tally.slowest = max(tally.slowest, (time.process_time() - began, f"{kind}, {name}"))


def fuzz(seed: int, limits: DoorLimits) -> Tally:
    """One task: PART mutated files, each from a seed that names it."""
    tally, files, before = Tally(), sound_files(), reset_peak()
    for place in range(PART):
        random = np.random.default_rng([seed, place])
        kind = list(files)[place % len(files)]
        content = mutated(files[kind][random.integers(len(files[kind]))], random)
        ask(kind, f"seed {seed} {place}", content, limits, tally)
    tally.megabytes = resident("VmHWM") - before
    return tally


def one_shape(number: int, limits: DoorLimits) -> Tally:
    """One task: one of the shapes."""
    kind, name, content = next(shape for place, shape in enumerate(shapes(limits)) if place == number)
    before, tally = reset_peak(), Tally()
    ask(kind, name, content, limits, tally)
    tally.megabytes = resident("VmHWM") - before
    return tally


def reset_peak() -> float:
    """Let Linux count this process's peak of memory anew; what it has now, megabytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return resident("VmRSS")


def resident(what: str) -> float:
    """Memory of this process from /proc, megabytes: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def quiet() -> None:
    """Decoders complain of each damaged file on standard error, Pillow by warnings."""
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def run(count: int, limits: DoorLimits, seed: int) -> tuple[list[Tally], list[Tally], list[str]]:
    """The tallies of the mutated files and of the shapes, and the tasks whose process crashed."""
    context, tallies, crashed = multiprocessing.get_context("spawn"), [], []
    tasks = [(fuzz, seed + part) for part in range(count // PART)]
    tasks += [(one_shape, number) for number, _ in enumerate(shapes(limits))]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=quiet) as pool:
        jobs = [(work, number, pool.submit(work, number, limits)) for work, number in tasks]
        for work, number, job in jobs:
            try:
                tallies.append((work, job.result()))
            except BrokenProcessPool:
                crashed.append(f"the process of {work.__name__} {number} crashed")
    parts = [[t for work, t in tallies if work is kind] for kind in (fuzz, one_shape)]
    return parts[0], parts[1], crashed


def show(tallies: list[Tally]) -> None:
    """A row a format, a column an outcome."""
    total = sum((t.outcomes for t in tallies), Counter[tuple[str, str]]())
    print(f"| format | {LET_IN} | {BY_RULE} | {BY_FILE} |\n|---|---|---|---|")
    for kind in dict.fromkeys(kind for kind, _ in sorted(total)):
        print(f"| {kind} | {' | '.join(str(total[kind, outcome]) for outcome in (LET_IN, BY_RULE, BY_FILE))} |")
    print(f"{sum(total.values()):,} files")


def main() -> int:
    """Print the tables and every bar that does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    limits = limits_of(load_section(CheckDataParams, Path("params.yaml")))
    made, shaped, faults = run(QUICK if asked.quick else FULL, limits, asked.seed)
    for title, tallies in (("mutated", made), ("shapes", shaped)):
        print(f"\n{title}")
        show(tallies)
        seconds, name = max(t.slowest for t in tallies)
        memory = max(t.megabytes for t in tallies)
        print(f"slowest {seconds:.2f} s ({name}); at most {memory:.0f} MB more in a process")
        faults += [said for t in tallies for said in t.raised]
        if seconds > SLOWEST:
            faults.append(f"{name} takes {seconds:.2f} s, at most {SLOWEST:g} s wanted")
        if memory > MEMORY:
            faults.append(f"a process took {memory:.0f} MB, at most {MEMORY:g} MB wanted")
    print(f"\n{limits.most_bytes:,} bytes and {limits.most_pixels:,} pixels are let in at most")
    for fault in faults:
        print(f"FAIL {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
