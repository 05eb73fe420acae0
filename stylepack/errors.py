"""Errors that stylepack raises.

Each message is one line that names the thing, what was expected and what to do next.
The library raises; only `stylepack.cli.main` catches, prints and exits.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class StylepackError(Exception):
    """Base of all errors of stylepack; unprintable characters of the message are escaped."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class _Voice:
    """Whether messages name options as on the command line or as in Python."""

    command_line = False


@contextmanager
def command_line_messages() -> Iterator[None]:
    """Within the block, messages name options as on the command line."""
    before, _Voice.command_line = _Voice.command_line, True
    try:
        yield
    finally:
        _Voice.command_line = before


def option(name: str, value: object = None) -> str:
    """An option as typed: `--device cpu` on the command line, `device='cpu'` in Python."""
    if _Voice.command_line:
        typed = f"--{name.replace('_', '-')}"
        return typed if value is None else f"{typed} {value}"
    return name if value is None else f"{name}={value!r}"


def worded(command: str, python: str) -> str:
    """The part of a message that says what to type, on the command line or in Python."""
    return command if _Voice.command_line else python


def printable(text: str) -> str:
    """`text` with an escape for every character that is not printable."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """`1 photograph`, `2 photographs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 160 characters; else its type's name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


class UsageError(StylepackError):
    """The request itself is wrong: an option, a mix, a name, a path that does not exist."""

    exit_code = 2


class PhotoError(StylepackError):
    """An image file cannot be read, or a painted one cannot be written."""


class PackError(StylepackError):
    """A style pack or trunk file is damaged, hostile, or not what it claims to be."""


class WrongTrunkError(PackError):
    """A pack belongs to another trunk."""


class TrainingError(StylepackError):
    """Training cannot start or continue: no photographs, no loss network, a broken run folder."""


class DeviceError(StylepackError):
    """The requested device does not exist here."""


class ClipError(StylepackError):
    """A clip cannot be read, or a painted one cannot be written."""
