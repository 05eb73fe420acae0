"""Distilling a loss network, its file, and learning with it."""

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from conftest import install_pack
from safetensors.torch import load_file, save_file

from stylepack.bundled import BUNDLED_TRUNK
from stylepack.cli.main import run as stylepack
from stylepack.errors import PackError, TrainingError, UsageError
from stylepack.lab.distill import data
from stylepack.lab.distill import distill as module
from stylepack.lab.distill import students as learning
from stylepack.lab.distill.corrections import Corrections
from stylepack.lab.distill.data import DistillationData, Folders
from stylepack.lab.distill.distill import (
    Distillation,
    DistillRecipe,
    checkpoint_folder,
    difference_errors,
    mean_of_pairs,
)
from stylepack.lab.distill.initial import inherit, select_channels
from stylepack.losses import functional as losses
from stylepack.losses.distilled import (
    ARCHITECTURE,
    CONFIG_KEY,
    LARGEST,
    MOST_CORRECTION,
    Distilled,
    DistilledConfig,
    load_distilled,
    save_distilled,
)
from stylepack.losses.objective import Objective, pyramid_grams
from stylepack.losses.teachers import Teachers
from stylepack.losses.weights import WeightSource, load_loss_network, without_download
from stylepack.packs.header import read_header
from stylepack.packs.manifest import Manifest
from stylepack.packs.pack import Pack
from stylepack.packs.tensors import write_tensors
from stylepack.packs.trunk_file import load_trunk
from stylepack.recipe import Recipe, load_recipe
from stylepack.training.dataset import file_sha256, read_painting

SMALL = DistilledConfig(layers=("relu1_2", "relu2_2"), widths=(5, 7))
QUICK = DistillRecipe(
    updates=4, batch=10, crop=32, corrected_styles=2, corrected_updates=3, corrected_crop=32
)
CPU = torch.device("cpu")


@pytest.fixture
def network() -> Distilled:
    torch.manual_seed(3)
    return Distilled(SMALL).requires_grad_(False)


@pytest.fixture
def folders(photos: Path, paintings: Path) -> Folders:
    return Folders(photos, paintings, BUNDLED_TRUNK)


def distillation(tmp_path: Path, folders: Folders, vgg_file: Path, resume: bool) -> Distillation:
    source = WeightSource(vgg_file)
    return Distillation.start(
        tmp_path / "loss.safetensors", folders, QUICK, source, None, CPU, resume=resume
    )


@pytest.mark.parametrize("divisor", ["size", "pixels"])
@pytest.mark.parametrize("layer", SMALL.layers)
def test_gram_matrices_are_those_of_the_predicted_activations(
    network: Distilled, layer: str, divisor: str
) -> None:
    own = network(torch.rand(2, 3, 16, 20))[layer]
    predicted = network.predict(layer, own)
    expected = losses.gram_matrix(predicted, divisor)
    torch.testing.assert_close(network.gram_matrix(layer, own, divisor), expected)


@pytest.mark.parametrize("relative", [True, False])
def test_content_losses_are_those_of_the_predicted_activations(
    network: Distilled, relative: bool
) -> None:
    a, b = (network(torch.rand(2, 3, 16, 20))["relu2_2"] for _ in range(2))
    expected = losses.content_loss(
        network.predict("relu2_2", a), network.predict("relu2_2", b), relative
    )
    torch.testing.assert_close(network.content_loss("relu2_2", a, b, relative), expected)


@pytest.mark.parametrize("divisor", ["size", "pixels"])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("layer", SMALL.layers)
def test_turning_the_heads_changes_no_loss(
    network: Distilled, layer: str, relative: bool, divisor: str
) -> None:
    a, b = (network(torch.rand(2, 3, 16, 20))[layer] for _ in range(2))

    def losses_of(network: Distilled) -> list[torch.Tensor]:
        grams = (network.gram_matrix(layer, x, divisor) for x in (a, b))
        return [
            losses.style_loss(*grams, relative),
            network.content_loss(layer, a, b, relative),
            network.similarity_loss(layer, a, b),
        ]

    plain = losses_of(network)
    width = SMALL.widths[int(layer[4]) - 1]
    assert network.frozen().gram_matrix(layer, a, divisor).shape == (2, width + 1, width + 1)
    torch.testing.assert_close(losses_of(network), plain, rtol=1e-4, atol=1e-7)


