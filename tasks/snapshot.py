"""Images as the champion tells of them at one time: the reference, or one night's window."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.errors import EvidenceMissing
from tasks.samples import Sample


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What is known of n images without their labels.

    `probabilities` (n, K), `embeddings` (n, D), `slices` with a row an image and a column a slicing, and `units`, which
    subject or scan (n,) an image is of, or None where each stands alone. `nights` (n,), of a reference made of several,
    says which night an image is of, so that the audit can test each night against the others.
    """

    image_ids: tuple[str, ...]
    probabilities: np.ndarray
    embeddings: np.ndarray
    slices: pd.DataFrame
    units: np.ndarray | None = None
    nights: np.ndarray | None = None

    @property
    def sample(self) -> Sample:
        """What the tests read."""
        return Sample(self.probabilities, self.embeddings, self.units)

    def check(self, name: str, least: int) -> None:
        """EvidenceMissing when there are fewer than `least` units, an id comes twice, or a value is missing."""
        sample = self.sample
        sample.check(name)
        if sample.unit_count < least:
            raise EvidenceMissing(
                f"the {name} has {len(sample)} images of {sample.unit_count} units, `least_images` asks for {least}: "
                "drift cannot be judged; bring more images"
            )
        if len(self.image_ids) != len(sample) or len(self.slices) != len(sample):
            raise EvidenceMissing(
                f"the {name} has {len(sample)} images, {len(self.image_ids)} ids and {len(self.slices)} rows of slices"
            )
        if len(set(self.image_ids)) != len(self.image_ids):
            twice = pd.Series(self.image_ids)
            raise EvidenceMissing(f"the {name} holds an image twice: {twice[twice.duplicated()].iloc[0]}")
        if self.nights is not None and (len(self.nights) != len(sample) or pd.isna(self.nights).any()):
            raise EvidenceMissing(
                f"the {name} has images without a night; say for each of which night it is, or for none"
            )
        empty = [str(column) for column in self.slices if self.slices[column].isna().any()]
        if empty:
            raise EvidenceMissing(f"the {name} has missing values in the slices {', '.join(empty)}; fill them in")
