"""A project that answers and hears about it: answers in the log, reports in the store, cases and data, one ledger."""

import datetime as dt
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.digests import sha256_bytes
from tasks.feedback import report_of
from tasks.feedback_store import FeedbackStore
from tasks.ledger import Ledger
from tasks.logged_answer import LoggedAnswer
from tasks.prediction_log import PredictionLog
from tasks.project import Project

PROJECT, MARKER = "pets", "zebra-marker-4711"
AT = dt.datetime(2026, 6, 1, 9, 0, tzinfo=dt.UTC)
CASE = "file_name,label,added,provenance,why\nold.png,cat,2026-01-01,drawn,for the test\n"


def picture(seed: int) -> bytes:
    """A drawn PNG."""
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def fields(request_id: str = "r-0", **changes: object) -> dict[str, object]:
    """What a client sends, with what the service adds."""
    given = {"request_id": request_id, "project": PROJECT, "consent": True, "retention": "days-30", "rating": 2}
    return {**given, "at": AT, "client": "c" * 8, **changes}


@dataclass(frozen=True)
class World:
    """Everything that feedback touches, below one folder."""

    root: Path
    store: FeedbackStore
    ledger: Ledger
    about: Project
    place: str

    @property
    def cases(self) -> Path:
        """The list of must-pass cases."""
        return self.root / "cases/cases.csv"

    def add(self, request_id: str = "r-0", **changes: object) -> str:
        """File a report."""
        return self.store.add(report_of(fields(request_id, **changes)))

    def holders(self, content: bytes) -> set[str]:
        """The files below the folder that hold these bytes, by their paths."""
        files = (p for p in self.root.rglob("*") if p.is_file())
        return {p.relative_to(self.root).as_posix() for p in files if content in p.read_bytes()}


def small_world(root: Path, answers: int = 4) -> World:
    """Answers r-0, r-1, ...: cat at falling certainty; the picture of each was kept but for that of the last."""
    (root / "cases").mkdir(parents=True)
    (root / "cases/cases.csv").write_text(CASE)
    (root / "cases/old.png").write_bytes(picture(100))
    (root / "data/images").mkdir(parents=True)
    (root / "data/metadata.csv").write_text("file_name,label\nimages/a.png,cat\nimages/b.png,dog\n")
    for seed, name in enumerate("ab"):
        (root / f"data/images/{name}.png").write_bytes(picture(seed + 50))
    (root / "state").mkdir()
    logged = [
        LoggedAnswer(
            request_id=f"r-{n}",
            at=AT,
            project=PROJECT,
            key="k" * 8,
            sha256=sha256_bytes(picture(n)),
            consent=n < answers - 1,
            measures={"width": 20},
            arm="champion",
            version="3",
            classes=("cat", "dog"),
            probabilities=(0.9 - 0.05 * n, 0.1 + 0.05 * n),
            predicted="cat",
            label="cat",
            image=picture(n) if n < answers - 1 else b"",
        )
        for n in range(answers)
    ]
    log = PredictionLog(str(root / "state/log"))
    for answer in logged:
        log.append(answer)
    log.close()
    state = root / "state"
    about = Project(name=PROJECT, data=root / "data", cases=root / "cases")
    return World(
        root,
        FeedbackStore(f"sqlite:///{state}/feedback.db"),
        Ledger(f"sqlite:///{state}/ledger.db"),
        about,
        str(state / "log"),
    )
