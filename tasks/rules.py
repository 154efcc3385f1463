"""The rules of the data contracts, each one expectation of Great Expectations.

Bounds and classes come from params.yaml and the project at run time; a name with a "$" stands for such a parameter.
Great Expectations skips empty cells, so a column that must be full has a rule of its own.
"""

import re
from dataclasses import dataclass
from typing import Any

from tasks.folders import MEASURED

LABELLED, SPLIT, WINDOW = "labelled", "split", "window"
LEARNT_AND_JUDGED = ("train", "calibration", "test")  # the splits that need every class


@dataclass(frozen=True)
class Rule:
    """One expectation: name, sentence, class in `great_expectations.expectations`, arguments ("$x": a parameter)."""

    name: str
    says: str
    expectation: str
    arguments: dict[str, Any]

    @property
    def parameters(self) -> set[str]:
        """The runtime parameters among the arguments."""
        return {value[1:] for value in self.arguments.values() if isinstance(value, str) and value.startswith("$")}

    @property
    def kind(self) -> str:
        """The expectation's name in Great Expectations' files and results."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.expectation).lower()


def _columns(*names: str) -> Rule:
    arguments = {"column_set": list(names), "exact_match": False}
    return Rule("columns", "every column is there", "ExpectTableColumnsToMatchSet", arguments)


def _rows(says: str, least: Any) -> Rule:
    return Rule("rows", says, "ExpectTableRowCountToBeBetween", _bounds(least))


def _filled(column: str) -> Rule:
    return Rule(
        f"{column} filled", f"every image has its {column}", "ExpectColumnValuesToNotBeNull", {"column": column}
    )


def _unique(column: str, says: str) -> Rule:
    return Rule(f"{column} unique", says, "ExpectColumnValuesToBeUnique", {"column": column})


def _among(column: str, says: str, values: Any) -> Rule:
    return Rule(column, says, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": values})


def _between(column: str, says: str, least: Any, most: Any = None) -> Rule:
    return Rule(column, says, "ExpectColumnValuesToBeBetween", {"column": column, **_bounds(least, most)})


def _bounds(least: Any, most: Any = None) -> dict[str, Any]:
    return {"min_value": least} | ({} if most is None else {"max_value": most})


IMAGES = (
    _columns("path", "label", "group", "consent", "licence", *MEASURED),
    _filled("path"),
    _unique("path", "no file is listed twice"),
    _filled("problem"),
    _among("problem", "every file is one whole still image that can be decoded", [""]),
    _between("width", "the width is {min_side} to {max_side} pixels", "$min_side", "$max_side"),
    _between("height", "the height is {min_side} to {max_side} pixels", "$min_side", "$max_side"),
    _among("mode", "the colour mode is one of {modes}", "$modes"),
    _between(
        "brightness",
        "the mean grey level is {min_brightness} to {max_brightness}: neither nearly black nor nearly white",
        *("$min_brightness", "$max_brightness"),
    ),
    _between("contrast", "the grey levels have a standard deviation of at least {min_contrast}", "$min_contrast"),
    _between(
        "sharpness",
        "the sharpness is {min_sharpness} to {max_sharpness}: neither blank nor pure static",
        *("$min_sharpness", "$max_sharpness"),
    ),
    _filled("sha256"),
    _unique("sha256", "no two files have the same content"),
    _filled("group"),
    _among("consent", "the consent is one of {consents}", "$consents"),
    _among("licence", "the licence is one of {licences}", "$licences"),
    _among("has_gps", "no file says where it was taken", [False]),
    _among("label", "every label is one of {classes}", "$classes"),
)
SUITES: dict[str, tuple[Rule, ...]] = {
    LABELLED: (
        _rows("there are at least {min_images} images", "$min_images"),
        *IMAGES,
        _filled("label"),
        Rule(
            "classes",
            "every one of the classes {classes} has images",
            "ExpectColumnDistinctValuesToContainSet",
            {"column": "label", "value_set": "$classes"},
        ),
        Rule(
            "number of classes",
            "there are at least {min_classes} classes",
            "ExpectColumnUniqueValueCountToBeBetween",
            {"column": "label", **_bounds("$min_classes")},
        ),
        _between("class_size", "a class has at least {min_images_per_class} images", "$min_images_per_class"),
    ),
    WINDOW: (_rows("there are at least {min_window_images} images", "$min_window_images"), *IMAGES),
    SPLIT: (
        _rows("there are images", 1),
        _columns("path", "label", "split", "group", "unit", "sha256"),
        *(_filled(column) for column in ("path", "label", "split", "group", "unit", "sha256")),
        _unique("path", "no image is dealt out twice"),
        _among("split", "the split is one of {splits}", "$splits"),
        _between("groups_splits", "a group lies in one split alone", 1, 1),
        _between("sha256_splits", "the same content lies in one split alone", 1, 1),
        _among("class_lacks", f"a class has images in each of {', '.join(LEARNT_AND_JUDGED)}", [""]),
        _between("test_groups", "the test split has at least {min_groups_per_split} groups", "$min_groups_per_split"),
    ),
}
