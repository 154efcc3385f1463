import os
import unicodedata

import pandas as pd
import pytest

from tasks.errors import BadInput, DataRejected
from tasks.folders import MEASURED, measure_folder, read_folder, read_window


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def listing(root, *lines, header="file_name,label", encoding="utf-8"):
    root.mkdir(parents=True, exist_ok=True)
    (root / "metadata.csv").write_bytes("\n".join([header, *lines, ""]).encode(encoding))


def refused(root, match, reader=read_folder, error=DataRejected):
    with pytest.raises(error, match=match):
        reader(root)


def test_metadata_gives_path_label_and_the_further_columns_as_text_sorted_by_path(root):
    put(root, "b/2.png", "a/1.png")
    listing(root, 'b/2.png,07,"one, two"', "a/1.png,cat,", header="file_name,label,note")
    frame = read_folder(root)
    assert frame.to_dict("list") == {"path": ["a/1.png", "b/2.png"], "label": ["cat", "07"], "note": ["", "one, two"]}
    assert set(map(str, frame.dtypes)) == {"object"}


def test_without_metadata_the_first_folder_is_the_class(root):
    put(root, "cat/1.png", "dog/deep/2.JPG", "dog/notes.txt", ".hidden/3.png")
    assert read_folder(root).to_dict("list") == {"path": ["cat/1.png", "dog/deep/2.JPG"], "label": ["cat", "dog"]}


@pytest.mark.parametrize("name", ["1.HEIC", "1.avif", "1.jp2", "1.jfif", "1.nef"])
def test_image_of_any_kind_is_listed_so_that_none_is_left_out_in_silence(root, name):
    put(root, "cat/0.png", f"dog/{name}")
    assert list(read_folder(root)["path"]) == ["cat/0.png", f"dog/{name}"]
    listing(root, "cat/0.png,cat")
    refused(root, rf"not listed in metadata\.csv; .*the first: dog/{name}")


def test_class_folder_without_images_is_refused_by_name(root):
    put(root, "cat/1.png", "production/2026-06-01/x.png", ".cache/y.txt")
    (root / "dog/deep").mkdir(parents=True)
    refused(root, r"folders in .* name classes and hold no images; .*\(1 in all, the first: dog\)")


@pytest.mark.parametrize("spelling", ["license", "License", "Licence"])
def test_licence_is_one_column_however_it_is_spelled(root, spelling):
    put(root, "1.png")
    listing(root, "1.png,a,CC0-1.0", header=f"file_name,label,{spelling}")
    assert read_folder(root).to_dict("list") == {"path": ["1.png"], "label": ["a"], "licence": ["CC0-1.0"]}
    listing(root, "1.png,a,CC0-1.0,MIT", header=f"file_name,label,{spelling},LICENSE")
    refused(root, f"has the columns {spelling} and LICENSE, which mean the same; keep one")


def test_words_that_other_readers_take_for_missing_are_labels(root):
    put(root, "1.png", "2.png")
    listing(root, "1.png,NA", "2.png,null")
    assert list(read_folder(root)["label"]) == ["NA", "null"]


def test_a_byte_order_mark_and_non_ascii_paths_are_read(root):
    put(root, "bilder/grün 例.png")
    listing(root, "bilder/grün 例.png,Äpfel", encoding="utf-8-sig")
    assert read_folder(root).to_dict("list") == {"path": ["bilder/grün 例.png"], "label": ["Äpfel"]}


def test_production_windows_and_hidden_files_are_not_part_of_the_labelled_data(root):
    put(root, "1.png", "production/2026-06-01/x.png", ".cache/y.png", ".z.png")
    listing(root, "1.png,a")
    assert list(read_folder(root)["path"]) == ["1.png"]


def test_no_folder_and_an_empty_folder_are_errors(root):
    refused(root, "there is no data folder .*data; `dvc pull`", error=BadInput)
    root.mkdir()
    refused(root, "holds no images")
    listing(root)
    refused(root, "holds no images")


@pytest.mark.parametrize("missing", ["file_name", "label"])
def test_metadata_needs_its_two_columns(root, missing):
    put(root, "1.png")
    listing(root, "1.png,a", header="file_name,label".replace(missing, "other"))
    refused(root, f"metadata.csv has no column '{missing}'; its columns are")


@pytest.mark.parametrize(
    ("lines", "header", "match"),
    [
        (["1.png,a", "2.png,a"], "file_name,label", r"listed in .* and not there; .*1 in all, the first: 2\.png"),
        (["1.png,a", "./1.png,b"], "file_name,label", r"listed more than once .*the first: 1\.png"),
        (["1.png,"], "file_name,label", r"an empty label; .*the first: 1\.png"),
        (["1.png,a "], "file_name,label", r"begins or ends with a space; .*1\.png \('a '\)"),
        (["1.png,a,b"], "file_name,label", r"line 2: 3 fields where the first line has 2"),
        (['1.png,"a'], "file_name,label", r"line 2: not valid CSV"),
        (["1.png,a,b"], "file_name,label,label", r"column names \['label'\]"),
        (["1.png,a,b"], "file_name,label,path", r"has a column 'path'"),
    ],
)
def test_an_unsound_list_is_refused(root, lines, header, match):
    put(root, "1.png")
    listing(root, *lines, header=header)
    refused(root, match)


