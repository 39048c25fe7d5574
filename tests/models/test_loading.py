"""Loading networks: bundled, from timm, and a user's own; and weights that do or do not fit."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from landscape.errors import UserError
from landscape.images import load_images
from landscape.models import list_models, load_model
from landscape.models.bundled import BUNDLED, training_record_path, weights_path

ROOT = Path(__file__).parents[2]

USER_FILE = """
import torch
from torch import nn
from neighbour import CLASSES

class Net(nn.Module):
    def __init__(self, size=8):
        super().__init__()
        self.bn = nn.BatchNorm2d(1)
        self.fc = nn.Linear(size * size, CLASSES)
        self.pretrained_cfg = {"input_size": (1, size, size), "mean": (0.5,), "std": (0.25,)}
    def forward(self, x):
        return self.fc(self.bn(x).flatten(1))

def net():
    return Net().train()

def large():
    return Net(500)

def pair():
    net = Net()
    net.forward = lambda x: (x, x)
    return net

def fails():
    raise RuntimeError("out of luck\\nsecond line")

def text():
    return "no network"

def leaves():
    raise SystemExit(0)

ready = Net()

number = 3
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("CLASSES = 7\n")
    path = tmp_path / "nets.py"
    path.write_text(USER_FILE)
    return path


def user_error(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_model(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def top1(name: str, *, data: Path | None = None, **options: Any) -> float:
    """Float32 top-1 in percent on all test images."""
    model = load_model(name, **options)
    images = load_images(data, "val", None, 0, model.preprocessing, model.num_classes)
    correct = 0
    for start in range(0, len(images), 100):
        batch = slice(start, start + 100)
        with torch.no_grad():
            correct += int((model.module(images.normalized(batch)).argmax(1) == images.labels[batch]).sum())
    return 100 * correct / len(images)


@pytest.mark.parametrize("name", list(BUNDLED))
def test_bundled_networks_are_above_97_percent_and_as_accurate_as_recorded(name):
    record = json.loads(training_record_path(name).read_text())
    accuracy = top1(name)
    assert accuracy > 97
    assert accuracy == pytest.approx(record["test_accuracy"], abs=0.13)  # one of 797 may flip with another CPU


@pytest.mark.parametrize("name", list(BUNDLED))
def test_bundled_weights_stay_below_a_megabyte(name):
    assert weights_path(name).stat().st_size < 1e6


@pytest.mark.parametrize("name", list(BUNDLED))
def test_bundled_networks_are_not_so_sure_that_the_test_loss_vanishes(name):
    model = load_model(name)
    images = load_images(None, "val", None, 0, model.preprocessing, model.num_classes)
    with torch.no_grad():
        losses = nn.functional.cross_entropy(model.module(images.normalized()), images.labels, reduction="none")
    assert losses.median() > 0.01
    assert losses.mean() < 0.3


def test_every_block_of_the_bundled_transformer_matters():
    model = load_model("digits_vit")
    images = load_images(None, "val", None, 0, model.preprocessing, model.num_classes)
    inputs = images.normalized()
    blocks = model.module.get_submodule("blocks")
    assert isinstance(blocks, nn.Sequential)
    assert len(blocks) >= 8

    with torch.no_grad():
        whole = model.module(inputs)
        for index, block in enumerate(blocks):
            blocks[index] = nn.Identity()
            change = (model.module(inputs) - whole).square().mean() / whole.square().mean()
            blocks[index] = block
            assert change.sqrt() > 0.1, f"without block {index}"


def test_a_loaded_network_is_frozen_in_eval_mode_and_float32(user_file):
    module = load_model(f"{user_file}:net").module
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_the_hash_covers_sorted_names_and_bytes_and_changes_with_one_bit(tmp_path):
    state = load_file(weights_path("digits_cnn"))
    expected = hashlib.sha256()
    for name in sorted(state):
        expected.update(name.encode() + b"\0" + state[name].numpy().tobytes())
    assert load_model("digits_cnn").weights_sha256 == expected.hexdigest()
    state["head.bias"][0] += 1e-7
    save_file(state, tmp_path / "changed.safetensors")
    assert load_model("digits_cnn", tmp_path / "changed.safetensors").weights_sha256 != expected.hexdigest()


def test_the_list_describes_the_bundled_networks():
    listed = {entry.name: entry for entry in list_models()}
    assert set(listed) == set(BUNDLED)
    for name, entry in listed.items():
        assert entry.parameters == sum(parameter.numel() for parameter in BUNDLED[name]().parameters())
        assert entry.test_accuracy > 97


def test_a_timm_network_has_reproducible_random_weights_and_says_so():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second = load_model("mobilenetv3_small_050"), load_model("mobilenetv3_small_050")
    assert (first.source, first.weights, first.num_classes) == ("timm", "random", 1000)
    assert first.weights_sha256 == second.weights_sha256
    assert torch.equal(torch.get_rng_state(), state)


def test_a_folder_in_timms_format_is_a_network_of_timm(tmp_path):
    saved = timm.create_model("test_vit", num_classes=7)
    timm.models.save_for_hf(saved, str(tmp_path / "saved"), model_config={"num_classes": 7})
    loaded = load_model(f"local-dir:{tmp_path}/saved", pretrained=True)
    assert (loaded.source, loaded.num_classes) == ("timm", 7)
    for name, weight in saved.state_dict().items():
        assert torch.equal(loaded.module.state_dict()[name], weight)
    with pytest.raises(UserError, match="timm cannot make local-dir:"):
        load_model(f"local-dir:{tmp_path}/none")


def test_a_timm_network_brings_its_own_preprocessing():
    preprocessing = load_model("deit_tiny_patch16_224").preprocessing
    assert (preprocessing.size, preprocessing.resize, preprocessing.crop) == (224, 248, 224)
    assert preprocessing.interpolation == "bicubic"
    assert load_model("deit_tiny_patch16_224", resize="none").preprocessing.resize is None


def test_a_users_factory_is_loaded_with_its_neighbours_and_its_preprocessing(user_file):
    model = load_model(f"{user_file}:net")
    assert (model.source, model.weights, model.num_classes) == ("user", "factory", 7)
    preprocessing = model.preprocessing
    assert (preprocessing.size, preprocessing.channels, preprocessing.mean, preprocessing.std) == (
        8,
        1,
        (0.5,),
        (0.25,),
    )


def test_a_users_module_is_loaded_from_the_current_directory(user_file, monkeypatch):
    user_file.rename(user_file.with_name("nets_as_a_module.py"))
    monkeypatch.chdir(user_file.parent)
    assert load_model("nets_as_a_module:net").num_classes == 7


def test_timms_own_config_object_is_understood(user_file):
    user_file.write_text(
        "import timm\ndef net():\n"
        "    net = timm.create_model('resnet10t', num_classes=5)\n"
        "    net.pretrained_cfg = timm.models.PretrainedCfg(input_size=(3, 64, 64), mean=(0.5,) * 3, crop_pct=0.8)\n"
        "    return net\n"
    )
    model = load_model(f"{user_file}:net")
    assert model.num_classes == 5
    assert (model.preprocessing.size, model.preprocessing.resize) == (64, 80)
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)


def test_an_unknown_name_gets_near_matches():
    assert "deit_tiny_patch16_224" in user_error("deit_tiny_patch_16_224")
    assert "digits_vit" in user_error("digit_vit")
    assert "landscape models" in user_error("zzzzzzzz")


def test_an_input_size_that_does_not_suit_the_network_is_refused():
    message = user_error("deit_tiny_patch16_224", resize="none", crop=192)
    assert "deit_tiny_patch16_224 cannot take 192x192 colour images" in message


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("missing", "has no function 'missing'; it has Net, net, large, pair, fails, text, leaves"),
        ("number", "has no function 'number'"),
        ("fails", "RuntimeError: out of luck"),
        ("text", "returned str"),
        ("leaves", 'SystemExit); keep what runs a script below if __name__ == "__main__"'),
        ("ready", "is a network itself; name a function without arguments that returns it"),
        ("pair", "gives tuple for one image"),
    ],
)
def test_a_factory_that_does_not_work_is_told_in_one_line(user_file, factory, message):
    assert message in user_error(f"{user_file}:{factory}")


