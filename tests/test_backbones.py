"""The catalogue's policy: every way to be refused, and the real catalogue's own facts."""

import datetime as dt
import hashlib
import json
import pickle
from pathlib import Path

import pytest
import timm
import torch
import yaml
from loopback_hub import REPOSITORY, REVISION, running_hub
from packaging.licenses import canonicalize_license_expression
from safetensors.torch import save_file
from timm.models import get_pretrained_cfg, model_entrypoint

from tasks.backbones import Hub, admit, fetch_weights, input_facts, load_catalogue
from tasks.digests import sha256_file
from tasks.errors import BackboneRefused, BadInput

TODAY = dt.date(2026, 11, 23)
CATALOGUE = Path("governance/backbones.yaml")
POLICY = {"licences": ["Apache-2.0", "MIT"], "formats": ["safetensors"]}
ENTRY = {
    "name": "tiny",
    "architecture": "test_resnet",
    "weights": {"file": "backbones/tiny.safetensors"},
    "sha256": "0" * 64,
    "licence": "Apache-2.0",
    "parameters": 372688,
    "training_data": "none: random weights",
    "intended_use": ["tests"],
    "excluded_use": ["anything else"],
    "limitations": ["knows nothing"],
    "biases": ["none learned"],
    "risks": ["none"],
    "rationale": "small",
    "steward": "tester",
    "review_by": dt.date(2027, 1, 1),
    "citations": ["nobody 2026"],
    "attribution": "by nobody",
}


def catalogue(root, **changes):
    """A catalogue of one entry in a file; a change to None drops the key, or unpins the sha256."""
    entry = {k: v for k, v in {**ENTRY, **changes}.items() if v is not None or k == "sha256"}
    path = root / "backbones.yaml"
    path.write_text(yaml.safe_dump({"policy": POLICY, "backbones": [entry]}), encoding="utf-8")
    return load_catalogue(path)


def tiny_weights(path, seed=0, drop=(), dtype=torch.float32, **options):
    """Real weights of timm's smallest ResNet, random from a seed; the sha256 of the file."""
    torch.manual_seed(seed)
    state = timm.create_model("test_resnet", num_classes=0, **options).state_dict()
    kept = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items() if k not in drop}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, path)
    return sha256_file(path)


def admitted(root, **changes):
    return admit("tiny", catalogue(root, **changes), TODAY)


def refused(match):
    return pytest.raises(BackboneRefused, match=match)


def test_an_admitted_file_is_fetched_once_its_hash_matches(tmp_path):
    sha256 = tiny_weights(tmp_path / "backbones/tiny.safetensors")
    path = fetch_weights(admitted(tmp_path, sha256=sha256), tmp_path / "cache", tmp_path)
    assert path == tmp_path / "backbones/tiny.safetensors"


def test_a_passport_that_lies_about_the_size_is_refused(tmp_path):
    sha256 = tiny_weights(tmp_path / "backbones/tiny.safetensors")
    with refused("says 5 parameters, test_resnet has 372688 without its classifier; correct the entry"):
        fetch_weights(admitted(tmp_path, sha256=sha256, parameters=5), tmp_path / "cache", tmp_path)


def test_an_unlisted_backbone_is_refused_with_the_names_that_are_listed(tmp_path):
    with refused(r"'huge' is not listed in .*backbones\.yaml; it lists tiny;"):
        admit("huge", catalogue(tmp_path), TODAY)


@pytest.mark.parametrize(
    ("licence", "match"),
    [
        (None, "has no licence; .*allows Apache-2.0, MIT"),
        ("cvnets-license", "'cvnets-license', which is no SPDX identifier"),
        ("CC-BY-NC-4.0", "'CC-BY-NC-4.0', which is not allowed; .*allows Apache-2.0, MIT"),
        ("Apache-2.0 OR GPL-3.0-only", "which is not allowed"),
    ],
)
def test_a_licence_that_is_missing_unknown_or_not_allowed_is_refused(tmp_path, licence, match):
    with refused(match):
        admitted(tmp_path, licence=licence)


def test_a_licence_is_recognised_in_any_case(tmp_path):
    assert admitted(tmp_path, licence="apache-2.0").licence == "apache-2.0"