def test_images_that_are_not_listed_are_counted_and_named(root):
    put(root, "1.png", *(f"more/{n}.jpeg" for n in range(7)))
    listing(root, "1.png,a")
    refused(root, r"not listed in metadata\.csv; .*7 in all, the first: more/0\.jpeg, .*more/4\.jpeg\)")


def test_an_image_outside_every_class_folder_is_refused(root):
    put(root, "cat/1.png", "2.png")
    refused(root, r"2\.png lies in none")


def test_metadata_that_is_not_utf8_is_refused(root):
    put(root, "1.png")
    listing(root, "1.png,grün", encoding="latin-1")
    refused(root, r"is not UTF-8 \(byte 24\); save it again")


@pytest.mark.parametrize("name", ["../out.png", "/etc/passwd", "a/../../out.png", "", "link.png"])
def test_a_name_that_leaves_the_folder_is_refused(root, tmp_path, name):
    put(root, "1.png")
    put(tmp_path, "out.png")
    if name == "link.png":
        (root / name).symlink_to(tmp_path / "out.png")
    listing(root, "1.png,a", f"{name},b")
    refused(root, r"does not name a file below|is a link to a file outside")


def test_links_out_are_refused_without_metadata_too(root, tmp_path):
    put(root, "cat/1.png")
    put(tmp_path, "elsewhere/2.png")
    (root / "cat" / "2.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    refused(root, "is a link to a file outside")
    (root / "cat" / "2.png").unlink()
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    refused(root, "folders in .* are links to folders.*the first: dog")


def test_a_production_window_cannot_be_listed_as_labelled_data(root):
    put(root, "1.png", "production/2026-06-01/2.png")
    listing(root, "1.png,a", "production/2026-06-01/2.png,b")
    refused(root, "lie in a production window")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat/1.png", "cat/1.PNG"),
        ("cat/1.png", "Cat/2.png"),
        *[(unicodedata.normalize(f, "é/1.png"), "é/2.png") for f in ["NFD"]],
    ],
)
def test_names_that_are_one_name_on_other_systems_are_refused(root, one, other):
    put(root, one, other)
    refused(root, "differ only by case or Unicode form")
    listing(root, f"{one},a", f"{other},a")
    refused(root, "differ only by case or Unicode form")


def test_a_listed_name_in_another_unicode_form_says_which_file_there_is(root):
    put(root, unicodedata.normalize("NFD", "é.png"))
    listing(root, "é.png,a")
    refused(root, r"and not there; .*é\.png \(there is 'e\\u0301\.png'\)")


def test_a_file_name_that_is_no_text_is_refused(root):
    put(root, "cat/1.png")
    os.link(root / "cat" / "1.png", os.fsencode(root) + b"/cat/\xff.png")
    refused(root, r"a file whose name is not UTF-8: b'cat/\\xff\.png'")


def test_a_window_may_lack_labels_in_part_or_altogether(root):
    put(root, "1.png", "2.png")
    listing(root, "1.png,a", "2.png,")
    assert list(read_window(root)["label"]) == ["a", ""]
    listing(root, "1.png", "2.png", header="file_name")
    assert list(read_window(root)["label"]) == ["", ""]
    (root / "metadata.csv").unlink()
    assert list(read_window(root)["label"]) == ["", ""]


def test_a_window_is_as_strict_about_everything_else(root):
    put(root, "1.png", "2.png")
    listing(root, "1.png", header="file_name")
    refused(root, "not listed", reader=read_window)
    listing(root, "1.png, a", "2.png,a")
    refused(root, "begins or ends with a space", reader=read_window)


def test_every_file_is_measured_and_the_unreadable_one_keeps_its_row(image_folder):
    root = image_folder({"images/broken.png": ("a", b"")})
    measured = measure_folder(root, read_folder(root))
    assert list(measured.columns) == ["path", "label", *MEASURED]
    assert len(measured) == 13
    broken = measured.set_index("path").loc["images/broken.png"]
    assert broken["problem"].startswith("is empty")
    assert pd.isna(broken["width"])
    assert measured["sha256"].nunique() == 13


def test_a_column_that_keel_measures_cannot_come_with_the_data(root):
    put(root, "1.png")
    listing(root, "1.png,a,3", header="file_name,label,width")
    with pytest.raises(DataRejected, match=r"has the columns \['width'\], which Keel measures itself; rename"):
        measure_folder(root, read_folder(root))
