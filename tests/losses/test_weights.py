"""Where a loss network's weights come from: a file, the cache, torchvision; and what goes wrong."""

import enum
import os
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stylepack.errors import StylepackError, TrainingError, UsageError
from stylepack.losses import weights as loss_network
from stylepack.losses.vgg import INPUT_SCALES, VGG
from stylepack.losses.weights import SCALE_KEY, WeightSource, load_vgg, read_weights
from stylepack.recipe import Recipe

SHALLOW = Recipe(content_layers=("relu1_2",), style_layers=("relu1_1",), layer_weights=())
URL = "https://download.example.org/vgg19.pth"


@pytest.fixture(scope="module")
def weights(vgg_file: Path) -> dict[str, Tensor]:
    """conv1_1 and conv1_2, whole numbers of bytes only."""
    return {
        k: v for k, v in load_file(vgg_file).items() if k.startswith(("features.0.", "features.2."))
    }


def load(file: Path | None, scale: str | None = None, recipe: Recipe = SHALLOW) -> VGG:
    return load_vgg(recipe, WeightSource(file, scale), torch.device("cpu"), torch.float32)


def scale_of(vgg: VGG) -> str:
    mean = tuple(vgg.get_buffer("mean").flatten().tolist())
    return next(name for name, s in INPUT_SCALES.items() if mean == pytest.approx(s.mean))


def refusal(file: Path) -> str:
    with pytest.raises(TrainingError) as refused:
        read_weights(file)
    assert str(file) in str(refused.value)
    assert str(refused.value).isprintable()
    return str(refused.value)


def test_a_pth_file_and_a_safetensors_file_give_the_same_network(tmp_path, weights, vgg_file):
    torch.save(weights, tmp_path / "vgg.pth")
    image = torch.rand(1, 3, 8, 8)
    ours, theirs = load(vgg_file)(image), load(tmp_path / "vgg.pth")(image)
    assert set(ours) == {"relu1_1", "relu1_2"}
    assert ours["relu1_2"].std() > 0
    for layer in ours:
        torch.testing.assert_close(ours[layer], theirs[layer])


def test_weights_in_bfloat16_leave_the_input_scale_in_float32(vgg_file: Path) -> None:
    source, cpu = WeightSource(vgg_file), torch.device("cpu")
    vgg = load_vgg(SHALLOW, source, cpu, torch.bfloat16)
    assert vgg.get_buffer("conv1_2_weight").dtype == torch.bfloat16
    assert vgg.get_buffer("mean").dtype == torch.float32
    assert vgg(torch.rand(1, 3, 8, 8))["relu1_2"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("noted", "asked", "expected"),
    [
        (None, None, "caffe"),
        ("imagenet", None, "imagenet"),
        ("caffe", None, "caffe"),
        ("imagenet", "caffe", "caffe"),
        ("caffe", "imagenet", "imagenet"),
        ("nonsense", None, "caffe"),
    ],
)
def test_the_input_scale_is_what_is_asked_or_else_what_the_file_notes(
    tmp_path: Path, weights, noted: str | None, asked: str | None, expected: str
) -> None:
    save_file(weights, tmp_path / "vgg.safetensors", {SCALE_KEY: noted} if noted else None)
    assert scale_of(load(tmp_path / "vgg.safetensors", asked)) == expected


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", ["zip", 2, 4])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, protocol: int | str) -> None:
    file, trap = tmp_path / "vgg.pth", tmp_path / "sprung"
    content = {"features.0.weight": Trap(trap)}
    if protocol == "zip":
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content, protocol=int(protocol)))
    message = refusal(file)
    assert not trap.exists()
    assert "weights_only" not in message  # torch's own advice is to run the code


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights\n" * 9, b"PK\3\4" + b"\0" * 60])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, suffix: str, content: bytes) -> None:
    (tmp_path / f"vgg{suffix}").write_bytes(content)
    refusal(tmp_path / f"vgg{suffix}")


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"epoch": 3}])
def test_a_pth_file_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "vgg.pth")
    assert "does not hold a dictionary of tensors" in refusal(tmp_path / "vgg.pth")