def test_a_review_holds_on_its_last_day_and_is_overdue_on_the_next(tmp_path):
    book = catalogue(tmp_path, review_by=TODAY)
    assert admit("tiny", book, TODAY).name == "tiny"
    with refused(r"was to be reviewed by 2026-11-23 and today is 2026-11-24; its steward \(tester\)"):
        admit("tiny", book, TODAY + dt.timedelta(days=1))


def test_a_branch_name_is_no_pin(tmp_path):
    with refused("has revision 'main', a name that can move, not a full commit hash"):
        admitted(tmp_path, weights={"hub": REPOSITORY, "revision": "main"})


@pytest.mark.parametrize(("revision", "sha256"), [(None, "0" * 64), (REVISION, None)])
def test_an_unpinned_entry_is_refused_with_the_command_that_pins_it(tmp_path, revision, sha256):
    with refused("is not pinned: run `python -m tasks pin_backbone name=tiny` on a machine"):
        admitted(tmp_path, weights={"hub": REPOSITORY, "revision": revision}, sha256=sha256)


@pytest.mark.parametrize("architecture", ["test_resnett", "resnet18.no_such_tag"])
def test_an_architecture_that_timm_does_not_know_is_refused(tmp_path, architecture):
    with refused(rf"knows no .*'{architecture}'"):
        admitted(tmp_path, architecture=architecture)


def test_a_missing_file_is_refused_with_the_command_that_brings_it(tmp_path):
    with refused(r"tiny\.safetensors is not there; run `dvc pull`"):
        fetch_weights(admitted(tmp_path), tmp_path, tmp_path)


def test_a_file_with_another_hash_is_refused(tmp_path):
    sha256 = tiny_weights(tmp_path / "backbones/tiny.safetensors")
    with refused(f"has sha256 {sha256}, the catalogue records {'0' * 64}; run `dvc pull`"):
        fetch_weights(admitted(tmp_path), tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["w.bin", "w.pt", "w.pth", "w.ckpt", "w.pkl"])
def test_a_pickle_by_name_is_refused_before_it_is_read(tmp_path, name):
    with refused(f"'{name}' is a pickle by its name"):
        fetch_weights(admitted(tmp_path, weights={"file": name}), tmp_path, tmp_path)


def test_a_name_of_another_format_is_refused(tmp_path):
    with refused(r"'w\.h5' is not a \.safetensors file"):
        fetch_weights(admitted(tmp_path, weights={"file": "w.h5"}), tmp_path, tmp_path)


def test_a_parameter_count_is_that_of_the_architecture_without_its_classifier():
    for entry in load_catalogue(CATALOGUE).entries.values():
        with torch.device("meta"):
            net = timm.create_model(entry.architecture, pretrained=False, num_classes=0)
        assert sum(p.numel() for p in net.parameters()) == entry.parameters, entry.name


def test_an_unknown_key_and_an_unknown_kind_of_origin_are_errors_that_name_them(tmp_path):
    with pytest.raises(BadInput, match=r"backbones\.0\.lisence: Extra inputs"):
        catalogue(tmp_path, lisence="MIT")
    with pytest.raises(BadInput, match=r"weights\.file\.url: Extra inputs"):
        catalogue(tmp_path, weights={"file": "a.safetensors", "url": "http://somewhere"})
    with pytest.raises(BadInput, match=r"weights\.hub\.folder: Extra inputs"):
        catalogue(tmp_path, weights={"hub": "a/b", "revision": None, "folder": "c"})


