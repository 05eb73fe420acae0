"""Recipes: the papers' numbers, and what a TOML file may change."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stylepack.errors import UsageError
from stylepack.losses.vgg import plan
from stylepack.recipe import RECIPES, Recipe, RecipeChanges, load_recipe, recipe_from

ADAM = {"updates": 40_000, "learning_rate": 1e-3, "warmup": 0, "decay": "none", "ema": 0.0}
AS_IN_THE_PAPER = {
    "relative": False,
    "scales": 1,
    "identity": False,
    "content_weight": 1.0,
    "widths": (32, 64, 128),
    "similarity_weight": 0.0,
    "tone_weight": 0.0,
    "palette_weight": 0.0,
    "color_weight": 0.0,
    "lattice_weight": 0.0,
    "hatching_weight": 0.0,
}
FOUR = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
PAPERS = {
    "johnson": {  # train.lua: layers 4, 9, 16, 23 of VGG-16
        **ADAM,
        **AS_IN_THE_PAPER,
        "loss_network": "vgg16",
        "weights": "IMAGENET1K_FEATURES",
        "content_layers": ("relu3_3",),
        "style_layers": FOUR,
        "style_weight": 5.0,
        "gram_divisor": "size",
        "batch": 4,
        "crop": 256,
    },
    "dumoulin": {  # appendix A, and image_stylization_train.py
        **ADAM,
        **AS_IN_THE_PAPER,
        "loss_network": "vgg16",
        "weights": "IMAGENET1K_FEATURES",
        "content_layers": ("relu3_3",),
        "style_layers": FOUR,
        "style_weight": 1e-4,
        "style_rate": 1.0,
        "saturation_weight": 0.0,
        "grain": 0.0,
        "crop": 256,
        "tv_weight": 0.0,
        "gram_divisor": "pixels",
        "batch": 16,
        "initial_std": 0.01,
        "selection": "random",
    },
    "seed": {  # the COMP6248 report
        **ADAM,
        **AS_IN_THE_PAPER,
        "weights": "IMAGENET1K_V1",
        "content_layers": ("relu2_2",),
        "style_layers": FOUR,
        "content_weight": 1e5,
        "style_weight": 1e10,
        "tv_weight": 0.0,
        "gram_divisor": "size",
        "selection": "round-robin",
    },
}


def toml(tmp_path: Path, content: str | bytes, name: str = "mine") -> str:
    path = tmp_path / f"{name}.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def refusal(source: str) -> str:
    with pytest.raises(UsageError) as refused:
        load_recipe(source)
    assert str(refused.value).isprintable()
    return str(refused.value)


@pytest.mark.parametrize("name", PAPERS)
def test_a_preset_has_the_values_of_its_paper(name: str) -> None:
    recipe = asdict(load_recipe(name))
    assert recipe["name"] == name
    assert {key: recipe[key] for key in PAPERS[name]} == PAPERS[name]


def test_johnsons_total_variation_is_converted_to_a_mean_of_zero_to_one() -> None:
    assert RECIPES["johnson"].tv_weight == pytest.approx(
        1e-6 / 2 * 255**2 * 3 * 256**2 * 4, rel=0.03
    )


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_preset_names_layers_that_its_network_has(recipe: Recipe) -> None:
    assert plan(recipe.loss_network, (*recipe.content_layers, *recipe.style_layers))


def test_the_default_recipe_is_the_dataclass_itself() -> None:
    assert load_recipe("default") == Recipe()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_comes_back_from_toml_and_from_plain_values(tmp_path, recipe: Recipe) -> None:
    assert load_recipe(toml(tmp_path, recipe.to_toml(), "other")) == recipe
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}
    assert recipe_from(plain, "run.json") == recipe


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.floats(min_value=0, max_value=1e30),
)
@example("\N{ARTIST PALETTE}", 1e10)
@example("\x7f\n", 1e-300)
def test_any_name_and_number_come_back_from_toml(tmp_path: Path, name: str, number: float) -> None:
    recipe = Recipe(name=name, style_weight=number)
    assert load_recipe(toml(tmp_path, recipe.to_toml())) == recipe


def test_a_toml_file_names_only_what_it_changes(tmp_path: Path) -> None:
    recipe = load_recipe(toml(tmp_path, 'style_weight = 7\nstyle_layers = ["relu1_1"]\n'))
    expected = {"name": "mine", "style_weight": 7.0, "style_layers": ("relu1_1",)}
    expected["layer_weights"] = ()  # the default's belong to its five layers
    assert asdict(recipe) == asdict(Recipe()) | expected
    assert type(recipe.style_weight) is float


def test_a_base_names_another_preset_to_start_from(tmp_path: Path) -> None:
    recipe = load_recipe(toml(tmp_path, 'base = "johnson"\nbatch = 2\nname = "small"'))
    assert asdict(recipe) == asdict(RECIPES["johnson"]) | {"batch": 2, "name": "small"}


WRONG = {
    "unknown key": ("stile_weight = 1", "'stile_weight'"),
    "a table": ("[style]\nweight = 1", "'style'"),
    "text for a number": ('batch = "4"', "'batch' is '4'; it must be a whole number"),
    "float for a whole number": ("batch = 4.0", "'batch' is 4.0; it must be a whole number"),
    "true for a whole number": ("batch = true", "'batch' is True"),
    "true for a number": ("style_weight = true", "'style_weight' is True; it must be a number"),
    "a number for true": ("relative = 1", "'relative' is 1; it must be true or false"),
    "a number for text": ("name = 1", "'name' is 1; it must be text"),
    "no choice": ('decay = "linear"', "one of none, cosine"),
    "a list for a choice": ('decay = ["none"]', "one of none, cosine"),
    "text for a list": ('style_layers = "relu1_1"', "'style_layers'"),
    "weights of other layers": ("layer_weights = [1, 2]", "has 2 numbers"),
    "a negative weight": ("layer_weights = [1, 1, -1, 1, 1]", "must be numbers in 0..1e6"),
    "no weight above 0": ("layer_weights = [0, 0, 0, 0, 0]", "one above 0"),
    "words for weights": ('layer_weights = ["a"]', "'layer_weights' is ['a']"),
    "an empty list": ("style_layers = []", "'style_layers' is []"),
    "a list of numbers": ("content_layers = [1]", "'content_layers' is [1]"),
    "an unknown base": ('base = "jonson"', "no recipe 'jonson'"),
    "a list for a base": ('base = ["johnson"]', "johnson"),
    "no updates": ("updates = 0", "updates is 0; it must be above 0"),
    "a negative rate": ("learning_rate = -1e-3", "learning_rate is -0.001"),
    "a rate that is no number": ("learning_rate = nan", "learning_rate is nan"),
    "an infinite rate": ("learning_rate = inf", "learning_rate"),
    "a weight that is no number": ("style_weight = nan", "style_weight"),
    "a tiny crop": ("crop = 16", "at least 32 pixels"),
    "a tiny first crop": ("first_crop = 16", "at least 32 pixels"),
    "too long a memory": ("ema = 1.0", "ema is 1; it must be below 1"),
    "no photographs": ("photo_side = 0", "at least 32 pixels"),
    "enormous paintings": ("style_side = 1000000", "mine.toml: style_side is 1000000"),
    "an enormous batch": ("batch = 999999999999999", "it must be at most 65536"),
    "a rate beyond float32": ("learning_rate = 1e41", "it must be at most 1e+30"),
    "more scales than pixels": ("scales = 30", "at most 5 scales"),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_refused_by_its_key(tmp_path: Path, content: str, said: str) -> None:
    assert said in refusal(toml(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    ["batch = ", "batch", "batch = 1\nbatch = 2", b"\xff\xfe", "a = " + "[" * 100_000],
    ids=["cut", "no value", "twice", "not UTF-8", "deep"],
)
def test_damaged_toml_is_refused_by_its_file(tmp_path: Path, content: str | bytes) -> None:
    source = toml(tmp_path, content)
    assert refusal(source).startswith(f"{source} is not valid TOML: ")


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    for name in ("missing.toml", "folder.toml"):
        assert f"cannot read recipe {tmp_path / name}: " in refusal(str(tmp_path / name))


@pytest.mark.parametrize("name", ["", "jonson", "Default", "recipe.json"])
def test_an_unknown_preset_lists_those_there_are(name: str) -> None:
    message = refusal(name)
    assert all(preset in message for preset in RECIPES)
    assert ".toml" in message
    assert f"'{name}'" in message


def test_changes_of_none_are_no_changes(tmp_path: Path) -> None:
    assert Recipe().changed(RecipeChanges()) == Recipe()
    recipe = load_recipe("seed", RecipeChanges(batch=2, style_layers=["relu1_1"]))
    assert asdict(recipe) == asdict(RECIPES["seed"]) | {"batch": 2, "style_layers": ("relu1_1",)}


def test_a_wrong_change_names_the_option() -> None:
    with pytest.raises(UsageError, match=r"^--batch is 'two'; it must be a whole number"):
        Recipe().changed(RecipeChanges(batch="two"))
    with pytest.raises(UsageError, match=r"^--style-weight is -1.0; it must be 0 or more"):
        Recipe().changed(RecipeChanges(style_weight=-1.0))
    with pytest.raises(UsageError, match=r"^crop, first_crop, .* at least 32 pixels"):
        Recipe().changed(RecipeChanges(crop=16))


def test_the_crop_grows_half_way_through() -> None:
    recipe = Recipe(updates=9, crop=256, first_crop=128)
    assert [recipe.crop_at(update) for update in range(9)] == [128] * 4 + [256] * 5
    assert {Recipe(updates=9, crop=64).crop_at(update) for update in range(9)} == {64}


def test_recipes_are_read_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from stylepack.recipe import load_recipe; print(load_recipe('seed').batch)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4\n"
