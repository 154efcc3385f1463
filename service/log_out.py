"""Rows on their way to the prediction log, after the client has its answer.

One thread makes the stored form of the images that are kept and hands the rows on; the log writes them on a thread of
its own. Nothing here is waited for by a request.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from PIL import Image

from tasks.door import stored_form
from tasks.logged_answer import LoggedAnswer
from tasks.prediction_log import LogHealth, PredictionLog
from tasks.routing import place_of

BACKLOG = 256_000_000  # bytes of pixels that may wait to be stored; beyond that, rows go without their image
SALT = "kept"  # the same request is kept or not whoever asks
logger = logging.getLogger("service.log_out")


class LogOut:
    """The service's end of the log. `share` of the images with consent are kept."""

    def __init__(self, place: str, flush_seconds: float, share: float) -> None:
        self.log, self.share = PredictionLog(place, flush_seconds), share
        self.clerk = ThreadPoolExecutor(1, thread_name_prefix="log")
        self.backlog = 0

    def keeps(self, row: LoggedAnswer) -> bool:
        """Whether the image of the row is one of those that are kept."""
        return row.consent and place_of(row.request_id, SALT) < self.share

    def write(self, row: LoggedAnswer, image: Image.Image | None = None) -> None:
        """Append the row, with its image where that is kept."""
        if image is None or not self.keeps(row) or self.backlog + weight(image) > BACKLOG:
            self.log.append(row)
            return
        self.backlog += weight(image)
        self.clerk.submit(self._write_with, row, image)

    def health(self) -> LogHealth:
        """How the log is."""
        return self.log.health()

    def close(self) -> None:
        """Write what waits."""
        self.clerk.shutdown()
        self.log.close()

    def _write_with(self, row: LoggedAnswer, image: Image.Image) -> None:
        try:
            self.log.append(replace(row, image=stored_form(image)))
        except Exception:
            logger.exception("an image was not stored")
            self.log.append(row)
        finally:
            self.backlog -= weight(image)


def weight(image: Image.Image) -> int:
    """Bytes of an RGB image in memory."""
    return 3 * image.width * image.height
