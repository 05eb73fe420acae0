"""Every command of docs/reproduction.md runs, at the smallest scale."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import picture
from safetensors.torch import load_file, save_file

from stylepack.bundled import BUNDLED_LOSS_NETWORK
from stylepack.cli.main import run as stylepack
from stylepack.lab.study import plans

ROOT = Path(__file__).parents[2]
FOURTH_BLOCK = 19  # index of conv4_1 among VGG-19's features
PAGE = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
SMALLEST = {"--updates": 2, "--crop": 32, "--batch": 1, "--limit": 1, "--seeds": 2}
NAMES = [
    *("cassis", "composition", "kirchner", "poppies", "scream", "shipwreck", "starry", "tahiti"),
    *("wave", "wheatfield"),
]


def commands() -> list[list[str]]:
    """The words of every `stylepack ...` command, with the page's variables in place."""
    text = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
    variables = dict(re.findall(r'^(\w+)="(.*?)"', text, re.MULTILINE))
    found = []
    for line in text.splitlines():
        if line.startswith("stylepack "):
            while "$" in line:
                line = re.sub(r"\$(\w+)", lambda match: variables[match[1]], line)
            found.append(shlex.split(line, comments=True)[1:])
    return found


COMMANDS = commands()


@pytest.fixture
def folder(tmp_path: Path, vgg_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with small stand-ins for everything that the commands name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paintings").mkdir()
    for seed, name in enumerate(NAMES):
        picture(40, 36, 200 + seed).save(tmp_path / "paintings" / f"{name}.png")
    three_blocks = {
        name: weight
        for name, weight in load_file(vgg_file).items()
        if int(name.split(".")[1]) < FOURTH_BLOCK
    }
    save_file(three_blocks, "vgg19_features_conv1-3.safetensors")
    shutil.copy(BUNDLED_LOSS_NETWORK, "loss-network-vgg19-16x.safetensors")
    for place in ("docs/recipes", "stylepack/assets/photos"):
        shutil.copytree(ROOT / place, tmp_path / place)
    small = {"crop": 32, "photo_side": 40, "style_side": 36, "batch": 1, "warmup": 1}
    monkeypatch.setattr(plans, "QUICK_RECIPE", small)
    for plan, changes in {
        plans.LossesPlan: {"readouts": 1, "updates": 2, "photographs": 1},
        plans.ComparePlan: {"photographs": 1, "new_style_updates": 2, "new_style_readouts": 1},
        plans.ReconstructPlan: {"side": 32, "updates": 2},
        plans.InterpolatePlan: {
            **{"cell": 40, "steps": 2, "alphas": 2, "photographs": 1, "side": 40},
            **{"mixes": 2, "mix_updates": 1},
        },
    }.items():
        monkeypatch.setitem(plans.QUICK, plan, {**plans.QUICK[plan], **changes})
    monkeypatch.setattr(plans, "QUICK_PUBLISHED", {})
    return tmp_path


def smallest(command: list[str]) -> list[str]:
    """The command at the smallest scale."""
    words = [word for word in command if word != "--quick"]
    for at, word in enumerate(words):
        if word in SMALLEST:
            words[at + 1] = str(SMALLEST[word])
    if "compare" in words:
        styles = len(words[words.index("--names") + 1].split(","))
        words += ["--updates", str(2 * styles), "--batch", "2"]  # so that every style is drawn
    return [*words, "--quick", "--device", "cpu", "-o", "out"]


def test_the_page_has_a_command_of_every_study() -> None:
    assert {command[1] for command in COMMANDS} == {
        *("losses", "compare", "reconstruct", "interpolate")
    }


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[1:4]))
def test_the_command_runs(command: list[str], folder: Path) -> None:
    assert stylepack(smallest(command)) == 0
    report = (folder / "out" / "report.md").read_text(encoding="utf-8")
    for figure in re.findall(r"!\[[^]]*\]\(([^)]+)\)", report):
        assert (folder / "out" / figure).stat().st_size > 1000
