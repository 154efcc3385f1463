"""Files of weights: what is told apart before use, and what is built from them."""

import io
import struct

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from tasks.digests import sha256_file
from tasks.errors import BackboneRefused
from tasks.weights import check_weights, create_backbone, looks_like_pickle


def saved(path, architecture="test_resnet", seed=0, change=None, **options):
    """Weights of a network drawn from a seed, with its classifier, after `change(state)`."""
    torch.manual_seed(seed)
    state = timm.create_model(architecture, **options).state_dict()
    if change:
        change(state)
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    return path


def file_with_header_of(path, size):
    """A valid safetensors file whose header is exactly `size` bytes long."""
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(struct.pack("<Q", size) + header.ljust(size) + b"\0" * 4)
    return path


@pytest.mark.parametrize("new_zip", [True, False])
def test_both_forms_of_torch_save_are_told_as_pickles(tmp_path, new_zip):
    path = tmp_path / "model.safetensors"
    torch.save({"w": torch.zeros(1)}, path, _use_new_zipfile_serialization=new_zip)
    with pytest.raises(BackboneRefused, match="begins like a pickle or a zip of pickles"):
        check_weights(path, sha256_file(path), "backbone 'x'", "get another")


def test_a_header_of_640_bytes_is_no_pickle_although_its_first_bytes_are_those_of_one(tmp_path):
    path = file_with_header_of(tmp_path / "w.safetensors", 640)
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert not looks_like_pickle(path)
    check_weights(path, sha256_file(path), "backbone 'x'", "get another")


@pytest.mark.parametrize("content", [b"", b"{}", b"not weights at all", b"\xff" * 64])
def test_a_file_that_is_not_safetensors_is_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(BackboneRefused, match=r"not a valid safetensors file .*; get another"):
        check_weights(path, sha256_file(path), "backbone 'x'", "get another")


def test_a_pickle_behind_a_valid_file_is_refused(tmp_path):
    tail = io.BytesIO()
    torch.save({"w": 1}, tail)
    path = file_with_header_of(tmp_path / "w.safetensors", 80)
    path.write_bytes(path.read_bytes() + tail.getvalue())
    with pytest.raises(BackboneRefused, match="not a valid safetensors file"):
        check_weights(path, sha256_file(path), "backbone 'x'", "get another")


def test_a_file_without_tensors_is_refused(tmp_path):
    save_file({}, tmp_path / "w.safetensors")
    with pytest.raises(BackboneRefused, match="holds no tensor"):
        check_weights(tmp_path / "w.safetensors", sha256_file(tmp_path / "w.safetensors"), "backbone 'x'", "get it")


def test_the_body_is_loaded_and_the_classifier_is_fresh(tmp_path):
    path = saved(tmp_path / "w.safetensors", num_classes=7)
    net = create_backbone("test_resnet", path, num_classes=7)
    stored = load_file(path)
    state = net.state_dict()
    assert all(torch.equal(state[k], v) for k, v in stored.items() if not k.startswith("fc."))
    assert not torch.equal(state["fc.weight"], stored["fc.weight"])


def test_half_precision_becomes_float32_and_counts_stay_whole_numbers(tmp_path):
    def halve(state):
        state.update({k: v.half() for k, v in state.items() if v.is_floating_point()})

    net = create_backbone("test_resnet", saved(tmp_path / "w.safetensors", change=halve), num_classes=3)
    assert {v.dtype for v in net.state_dict().values()} == {torch.float32, torch.int64}
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_without_weights_the_network_comes_from_the_seed_alone():
    torch.manual_seed(1)
    first = create_backbone("test_resnet", None, num_classes=2).state_dict()
    torch.manual_seed(1)
    second = create_backbone("test_resnet", None, num_classes=2).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("conv1.0.weight"), "1 missing, such as conv1.0.weight"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 unexpected, such as extra"),
        (lambda s: s.update({"bn1.weight": torch.zeros(5)}), "1 of another shape, such as bn1.weight"),
        (lambda s: s["bn1.weight"].fill_(float("nan")), "1 not finite, such as bn1.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_the_name_of_a_tensor(tmp_path, change, match):
    path = saved(tmp_path / "w.safetensors", change=change)
    with pytest.raises(BackboneRefused, match=f"do not fit ResNet as built: tensors {match}"):
        create_backbone("test_resnet", path, num_classes=3)


def test_counts_of_batches_may_be_missing(tmp_path):
    def forget(state):
        for key in [k for k in state if k.endswith("num_batches_tracked")]:
            del state[key]

    create_backbone("test_resnet", saved(tmp_path / "w.safetensors", change=forget), num_classes=3)


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext", "test_efficientnet"])
def test_other_families_load_their_bodies_too(tmp_path, architecture):
    path = saved(tmp_path / "w.safetensors", architecture)
    net = create_backbone(architecture, path, num_classes=4)
    assert net(torch.zeros(1, 3, 160, 160)).shape == (1, 4)


def test_a_transformer_takes_another_image_size(tmp_path):
    path = saved(tmp_path / "w.safetensors", "test_vit")
    net = create_backbone("test_vit", path, num_classes=4, img_size=64)
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
