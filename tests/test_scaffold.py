"""A new image folder gets a project file that says what was found in it."""

import shutil
from pathlib import Path

import pytest
import yaml

from tasks.errors import BadInput, DataRejected
from tasks.scaffold import project_for

HERE = Path.cwd()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "governance/projects").mkdir(parents=True)
    shutil.copy(HERE / "governance/plan.yaml", tmp_path / "governance/plan.yaml")
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


def test_capture_days_make_a_mirror_when_there_is_no_device(checkout: Path) -> None:
    rows = [f"{i}.png,cat,2026-01-0{1 + i}" for i in range(5)]
    about = project_for("pets", folder(checkout, "file_name,label,captured_at", *rows))
    assert about.mirror is not None
    assert about.mirror.latest == 0.2


def test_without_a_mirror_its_criteria_are_listed_with_the_reason(checkout: Path) -> None:
    about = project_for("pets", folder(checkout, "file_name,label", "a.png,cat", "b.png,dog"))
    assert about.mirror is None
    plan = yaml.safe_load(Path("governance/plan.yaml").read_text())
    wanted = {c["name"] for c in plan["criteria"] if c["slice"].startswith("mirror")}
    assert set(about.not_applicable) == wanted
    assert all(about.not_applicable.values())


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