@pytest.mark.parametrize("name", ["missing.pth", "missing.safetensors", "."])
def test_a_missing_file_says_what_is_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"no such file: .*\.safetensors or \.pth"):
        read_weights(tmp_path / name)


def test_a_file_that_is_too_short_is_refused_by_name_and_layer(tmp_path, weights) -> None:
    save_file(weights, tmp_path / "vgg.safetensors")
    deeper = Recipe(content_layers=("relu2_1",), style_layers=("relu1_1",), layer_weights=())
    with pytest.raises(UsageError, match=r"vgg\.safetensors does not reach conv2_1"):
        load(tmp_path / "vgg.safetensors", recipe=deeper)


def test_a_torchvision_that_does_not_match_is_told_in_one_sentence(monkeypatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(loss_network, "importlib", SimpleNamespace(import_module=broken))
    monkeypatch.setattr(loss_network, "version", lambda name: "0.1.2")
    with pytest.raises(TrainingError) as refused:
        load(None)
    text = str(refused.value)
    assert "torchvision 0.1.2" in text
    assert f"torch {torch.__version__}" in text
    assert "pip install" in text
    assert "vgg_weights" in text
    assert text.isprintable()


def fake_torchvision(monkeypatch, fetch) -> None:
    """A torchvision.models whose VGG-19 weights come from `fetch()`."""

    class Weights(enum.Enum):
        IMAGENET1K_V1 = URL
        url = property(lambda self: self.value)

        def get_state_dict(
            self, progress: bool, check_hash: bool, model_dir: str
        ) -> dict[str, Tensor]:
            assert check_hash
            return fetch()

    models = SimpleNamespace(VGG16_Weights=Weights, VGG19_Weights=Weights)
    monkeypatch.setattr(loss_network, "import_torchvision_models", lambda: models)


@pytest.mark.parametrize(
    "error",
    [
        URLError("Name or service not known"),
        TimeoutError("timed out"),
        RuntimeError('invalid hash value (expected "dcbb9e9d", got "0")\nsecond line'),
    ],
    ids=["no network", "time-out", "hash"],
)
def test_a_failed_download_names_the_url_and_the_way_out(monkeypatch, home, error) -> None:
    def fetch() -> dict[str, Tensor]:
        raise error

    fake_torchvision(monkeypatch, fetch)
    with pytest.raises(TrainingError, match=f"{URL} .*vgg_weights") as refused:
        load(None)
    assert str(refused.value).isprintable()
    assert not list(home.rglob("*.safetensors"))


def test_weights_are_fetched_once_and_cut_down_to_what_is_needed(monkeypatch, home, weights):
    fetched = []
    full = {**weights, "classifier.0.weight": torch.zeros(3)}
    fake_torchvision(monkeypatch, lambda: fetched.append(1) or full)
    first, again = load(None), load(None)
    assert len(fetched) == 1
    assert scale_of(first) == scale_of(again) == "imagenet"
    (cached,) = (home / "cache").iterdir()
    assert load_file(cached).keys() == weights.keys()
    assert torch.equal(first.get_buffer("conv1_2_weight"), again.get_buffer("conv1_2_weight"))
    torch.testing.assert_close(first.get_buffer("conv1_2_weight"), weights["features.2.weight"])


def test_weights_that_torchvision_does_not_have_are_refused(monkeypatch) -> None:
    fake_torchvision(monkeypatch, dict)
    recipe = replace(SHALLOW, weights="IMAGENET1K_FEATURES")
    with pytest.raises(UsageError, match="no vgg19 weights IMAGENET1K_FEATURES; it has IMAGENET"):
        load(None, recipe=recipe)


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path, weights) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STYLEPACK_HOME", str(tmp_path / "file"))
    fake_torchvision(monkeypatch, lambda: weights)
    with pytest.raises(StylepackError) as refused:
        load(None)
    assert str(tmp_path / "file") in str(refused.value)