def test_style_losses_are_corrected_layer_by_layer(network: Distilled, tmp_path: Path) -> None:
    path = tmp_path / "loss.safetensors"
    network.config = dataclasses.replace(SMALL, corrections=(0.5, 3.0))
    save_distilled(path, network, {})
    loaded = load_distilled(path, SMALL.layers, torch.float32)
    gram, target = torch.rand(2, 2, 8, 8)
    for layer, factor in (("relu1_2", 0.5), ("relu2_2", 3.0)):
        for relative in (True, False):
            plain = losses.style_loss(gram, target, relative)
            corrected = loaded.style_loss(layer, gram, target, relative)
            torch.testing.assert_close(corrected, factor * plain)

    recipe = Recipe(
        scales=1, layer_weights=(), style_layers=SMALL.layers, content_layers=("relu2_2",)
    )
    objective = Objective(loaded, recipe, [torch.rand(3, 32, 32)])
    photos, index = torch.rand(2, 3, 32, 32), torch.tensor([0, 0])
    corrected = objective(photos, photos, index).layers
    loaded.config = SMALL
    plain = objective(photos, photos, index).layers
    torch.testing.assert_close(corrected, plain * torch.tensor([[0.5], [3.0]]))


def test_reflection_padding_is_that_of_a_larger_picture_mirrored() -> None:
    config = dataclasses.replace(SMALL, layers=("relu1_1",), widths=(5,))
    image = torch.rand(1, 3, 8, 9)
    mirrored = torch.nn.functional.pad(image, (2, 2, 2, 2), mode="reflect")
    for padding, same in (("reflect", True), ("zeros", False)):
        torch.manual_seed(0)
        network = Distilled(dataclasses.replace(config, padding=padding))
        inside = network(mirrored)["relu1_1"][..., 2:-2, 2:-2]
        assert torch.allclose(network(image)["relu1_1"], inside, atol=1e-6) is same


def test_a_picture_of_one_pixel_in_the_deepest_layer_is_measured() -> None:
    network = Distilled(DistilledConfig(widths=(4, 4, 4, 4, 4)))
    assert network(torch.rand(1, 3, 16, 16))["relu5_1"].shape == (1, 4, 1, 1)


def test_a_file_from_before_there_was_a_padding_pads_with_zeros(
    network: Distilled, tmp_path: Path
) -> None:
    path = tmp_path / "loss.safetensors"
    save_distilled(path, network, {})
    config = json.loads(read_header(path, LARGEST).metadata[CONFIG_KEY])
    assert config.pop("padding") == "reflect"
    metadata = {"modelspec.architecture": ARCHITECTURE, CONFIG_KEY: json.dumps(config)}
    write_tensors(path, load_file(path), metadata)
    assert load_distilled(path, SMALL.layers, torch.float32).config.padding == "zeros"
    config["padding"] = "mirror"
    write_tensors(path, load_file(path), metadata | {CONFIG_KEY: json.dumps(config)})
    with pytest.raises(PackError, match="missing or damaged"):
        load_distilled(path, SMALL.layers, torch.float32)


