"""The evaluator of privacy on drawn tables: a memorising model shows, and files with personal data are named."""

import numpy as np
import pandas as pd
import pytest
from drawn_predictions import CLASSES, PARAMS, draw_embeddings, draw_manifest, draw_predictions

from tasks.errors import EvidenceMissing
from tasks.evaluators import privacy
from tasks.evaluators.privacy import files
from tasks.evidence import Evidence
from tasks.findings import Finding, index_findings
from tasks.personal_data import OWNER, POSITION, SERIAL

MANIFEST = draw_manifest(test=400, train=150)
PREDICTIONS = draw_predictions(MANIFEST, skill=2, seed=1)
TABLE = draw_embeddings(MANIFEST, seed=2)


def found(table: pd.DataFrame) -> dict[tuple[str, str], Finding]:
    return index_findings(privacy.evaluate(Evidence(PREDICTIONS, MANIFEST, PARAMS, embeddings=table)))


def memorised(table: pd.DataFrame) -> pd.DataFrame:
    """The candidate is sure of the label of every training image."""
    train, labels = (MANIFEST["split"] == "train").to_numpy(), MANIFEST["label"].to_numpy()
    told = {f"prob_{c}": np.where(train, np.where(labels == c, 0.998, 0.001), np.nan) for c in CLASSES}
    return table.assign(**told)


def test_a_model_that_remembers_its_training_images_is_caught_and_one_that_does_not_is_cleared() -> None:
    caught, cleared = found(memorised(TABLE)), found(TABLE)
    for metric in ("membership_auc", "membership_auc_calibrated"):
        assert caught[metric, "test"].low > 0.65
        assert cleared[metric, "test"].low < 0.5 < cleared[metric, "test"].high < 0.65
    assert caught["membership_tpr", "test"].value > 0.5
    assert cleared["membership_tpr", "test"].high < 0.15
    assert cleared["membership_auc", "test"].n == 550


def test_the_order_of_the_rows_does_not_matter() -> None:
    shuffled = TABLE.sample(frac=1, random_state=1)
    assert found(shuffled) == found(TABLE)


def test_files_with_personal_data_are_counted_by_kind_and_named() -> None:
    table = TABLE.assign(personal=TABLE["personal"].where(TABLE.index > 2, f"{POSITION}; {SERIAL}"))
    table.loc[5, "personal"] = OWNER
    index, n = found(table), len(TABLE)
    assert index["personal_data_share", "all"].value == pytest.approx(4 / n)
    counts = {kind: index["personal_data_share", f"all/personal={kind}"].value * n for kind in (POSITION, OWNER)}
    assert counts == {POSITION: pytest.approx(3), OWNER: pytest.approx(1)}
    listed = files(Evidence(PREDICTIONS, MANIFEST, PARAMS, embeddings=table))
    assert listed[0] == {"path": "train/0", "split": "train", "kinds": [POSITION, SERIAL]}
    assert len(listed) == 4


def test_no_file_with_personal_data_still_leaves_room_for_some_in_the_source() -> None:
    finding = found(TABLE)["personal_data_share", "all"]
    assert finding.value == finding.low == 0
    assert finding.high == pytest.approx(1 - 0.025 ** (1 / len(TABLE)))  # the exact bound for none in n


def test_answers_of_another_model_are_refused() -> None:
    with pytest.raises(EvidenceMissing, match="of model 000000000000, the embeddings of aaaaaaaaaaaa"):
        found(TABLE.assign(model="a" * 64))


def test_without_the_table_nothing_is_claimed() -> None:
    assert list(privacy.evaluate(Evidence(PREDICTIONS, MANIFEST, PARAMS))) == []
