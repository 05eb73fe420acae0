"""Names of packs for the shell to complete.  Nothing here raises or prints."""

from stylepack.errors import StylepackError
from stylepack.packs.hidden import read_hidden
from stylepack.packs.shelf import home_folder, shelf, user_packs
from stylepack.packs.trunks import known_trunks


def complete_pack(incomplete: str) -> list[str]:
    """Packs on the shelf that begin like this."""
    return [name for name in _names() if name.startswith(incomplete)]


def complete_mix(incomplete: str) -> list[str]:
    """A mix whose last part is completed to a pack: `starry=0.5,sc` to `starry=0.5,scream`."""
    before, comma, part = incomplete.rpartition(",")
    used = {one.partition("=")[0].strip() for one in before.split(",")}
    return [
        f"{before}{comma}{name}" for name in _names() if name.startswith(part) and name not in used
    ]


def complete_installed(incomplete: str) -> list[str]:
    """Packs that can be removed."""
    try:
        return [name for name in user_packs() if name.startswith(incomplete)]
    except (StylepackError, OSError):
        return []


def complete_hidden(incomplete: str) -> list[str]:
    """Packs that can be restored."""
    try:
        return sorted(n for n in read_hidden(home_folder()) if n.startswith(incomplete))
    except (StylepackError, OSError):
        return []


def complete_trunk(incomplete: str) -> list[str]:
    """Trunks that begin like this."""
    try:
        return [name for name in known_trunks() if name.startswith(incomplete)]
    except (StylepackError, OSError):
        return []


def _names() -> list[str]:
    try:
        return list(shelf())
    except (StylepackError, OSError):
        return []
