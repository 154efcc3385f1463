import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image

from tasks.check_data import check_data
from tasks.errors import BadInput, DataRejected
from tests.conftest import draw, encode

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def check(tmp_path, monkeypatch, check_data_params):
    """Run the stage on a folder in a checkout of its own; returns images.parquet and contract.json."""
    ignored = shutil.ignore_patterns("uncommitted")
    shutil.copytree(REPOSITORY / "great_expectations", tmp_path / "great_expectations", ignore=ignored)
    monkeypatch.chdir(tmp_path)

    def run(data, **project):
        file = tmp_path / "drawn.yaml"
        file.write_text(json.dumps({"name": "drawn", "data": str(data), **project}))
        out = check_data.fn(data=data, project=file, params=check_data_params, out=tmp_path / "out")
        return pd.read_parquet(out / "images.parquet"), json.loads((out / "contract.json").read_text())

    return run


def rotated() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encode(draw(50).resize((40, 24)), "JPEG", exif=exif)


def located() -> bytes:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (50.0, 1.0, 2.0)})
    return encode(draw(51), "JPEG", exif=exif)


def deep() -> bytes:
    return encode(Image.fromarray(np.asarray(draw(52)).astype(np.uint16) * 257))


def test_a_sound_folder_is_written_as_a_table_and_its_contract(image_folder, check):
    images, contract = check(image_folder())
    assert list(images.columns[:2]) == ["path", "label"]
    assert (len(images), images["width"].dtype, images["decodable"].all()) == (12, np.int64, True)
    assert contract["success"]
    assert {c["success"] for c in contract["checks"]} == {True}


def test_unusual_but_sound_images_are_accepted(image_folder, check):
    unusual = {
        "images/palette.png": ("a", encode(draw(53).quantize(16))),
        "images/cmyk.jpg": ("a", encode(draw(54).convert("CMYK"), "JPEG")),
        "images/deep.png": ("a", deep()),
        "images/rotated.jpg": ("b", rotated()),
        "images/grün 例.webp": ("b", encode(draw(55), "WEBP", lossless=True)),
        "images/clear.png": ("b", encode(draw(56).convert("RGBA"))),
    }
    images, _ = check(image_folder(unusual))
    facts = images.set_index("path")
    assert list(facts.loc[list(unusual), "mode"]) == ["P", "CMYK", "I;16", "L", "RGB", "RGBA"]
    turned = facts.loc["images/rotated.jpg"]
    assert (turned["width"], turned["height"], turned["exif_orientation"]) == (24, 40, 6)


def test_files_that_cannot_be_decoded_are_all_named_with_the_reason(image_folder, check):
    whole = encode(draw(57), "JPEG")
    folder = image_folder(
        {
            "images/zero.png": ("a", b""),
            "images/words.png": ("a", b"these are words"),
            "images/cut.jpg": ("a", whole[: len(whole) * 9 // 10]),
            "images/moving.gif": ("b", encode(draw(58), "GIF", save_all=True, append_images=[draw(59)])),
            "images/bomb.png": ("b", encode(Image.new("1", (9000, 9000)))),
        }
    )
    with pytest.raises(DataRejected, match=r"'labelled' is broken: 1 of its 23 rules, on 17 rows") as rejected:
        check(folder)
    for said in (
        *(
            "5 break it",
            "zero.png (is empty (0 bytes)",
            "words.png (is not an image",
            "cut.jpg (is damaged or cut short",
        ),
        *("moving.gif (holds 2 pictures", "bomb.png (is too large: 9000 x 9000"),
    ):
        assert said in str(rejected.value)


def test_black_white_and_blank_images_are_refused(image_folder, check):
    flat = {shade: encode(Image.new("L", (24, 24), shade)) for shade in (0, 128, 255)}
    with pytest.raises(DataRejected) as rejected:
        check(image_folder({f"images/flat{shade}.png": ("a", content) for shade, content in flat.items()}))
    said = str(rejected.value)
    assert (
        "neither nearly black nor nearly white: 2 break it, the first: images/flat0.png (0), images/flat255.png" in said
    )
    assert "standard deviation of at least 5: 3 break it" in said
    assert "neither blank nor pure static: 3 break it" in said


@pytest.mark.parametrize(
    ("more", "project", "said"),
    [
        ({"images/x.avif": ("a", encode(draw(62), "AVIF"))}, {}, r"images/x\.avif \(is an AVIF image"),
        (
            {"images/copy.png": ("a", draw(0))},
            {},
            r"same content: 2 break it, the first: images/00\.png .*images/copy\.png",
        ),
        ({"images/here.jpg": ("a", located())}, {}, r"where it was taken: 1 break it, the first: images/here\.jpg"),
        (
            {"images/z.png": ("z", draw(60))},
            {"classes": ["a", "b"]},
            r"one of a, b: 1 break it, the first: images/z\.png",
        ),
        ({"images/z.png": ("z", draw(60)), "images/y.png": ("z", draw(61))}, {}, r"at least 4 images: 2 break it"),
        ({}, {"classes": ["a", "b", "c"]}, r"every one of the classes a, b, c has images: found none of c"),
    ],
)
def test_what_the_contract_forbids_is_refused_by_name(image_folder, check, more, project, said):
    with pytest.raises(DataRejected, match=said):
        check(image_folder(more), **project)


def test_data_of_one_class_is_refused(image_folder, check):
    one = {f"images/{n}.png": ("a", draw(n)) for n in range(12)}
    with pytest.raises(DataRejected, match="at least 2 classes: found 1"):
        check(image_folder(one, sound=0))


@pytest.mark.parametrize("key", ["group", "unit"])
def test_a_column_that_the_project_names_must_be_there(image_folder, check, key):
    with pytest.raises(
        BadInput, match=f"drawn: {key} names the column 'subject', which .* does not have; its columns are"
    ):
        check(image_folder(), **{key: "subject"})


def test_a_rejected_check_leaves_no_result_that_a_later_stage_could_take(image_folder, check, tmp_path):
    with pytest.raises(DataRejected):
        check(image_folder(sound=2))
    assert not (tmp_path / "out").exists()


def test_an_edited_suite_is_asked_again(image_folder, check, tmp_path):
    check(folder := image_folder())
    suite = tmp_path / "great_expectations/expectations/labelled.json"
    edited = json.loads(suite.read_text())
    rule = next(rule for rule in edited["expectations"] if rule["meta"]["name"] == "mode")
    rule["kwargs"]["value_set"] = ["RGB"]
    suite.write_text(json.dumps(edited))
    with pytest.raises(DataRejected, match=r"the colour mode is one of .*: 12 break it"):
        check(folder)


def test_the_outputs_are_the_same_each_time(image_folder, check, tmp_path):
    folder = image_folder()
    check(folder)
    first = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    shutil.rmtree(tmp_path / "out")
    check(folder)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == first
