"""What every study is: work that is done in parts, in a folder that remembers them.

study.json   what was asked for, and of which files
parts/       one JSON a finished part; a study that was stopped goes on after the last one
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
# What reading a file meets that is not JSON, or not the JSON that was written.
DAMAGES = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Study(Protocol):
    """One experiment: iterate `run()`, then `write()`."""

    folder: "StudyFolder"

    def __len__(self) -> int:
        """How many pieces of work there are, those that are done already among them."""

    def run(self) -> Generator[Event]:
        """Do the work that is not done yet.  Closing the iterator keeps what is done."""

    def write(self) -> list[Path]:
        """Write tables, figures and the report; return their paths, the report's last."""


class StudyFolder:
    """The folder of a study that was asked for with certain settings."""

    def __init__(self, path: Path, settings: Json) -> None:
        """Begin, or go on with what is there.

        Raises:
            UsageError: the folder holds a study that was begun with other settings.
            TrainingError: its study.json is damaged.
            StylepackError: the folder cannot be made.
        """
        self.path = path
        self.settings: Json = json.loads(json.dumps(settings))  # as it is read back: no tuples
        file = path / SETTINGS
        if file.exists():
            self._check(file)
        make_folder(path / "parts", "choose another folder with -o")
        if not file.exists():
            facts = {"settings": self.settings, "versions": versions()}
            write_text(file, json.dumps(facts, indent=1) + "\n")

    def _check(self, file: Path) -> None:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))["settings"]
            before = dict(flat(found))
        except DAMAGES as error:
            raise TrainingError(
                f"{file} is damaged: {error}; choose another folder with -o"
            ) from error
        now = dict(flat(self.settings))
        for key in [*now, *before]:
            if before.get(key) != now.get(key):
                raise UsageError(
                    f"{self.path} holds a study that was begun with {key} "
                    f"{_shown(before.get(key))}, not {_shown(now.get(key))}; give what it was "
                    "begun with, or another folder with -o"
                )

    def part(self, name: str, read: Callable[[Json], Part]) -> Part | None:
        """What `read` makes of a finished part, None if it is not finished.

        Raises:
            TrainingError: its file is damaged, or `read` lacks something in it.
        """
        path = self._part(name)
        if not path.exists():
            return None
        try:
            return read(json.loads(path.read_text(encoding="utf-8")))
        except DAMAGES as error:
            raise TrainingError(f"{path} is damaged; delete it, and it is made again") from error

    def finished(self, name: str, read: Callable[[Json], Part]) -> Part:
        """A part that must be there, as `part` reads it.

        Raises:
            TrainingError: it is not there, or damaged.
        """
        part = self.part(name, read)
        if part is None:
            raise TrainingError(f"{self._part(name)} is gone; type the same command again")
        return part

    def keep(self, name: str, part: Json) -> None:
        """Write a part, whole or not at all.

        Raises:
            TrainingError: a number of it is not finite.
        """
        try:
            text = json.dumps(part, allow_nan=False)
        except ValueError as error:
            raise TrainingError(
                f"{name} has diverged: a loss of it is not finite; take a lower learning rate, and "
                "another folder with -o"
            ) from error
        write_text(self._part(name), text + "\n")

    def write_table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
        """A CSV file, its numbers to six digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in row)
        path = self.path / name
        write_text(path, text.getvalue())
        return path

    def write_results(self, results: Json) -> Path:
        """results.json: what was asked for, with what, and what came out."""
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
    """Nested settings as (dotted name, value)."""
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
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return value


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
