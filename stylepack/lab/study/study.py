"""A study's folder, which keeps finished parts so that an interrupted study resumes.

study.json   settings, and hashes of the files
parts/       one JSON file per finished part
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stylepack.errors import TrainingError, UsageError, printable
from stylepack.events import Event
from stylepack.files import make_folder, write_text
from stylepack.training.settings import versions

SETTINGS = "study.json"
Json = dict[str, Any]
Part = TypeVar("Part")
# Errors from reading a file that is not JSON, or not of the expected form.
DAMAGES = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Study(Protocol):
    """One experiment: iterate `run()`, then `write()`."""

    folder: "StudyFolder"

    def __len__(self) -> int:
        """Number of steps, including those done before."""

    def run(self) -> Generator[Event]:
        """Do the remaining work.  Closing the iterator keeps finished work."""

    def write(self) -> list[Path]:
        """Write tables, figures and the report; return their paths, the report's last."""


class StudyFolder:
    """A new or existing folder of a study with given settings.

    Raises:
        UsageError: the folder has a study with other settings.
        TrainingError: its study.json is damaged.
        StylepackError: the folder cannot be created.
    """

    def __init__(self, path: Path, settings: Json) -> None:
        self.path = path
        self.settings: Json = json.loads(json.dumps(settings))  # tuples become lists
        file = path / SETTINGS
        if file.exists():
            self._check(file)
        make_folder(path / "parts", "choose another folder with -o")
        if not file.exists():
            facts = {"settings": self.settings, "versions": versions()}
            write_text(file, json.dumps(facts, indent=1) + "\n")

    def _check(self, file: Path) -> None:
        try:
            before = dict(flat(json.loads(file.read_text(encoding="utf-8"))["settings"]))
        except DAMAGES as error:
            raise TrainingError(
                f"{file} is damaged: {error}; choose another folder with -o"
            ) from error
        now = dict(flat(self.settings))
        for key in [*now, *before]:
            if before.get(key) != now.get(key):
                raise UsageError(
                    f"{self.path} has a study that was started with {key} "
                    f"{_shown(before.get(key))}, not {_shown(now.get(key))}; give the same, "
                    "or another folder with -o"
                )

    def part(self, name: str, read: Callable[[Json], Part]) -> Part | None:
        """The result of `read` for a finished part, None if it is not finished.

        Raises:
            TrainingError: its file is damaged, or `read` fails.
        """
        path = self._part(name)
        if not path.exists():
            return None
        try:
            return read(json.loads(path.read_text(encoding="utf-8")))
        except DAMAGES as error:
            raise TrainingError(f"{path} is damaged; delete it to make it again") from error

    def finished(self, name: str, read: Callable[[Json], Part]) -> Part:
        """A finished part, by `part`.

        Raises:
            TrainingError: it is missing or damaged.
        """
        part = self.part(name, read)
        if part is None:
            raise TrainingError(f"{self._part(name)} is gone; run the same command again")
        return part

    def keep(self, name: str, part: Json) -> None:
        """Write a part atomically.

        Raises:
            TrainingError: one of its numbers is not finite.
        """
        try:
            text = json.dumps(part, allow_nan=False)
        except ValueError as error:
            raise TrainingError(
                f"{name} has diverged: its loss is not finite; use a lower learning rate and "
                "another folder with -o"
            ) from error
        write_text(self._part(name), text + "\n")

    def write_table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
        """Write a CSV file with numbers to six digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in row)
        path = self.path / name
        write_text(path, text.getvalue())
        return path

    def write_results(self, results: Json) -> Path:
        """Write results.json: command, versions, settings and results."""
        facts = {
            "command": [printable(word) for word in sys.argv],
            "versions": versions(),
            "settings": self.settings,
            "results": rounded(results),
        }
        path = self.path / "results.json"
        write_text(path, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        return path

    def _part(self, name: str) -> Path:
        return self.path / "parts" / f"{name}.json"


def flat(settings: Json, prefix: str = "") -> Generator[tuple[str, Any]]:
    """Yield nested settings as (dotted name, value)."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def rounded(value: Any) -> Any:
    """Every number in nested lists and dictionaries to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