def test_the_deep_blocks_have_a_teacher_of_their_own(vgg_file: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    deep = tmp_path / "deep.safetensors"
    save_distilled(deep, Distilled(DistilledConfig(widths=(3, 4, 5, 6, 7))), {})
    recipe, images = Recipe(), torch.rand(2, 3, 32, 32)
    source = WeightSource(vgg_file)
    teachers = Teachers.load(recipe, source, deep, CPU, torch.float32)
    alone = Teachers.load(recipe, source, None, CPU, torch.float32)
    other = load_distilled(deep, recipe.style_layers, torch.float32)
    found, own = teachers(images), other(images)
    assert list(found) == list(recipe.style_layers)
    for layer, activations in alone(images).items():
        if layer[4] in "45":
            assert torch.equal(found[layer], other.predict(layer, own[layer]))
        else:
            assert torch.equal(found[layer], activations)
    assert teachers(images, ["conv4_2"])["conv4_2"].shape[1] == 6


def test_a_saved_network_answers_as_before(network: Distilled, tmp_path: Path) -> None:
    path = tmp_path / "loss.safetensors"
    save_distilled(path, network, {})
    loaded = load_distilled(path, SMALL.layers, torch.float32)
    images = torch.rand(1, 3, 24, 24)
    for layer, activations in network(images).items():
        torch.testing.assert_close(loaded(images)[layer], activations, atol=1e-2, rtol=1e-2)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_it_stops_at_the_deepest_layer_asked_for(network: Distilled) -> None:
    assert set(network(torch.rand(1, 3, 16, 16), ["relu1_2"])) == {"relu1_2"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"modelspec.architecture": "other"}, "is not a distilled loss network"),
        ({CONFIG_KEY: "{"}, "missing or damaged"),
        ({CONFIG_KEY: '{"teacher": "vgg99", "layers": ["relu1_2"], "widths": [5]}'}, "damaged"),
        ({CONFIG_KEY: '{"teacher": "vgg19", "layers": ["relu9_9"], "widths": [5]}'}, "damaged"),
        ({CONFIG_KEY: '{"teacher": "vgg19", "layers": ["relu2_2"], "widths": [5]}'}, "range"),
        (
            {CONFIG_KEY: '{"teacher": "vgg19", "layers": ["relu1_2"], "widths": [99999]}'},
            "out of range",
        ),
        *(
            ({CONFIG_KEY: json.dumps(vars(SMALL) | {"corrections": wrong})}, problem)
            for wrong, problem in (
                ([1.5], "corrections out of range"),
                ([1.5, -1.0], "corrections out of range"),
                ([1.5, math.nan], "corrections out of range"),
                ([1.5, 1e9], "corrections out of range"),
                ([1.5, "much"], "damaged"),
                (2, "damaged"),
            )
        ),
        (
            {CONFIG_KEY: '{"teacher": "vgg19", "layers": ["relu1_2"], "widths": [6]}'},
            "missing or misshapen",
        ),
        (
            {CONFIG_KEY: '{"teacher": "vgg19", "layers": ["relu1_2"], "widths": [5]}'},
            "does not name",
        ),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(
    network: Distilled, tmp_path: Path, change: dict[str, str], complaint: str
) -> None:
    path = tmp_path / "loss.safetensors"
    save_distilled(path, network, {})
    tensors = load_file(path)
    write_tensors(path, tensors, dict(read_header(path, LARGEST).metadata) | change)
    with pytest.raises(PackError, match=complaint):
        load_distilled(path, ["relu1_2"], torch.float32)


def test_a_layer_that_it_does_not_know_is_named(network: Distilled, tmp_path: Path) -> None:
    path = tmp_path / "loss.safetensors"
    save_distilled(path, network, {})
    with pytest.raises(UsageError, match="at relu1_2, relu2_2, not at relu4_3"):
        load_distilled(path, ["relu4_3"], torch.float32)


def test_distilling_lowers_the_errors_and_writes_a_network_of_vgg_size(
    tmp_path: Path, folders: Folders, vgg_file: Path
) -> None:
    recipe = dataclasses.replace(QUICK, updates=30, warmup=5, learning_rate=7e-4)
    work = Distillation(
        tmp_path / "loss.safetensors", folders, recipe, WeightSource(vgg_file), None, CPU
    )
    checkpoint_folder(work.output).mkdir()
    for parameter in work.network.parameters():  # the first guess is too good to be bettered
        parameter.data += 0.5 * parameter.data.std() * torch.randn_like(parameter)
    errors = [sum(step.activations.values()) + step.content for step in work.train()]
    assert sum(errors[-5:]) < 0.8 * sum(errors[:5])
    assert [step.done for step in work.correct()] == [1, 2, 3, 4, 5, 6]
    assert work.write() == work.output.stat().st_size
    assert not checkpoint_folder(work.output).exists()

    recipe = Recipe(loss_network="bundled")
    small = load_loss_network(recipe, WeightSource(work.output), CPU, torch.float32)
    assert isinstance(small, Distilled)
    assert small.config.corrections == work.corrections
    image = torch.rand(1, 3, 32, 32)
    predicted = small.predict("relu1_1", small(image)["relu1_1"])
    true = work.teacher(image)["relu1_1"]
    assert predicted.std() == pytest.approx(true.float().std().item(), rel=0.9)


def test_a_stopped_distillation_goes_on_to_the_same_bits(
    tmp_path: Path, folders: Folders, vgg_file: Path
) -> None:
    whole = distillation(tmp_path / "a", folders, vgg_file, resume=False)
    list(whole.train())

    stopped = distillation(tmp_path / "b", folders, vgg_file, resume=False)
    steps = stopped.train()
    next(steps), next(steps)
    steps.close()
    with pytest.raises(TrainingError, match="another process is working"):
        distillation(tmp_path / "b", folders, vgg_file, resume=True)
    stopped.close()
    with pytest.raises(UsageError, match="add --resume"):
        distillation(tmp_path / "b", folders, vgg_file, resume=False)
    resumed = distillation(tmp_path / "b", folders, vgg_file, resume=True)
    assert resumed.update == 2
    list(resumed.train())
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, resumed.state()[name]), name