def test_a_missing_or_broken_user_file_or_module_is_told(tmp_path):
    assert "there is no file" in user_error(f"{tmp_path}/none.py:net")
    assert "no_such_module" in user_error("no_such_module:net")
    (tmp_path / "broken.py").write_text("def net(:\n")
    assert "cannot be imported: SyntaxError" in user_error(f"{tmp_path}/broken.py:net")


def test_a_script_that_reads_its_arguments_does_not_end_the_program(tmp_path, monkeypatch):
    script = "import argparse\nargparse.ArgumentParser().parse_args()\ndef net(): ...\n"
    (tmp_path / "train_script.py").write_text(script)
    monkeypatch.setattr("sys.argv", ["landscape", "--model", "train_script.py:net"])
    monkeypatch.chdir(tmp_path)
    for place in ("train_script.py", "train_script"):
        assert f"{place}" in user_error(f"{place}:net") and "SystemExit" in user_error(f"{place}:net")


@pytest.mark.parametrize("form", ["safetensors", "bare.pt", "state_dict.pth", "model.pth", "parallel.pt"])
def test_a_weight_file_in_any_usual_form_is_read(user_file, tmp_path, form):
    source = load_model(f"{user_file}:net").module
    state = {name: torch.rand_like(value) if value.is_floating_point() else value for name, value in
             source.state_dict().items()}  # fmt: skip
    path = tmp_path / f"weights.{form}"
    if form == "safetensors":
        save_file(state, path)
    else:
        prefixed = {f"module.{name}": value for name, value in state.items()}
        content = {"bare.pt": state, "parallel.pt": {"state_dict": prefixed}}
        torch.save(content.get(form, {form.split(".")[0]: state, "epoch": 3}), path)
    model = load_model(f"{user_file}:net", path)
    assert model.weights == str(path)
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_the_batch_counter_may_be_missing(user_file, tmp_path):
    state = load_model(f"{user_file}:net").module.state_dict()
    del state["bn.num_batches_tracked"]
    save_file(state, tmp_path / "w.safetensors")
    assert load_model(f"{user_file}:net", tmp_path / "w.safetensors").num_classes == 7


