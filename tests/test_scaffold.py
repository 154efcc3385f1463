"""A new image folder gets a project file that says what was found in it."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tasks.errors import BadInput, DataRejected
from tasks.gate import judge_report
from tasks.plan import load_plan
from tasks.project import Mirror
from tasks.scaffold import project_for

HERE = Path.cwd()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "governance/projects").mkdir(parents=True)
    for name in ("plan.scaffold.yaml", "watch.scaffold.yaml"):
        shutil.copy(HERE / "governance" / name, tmp_path / "governance")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folder(root: Path, header: str, *rows: str) -> Path:
    (root / "pets").mkdir()
    (root / "pets/metadata.csv").write_text("\n".join([header, *rows]) + "\n")
    for row in rows:
        (root / "pets" / row.split(",")[0]).touch()
    return root / "pets"


def test_group_slices_and_mirror_are_read_off_the_columns(checkout: Path) -> None:
    rows = [f"{i}.png,cat,s{i // 2},{'old' if i < 2 else 'new'},free text {i}" for i in range(20)]
    about = project_for("pets", folder(checkout, "file_name,label,subject,device,comment", *rows))
    assert (about.group, about.slices) == ("subject", ["device"])
    assert about.mirror is not None
    assert (about.mirror.column, about.mirror.values) == ("device", ["old"])
    written = yaml.safe_load(Path("governance/projects/pets.yaml").read_text())
    assert (written["name"], written["data"]) == ("pets", "pets")  # below the checkout: the same on every machine


def test_annotators_are_no_slices(checkout: Path) -> None:
    rows = [f"{i}.png,cat,{'cat' if i % 3 else 'dog'},{'new' if i % 2 else 'old'}" for i in range(20)]
    about = project_for("pets", folder(checkout, "file_name,label,annotator_1,device", *rows))
    assert about.slices == ["device"]


def test_capture_days_make_a_mirror_when_there_is_no_device(checkout: Path) -> None:
    rows = [f"{i}.png,cat,2026-01-0{1 + i}" for i in range(5)]
    about = project_for("pets", folder(checkout, "file_name,label,captured_at", *rows))
    assert about.mirror is not None
    assert about.mirror.latest == 0.2


def test_without_a_mirror_its_criteria_are_listed_with_the_reason(checkout: Path) -> None:
    about = project_for("pets", folder(checkout, "file_name,label", "a.png,cat", "b.png,dog"))
    assert about.mirror is None
    wanted = {c.name for c in load_plan(about.plan).criteria if c.slice.startswith("mirror")}
    assert set(about.not_applicable) == wanted
    assert set(about.not_applicable.values()) == {
        "this data shows no second device, site or day to mirror the place of deployment with"
    }


def test_new_project_gets_a_plan_of_its_own_that_asks_only_for_what_the_data_have(checkout: Path) -> None:
    rows = [f"{i}.png,{'cat' if i % 2 else 'dog'},s{i // 2},{'old' if i < 4 else 'new'},{i % 3}" for i in range(40)]
    about = project_for("pets", folder(checkout, "file_name,label,subject,device,condition", *rows))
    plan = load_plan(about.plan)
    assert about.plan == Path("governance/plans/pets.yaml")
    assert about.not_applicable == {}
    assert {c.slice for c in plan.criteria if "=" in c.slice} == {
        *("test/label=*", "test/device=*", "test/condition=*"),
    }
    text = about.plan.read_text()
    assert not re.search("digit|form|sums|desk|scan", text)


def test_plan_that_nobody_has_set_says_so_in_the_plan_and_in_every_verdict(checkout: Path) -> None:
    about = project_for("pets", folder(checkout, "file_name,label", "a.png,cat", "b.png,dog"))
    plan = load_plan(about.plan)
    assert all(c.reason.startswith("To be set by the owner.") for c in plan.criteria)
    assert "Not stated yet" in plan.use_case
    ending = "; the plan is a scaffold, whose bounds its owner has yet to set"
    assert judge_report([], plan, about.not_applicable).sentence.endswith(ending)
    about.plan.write_text(about.plan.read_text().replace("scaffold: true\n", ""))
    assert ending not in judge_report([], load_plan(about.plan), about.not_applicable).sentence


def test_plan_that_is_there_already_is_kept(checkout: Path) -> None:
    Path("governance/plans").mkdir()
    Path("governance/plans/pets.yaml").write_text("mine")
    project_for("pets", folder(checkout, "file_name,label", "a.png,cat", "b.png,dog"))
    assert Path("governance/plans/pets.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("subject", "device", "label"),
    [
        pytest.param(lambda i: i % 5, lambda i: i < 4, lambda i: i % 2, id="a subject has both devices"),
        pytest.param(lambda i: i // 2, lambda i: i < 8, lambda i: i < 10, id="too little of a class elsewhere"),
    ],
)
def test_column_that_would_make_the_first_release_fail_is_no_mirror(
    checkout: Path, subject: Callable[[int], int], device: Callable[[int], bool], label: Callable[[int], int]
) -> None:
    rows = [f"{i}.png,{label(i):d},s{subject(i)},{device(i):d}" for i in range(40)]
    about = project_for("pets", folder(checkout, "file_name,label,subject,device", *rows))
    assert about.mirror is None
    assert all(reason.startswith("device cannot mirror it: a group") for reason in about.not_applicable.values())


def test_next_column_is_taken_where_the_first_cannot_be(checkout: Path) -> None:
    rows = [f"{i}.png,{i % 2},s{i % 20},{i < 4:d},{'xyz'[min(i % 20 // 6, 2)]}" for i in range(40)]
    about = project_for("pets", folder(checkout, "file_name,label,subject,device,site", *rows))
    assert about.mirror == Mirror(column="site", values=["x"])


def test_days_that_are_no_dates_are_no_mirror(checkout: Path) -> None:
    rows = [f"{i}.png,cat,{1 + i}/1/2024" for i in range(9)]
    about = project_for("pets", folder(checkout, "file_name,label,captured_at", *rows))
    assert about.mirror is None
    assert "captured_at cannot mirror it" in about.not_applicable["mirror-accuracy"]


def test_a_person_s_corrections_are_kept(checkout: Path) -> None:
    data = folder(checkout, "file_name,label", "a.png,cat", "b.png,dog")
    project_for("pets", data)
    file = Path("governance/projects/pets.yaml")
    file.write_text(file.read_text() + "classes: [cat, dog]\n")
    assert project_for("pets", data).classes == ["cat", "dog"]


def test_project_and_data_that_do_not_belong_together_are_refused(checkout: Path) -> None:
    project_for("pets", folder(checkout, "file_name,label", "a.png,cat"))
    (checkout / "other").mkdir()
    with pytest.raises(BadInput, match=r"project pets reads .*pets, not .*other; change `data` in"):
        project_for("pets", checkout / "other")


def test_unknown_project_says_which_there_are(checkout: Path) -> None:
    project_for("pets", folder(checkout, "file_name,label", "a.png,cat"))
    with pytest.raises(BadInput, match=r"there is no project 'cars' .*\(there are: pets\).*--data DIR"):
        project_for("cars", None)


@pytest.mark.parametrize("name", ["Pets", "my pets", "../pets", "9lives", ""])
def test_name_that_cannot_be_one_is_refused(checkout: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot name a project; take small letters"):
        project_for(name, folder(checkout, "file_name,label", "a.png,cat"))
    assert not list(Path("governance/projects").iterdir())


@pytest.mark.parametrize("content", [b"file_name,label\n", b"file_name,label\nlost.png,cat\n", b"\xff\xfe"])
def test_folder_that_cannot_be_read_leaves_no_project_behind(checkout: Path, content: bytes) -> None:
    folder(checkout, "file_name,label")
    Path("pets/metadata.csv").write_bytes(content)
    with pytest.raises(DataRejected):
        project_for("pets", checkout / "pets")
    assert not Path("governance/projects/pets.yaml").exists()