def test_the_command_writes_the_file_and_says_how_good_it_is(
    tmp_path: Path,
    folders: Folders,
    vgg_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick = functools.partial(
        DistillRecipe, crop=32, corrected_styles=1, corrected_updates=2, corrected_crop=32
    )
    monkeypatch.setattr(module, "DistillRecipe", quick)
    out = tmp_path / "loss.safetensors"
    command = ["distill", "--photos", str(folders.photos), "--styles", str(folders.paintings)]
    command += ["-o", str(out), "--updates", "1", "--vgg-weights", str(vgg_file)]
    assert stylepack([*command, "--device", "cpu"]) == 0
    assert f"wrote {out}" in capsys.readouterr().err
    assert read_header(out, LARGEST).metadata["modelspec.architecture"] == ARCHITECTURE
    assert stylepack([*command, "--resume"]) == 2
    assert "leave out --resume" in capsys.readouterr().err
    assert stylepack(command) == 2
    assert "already exists; choose another name or add --replace" in capsys.readouterr().err
    command[command.index(str(out))] = str(tmp_path / "notes.txt")
    assert stylepack(command) == 2
    assert "name it like notes.safetensors" in capsys.readouterr().err


def test_a_network_of_the_teachers_width_inherits_all_of_it(vgg_file: Path) -> None:
    torch.manual_seed(0)
    recipe = Recipe(
        layer_weights=(), style_layers=("relu1_2", "relu2_2"), content_layers=("relu2_2",)
    )
    teacher = Teachers.load(recipe, WeightSource(vgg_file), None, CPU, torch.float32)
    config = DistilledConfig(layers=("relu1_2", "relu2_2"), widths=(64, 128), padding="zeros")
    network = Distilled(config)
    inherit(network, teacher, torch.rand(8, 3, 48, 48), {"relu1_2": 1.0, "relu2_2": 1.0})
    image = torch.rand(1, 3, 32, 32)
    for layer, true in teacher(image).items():
        predicted = network.predict(layer, network(image)[layer])
        assert losses.content_loss(predicted, true, relative=True) < 0.01, layer


def test_the_telling_channels_are_those_that_no_other_repeats() -> None:
    torch.manual_seed(0)
    a, b, c = 3 * torch.rand(4, 1, 9, 9), 2 * torch.rand(4, 1, 9, 9), torch.zeros(4, 1, 9, 9)
    chosen = select_channels(torch.cat([c, 0.9 * a, a, b, c, 1.1 * b], dim=1), 2).tolist()
    assert len({1, 2} & set(chosen)) == len({3, 5} & set(chosen)) == 1


def test_an_error_that_all_gram_matrices_share_counts_once_for_each() -> None:
    torch.manual_seed(0)
    true = torch.rand(3, 4, 4)

    def difference_error(predicted: torch.Tensor, least: float) -> torch.Tensor:
        return mean_of_pairs(difference_errors(predicted, true, least))

    assert difference_error(true, 0.01) == 0
    # Between themselves nothing differs; against the blank image each is wrong by the same.
    shifted = difference_error(true + 0.1, 0.0)
    alone = 0.01 * 16 / true.square().sum(dim=(1, 2))
    torch.testing.assert_close(shifted, alone.sum() / 6, rtol=1e-3, atol=1e-6)
    # All 0.8 of what they are: each difference lacks a fifth of itself.
    short = difference_error(0.8 * true, 0.0)
    torch.testing.assert_close(short, torch.tensor(0.04), rtol=1e-3, atol=1e-6)
    assert difference_error(0.8 * true, 0.5) < short


def test_the_pairs_that_students_are_trained_on_count_again(
    tmp_path: Path, folders: Folders, vgg_file: Path
) -> None:
    work = distillation(tmp_path, folders, vgg_file, resume=False)
    update, photos, paintings = next(iter(work.data.batches(0)))
    students = work.students.update(update, photos, work.network)
    assert len(students) == 2
    others = work.data.painted(update, photos, students[0].style[None])
    painted = [one.painted for one in students]
    errors = work.errors(torch.cat([photos, *painted, others, paintings]), students)
    for layer, found in errors.fitted.items():
        pairs = []
        for one, level in itertools.product(students, range(work.wanted.scales)):
            own = pyramid_grams(work.network, work.wanted, one.painted)[level][layer]
            believed = pyramid_grams(work.network, work.wanted, one.picture[None])[level][layer]
            true = pyramid_grams(work.teacher, work.wanted, one.painted)[level][layer]
            size = work.sizes[layer] ** 2
            target = one.wanted[level][layer][0] / size
            for mine, its in zip(own, true / size, strict=True):
                wrong = (mine - believed[0]) - (its - target)
                scale = (its - target).square().sum()
                scale += 0.005 * (its.square().sum() + target.square().sum())
                pairs.append(wrong.square().sum() / scale)
        torch.testing.assert_close(found, torch.stack(pairs).mean(), rtol=2e-3, atol=1e-5)
    work.close()


def test_a_learner_follows_the_small_network_and_makes_way_for_the_next(
    tmp_path: Path, folders: Folders, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "SHORTEST", 6)
    monkeypatch.setattr(learning, "LONGEST", 6)
    work = distillation(tmp_path, folders, vgg_file, resume=False)
    _, photos, _ = work.data.draw(0)
    before = {name: p.clone() for name, p in work.network.named_parameters()}
    turns = len(work.students.students) // learning.PER_UPDATE
    batches, rates = [], []
    for age in range(7):
        batches.append(work.students.update(turns * age, photos, work.network)[0])
        rates.append(work.students.students[0].adam.param_groups[0]["lr"])
    apart = [
        losses.style_loss(
            work.network.gram_matrix("relu2_1", work.network(one.painted)["relu2_1"], "size"),
            pyramid_grams(work.network, work.wanted, one.picture[None])[0]["relu2_1"],
            relative=True,
        ).mean()
        for one in batches
    ]
    assert apart[5] < apart[0]
    assert sorted(rates[:6], reverse=True) == rates[:6]
    assert rates[6] == rates[0] > 5 * rates[5]
    assert batches[5].wanted is batches[0].wanted
    assert batches[6].wanted is not batches[0].wanted
    for name, parameter in work.network.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])


