import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from tasks.build_contracts import COMMITTED, build_contracts
from tasks.contracts import image_frame, image_parameters, raise_if_rejected, run_contract
from tasks.digests import digest_of
from tasks.errors import BadInput, DataRejected, EvidenceMissing
from tasks.rules import LABELLED, SPLIT, SUITES, WINDOW

REPOSITORY = Path(__file__).parent.parent
SPLITS = ["train", "validation", "calibration", "test", "mirror"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkout's committed contracts, without what earlier runs left beside them."""
    place = tmp_path_factory.mktemp("checkout") / "great_expectations"
    shutil.copytree(REPOSITORY / "great_expectations", place, ignore=shutil.ignore_patterns("uncommitted"))
    return place


@pytest.fixture
def images():
    """Measured images of two classes, all sound."""
    count = 24
    constant = {"format": "PNG", "mode": "L", "width": 64, "height": 64, "frames": 1, "brightness": 128.0}
    constant |= {"contrast": 40.0, "sharpness": 300.0, "has_gps": False, "exif_orientation": 1, "decodable": True}
    frame = pd.DataFrame({"path": [f"{n:02d}.png" for n in range(count)], "label": ["a", "b"] * 12, **constant})
    return frame.assign(problem="", sha256=[f"{n:064x}" for n in range(count)], subject=["s1", "s2", "s3"] * 8)


@pytest.fixture
def manifest():
    """Forty images of two classes, one group to each five, dealt out to the four splits."""
    rows = [(n, "ab"[n % 2], ["train", "validation", "calibration", "test"][n // 10]) for n in range(40)]
    frame = pd.DataFrame(rows, columns=["n", "label", "split"])
    names = {"path": frame["n"].map("{:02d}.png".format), "group": (frame["n"] // 5).map("g{}".format)}
    return frame.assign(**names, unit=names["path"], sha256=frame["n"].map("{:064x}".format))


def checked(root, images, params, suite=LABELLED, classes=("a", "b"), group=None):
    return run_contract(suite, image_frame(images, group, params), image_parameters(params, list(classes)), root)


def broken(result):
    return {check.name for check in result.checks if not check.success}


def split_checked(root, manifest, groups=2):
    return run_contract(SPLIT, manifest, {"splits": SPLITS, "min_groups_per_split": groups}, root)


def test_the_committed_folder_is_what_the_rules_build(tmp_path):
    built = build_contracts.fn(tmp_path / "built")
    for name in COMMITTED:
        assert digest_of(built / name) == digest_of(REPOSITORY / "great_expectations" / name), name


def test_sound_images_pass_every_rule_and_no_committed_file_is_touched(root, images, check_data_params):
    before = {name: digest_of(root / name) for name in COMMITTED}
    result = checked(root, images, check_data_params)
    raise_if_rejected(result)
    assert (result.success, len(result.checks), result.rows) == (True, len(SUITES[LABELLED]), 24)
    assert result.docs.is_file()
    assert {name: digest_of(root / name) for name in COMMITTED} == before
    assert sorted(p.name for p in root.iterdir()) == sorted([*COMMITTED, "uncommitted"])


# row, column, value, the rule that it breaks, what the message says
FAULTS = [
    (1, "label", "", "label filled", "every image has its label: 1 break it, the first: 01.png (empty)"),
    (2, "label", "c", "label", "every label is one of a, b: 1 break it, the first: 02.png (c)"),
    (
        3,
        "problem",
        "is empty (0 bytes)",
        "problem",
        "can be decoded: 1 break it, the first: 03.png (is empty (0 bytes))",
    ),
    (4, "width", 8, "width", "the width is 16 to 200 pixels: 1 break it, the first: 04.png (8)"),
    (5, "height", 201, "height", "the height is 16 to 200 pixels: 1 break it, the first: 05.png (201)"),
    (6, "mode", "LAB", "mode", "1 break it, the first: 06.png (LAB)"),
    (7, "brightness", 2.0, "brightness", "the mean grey level is 5 to 250"),
    (8, "brightness", 252.0, "brightness", "2 break it, the first: 07.png (2), 08.png (252)"),
    (9, "contrast", 0.0, "contrast", "at least 5: 1 break it, the first: 09.png (0)"),
    (10, "sharpness", 0.5, "sharpness", "the sharpness is 1 to 100000"),
    (11, "sharpness", 108_000.0, "sharpness", "2 break it, the first: 10.png (0.5), 11.png (108000)"),
    (12, "sha256", f"{0:064x}", "sha256 unique", "2 break it, the first: 00.png (0000"),
    (13, "has_gps", True, "has_gps", "no file says where it was taken: 1 break it, the first: 13.png (True)"),
    (14, "subject", "", "group filled", "every image has its group: 1 break it, the first: 14.png (empty)"),
    (15, "consent", "refused", "consent", "the consent is one of given: 1 break it, the first: 15.png (refused)"),
    (16, "licence", "", "licence", "the licence is one of CC0-1.0: 1 break it, the first: 16.png (empty)"),
    (17, "path", "18.png", "path unique", "no file is listed twice: 2 break it, the first: 18.png (18.png), 18.png"),
]


def test_each_rule_names_the_image_that_breaks_it_and_no_other(root, images, check_data_params):
    frame = images.assign(consent="given", licence="CC0-1.0")
    for row, column, value, _, _ in FAULTS:
        frame.loc[row, column] = value
    result = checked(root, frame, check_data_params, group="subject")
    with pytest.raises(DataRejected) as rejected:
        raise_if_rejected(result)
    # An image of an unknown class is a class of one as well.
    assert broken(result) == {rule for *_, rule, _ in FAULTS} | {"class_size"}
    assert [said for *_, said in FAULTS if said not in str(rejected.value)] == []


def test_a_class_without_images_one_class_and_a_class_of_two_images_are_refused(root, images, check_data_params):
    absent = checked(root, images, check_data_params, classes=("a", "b", "c"))
    assert broken(absent) == {"classes"}
    assert "found none of c" in next(c for c in absent.checks if c.name == "classes").sentence()
    alone = checked(root, images.assign(label="a"), check_data_params, classes=("a",))
    assert broken(alone) == {"number of classes"}
    small = checked(root, images.assign(label=["b"] * 2 + ["a"] * 22), check_data_params)
    assert broken(small) == {"class_size"}
    assert next(c for c in small.checks if c.name == "class_size").first == ("00.png (2)", "01.png (2)")


def test_consent_and_licence_are_required_only_where_the_parameters_say_so(root, images, check_data_params):
    assert checked(root, images, check_data_params).success
    strict = check_data_params.model_copy(update={"require_consent": True, "require_licence": True})
    assert broken(checked(root, images, strict)) == {"consent", "licence"}


def test_missing_columns_fail(root, images, check_data_params):
    result = checked(root, images.drop(columns=["sha256", "brightness", "has_gps", "problem"]), check_data_params)
    assert {"columns", "sha256 filled", "sha256 unique", "brightness", "has_gps", "problem"} <= broken(result)
    assert "every column is there: found none of brightness, has_gps, problem, sha256" in {
        check.sentence() for check in result.checks
    }


def test_an_empty_table_fails_every_contract(root, images, manifest, check_data_params):
    nothing = images.iloc[:0]
    assert "rows" in broken(checked(root, nothing, check_data_params))
    assert "rows" in broken(checked(root, nothing, check_data_params, WINDOW))
    assert "rows" in broken(split_checked(root, manifest.iloc[:0]))


def test_measures_that_are_all_missing_do_not_pass(root, images, check_data_params):
    frame = images.assign(brightness=None, contrast=None, sharpness=None, problem="is empty (0 bytes)")
    assert broken(checked(root, frame, check_data_params)) >= {"problem"}


def test_a_window_may_lack_labels_but_not_hold_unknown_ones(root, images, check_data_params):
    late = images.assign(label=["a", ""] * 12)
    assert checked(root, late, check_data_params, WINDOW).success
    assert broken(checked(root, late.replace({"label": {"": "z"}}), check_data_params, WINDOW)) == {"label"}
    assert broken(checked(root, late.iloc[:2], check_data_params, WINDOW)) == {"rows"}


def test_a_sound_split_passes_whether_or_not_there_is_a_mirror(root, manifest):
    assert split_checked(root, manifest).success
    mirrored = pd.concat(
        [manifest, manifest.iloc[:3].assign(path=list("xyz"), split="mirror", group="m", sha256=list("xyz"))]
    )
    assert split_checked(root, mirrored).success


def test_each_rule_of_a_split_names_the_images_that_break_it(root, manifest):
    faults = [(35, "group", "g0"), (36, "sha256", f"{6:064x}"), (12, "split", "holdout"), (25, "path", "26.png")]
    for row, column, value in [*faults, (17, "group", ""), (18, "split", ""), (19, "label", "c")]:
        manifest.loc[row, column] = value
    first = {c.name: c.first for c in split_checked(root, manifest).checks if not c.success}
    assert first == {
        "groups_splits": ("00.png (2)", "01.png (2)", "02.png (2)", "03.png (2)", "04.png (2)"),
        "sha256_splits": ("06.png (2)", "18.png (0)", "36.png (2)"),
        "split": ("12.png (holdout)",),
        "path unique": ("26.png (26.png)", "26.png (26.png)"),
        "group filled": ("17.png (empty)",),
        "split filled": ("18.png (empty)",),
        "class_lacks": ("19.png (class c: none in train, calibration, test)",),
    }


def test_a_class_missing_from_the_test_split_and_too_few_groups_are_refused(root, manifest):
    manifest.loc[manifest["split"] == "test", "label"] = "a"
    result = split_checked(root, manifest, groups=3)
    assert broken(result) == {"class_lacks", "test_groups"}
    said = [check.sentence() for check in result.checks]
    assert any("1 break it, the first: 01.png (class b: none in test)" in s for s in said)
    assert any("the test split has at least 3 groups: 40 break it, the first: 00.png (2)" in s for s in said)


def test_an_expectation_that_great_expectations_drops_is_missing_evidence(root, images, check_data_params, tmp_path):
    place = tmp_path / "great_expectations"
    shutil.copytree(root, place)
    file = place / "expectations" / "labelled.json"
    suite = json.loads(file.read_text())
    suite["expectations"][3]["type"] = "expect_column_values_to_be_whatever"
    file.write_text(json.dumps(suite))
    with pytest.raises(EvidenceMissing, match=r"checked 22 rules, not the 23 .*path unique"):
        checked(place, images, check_data_params)


def test_a_parameter_that_is_not_given_and_an_unknown_contract_are_errors(root, manifest, tmp_path):
    with pytest.raises(BadInput, match="'split' needs the parameters min_groups_per_split, splits; missing: splits"):
        run_contract(SPLIT, manifest, {"min_groups_per_split": 2}, root)
    with pytest.raises(BadInput, match=r"no contract 'other' .* the contracts are labelled, window, split"):
        run_contract("other", manifest, {}, root)
    with pytest.raises(BadInput, match="run from its root"):
        run_contract(SPLIT, manifest, {"min_groups_per_split": 2, "splits": SPLITS}, tmp_path)


def test_two_runs_at_once_do_not_disturb_each_other(root, images, manifest, check_data_params):
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(checked, root, images, check_data_params)
        two = pool.submit(split_checked, root, manifest)
    assert (one.result().suite, one.result().success) == (LABELLED, True)
    assert (two.result().suite, two.result().success) == (SPLIT, True)


def test_a_checkout_that_cannot_be_written_to_is_enough(root, images, check_data_params, tmp_path):
    place = tmp_path / "great_expectations"
    shutil.copytree(root, place, ignore=shutil.ignore_patterns("uncommitted"))
    (place / "uncommitted").touch()  # a file where the folder would be: it cannot be made, whoever runs the test
    result = checked(place, images, check_data_params)
    assert (result.success, result.docs) == (True, None)


def test_the_record_of_a_result_is_the_same_each_time(root, images, check_data_params):
    images.loc[2, "brightness"] = 1.0
    records = [json.dumps(checked(root, images, check_data_params).record()) for _ in range(2)]
    assert records[0] == records[1]
    assert "uncommitted" not in records[0]
