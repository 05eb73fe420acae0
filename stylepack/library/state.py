"""The hidden bundled packs: a small JSON file in the home folder."""

import json
from collections.abc import Iterable
from pathlib import Path

from stylepack.errors import PackError
from stylepack.files import make_folder, write_text

FILE = "hidden.json"
LARGEST = 1 << 16


def read_hidden(home: Path) -> frozenset[str]:
    """Names of the hidden packs; none if the file does not exist.

    Raises:
        PackError: the file is damaged.
    """
    path = home / FILE
    try:
        with path.open("rb") as file:
            names = json.loads(file.read(LARGEST))["hidden"]
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise PackError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PackError(f"{path} is damaged; `stylepack packs restore --all` rewrites it")
    return frozenset(names)


def write_hidden(home: Path, names: Iterable[str]) -> None:
    """Write the names of the hidden packs atomically.

    Raises:
        StylepackError: the home folder cannot be created or written to.
    """
    make_folder(home, "set STYLEPACK_HOME to a folder you own")
    write_text(home / FILE, json.dumps({"hidden": sorted(names)}) + "\n")