def test_half_of_the_learners_go_on_from_packs_with_the_paintings_of_those_packs(
    folders: Folders, vgg_file: Path, tmp_path: Path
) -> None:
    known = folders.paintings / "dawn.png"
    trunk, digest = load_trunk(BUNDLED_TRUNK)
    style = trunk.config.neutral_style() + 0.1 * torch.randn(trunk.config.style_size)
    manifest = Manifest(
        name="dawn", trunk_sha256=digest, style_image={"sha256": file_sha256(known)}
    )
    Pack(manifest, style).save(tmp_path / "dawn.safetensors", trunk.config)
    install_pack(tmp_path / "dawn.safetensors")

    work = distillation(tmp_path, folders, vgg_file, resume=False)
    _, photos, _ = work.data.draw(0)
    whole = read_painting(known, 3 * QUICK.crop)
    for update in range(len(work.students.students) // learning.PER_UPDATE):
        from_mix, from_pack = work.students.update(update, photos, work.network)
        torch.testing.assert_close(from_pack.style, style, rtol=1e-3, atol=1e-3)  # float16 file
        assert torch.equal(from_pack.picture, whole)
        assert from_mix.picture.shape == (3, 2 * QUICK.crop, 2 * QUICK.crop)
        assert not torch.allclose(from_mix.style, style, atol=0.01)
    before = [student.style.detach().clone() for student in work.students.students[1::2]]
    work.students.update(0, photos, work.network)
    moved = [
        float((s.style.detach() - b).abs().max())
        for s, b in zip(work.students.students[1::2], before, strict=True)
    ]
    assert 0 < moved[0] <= 1.01 * learning.REFINING_RATE
    assert moved[1:] == [0, 0, 0]
    work.close()


def test_corrections_are_what_the_network_misses_more_at_a_layer_than_of_the_content(
    folders: Folders, vgg_file: Path, tmp_path: Path
) -> None:
    work = distillation(tmp_path, folders, vgg_file, resume=False)
    found = Corrections(work.finished().frozen(), work.teacher, work.data, 2)
    found.ratios = [
        torch.tensor([1.0, 1.0, 2.0, 4.0, 8.0, 1.0]),
        torch.tensor([4.0, 1.0, 2.0, 4.0, 2.0, 4.0]),
    ]
    # One standard deviation above the mean of two logarithms is the larger of them.
    assert found.factors() == pytest.approx((1, 2, 4, 8, 1), abs=1e-3)
    found.ratios = [torch.tensor([1.0, 1e-9, 1.0, 1.0, 1.0, 1e9])]
    assert found.factors() == (1 / MOST_CORRECTION, 1, 1, 1, MOST_CORRECTION)
    work.close()


def test_a_network_that_sees_all_that_its_teacher_sees_needs_no_corrections(
    folders: Folders, vgg_file: Path, tmp_path: Path
) -> None:
    work = distillation(tmp_path, folders, vgg_file, resume=False)
    network = work.finished().frozen()

    class Twin(Teachers):
        def __call__(
            self, images: torch.Tensor, layers: Iterable[str] | None = None
        ) -> dict[str, torch.Tensor]:
            return {k: network.predict(k, x) for k, x in network(images, layers).items()}

    twin = Twin(work.teacher.vgg, None, network.config.layers)
    measured = Corrections(network, twin, work.data, 2)
    assert [step.done for step in measured.measure(2, 50)] == [1, 2, 3, 4]
    torch.testing.assert_close(torch.stack(measured.ratios), torch.ones(2, 6), rtol=5e-3, atol=0)
    work.close()


def test_the_data_is_what_a_loss_network_meets(folders: Folders) -> None:
    served = DistillationData(folders, Recipe(updates=4, batch=2, crop=32, photo_side=96), CPU)
    update, photos, paintings = next(served.batches(0))
    assert update == 0
    for drawn, again in zip((photos, paintings), served.draw(0)[1:], strict=True):
        assert drawn.shape == (2, 3, 32, 32)
        assert torch.equal(drawn, again)
    near = served.styles[1:2]
    painted = served.painted(0, photos, near)
    assert torch.equal(painted, served.painted(0, photos, near))
    assert not torch.allclose(painted, photos, atol=0.02)
    assert served.picture(3).shape == (3, 64, 64)
    for images in (photos, paintings, painted, served.picture(3)):
        assert 0 <= images.min() <= images.max() <= 1


def test_a_pale_painting_is_softer_and_lighter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "PALED", 1.0)
    torch.manual_seed(0)
    for seed in range(4):
        painting = torch.rand(3, 40, 56)
        pale = data.paled(painting, torch.Generator().manual_seed(seed))
        assert pale.shape == painting.shape
        assert pale.std() < 0.8 * painting.std()
        assert pale.mean() > painting.mean() - 0.02


