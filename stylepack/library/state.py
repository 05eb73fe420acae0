"""Which bundled packs the user wants out of the way: a small JSON file in the home folder."""

import json
from collections.abc import Iterable
from pathlib import Path

from stylepack.errors import PackError
from stylepack.files import make_folder, write_text

FILE = "hidden.json"
LARGEST = 1 << 16


def read_hidden(home: Path) -> frozenset[str]:
    """Names of the hidden packs; none where the file does not exist.

    Raises:
        PackError: the file is not what `write_hidden` writes.
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
        raise PackError(f"{path} is damaged; `stylepack packs restore --all` writes it anew")
    return frozenset(names)


def write_hidden(home: Path, names: Iterable[str]) -> None:
    """Write the names of the hidden packs, in one step.

    Raises:
        StylepackError: the home folder cannot be made or written to.
    """
    make_folder(home, "set STYLEPACK_HOME to a folder you own")
    write_text(home / FILE, json.dumps({"hidden": sorted(names)}) + "\n")
