"""The queue as one page: the pictures, what the model said, what the user said. The only place that shows the text.

It lies in the state folder beside the store, for its owner's eyes, and goes with the next deletion, since it repeats
what the store holds.
"""

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from tasks.feedback_queue import Waiting
from tasks.images import decode
from tasks.whole_files import write_whole

SIDE = 160  # pixels of a picture


def page_of(state: Path, project: str) -> Path:
    """Where the page lies."""
    return state / "feedback" / f"{project}.html"


def write_page(waiting: Iterable[Waiting], images: Mapping[str, bytes], project: str, state: Path) -> Path:
    """Write it; `images` are those that the log kept, PNG, by request id."""
    page = page_of(state, project)
    page.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    rows = [
        {"filed": w.filed, "same": w.same, "picture": _picture(images.get(w.filed.request_id, b""))} for w in waiting
    ]
    environment = Environment(loader=PackageLoader("tasks", "."), autoescape=select_autoescape(default=True))
    html = environment.get_template("feedback.html.j2").render(project=project, rows=rows)
    write_whole(page, html.encode())
    page.chmod(0o600)
    return page


def _picture(image: bytes) -> str:
    """A thumbnail in base64; nothing where the image was not kept."""
    if not image:
        return ""
    picture, buffer = decode(image, "the image"), io.BytesIO()
    picture.thumbnail((SIDE, SIDE))
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
