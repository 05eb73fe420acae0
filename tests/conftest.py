"""Shared pieces: a home of its own for every test, small images, a tiny loss network."""

import os
import signal
import socket
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stylepack.images.contact_sheet import MARGIN
from stylepack.images.photo import Photo
from stylepack.library.fetch import PackFile
from stylepack.library.install import install_as_planned
from stylepack.library.shelf import shelf
from stylepack.losses.vgg import parameter_shapes, plan
from stylepack.network.trunk import Trunk, TrunkConfig
from stylepack.packs.header import parse_content, read_content
from stylepack.packs.manifest import LARGEST_PACK, Manifest
from stylepack.packs.pack import Pack
from stylepack.packs.trunk_file import load_trunk, save_trunk
from stylepack.signals import ENDING

PAINTINGS = [
    *("cassis", "composition", "edtaonisl", "kirchner", "lilies", "marine", "metzinger"),
    *("nightcafe", "poppies"),
    *("scream", "shipwreck", "starry", "tahiti", "wave", "wheatfield"),
]
BUNDLED = sorted([*PAINTINGS, "photo"])
SMALL_TRAINING = """
batch = 2
crop = 32
photo_side = 48
style_side = 48
updates = 4
warmup = 2
"""
torch.set_num_threads(1)  # two threads cost two to four times as much on a busy machine
os.environ["OMP_NUM_THREADS"] = "1"  # in processes that tests start: other sums, other bits
INTERRUPTS = pytest.StashKey["Interrupts"]()
TINY = TrunkConfig(widths=(4, 6, 8), residual_blocks=1, edge_kernel=9)


class Interrupts:
    """Counts the SIGINTs that nobody here has raised: Ctrl-C of whoever runs the tests.

    Commands under test catch signals and return an exit code, which a test would report as a
    failure.
    """

    def __init__(self) -> None:
        self.read, self.write = socket.socketpair()
        self.read.setblocking(False)
        self.write.setblocking(False)
        self.raised = 0
        self._raise_signal = signal.raise_signal
        signal.raise_signal = self.raise_signal
        signal.set_wakeup_fd(self.write.fileno(), warn_on_full_buffer=False)

    def raise_signal(self, number: int) -> None:
        """Raise a signal in a test; it is no interrupt of the tests."""
        self.raised += number == signal.SIGINT
        self._raise_signal(number)

    def happened(self) -> bool:
        """Whether there was one since the last call."""
        arrived = 0
        with suppress(BlockingIOError):
            while found := self.read.recv(4096):
                arrived += found.count(signal.SIGINT)
        others, self.raised = arrived - self.raised, 0
        return others > 0

    def close(self) -> None:
        """Stop counting."""
        signal.set_wakeup_fd(-1)
        signal.raise_signal = self._raise_signal
        self.read.close()
        self.write.close()


def heed_signals() -> None:
    """Let commands under test receive signals that are ignored here, as under nohup.

    A handler that does nothing keeps the tests from being ended, but unlike an ignored signal, it
    is not inherited by the processes that they start.
    """
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_configure(config: pytest.Config) -> None:
    heed_signals()
    interrupts = Interrupts()
    config.stash[INTERRUPTS] = interrupts
    config.add_cleanup(interrupts.close)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """End the session at Ctrl-C, whatever the command under test made of it."""
    try:
        return (yield)
    finally:
        if item.config.stash[INTERRUPTS].happened():
            raise KeyboardInterrupt


