"""The script for a graphics card is rehearsed without one."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "benchmarks" / "card.py"
PARTS = ("rates", "training", "trunk", "network")  # those that no other test does


def rehearse(out: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, object]]:
    command = [sys.executable, str(SCRIPT), str(out), "--rehearse", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (out / "results.jsonl").read_text().splitlines()
    facts = {f"{one['part']}: {one['name']}": one["value"] for one in map(json.loads, lines)}
    return done, facts


@pytest.mark.parametrize(
    "words",
    [("--only", ",".join(PARTS), "--no-compile"), pytest.param((), marks=pytest.mark.nightly)],
    ids=["small", "whole"],
)
def test_everything_that_a_card_is_to_prove_is_rehearsed(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done, facts = rehearse(tmp_path / "out", *words)
    assert (done.returncode, facts["all: failed"]) == (0, "nothing"), done.stdout + done.stderr
    assert facts["trunk: updates in all"] == facts["trunk: updates until the stop"] + 4  # type: ignore[operator]
    assert facts["trunk: packs"] == 3
    assert not [name for name in facts if name.endswith("notices")]  # compiling has not failed
    for network in ("five-block", "vgg16"):
        assert facts[f"training: {network}, times the usual loop"] > 0.1  # type: ignore[operator]
    with tarfile.open(tmp_path / "out" / "trained.tar.gz") as tar:
        assert {"trained/trunk.safetensors", "trained/recipe.toml"} <= set(tar.getnames())
    assert len(list((tmp_path / "out").iterdir())) <= 8


def test_a_part_that_fails_stops_no_other(tmp_path: Path) -> None:
    recipe = ("--recipe", str(tmp_path / "missing.toml"))
    done, facts = rehearse(tmp_path / "out", *recipe, "--only", "trunk,rates")
    assert done.returncode == 1
    assert facts["all: failed"] == ["trunk"]
    assert "missing.toml" in str(facts["trunk: failed"])
    assert "rates: TFLOP/s in bfloat16" in facts
