"""Settings of a training run, and run.json.

Does not import torch, so that wrong options fail at once.
"""

import datetime
import json
import math
import platform
import sys
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stylepack.errors import TrainingError
from stylepack.files import write_text
from stylepack.recipe import Recipe, recipe_from

SETTINGS = "run.json"
WRONG = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class RunOptions:
    """Settings of a run that a command line replaces; None keeps the setting."""

    styles: Path | None = None
    photos: Path | None = None
    start_from: Path | None = None
    balance: dict[str, float] | None = None
    vgg_weights: Path | None = None
    vgg_input: str | None = None
    sheet_every: int | None = None
    checkpoint_every: int | None = None
    compiled: bool | None = None
    author: str | None = None
    license: str | None = None


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run, as in its run.json."""

    styles: Path
    photos: Path
    recipe: Recipe
    vgg_weights: Path | None = None
    vgg_input: str | None = None
    checkpoint_every: int = 500
    sheet_every: int = 500
    paintings: dict[str, str] = field(default_factory=dict)  # name -> SHA-256 of the file
    photographs: str = ""  # `fingerprint` of the training photographs
    balance: dict[str, float] = field(default_factory=dict)  # name -> multiple of the style weight
    start_from: Path | None = None  # a trunk file; None starts from random weights
    compiled: bool | None = None  # use torch.compile; None: on CUDA
    author: str = ""
    license: str = ""
    starts: tuple[dict[str, Any], ...] = ()  # date, update, command, device, versions of each

    def changed(self, options: RunOptions) -> "RunSettings":
        """These settings with the given options."""
        return replace(self, **{k: v for k, v in vars(options).items() if v is not None})

    def with_start(self, update: int, device: str, processes: int) -> "RunSettings":
        """These settings with one more start, now and by this process's command line."""
        start = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "update": update,
            "command": sys.argv,
            "device": device,
            "processes": processes,
            "versions": versions(),
        }
        return replace(self, starts=(*self.starts, start))

    def write(self, folder: Path) -> None:
        """Write run.json and recipe.toml."""
        fields = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }
        write_text(folder / SETTINGS, json.dumps(fields, indent=1) + "\n")
        write_text(folder / "recipe.toml", self.recipe.to_toml())

    @classmethod
    def read(cls, folder: Path) -> "RunSettings":
        """Read run.json.

        Raises:
            TrainingError: `folder` is not a run folder, or its run.json is damaged.
        """
        path = folder / SETTINGS
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            weights = fields["vgg_weights"]
            if missing := asdict(Recipe()).keys() - fields["recipe"].keys():
                raise ValueError(f"its recipe lacks {', '.join(sorted(missing))}")
            start = fields["start_from"]
            settings = cls(
                **{name: fields[name] for name in ("vgg_input", "compiled", "author", "license")},
                checkpoint_every=int(fields["checkpoint_every"]),
                sheet_every=int(fields["sheet_every"]),
                styles=Path(fields["styles"]),
                photos=Path(fields["photos"]),
                recipe=recipe_from(fields["recipe"], path),
                vgg_weights=Path(weights) if weights else None,
                paintings=dict(fields["paintings"]),
                photographs=str(fields["photographs"]),
                balance={k: float(v) for k, v in fields["balance"].items()},
                start_from=Path(start) if start else None,
                starts=tuple(fields["starts"]),
            )
            settings._check()
            return settings
        except FileNotFoundError:
            raise TrainingError(f"{folder} is not a run folder: it has no {SETTINGS}") from None
        except (*WRONG, OSError) as error:
            raise TrainingError(
                f"{path} is damaged: {error}; put a copy of it back, or start again elsewhere"
            ) from error

    def _check(self) -> None:
        """Check values that the command line would have refused.

        Raises:
            ValueError: a setting is invalid.
        """
        good = {
            "checkpoint_every": self.checkpoint_every >= 1,
            "sheet_every": self.sheet_every >= 1,
            "balance": all(0 <= weight < math.inf for weight in self.balance.values()),
            "vgg_input": self.vgg_input in (None, "caffe", "imagenet"),
            "compiled": self.compiled in (None, True, False),
            "author": isinstance(self.author, str),
            "license": isinstance(self.license, str),
            "starts": all(map(_is_start, self.starts)),
        }
        for name, is_good in good.items():
            if not is_good:
                raise ValueError(f"{name} is {getattr(self, name)!r:.80}")


def _is_start(start: object) -> bool:
    if not isinstance(start, dict) or not {"date", "update", "command"} <= start.keys():
        return False
    command = start["command"]
    return isinstance(command, list) and all(isinstance(word, str) for word in command)


def versions() -> dict[str, str]:
    """Versions of stylepack, torch and Python."""
    return {
        "stylepack": version("stylepack"),
        "torch": version("torch"),
        "python": platform.python_version(),
    }