class HostWork(TorchDispatchMode):
    """Notes what makes the host wait for a card: tensors that change places, values that are read.

    With torch's FakeTensorMode no card is needed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, out))
        places = {one.device.type for one in leaves if isinstance(one, Tensor)}
        if "_local_scalar" in str(func) or len(places) > 1:
            self.found.append(str(func))
        return out


class Storages(TorchDispatchMode):
    """Finds out how many bytes of tensors are there at most, of those that are made meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._there: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        self._there = {key: one for key, one in self._there.items() if not one[0].expired()}
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self._there[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.most = max(self.most, sum(size for _, size in self._there.values()))
        return out


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For networks on a card that torch's FakeTensorMode pretends: their weights do not move."""
    try:
        with FakeTensorMode():
            torch.empty(2, device="cuda:0")[:1]
    except RuntimeError:
        pytest.skip("this torch pretends no card where there is no driver: 2.9 does not")
    monkeypatch.setattr(Trunk, "to", lambda trunk, **_: trunk)
    yield
    torch.set_default_dtype(torch.float32)  # wherever the test has stopped


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder, away from the real one."""
    folder = tmp_path / "home"
    monkeypatch.setenv("STYLEPACK_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def small_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure and show small pictures: what is tested does not depend on their size."""
    monkeypatch.setattr("stylepack.training.held_out.SHORT_SIDE", 48)
    monkeypatch.setattr("stylepack.training.export.SHEET_CELL", 48)
    monkeypatch.setattr("stylepack.packs.thumbnail.THUMBNAIL", 48)


@pytest.fixture
def tiny_trunk(tmp_path: Path) -> tuple[Path, str]:
    """(file, SHA-256) of a trunk small enough to build in a blink."""
    torch.manual_seed(0)
    path = tmp_path / "tiny-trunk.safetensors"
    save_trunk(path, Trunk(TINY), {})
    return path, load_trunk(path)[1]


@pytest.fixture
def make_pack(tmp_path: Path, tiny_trunk: tuple[Path, str]):
    """Write a pack for the tiny trunk: `make_pack("name", seed=1)` -> its path."""

    def make(name: str = "dots", seed: int = 0, trunk_sha256: str | None = None) -> Path:
        generator = torch.Generator().manual_seed(seed)
        style = torch.randn(TINY.style_size, generator=generator)
        digest = tiny_trunk[1] if trunk_sha256 is None else trunk_sha256
        path = tmp_path / f"{name}.safetensors"
        Pack(Manifest(name=name, trunk_sha256=digest, title=name.title()), style).save(path, TINY)
        return path

    return make


def install_pack(source: Path, name: str | None = None, replace: bool = False) -> Path:
    """Install one pack file as `packs install` does; return its place.

    Raises:
        UsageError: a name that is no pack's.
        PackError: not a pack, or its name is taken and `replace` is not set.
    """
    content = read_content(source, LARGEST_PACK)
    name = name or Manifest.from_header(parse_content(content, source), source).name
    _, placed = install_as_planned([(name, PackFile(str(source), content))], replace)
    return placed[0] if placed else shelf()[name].path


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth random RGB picture."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (4, 4, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(coarse.numpy(), "RGB").resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of six small photographs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(6):
        picture(64 + 8 * index, 56, index).save(folder / f"{index}.jpg")
    return folder


@pytest.fixture
def paintings(tmp_path: Path) -> Path:
    """A folder of two small paintings, one of them described."""
    folder = tmp_path / "paintings"
    folder.mkdir()
    picture(80, 64, 100).save(folder / "dawn.png")
    picture(64, 80, 101).save(folder / "Dusk Over Sea.png")
    (folder / "paintings.csv").write_text(
        "name,title,artist,year,licence\ndawn,At Dawn,A. Painter,1901,public domain\n"
    )
    return folder


@pytest.fixture(scope="session")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VGG-19 of random weights up to relu5_1, under torchvision's names."""
    torch.manual_seed(1)
    weights = {}
    steps = plan("vgg19", ["relu5_1"])
    for name, shape in parameter_shapes("vgg19", ["relu5_1"]).items():
        step, kind = name.rsplit("_", 1)
        fan_in = shape[1] * 9 if kind == "weight" else 1
        scale = (2 / fan_in) ** 0.5 if kind == "weight" else 0.01
        weights[f"features.{steps.index(step)}.{kind}"] = torch.randn(shape) * scale
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    save_file(weights, path)
    return path


@pytest.fixture
def arguments(paintings: Path, photos: Path, vgg_file: Path, tmp_path: Path) -> list[str]:
    """A small training, up to the output folder."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(SMALL_TRAINING)
    return [
        "train",
        *("--styles", str(paintings), "--photos", str(photos), "--recipe", str(recipe)),
        *("--vgg-weights", str(vgg_file), "--device", "cpu", "--sheet-every", "2", "-o"),
    ]


def tops(sheet: Path, column: int, pixels: Tensor) -> list[int]:
    """Where in a column of a sheet of 32-pixel cells a picture is to be seen."""
    left = MARGIN + column * (32 + MARGIN)
    with Image.open(sheet) as image:
        strip = Photo.from_image(image.crop((left, 0, left + 32, image.height))).pixels
    height = pixels.shape[1]
    return [
        top
        for top in range(MARGIN, strip.shape[1] - height)
        if torch.equal(strip[:, top : top + height], pixels)
    ]
