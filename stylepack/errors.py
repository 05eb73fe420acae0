"""Everything that stylepack refuses.

Each message is one line that names the thing, what was expected and what to do next.
The library raises; only `stylepack.cli.main` catches, prints and exits.
"""


class StylepackError(Exception):
    """Base of every error that stylepack raises on purpose.

    Messages quote strangers' files: what would break the line or steer a terminal is escaped.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """`text` with every character that is not printable shown as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class UsageError(StylepackError):
    """The request itself is wrong: an option, a mix, a name, a path that does not exist."""

    exit_code = 2


class PhotoError(StylepackError):
    """An image file cannot be read, or a painted one cannot be written."""


class PackError(StylepackError):
    """A style pack or trunk file is damaged, hostile, or not what it claims to be."""


class WrongTrunkError(PackError):
    """A pack belongs to a trunk other than the one that paints."""


class TrainingError(StylepackError):
    """Training cannot start or go on: no photographs, no loss network, a broken run folder."""


class DeviceError(StylepackError):
    """The device asked for is not there."""


class ClipError(StylepackError):
    """A clip cannot be read, or a painted one cannot be written."""