def test_names_that_differ_are_counted_and_the_first_is_named(user_file, tmp_path):
    state = load_model(f"{user_file}:net").module.state_dict()
    state["extra"] = state.pop("bn.running_mean").clone()
    state["extra2"] = state.pop("bn.bias").clone()
    save_file(state, tmp_path / "w.safetensors")
    message = user_error(f"{user_file}:net", tmp_path / "w.safetensors")
    assert "2 missing, first bn.bias; 2 unexpected, first extra" in message


def test_another_class_count_is_told_with_both_numbers(user_file, tmp_path):
    state = load_model(f"{user_file}:net").module.state_dict()
    state["fc.weight"], state["fc.bias"] = torch.zeros(12, 64), torch.zeros(12)
    save_file(state, tmp_path / "w.safetensors")
    message = user_error(f"{user_file}:net", tmp_path / "w.safetensors")
    assert "the file has 12 classes, the network 7" in message
    assert "2 of another shape, first fc.weight ((12, 64) in the file, (7, 64) in the network)" in message


def test_another_width_is_not_mistaken_for_another_class_count(user_file, tmp_path):
    state = load_model(f"{user_file}:net").module.state_dict()
    state["fc.weight"] = torch.zeros(7, 65)
    save_file(state, tmp_path / "w.safetensors")
    message = user_error(f"{user_file}:net", tmp_path / "w.safetensors")
    assert "classes" not in message
    assert "1 of another shape, first fc.weight" in message


