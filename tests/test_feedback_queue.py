"""The queue begins with what teaches most, and its page alone shows what users wrote."""

from pathlib import Path

from tasks.feedback import NEW, NOISE, Filed, Told
from tasks.feedback_page import page_of, write_page
from tasks.feedback_queue import queue
from tests.small_feedback import AT, MARKER, picture


def filed(name: str, label: str | None, sure: float | None, sha256: str = "", state: str = NEW) -> Filed:
    told = None if sure is None else Told("cat", sure, "3", sha256 or name)
    return Filed(name, "pets", state, f"r-{name}", correct_label=label, text=MARKER, at=AT, told=told)


def test_disagreement_comes_first_then_doubt_then_what_several_say() -> None:
    held = [
        filed("agrees", "cat", 0.4),
        filed("unknown", None, None),
        filed("sure", "dog", 0.9),
        filed("one", "dog", 0.6),
        filed("twice", "dog", 0.6, "same image"),
        filed("again", "dog", 0.6, "same image", NOISE),
    ]
    waiting = queue(held)
    assert [w.filed.id for w in waiting] == ["twice", "one", "sure", "agrees", "unknown"]
    assert [w.same for w in waiting] == [1, 0, 0, 0, 0]
    assert waiting[0].line() == (
        "twice  2026-06-01  told cat (60 %) by version 3; says dog, with a text, 1 more say so"
    )


def test_the_page_shows_pictures_and_texts_as_text_and_is_for_its_owners_eyes(tmp_path: Path) -> None:
    waiting = queue([filed("one", "dog", 0.6), filed("two", "<script>alert(1)</script>", 0.7)])
    page = write_page(waiting, {"r-one": picture(1)}, "pets", tmp_path)
    html = page.read_text(encoding="utf-8")
    assert page == page_of(tmp_path, "pets")
    assert (page.stat().st_mode & 0o777, page.parent.stat().st_mode & 0o077) == (0o600, 0)
    assert (html.count(MARKER), html.count("data:image/png;base64,"), html.count("no image was kept")) == (2, 1, 1)
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
