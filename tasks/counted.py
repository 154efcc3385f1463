"""Which labels a monitor has counted: each image's label once for each model, however often a night is run.

The rows lie in the ledger's database and are written in the transaction of the night's entry: either both are there or
neither, so a killed night, run again, counts nothing twice and forgets nothing.
"""

from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Column, MetaData, String, Table, select
from sqlalchemy.exc import SQLAlchemyError

from tasks.ledger import Ledger, trouble_of

metadata = MetaData()
counted = Table(
    "counted_labels",
    metadata,
    Column("project", String(80), primary_key=True),
    Column("model", String(64), primary_key=True),  # the model folder's digest
    Column("window", String(10), primary_key=True),  # the night that the image belongs to
    Column("image_id", String(400), primary_key=True),
    Column("night", String(10), nullable=False),  # the night on which its label was counted
)


def counted_images(ledger: Ledger, project: str, model: str, since: str = "") -> set[tuple[str, str]]:
    """The (window, image_id) whose labels count already in the monitors of this model, from the night `since` on."""
    ledger.make(metadata)
    query = select(counted.c.window, counted.c.image_id).where(
        counted.c.project == project, counted.c.model == model, counted.c.night >= since
    )
    try:
        with ledger.engine.connect() as connection:
            return {(row.window, row.image_id) for row in connection.execute(query)}
    except SQLAlchemyError as error:
        raise trouble_of(error, ledger.url) from error


def arrived(labelled: pd.DataFrame, known: set[tuple[str, str]]) -> pd.DataFrame:
    """The rows (columns window, image_id, label) that have a label which is not counted yet."""
    places = zip(labelled["window"], labelled["image_id"], strict=True)
    fresh = np.array([place not in known for place in places], dtype=bool)
    return labelled[(labelled["label"] != "").to_numpy() & fresh]


def rows_to_count(project: str, model: str, night: str, fresh: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of the table for labels that count from this night on."""
    places = zip(fresh["window"], fresh["image_id"], strict=True)
    common = {"project": project, "model": model, "night": night}
    return [{**common, "window": window, "image_id": image} for window, image in places]