class Dangerous:
    """Unpickling this would create a file; it must not be run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_is_not_plain_tensors_is_refused_and_not_run(tmp_path):
    trap = tmp_path / "was_run"
    torch.save({"state_dict": Dangerous(trap)}, tmp_path / "w.pt")
    assert "only tensors are read" in user_error("digits_cnn", tmp_path / "w.pt")
    torch.save(BUNDLED["digits_cnn"](), tmp_path / "module.pt")
    assert "only tensors are read" in user_error("digits_cnn", tmp_path / "module.pt")
    assert not trap.exists()


def test_files_that_hold_no_weights_are_told(tmp_path):
    assert "there is no weight file" in user_error("digits_cnn", tmp_path / "none.pt")
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    assert "not a readable safetensors file" in user_error("digits_cnn", tmp_path / "w.safetensors")
    (tmp_path / "w.pt").write_bytes(b"nonsense")
    assert "only tensors are read" in user_error("digits_cnn", tmp_path / "w.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    assert "holds 'epoch' of type int" in user_error("digits_cnn", tmp_path / "epoch.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    assert "holds no tensors by name" in user_error("digits_cnn", tmp_path / "tensor.pt")


def test_weights_that_give_no_finite_logits_are_refused(tmp_path):
    state = load_file(weights_path("digits_cnn"))
    state["head.bias"][2] = float("nan")
    save_file(state, tmp_path / "w.safetensors")
    assert "not finite" in user_error("digits_cnn", tmp_path / "w.safetensors")


def test_pretrained_without_a_connection_names_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    message = user_error("mobilenetv3_small_050", pretrained=True)
    assert "no pretrained weights for mobilenetv3_small_050" in message
    assert "--weights" in message


def test_pretrained_is_refused_with_a_file_and_for_networks_that_are_not_timms(user_file, tmp_path):
    assert "choose one" in user_error("resnet18", tmp_path / "w.pt", pretrained=True)
    for name in ("digits_vit", f"{user_file}:net"):
        assert "nothing to download" in user_error(name, pretrained=True)


def test_every_family_named_as_supported_is_one_of_timm():
    from landscape.models.loading import TIMM_FAMILIES

    for family in TIMM_FAMILIES:
        for word in re.findall(r"\w+", family.lower()):
            stem = {"vision_transformer": "vit", "swin_transformer": "swin"}.get(word, word)
            assert timm.list_models(f"{stem}*"), word


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights", "data", "crop", "expected"),
    [
        ("deit_tiny_patch16_224", "deit_tiny_patch16_224", "imagenet-mini", 224, 81.1),
        ("cnn_models.py:mobilenetv1_075", "mobilenetv1_075", "imagenet-mini", 224, 78.1),
        ("cnn_models.py:resnet20", "resnet20_cifar10", "cifar10-mini", 32, 79.8),
        ("cnn_models.py:resnet56", "resnet56_cifar10", "cifar10-mini", 32, 82.9),
    ],
)
def test_real_networks_reach_their_known_accuracy(shared_data, name, weights, data, crop, expected):
    full_name = f"{shared_data}/{name}" if ":" in name else name
    accuracy = top1(
        full_name,
        data=shared_data / data,
        weights=shared_data / "weights" / f"{weights}.safetensors",
        resize="none",
        crop=crop,
    )
    assert accuracy == pytest.approx(expected, abs=0.11)  # one of 1,000 images may flip with another CPU


def test_without_a_folder_for_pytorch_runs_are_read_and_networks_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # which cannot be a folder
    code = "from landscape.cli import main; main(['show', 'nothing']); main(['scan', '--out', 'nothing'])"
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "file" / "cache"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    shown, scanned = done.stderr.splitlines()
    assert shown.startswith("error: there is no run in nothing")
    assert "file/cache" in scanned and "set TORCHINDUCTOR_CACHE_DIR to one that can be written" in scanned
