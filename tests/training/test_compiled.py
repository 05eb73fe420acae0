"""What makes training fast: it changes nothing that is trained, and says so where it fails."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY, HostWork
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from stylepack import memory
from stylepack import memory as machine
from stylepack.cli.main import run as stylepack
from stylepack.errors import TrainingError
from stylepack.losses.functional import fine_energies, hatching_loss, lattice_loss
from stylepack.losses.objective import Objective
from stylepack.losses.vgg import VGG
from stylepack.losses.weights import WeightSource, load_vgg
from stylepack.network.device import exact_products, fast_products
from stylepack.network.trunk import STRIDE, Trunk
from stylepack.recipe import Recipe
from stylepack.training import batch_size
from stylepack.training.batch_size import find_batch, image_bytes, largest
from stylepack.training.checkpoint import restore_training, training_state
from stylepack.training.dataset import Batch, Batches, Decoder, PhotoFolder, on_device
from stylepack.training.reports.readme import Throughput
from stylepack.training.reports.sheets import Sheets
from stylepack.training.settings import RunSettings
from stylepack.training.trainer import Trainer, follow

SMALL = Recipe(crop=32, photo_side=48, style_side=48, updates=6, batch=2, warmup=0)
CPU = torch.device("cpu")


@pytest.fixture
def make_trainer(vgg_file: Path) -> Callable[..., Trainer]:
    """A trainer of a tiny trunk with two styles, the second the identity style."""

    def make(**more: bool) -> Trainer:
        torch.manual_seed(0)
        vgg = load_vgg(SMALL, WeightSource(vgg_file), CPU, torch.float32)
        objective = Objective(vgg, SMALL, [torch.rand(3, 48, 48), None])
        styles = TINY.neutral_style().repeat(2, 1)
        return Trainer(Trunk(TINY), styles, objective, SMALL, frozen=False, **more)

    return make


def batch(update: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(update)
    photos = torch.randint(0, 256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Batch(update, photos, torch.tensor([0, 1]))


@pytest.mark.parametrize("late", [False, True], ids=["compiling", "going back"])
def test_training_goes_on_where_compiling_fails(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    class BrokenBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> Tensor:
            raise RuntimeError("no compiler\nhere")

    def broken(function: Callable[..., tuple[Tensor, Tensor]], **_: object) -> object:
        def run(*given: object) -> tuple[Tensor, Tensor]:
            if not late:
                raise RuntimeError("no compiler\nhere")
            total, each = function(*given)
            return BrokenBackward.apply(total), each

        return run

    monkeypatch.setattr(torch, "compile", broken)
    plain, compiled = make_trainer(), make_trainer(compiled=True)
    for update in range(2):
        ours, theirs = compiled.step(batch(update)), plain.step(batch(update))
        assert torch.equal(ours.losses, theirs.losses)
    assert compiled.journal.notices == ["torch.compile failed (no compiler); continuing without it"]
    for name, parameter in plain.parameters.items():
        assert torch.equal(parameter, compiled.parameters[name]), name


def smooth(noise: Batch) -> Batch:
    """A batch of photographs in squares of 8x8 pixels."""
    squares = noise.photos[..., ::8, ::8].repeat_interleave(8, 2).repeat_interleave(8, 3)
    return replace(noise, photos=squares)


def weave(painted: Tensor, photos: Tensor, objective: Objective) -> float:
    return lattice_loss(painted, STRIDE).mean().item()


def hatching(painted: Tensor, photos: Tensor, objective: Objective) -> float:
    energies, own = (fine_energies(images, objective.waves) for images in (painted, photos))
    return hatching_loss(energies, objective.fine[:1] + own).mean().item()


@pytest.mark.parametrize(("term", "measure"), [("lattice", weave), ("hatching", hatching)])
def test_the_lattice_and_hatching_terms_take_out_what_they_are_for(
    make_trainer: Callable[..., Trainer], term: str, measure: Callable[..., float]
) -> None:
    found = []
    for weight in (0.0, 20.0):
        trainer = make_trainer()
        terms = {"lattice_weight": 0.0, "hatching_weight": 0.0, f"{term}_weight": weight}
        trainer.recipe = replace(SMALL, learning_rate=3e-3, **terms)
        trainer.objective.recipe = trainer.recipe
        trainer.objective.fine.zero_()
        trainer.planned = 20
        for update in range(20):
            trainer.step(smooth(batch(update)))
        with torch.no_grad():
            photos = on_device(smooth(batch(99)).photos, CPU)
            painted = trainer.trunk(photos, trainer.parameters["style"][:1])
        found.append((measure(painted, photos, trainer.objective), painted.std().item()))
    (before, plain), (after, even) = found
    assert after < 0.5 * before
    assert even > 0.9 * plain  # not for want of colours


@pytest.mark.parametrize("term", ["lattice_weight", "hatching_weight"])
def test_the_identity_style_may_be_as_fine_as_it_likes(
    make_trainer: Callable[..., Trainer], term: str
) -> None:
    objective = make_trainer().objective
    woven, flat = (
        torch.rand(1, 3, STRIDE, STRIDE).repeat(1, 1, 8, 8),
        torch.full((1, 3, 32, 32), 0.5),
    )
    objective.fine.zero_()
    costs = []
    for index in (0, 1):  # the second is the identity style
        totals = []
        for weight in (0.0, 20.0):
            objective.recipe = replace(SMALL, **{term: weight})
            totals.append(objective(woven, flat, torch.tensor([index])).total.item())
        costs.append(totals[1] - totals[0])
    assert costs[0] > 100
    assert costs[1] == 0


@pytest.mark.nightly  # the compiler takes its time
@pytest.mark.filterwarnings("ignore")
def test_compiled_training_is_the_same_training(make_trainer: Callable[..., Trainer]) -> None:
    plain, compiled = make_trainer(), make_trainer(compiled=True)
    for trainer in (plain, compiled):
        trainer.dtype = torch.float32
    for update in range(3):
        ours, theirs = compiled.step(batch(update)), plain.step(batch(update))
        torch.testing.assert_close(ours.losses, theirs.losses, rtol=1e-3, atol=1e-4)
    assert compiled.journal.notices == []


def test_too_little_memory_is_not_taken_for_a_compiler_that_fails(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: full)
    with pytest.raises(TrainingError, match=r"a batch of 2 does not fit .* smaller --batch"):
        next(make_trainer(compiled=True).steps([batch()]))


def test_a_batch_too_large_for_main_memory_is_told(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    trainer = make_trainer()
    monkeypatch.setattr(trainer, "_losses", full)
    with pytest.raises(TrainingError, match="does not fit into the memory of cpu"):
        next(trainer.steps([batch()]))


def test_compiling_is_asked_for_by_option(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object, **__: object) -> Callable[..., None]:
        raise_it: Callable[..., None] = lambda *_: (_ for _ in ()).throw(OSError("no gcc"))  # noqa: E731
        return raise_it

    monkeypatch.setattr(torch, "compile", broken)
    for word, told in (("--compile", 1), ("--no-compile", 0)):
        assert stylepack([*arguments, str(tmp_path / word), "--updates", "2", word]) == 0
        assert capsys.readouterr().err.count("torch.compile failed (no gcc)") == told


@pytest.mark.parametrize("most", [1, 2, 7, 64, 512])
def test_the_largest_batch_is_found_by_doubling_and_bisecting(most: int) -> None:
    for limit in [0, 1, 2, 3, 5, 63, 64, 65, 500, 1000]:
        asked: list[int] = []

        def fits(images: int, limit: int = limit, asked: list[int] = asked) -> bool:
            asked.append(images)
            return images <= limit

        assert largest(fits, most) == min(limit, most)
        assert len(set(asked)) == len(asked) <= 20
        assert max(asked) <= max(1, 2 * limit)


def test_on_cuda_the_batch_is_what_does_not_run_out_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    total, held = 1000, [0]

    class FakeTrainer:
        device = torch.device("cuda")

        def probe(self, images: int, crop: int) -> None:
            if images * crop > total:
                raise torch.OutOfMemoryError("CUDA out of memory")
            held[0] = images * crop

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (total - held[0], total))
    trainer: Trainer = FakeTrainer()  # type: ignore[assignment]
    assert find_batch(trainer, 10) == 90
    assert find_batch(trainer, 1) == batch_size.MOST
    with pytest.raises(TrainingError, match="smaller --crop"):
        find_batch(trainer, 2000)


def test_on_a_cpu_the_batch_fits_into_half_of_the_free_memory(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer()
    before = {name: p.clone() for name, p in trainer.parameters.items()}
    image = image_bytes(trainer, 32)
    assert image < image_bytes(trainer, 64) < 4 * image  # Gram matrices do not grow
    for images, found in ((3, 3), (1000, batch_size.CPU_MOST)):
        free = int(image * images * batch_size.PASSING / batch_size.CPU_SHARE) + 1000
        monkeypatch.setattr(batch_size, "available_memory", lambda free=free: free)
        assert find_batch(trainer, 32) == found
    for name, parameter in trainer.parameters.items():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_the_batch_that_was_found_stays_with_the_run(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("stylepack.training.run.find_batch", lambda *_: 3)
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "1", "--batch", "auto"]) == 0
    assert RunSettings.read(run).recipe.batch == 3
    assert RunSettings.read(run).recipe.learning_rate == Recipe().learning_rate
    assert stylepack(["train", "--resume", str(run), "--updates", "2"]) == 0
    assert len((run / "losses.csv").read_text().splitlines()) == 1 + 2 * 3
    capsys.readouterr()
    assert stylepack(["train", "--resume", str(run), "--batch", "auto"]) == 2
    assert "a resumed run keeps its batch" in capsys.readouterr().err
    assert stylepack([*arguments, str(tmp_path / "other"), "--batch", "four"]) == 2
    assert "--batch is 'four'" in capsys.readouterr().err


def test_photographs_kept_in_memory_change_no_batch(photos: Path) -> None:
    folder = PhotoFolder.open(photos)
    plain = list(Batches(folder, SMALL, 3))
    for room in (0, 50_000, 1 << 30):
        decoder = Decoder(SMALL.photo_side, room)
        for _ in range(2):
            kept = list(Batches(folder, SMALL, 3, decoder=decoder))
            for ours, theirs in zip(kept, plain, strict=True):
                assert torch.equal(ours.photos, theirs.photos)
                assert torch.equal(ours.styles, theirs.styles)


def test_photographs_are_kept_while_they_fit(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(photos.iterdir())
    first, second = Decoder(48)(paths[0]), Decoder(48)(paths[1])
    room = 4 * (first.width * first.height + second.width * second.height)
    decoder = Decoder(48, room)
    for path in paths:
        decoder(path)
    assert decoder.cache == 0
    for path in paths:
        path.unlink()
    assert decoder(paths[0]).tobytes() == first.tobytes()
    assert decoder(paths[1]).tobytes() == second.tobytes()
    with pytest.raises(Exception, match="no such file"):
        decoder(paths[2])


def test_the_fused_optimiser_takes_over_a_checkpoint(
    make_trainer: Callable[..., Trainer],
) -> None:
    plain, fused = make_trainer(), make_trainer()
    plain.step(batch())
    fused.adam = torch.optim.Adam(fused.adam.param_groups, fused=True)
    state = training_state(plain.update, plain.parameters, plain.adam)
    assert restore_training(state, fused.parameters, fused.adam) == 1
    for trainer in (plain, fused):
        trainer.step(batch(1))
    for name, parameter in plain.parameters.items():
        torch.testing.assert_close(parameter, fused.parameters[name])
        assert float(fused.adam.state[fused.parameters[name]]["step"]) == 2


def test_tf32_is_for_cuda_and_only_while_training() -> None:
    def switches() -> tuple[str, bool, str]:
        cudnn = torch.backends.cudnn
        return torch.get_float32_matmul_precision(), cudnn.benchmark, cudnn.conv.fp32_precision

    before, cuda = switches(), torch.device("cuda")
    for switch in (fast_products, exact_products):
        with switch(CPU):
            assert switches() == before
    with fast_products(cuda):
        assert switches() == ("high", True, "tf32")
    with exact_products(cuda):
        assert switches() == (*before[:2], "ieee")
    assert switches() == before


def test_an_update_elsewhere_than_on_the_host_is_never_waited_for_by_it() -> None:
    with torch.device("meta"):  # tensors that nothing can be read from
        vgg = VGG("vgg19", (*SMALL.content_layers, *SMALL.style_layers))
        objective = Objective(vgg, SMALL, [torch.rand(3, 48, 48), None])
        styles = torch.ones(2, TINY.style_size)
        trainer = Trainer(Trunk(TINY), styles, objective, SMALL, frozen=False)
    trainer.dtype = torch.bfloat16
    with HostWork() as work:
        trainer.probe(2, 32)  # there and back: an update but for the optimiser
    assert work.found == []
    average, trained = trainer.average, trainer.parameters
    with HostWork() as work:
        follow(average, trained, SMALL.ema, 3)
    assert work.found == []


def test_the_losses_are_compiled_in_one_piece(make_trainer: Callable[..., Trainer]) -> None:
    trainer, kinds = make_trainer(), []

    def look(graph: torch.fx.GraphModule, given: list[Tensor]) -> Callable[..., object]:
        kinds.append({one.device.type for one in given if isinstance(one, Tensor)})
        return graph.forward

    compiled = torch.compile(trainer._losses, dynamic=False, backend=look, fullgraph=True)
    for update in range(2):
        draw = batch(update)
        photos = on_device(draw.photos, CPU)
        total, each = compiled(photos, draw.styles, torch.zeros(()), None)
        plain, whole = trainer._losses(photos, draw.styles, torch.zeros(()), None)
        torch.testing.assert_close((total, each), (plain, whole))
    assert kinds == [{"cpu"}]  # once: no break, and no other graph for the second update


def test_a_sheet_on_a_card_does_not_wait_for_the_one_before(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sheets, "drawing", True)
    begin = Trainer.__init__
    for group, sheets in ((1, ["000002.png", "000004.png"]), (2, ["000004.png"])):

        def grouped(trainer: Trainer, *given: object, group: int = group, **more: object) -> None:
            begin(trainer, *given, **more)  # type: ignore[arg-type]
            trainer.group = group

        monkeypatch.setattr(Trainer, "__init__", grouped)
        run = tmp_path / str(group)
        assert stylepack([*arguments, str(run)]) == 0
        assert sorted(path.name for path in (run / "sheets").glob("*.png")) == sheets


def test_the_share_of_waiting_is_told(photos: Path) -> None:
    batches = Batches(PhotoFolder.open(photos), SMALL, 3)
    assert len(list(batches)) == SMALL.updates
    assert batches.waited > 0
    throughput = Throughput()
    assert str(throughput) == "no updates yet"
    throughput.add(10, 50.0, 0.0)  # it had to compile
    assert str(throughput).startswith("10 updates, 0.2 a second")
    throughput.add(20, 2.0, 0.5)
    throughput.add(20, 2.0, 0.5)
    assert str(throughput) == (
        "50 updates, 10 a second; 25.0% of the time was spent waiting for photographs"
    )


def test_the_machine_says_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.available_memory() > 1 << 20
    assert machine.processors(10**6) == 1
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "nothing")
    assert memory.available_memory() == memory.UNKNOWN
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.processors() == os.cpu_count()


def test_the_losses_of_an_update_on_cuda_never_wait_for_the_host(
    monkeypatch: pytest.MonkeyPatch, pretended: None
) -> None:
    monkeypatch.setattr("stylepack.training.paintings.training_dtype", lambda _: torch.float32)
    monkeypatch.setattr("stylepack.training.trainer.training_dtype", lambda _: torch.float32)
    with FakeTensorMode(), torch.device("cuda:0"):  # no card is needed to pretend
        vgg = VGG("vgg19", (*SMALL.content_layers, *SMALL.style_layers))
        trunk = Trunk(replace(TINY, grain=0.1))
        styles = torch.ones(2, TINY.style_size)
        objective = Objective(vgg, SMALL, [torch.rand(3, 48, 48), None])
        trainer = Trainer(trunk, styles, objective, SMALL, frozen=False)
        photos, grain = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
        indices = torch.zeros(2, dtype=torch.long)
        with HostWork() as work:
            _, each = trainer._losses(photos, indices, grain, None)
        assert each.device.type == "cuda"
        assert work.found == []
        here = torch.tensor([1], device="cpu")
        for waits in (lambda: here.to("cuda:0"), lambda: each[here]):
            with HostWork() as work:
                waits()
            assert work.found