def test_a_drawing_has_ink_at_edges_on_light_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "DRAWN", 1.0)
    dark = torch.full((3, 40, 60), 0.2)
    dark[:, :, 30:] = 0.9
    for seed in range(4):
        drawing = data.drawn(dark, torch.Generator().manual_seed(seed))
        assert drawing.shape == dark.shape
        assert drawing[:, :, 28:32].amin() < 0.25  # ink
        assert (drawing[:, :, 5:20].mean() - 0.2) > 0.3 * (1 - 0.2)  # paper under a thin wash
        assert drawing[:, :, 45:].mean() > 0.7
    monkeypatch.setattr(data, "DRAWN", 0.0)
    assert data.drawn(dark, torch.Generator().manual_seed(0)) is dark


def test_at_hand_takes_the_bundled_network_only_where_nothing_better_is_there(
    home: Path, vgg_file: Path
) -> None:
    nothing = WeightSource()
    assert without_download(Recipe(), nothing).loss_network == "bundled"
    assert without_download(Recipe(), WeightSource(vgg_file)).loss_network == "vgg19"
    assert without_download(load_recipe("johnson"), nothing).loss_network == "vgg16"
    cached = home / "cache" / "vgg19-IMAGENET1K_V1-relu5_1.safetensors"
    cached.parent.mkdir(parents=True)
    save_file({"features.0.weight": torch.zeros(1)}, cached)
    assert without_download(Recipe(), nothing).loss_network == "vgg19"


def test_a_distillation_that_cannot_begin_leaves_what_was_there(
    tmp_path: Path, folders: Folders
) -> None:
    place = tmp_path / "loss.checkpoint"
    for others in ([], ["mine.txt"]):
        for name in others:
            place.mkdir()
            (place / name).touch()
        with pytest.raises(UsageError):
            distillation(tmp_path, folders, tmp_path / "no.safetensors", resume=False)
        left = [path.name for path in place.iterdir()] if place.exists() else []
        assert left == others
