"""Personal data that an image file carries beside the picture: in its EXIF or XMP block, and in its name.

What is looked for: a position, the serial number of a camera or lens, an owner's or author's name, and in the file's
path the name of a person, an e-mail address or a telephone number. Serial numbers inside a maker's own block, and
what the picture itself shows, are not looked at.
"""

import io
import re

from PIL import ExifTags, Image

from tasks.images import FORMATS

POSITION, SERIAL, OWNER = "position", "serial number", "owner's name"
NAME, EMAIL, PHONE = "person's name in the path", "e-mail address in the path", "telephone number in the path"
UNREADABLE = "metadata that cannot be read"
KINDS = (POSITION, SERIAL, OWNER, NAME, EMAIL, PHONE, UNREADABLE)
SERIALS = (ExifTags.Base.BodySerialNumber, ExifTags.Base.LensSerialNumber, ExifTags.Base.CameraSerialNumber)
OWNERS = (ExifTags.Base.CameraOwnerName, ExifTags.Base.Artist, ExifTags.Base.XPAuthor)
TEXTS = ("author", "artist", "creator")  # keys of a PNG's text
XMP = {
    POSITION: (b"exif:GPS",),
    SERIAL: (b"SerialNumber",),
    OWNER: (b"OwnerName", b"dc:creator", b"photoshop:Credit"),
}
ADDRESS = re.compile(r"[A-Za-z0-9][\w.+-]*(@|\(at\)|\[at\])[A-Za-z0-9-]+\.[A-Za-z]{2,}")
# International, German with its area code, and North American: long numbers and dates alone are no telephone numbers.
NUMBER = re.compile(
    r"(?<![\d.])(\+\d[\d ()-]{7,15}\d|\(0\d{1,4}\)[ -]?\d[\d -]{4,9}\d|0\d{2,4}[ /]\d{5,9}|"
    r"\(?\d{3}\)?-\d{3}-\d{4})(?!\.?\d)"
)
WORD = re.compile(r"[A-ZÀ-Þ]?[a-zß-ÿ]+|[A-ZÀ-Þ]+")
# Common given names of a few languages; one counts where another word follows it or stands before it.
NAMES = (
    "aaron abdul adam ahmed aisha alexander ali alice amanda amir ana andrea andreas andrew angela anita anna anne "
    "antonio arthur barbara ben benjamin bernd birgit brian camille carlos carmen caroline catherine charles chen "
    "christian christina christopher claudia daniel david deborah dennis diego dieter dmitri dorothea edward elena "
    "elizabeth emily emma eric erik eva fatima felix fernando francesco francois frank franz frederik fritz gabriel "
    "george georg giovanni giulia guillaume hannah hans harald hassan heike heinrich helen helena henri henry ibrahim "
    "ines ingrid isabel ivan jacob jakob james jan jane javier jean jennifer jessica joao johann johannes john jonas "
    "jonathan jorge jose joseph juan julia julie jurgen kai karin karl katharina kevin klaus kumar lars laura lea lena "
    "leon linda lisa lorenzo louis louise lucas lucia luis lukas magdalena manfred marco margaret maria marie mario "
    "marta martin mary matthew matthias maximilian mehmet michael michelle miguel mohamed mohammed monika muhammad "
    "mustafa nadia nancy natalia nathalie nicolas nicole nikolai nina olga oliver olivia omar pablo patricia patrick "
    "paul paula pedro peter petra philipp philippe pierre priya rachel rafael rajesh rebecca richard robert roberto "
    "sabine samuel sandra sarah sebastian sergei simon sofia sophie stefan stefanie stephan stephen steven susan "
    "susanne svetlana teresa thomas tim timothy tobias ulrich ursula uwe valentina victor vladimir walter werner "
    "wilhelm william wolfgang xavier yasmin yusuf zhang"
)
GIVEN = frozenset(NAMES.split())


def personal_data(content: bytes, path: str, label: str = "") -> list[str]:
    """Which of KINDS the bytes of an image file and its path carry; words of its class's `label` are no names."""
    return [kind for kind in KINDS if kind in {*in_file(content), *in_path(path, label)}]


def in_file(content: bytes) -> set[str]:
    """What the file's own metadata tell."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        exif = image.getexif()
        tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
        place = set(exif.get_ifd(ExifTags.IFD.GPSInfo)) - {ExifTags.GPS.GPSVersionID}  # some write the version alone
    except Exception:  # whatever a decoder raises on these bytes
        return {UNREADABLE}
    xmp = image.info.get("xmp", image.info.get("XML:com.adobe.xmp", b""))
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    found = {kind for kind, marks in XMP.items() if any(mark in xmp for mark in marks)}
    texts = [value for key, value in image.info.items() if str(key).lower() in TEXTS]
    told = {
        POSITION: bool(place),
        SERIAL: any(_says(tags.get(tag)) for tag in SERIALS),
        OWNER: any(map(_says, [*(tags.get(tag) for tag in OWNERS), *texts])),
    }
    return found | {kind for kind, holds in told.items() if holds}


def in_path(path: str, label: str = "") -> set[str]:
    """What the path tells. A heuristic: it knows common given names alone, and "Lena meadow" is taken for a person."""
    words = [word.lower() for word in WORD.findall(path.rpartition(".")[0] or path)]
    own = {word.lower() for word in WORD.findall(label)}
    named = any(
        word in GIVEN - own and any(len(other) > 1 and other not in own for other in words[max(0, k - 1) : k + 2 : 2])
        for k, word in enumerate(words)
    )
    return {
        kind for kind, holds in ((NAME, named), (EMAIL, ADDRESS.search(path)), (PHONE, NUMBER.search(path))) if holds
    }


def _says(value: object) -> bool:
    """Whether a tag is there and not blank; cameras fill fields that are not set with spaces, zeros or NUL."""
    text = value.decode("utf-16-le" if b"\0" in value else "utf-8", "replace") if isinstance(value, bytes) else value
    return bool(str(text or "").strip(" \0\t\n0"))
