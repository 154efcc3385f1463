"""Must-pass cases that were there at the last decision and are not now: a verdict says so, and why."""

from collections.abc import Collection, Iterable

from tasks.digests import sha256_text
from tasks.ledger import Entry

FORGOTTEN = "forgotten"  # the ledger's kind of a deletion that was carried out


def cases_gone(now: Collection[str], entries: Iterable[Entry]) -> str | None:
    """The sentence, from the project's entries and the names of today's cases; None where none is gone.

    Deletions leave the hash of a case's name; a case without one was taken out by somebody who did not say why.
    """
    held = list(entries)
    before: list[str] = next(
        (e.body["cases"] for e in reversed(held) if e.kind == "decision" and "cases" in e.body), []
    )
    gone = sorted(set(before) - set(now))
    if not gone:
        return None
    asked = {digest: e.body["why"] for e in held if e.kind == FORGOTTEN for digest in e.body["cases"]}
    why = [asked.get(sha256_text(name)) for name in gone]
    told = {"asked": "deleted on request", "expired": "expired", None: "unexplained"}
    counted = [f"{why.count(key)} {words}" for key, words in told.items() if key in why]
    cases = f"{len(gone)} must-pass case{' is' if len(gone) == 1 else 's are'} gone since the last decision"
    return f"{cases}: {', '.join(counted)}"
