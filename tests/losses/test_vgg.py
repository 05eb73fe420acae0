"""The loss networks: layers by name, weights by torchvision's names, the input's scale."""

import warnings
from collections.abc import Iterable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from stylepack.errors import UsageError
from stylepack.losses.vgg import INPUT_SCALES, VGG, parameter_shapes, plan

VGG16 = [
    *("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"),
    *("conv2_1", "relu2_1", "conv2_2", "relu2_2", "pool2"),
    *("conv3_1", "relu3_1", "conv3_2", "relu3_2", "conv3_3", "relu3_3", "pool3"),
    *("conv4_1", "relu4_1", "conv4_2", "relu4_2", "conv4_3", "relu4_3", "pool4"),
    *("conv5_1", "relu5_1", "conv5_2", "relu5_2", "conv5_3", "relu5_3", "pool5"),
]


def torchvision_models() -> ModuleType:
    """torchvision.models, or skip; one that does not match torch raises RuntimeError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchvision.models as models
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not work here: {error}")
    return models


def random_weights(network: str, layers: Iterable[str]) -> dict[str, Tensor]:
    """Weights under torchvision's names that keep activations at about their size."""
    generator = torch.Generator().manual_seed(0)
    layers, weights = list(layers), {}
    for name, shape in parameter_shapes(network, layers).items():
        step, kind = name.rsplit("_", 1)
        scale = (2 / (9 * shape[1])) ** 0.5 if kind == "weight" else 0.1
        index = plan(network, layers).index(step)
        weights[f"features.{index}.{kind}"] = torch.randn(shape, generator=generator) * scale
    return weights


def loaded(network: str, *layers: str, scale: str = "imagenet") -> VGG:
    return VGG(network, layers, scale).load(random_weights(network, layers), "random")


def images(side: int = 16) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_the_plan_names_every_step_of_the_paper() -> None:
    assert plan("vgg16", ["pool5"]) == VGG16
    assert len(plan("vgg19", ["pool5"])) == 37
    assert set(plan("vgg19", ["pool5"])) - set(VGG16) == {
        f"{kind}{block}_4" for kind in ("conv", "relu") for block in (3, 4, 5)
    }


def test_the_plan_stops_at_the_deepest_layer() -> None:
    assert plan("vgg19", ["relu2_1", "conv1_1"]) == VGG16[:7]
    assert plan("vgg16", ["conv1_1"]) == ["conv1_1"]
    assert plan("vgg16", iter(["pool1"])) == VGG16[:5]