def test_a_key_or_a_name_given_twice_is_an_error(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("policy: {licences: [MIT], formats: [safetensors]}\npolicy: {}\nbackbones: []\n")
    with pytest.raises(BadInput, match='duplicate key "policy"'):
        load_catalogue(path)
    path.write_text(yaml.safe_dump({"policy": POLICY, "backbones": [ENTRY, ENTRY]}))
    with pytest.raises(BadInput, match="lists tiny more than once"):
        load_catalogue(path)


def test_a_missing_fact_is_an_error_that_names_it(tmp_path):
    with pytest.raises(BadInput, match=r"backbones\.0\.biases: Field required"):
        catalogue(tmp_path, biases=None)


def test_a_local_folder_is_used_when_its_configuration_names_the_architecture(tmp_path):
    folder = tmp_path / "saved"
    sha256 = tiny_weights(folder / "model.safetensors")
    entry = admitted(tmp_path, weights={"folder": str(folder)}, sha256=sha256)
    with refused(r"config\.json does not say which architecture it is \(FileNotFoundError\)"):
        fetch_weights(entry, tmp_path)
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    with refused("says architecture 'resnet18', the catalogue says 'test_resnet'"):
        fetch_weights(entry, tmp_path)
    (folder / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    assert fetch_weights(entry, tmp_path) == folder / "model.safetensors"


def test_a_folder_as_timm_saves_it_is_accepted(tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=5)
    timm.models.save_for_hf(net, tmp_path / "saved", safe_serialization=True)
    sha256 = sha256_file(tmp_path / "saved/model.safetensors")
    entry = admitted(tmp_path, weights={"folder": "saved"}, sha256=sha256)
    assert fetch_weights(entry, tmp_path, tmp_path).is_file()


def test_weights_of_another_architecture_are_refused(tmp_path):
    sha256 = tiny_weights(tmp_path / "backbones/tiny.safetensors")
    entry = admitted(tmp_path, sha256=sha256, architecture="resnet10t")
    with refused("do not fit ResNet as built: tensors 6 unexpected, such as .*; 70 of another shape, such as "):
        fetch_weights(entry, tmp_path, tmp_path)


@pytest.fixture
def hub(monkeypatch):
    with running_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


def from_hub(hub, root, content, sha256=None):
    hub.files["model.safetensors"] = content
    sha256 = sha256 or hashlib.sha256(content).hexdigest()
    entry = admitted(root, weights={"hub": REPOSITORY, "revision": REVISION}, sha256=sha256)
    return fetch_weights(entry, root / "cache", timeout=2.0)


def test_good_weights_of_a_hub_are_fetched_and_verified(hub, tmp_path):
    tiny_weights(tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    assert from_hub(hub, tmp_path, content).read_bytes() == content


def test_other_weights_than_the_recorded_ones_are_refused(hub, tmp_path):
    tiny_weights(tmp_path / "w.safetensors")
    with refused(f"the catalogue records {'1' * 64}; delete it and fetch it again"):
        from_hub(hub, tmp_path, (tmp_path / "w.safetensors").read_bytes(), sha256="1" * 64)


def test_a_pickle_under_the_name_of_safetensors_is_refused_even_with_the_recorded_hash(hub, tmp_path):
    with refused("begins like a pickle"):
        from_hub(hub, tmp_path, pickle.dumps({"weights": [1.0]}))


def test_what_a_hub_does_not_have_is_refused(hub, tmp_path):
    with refused("answered 404"):
        fetch_weights(admitted(tmp_path, weights={"hub": REPOSITORY, "revision": REVISION}), tmp_path, timeout=2.0)


def test_mean_and_std_of_the_entry_come_before_those_of_timm(tmp_path):
    facts = input_facts(admitted(tmp_path, mean=[0.1, 0.2, 0.3]))
    assert facts["mean"] == [0.1, 0.2, 0.3]
    assert facts["std"] == [0.5, 0.5, 0.5]
    assert facts["input_size"] == [3, 160, 160]


def test_every_listed_backbone_is_admitted_on_the_day_of_writing():
    book = load_catalogue(CATALOGUE)
    assert {admit(name, book, TODAY).name for name in book.entries} == set(book.entries)
    for entry in book.entries.values():
        assert entry.steward, entry.name
        assert entry.review_by > TODAY, entry.name


def test_every_hub_entry_agrees_with_timm_on_licence_and_repository():
    entries = [e for e in load_catalogue(CATALOGUE).entries.values() if isinstance(e.weights, Hub)]
    assert len(entries) >= 5
    for entry in entries:
        cfg = get_pretrained_cfg(entry.architecture)
        assert (canonicalize_license_expression(cfg.license), cfg.hf_hub_id) == (entry.licence, entry.weights.hub)
        assert (cfg.architecture, cfg.tag) == tuple(entry.architecture.split(".", maxsplit=1))


def test_the_hub_entries_are_of_at_least_five_families():
    book = load_catalogue(CATALOGUE)
    modules = {model_entrypoint(e.architecture.split(".")[0]).__module__ for e in book.entries.values()}
    assert len(modules) >= 5, modules
