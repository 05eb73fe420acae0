"""Which trunk the user works with: one line in a small file in the home folder."""

from pathlib import Path

from stylepack.errors import PackError
from stylepack.files import make_folder, write_text
from stylepack.packs.manifest import checked_name

BUNDLED = "bundled"  # the name of the trunk that comes with stylepack
FILE = "trunk-in-use"
LARGEST = 1 << 10


def read_in_use(home: Path) -> str:
    """Name of the trunk in use; the bundled one where the file does not exist.

    Raises:
        PackError: the file is not what `write_in_use` writes.
    """
    path = home / FILE
    try:
        with path.open("rb") as file:
            name = file.read(LARGEST).decode("utf-8").strip()
        return checked_name(name, path)
    except (FileNotFoundError, NotADirectoryError):
        return BUNDLED
    except OSError as error:
        raise PackError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, PackError):
        raise PackError(
            f"{path} is damaged; `stylepack trunks use {BUNDLED}` writes it anew"
        ) from None


def write_in_use(home: Path, name: str) -> None:
    """Write the name of the trunk in use, in one step.

    Raises:
        StylepackError: the home folder cannot be made or written to.
    """
    make_folder(home, "set STYLEPACK_HOME to a folder you own")
    write_text(home / FILE, f"{name}\n")