@pytest.mark.parametrize(
    ("network", "layer", "hint"),
    [
        ("vgg16", "relu3_4", "block 3 of vgg16 has 3 convolutions"),
        ("vgg19", "conv2_3", "block 2 of vgg19 has 2 convolutions"),
        ("vgg19", "relu6_1", "layers are named like conv1_1, relu3_2 or pool4"),
        ("vgg19", "pool6", "layers are named like conv1_1, relu3_2 or pool4"),
        ("vgg19", "Relu1_1", "layers are named like"),
        ("vgg19", "features.3", "layers are named like"),
        ("vgg19", "", "layers are named like"),
    ],
)
def test_an_unknown_layer_is_refused_with_a_hint(network: str, layer: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        VGG(network, ["relu1_1", layer])
    assert f"{network} has no layer '{layer}'; " in str(refused.value)
    assert hint in str(refused.value)


def test_shapes_are_those_of_the_paper() -> None:
    shapes = parameter_shapes("vgg16", ["pool5"])
    assert len(shapes) == 2 * 13
    assert shapes["conv1_1_weight"] == (64, 3, 3, 3)
    assert shapes["conv3_1_weight"] == (256, 128, 3, 3)
    assert shapes["conv5_3_bias"] == (512,)


def test_a_network_has_nothing_beyond_the_deepest_layer_asked() -> None:
    vgg = VGG("vgg19", ["relu1_1", "relu2_1"])
    assert vgg.steps[-1] == "relu2_1"
    assert {name for name, _ in vgg.named_buffers()} == {
        *("mean", "deviation"),
        *(f"conv{name}_{kind}" for name in ("1_1", "1_2", "2_1") for kind in ("weight", "bias")),
    }


def test_every_layer_is_the_same_asked_alone_or_with_all_others() -> None:
    together = loaded("vgg16", *VGG16[:12])
    found = together(images())
    assert set(found) == set(VGG16[:12])
    assert found["relu3_1"].shape == (2, 256, 4, 4)
    for layer in VGG16[:12]:
        assert torch.equal(found[layer], together(images(), [layer])[layer]), layer
        assert set(together(images(), [layer])) == {layer}
    torch.testing.assert_close(found["relu1_2"], found["conv1_2"].relu())


def test_gradients_flow_to_the_images_and_not_to_the_weights() -> None:
    photo = images().requires_grad_()
    loaded("vgg19", "relu1_2", "conv1_1")(photo)["relu1_2"].sum().backward()
    assert photo.grad is not None
    assert photo.grad.abs().sum() > 0
    assert list(VGG("vgg19", ["relu1_2"]).parameters()) == []


@pytest.mark.parametrize("scale", ["caffe", "imagenet"])
def test_the_input_is_scaled_as_the_weights_expect(scale: str) -> None:
    vgg = VGG("vgg19", ["conv1_1"], scale)
    vgg.get_buffer("conv1_1_weight")[range(3), range(3), 1, 1] = 1  # hands the input through
    expected = {
        "caffe": [127.5 - 123.0, 127.5 - 117.0, 127.5 - 104.0],  # less Oxford's BGR mean, as RGB
        "imagenet": [0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225],
    }[scale]
    found = vgg(torch.full((1, 3, 4, 5), 0.5))["conv1_1"]
    assert found.shape == (1, 64, 4, 5)
    for channel, value in enumerate(expected):
        torch.testing.assert_close(
            found[0, channel], torch.full((4, 5), value), atol=2e-3, rtol=1e-3
        )
    assert found[0, 3:].abs().max() == 0


def test_a_truncated_file_serves_as_far_as_it_reaches() -> None:
    weights = random_weights("vgg19", ["relu2_1"])
    VGG("vgg19", ["relu2_1"]).load(weights, "short.pth")
    with pytest.raises(UsageError, match=r"short\.pth does not reach conv2_2; .*--vgg-weights"):
        VGG("vgg19", ["relu2_2"]).load(weights, "short.pth")
    del weights["features.2.bias"]
    with pytest.raises(UsageError, match="does not reach conv1_2"):
        VGG("vgg19", ["relu2_1"]).load(weights, "short.pth")


@pytest.mark.parametrize("shape", [(64, 3, 5, 5), (64, 1, 3, 3), (32, 3, 3, 3), (64 * 27,)])
def test_weights_of_another_shape_are_refused_by_layer(shape: tuple[int, ...]) -> None:
    weights = random_weights("vgg19", ["relu1_1"])
    weights["features.0.weight"] = torch.zeros(shape)
    with pytest.raises(UsageError) as refused:
        VGG("vgg19", ["relu1_1"]).load(weights, "odd.pth")
    assert "odd.pth: features.0.weight (conv1_1)" in str(refused.value)
    assert str(list(shape)) in str(refused.value)
    assert "expected [64, 3, 3, 3]" in str(refused.value)


def test_the_weights_of_the_other_vgg_are_refused() -> None:
    weights = random_weights("vgg16", ["relu4_1"])
    with pytest.raises(UsageError, match=r"vgg16\.pth does not reach conv3_4"):
        VGG("vgg19", ["relu4_1"]).load(weights, "vgg16.pth")


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_every_layer_agrees_with_torchvision(network: str) -> None:
    models = torchvision_models()
    with torch.device("meta"):  # no memory for the classifier's 120 million weights
        features = getattr(models, network)(weights=None).features
    steps = plan(network, ["pool5"])
    assert len(features) == len(steps)
    weights = random_weights(network, steps)
    state = {name.removeprefix("features."): tensor for name, tensor in weights.items()}
    features.load_state_dict(state, assign=True)
    found = loaded(network, *steps)(images(32))
    scale = INPUT_SCALES["imagenet"]
    x = (images(32) - torch.tensor(scale.mean).view(3, 1, 1)) / torch.tensor(scale.deviation).view(
        3, 1, 1
    )
    with torch.no_grad():
        for step, layer in zip(steps, features, strict=True):
            x = layer(x.clone())  # torchvision's ReLU works in place
            torch.testing.assert_close(found[step], x, atol=1e-4, rtol=1e-4, msg=step)


def test_the_input_scales_are_torchvisions() -> None:
    models = torchvision_models()
    documented = {
        "imagenet": models.VGG19_Weights.IMAGENET1K_V1,
        "caffe": models.VGG16_Weights.IMAGENET1K_FEATURES,
    }
    for name, weights in documented.items():
        transform = weights.transforms()
        assert tuple(transform.mean) == INPUT_SCALES[name].mean
        assert tuple(transform.std) == pytest.approx(INPUT_SCALES[name].deviation)
