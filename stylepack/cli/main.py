"""The `stylepack` command: the one place where errors are caught and turned into exit codes."""

import gc
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise, starmap
from pathlib import Path

import typer
from typer.main import get_command

from stylepack.cli import console
from stylepack.cli.add_style import add_style
from stylepack.cli.apply import apply
from stylepack.cli.completion import whole_words_in_bash
from stylepack.cli.distill import distill
from stylepack.cli.evaluate import evaluate
from stylepack.cli.gallery import gallery
from stylepack.cli.grid import grid
from stylepack.cli.options import LEARN, PAINT, RESEARCH, SHELF, App
from stylepack.cli.packs.shelf import packs
from stylepack.cli.studio import studio
from stylepack.cli.study import study
from stylepack.cli.train import train
from stylepack.cli.trunks import trunks
from stylepack.errors import StylepackError, UsageError, command_line_messages
from stylepack.files import leftovers_removed_once

INTERRUPTED = 130  # 128 + SIGINT, as shells count
FREE_TEXT = frozenset(["--suffix", "--title", "--artist", "--author", "--license", "-q", "--query"])
IN_HOME = re.compile(r"(?P<option>|-\w|--[\w-]+=)(?P<path>~(?:[/\\].*)?)", re.DOTALL)
RARELY = 100_000  # allocations between garbage collections; Python's default is 700

app = App(help="Paint photographs in the styles of paintings, blend styles, and learn new ones.")
app.command(rich_help_panel=PAINT)(apply)
app.command(rich_help_panel=PAINT)(gallery)
app.command(rich_help_panel=PAINT)(grid)
app.command(rich_help_panel=PAINT)(studio)
app.command(rich_help_panel=LEARN)(add_style)
app.command(rich_help_panel=LEARN)(train)
app.add_typer(packs, name="packs", rich_help_panel=SHELF)
app.add_typer(trunks, name="trunks", rich_help_panel=SHELF)
app.command(rich_help_panel=RESEARCH)(evaluate)
app.add_typer(study, name="study", rich_help_panel=RESEARCH)
app.command(rich_help_panel=RESEARCH)(distill)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"stylepack {version('stylepack')}")
        raise typer.Exit


@app.callback()
def top(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Paint photographs in the styles of paintings, blend styles, and learn new ones.

    Examples:
      stylepack apply photo.jpg --style wave
      stylepack studio photo.jpg
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 0 when done, 2 for wrong usage, 1 for everything else.

    Importing torch creates hundreds of thousands of objects and no garbage.  Collecting garbage
    again and again, and once more at exit, would add a third of the time of one photograph.
    """
    gc.set_threshold(RARELY)
    warnings.filterwarnings("ignore", module="PIL")  # it warns about files that it reads anyway
    _open_missing_streams()
    code = run(arguments)
    gc.freeze()
    sys.exit(code)


def _open_missing_streams() -> None:
    """Open `os.devnull` for streams that the shell closed (`>&-`) and Python set to None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - open to the end


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # it may be unable to encode a file's name
            utf8 = console.takes_any_text(stream)
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    console.show_warnings()
    leftovers_removed_once.cache_clear()
    try:
        words = sys.argv[1:] if arguments is None else arguments
        need_working_folder()
        refuse_empty(words)
        words = list(starmap(at_home, pairwise(["", *words])))
        with whole_words_in_bash(), command_line_messages():
            return _command()(words, prog_name="stylepack", standalone_mode=False) or 0
    except StylepackError as error:
        console.fail(str(error))
        return error.exit_code
    except typer.Abort:
        return INTERRUPTED
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "stylepack"
        if message := _in_words(error, words):
            console.fail(f"{message.rstrip('.')}; see `{command} --help`")
        return int(getattr(error, "exit_code", 2))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our stdout is gone; there is nothing left to report.
        sys.stdout = None
        return 1
    except OSError as error:
        console.fail(f"{error.filename or 'standard output'}: {error.strerror or error}")
        return 1
    except ImportError as error:
        if (error.name or "").startswith("stylepack"):
            raise
        reason = str(error).partition("\n")[0]
        console.fail(f"cannot load {error.name or 'a library'}: {reason}; free memory or reinstall")
        return 1
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        console.fail(
            "there is not enough memory; take fewer or smaller pictures, or a smaller --size"
        )
        return 1


def _in_words(error: typer.TyperException, words: Sequence[str]) -> str:
    """Typer's message, with the typed value if that is invalid for its option."""
    message = str(getattr(error, "format_message", error.__str__)())
    _, wrong, reason = message.partition("': Input should ")
    names = getattr(getattr(error, "param", None), "opts", ())
    for word, value in pairwise([*words, ""]):
        name, equals, joined = word.partition("=")
        if wrong and name in names:
            return f"{name} is '{joined if equals else value}'; it must {reason.partition(',')[0]}"
    return message


@cache
def _command() -> Callable[..., int | None]:
    """The command line, built once per process: Typer would rebuild it in every call of `app`."""
    return get_command(app)


def _is_lack_of_memory(error: MemoryError | RuntimeError) -> bool:
    if isinstance(error, MemoryError):
        return True
    from stylepack.network.device import is_out_of_memory

    return is_out_of_memory(error)


def at_home(before: str, word: str) -> str:
    """Expand the `~` that shells leave in a word like `--output=~/x.png`.

    Raises:
        UsageError: the home folder is unknown.
    """
    found = IN_HOME.fullmatch(word)
    if found is None or (found["option"].rstrip("=") or before) in FREE_TEXT:
        return word
    expanded = os.path.expanduser(found["path"])  # noqa: PTH111 - a mix of paths may follow
    if expanded == found["path"]:
        raise UsageError(f"{word}: there is no home folder for ~; give the whole path, or ./~")
    return found["option"] + expanded


def need_working_folder() -> None:
    """Refuse a deleted working folder, from which torch cannot load its libraries.

    Raises:
        UsageError: it no longer exists.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError("the working folder no longer exists; change to another one") from None


def refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse empty words, as from unset shell variables: a path would be the working folder.

    Raises:
        UsageError: a word is empty that is not free text.
    """
    for before, word in pairwise(["stylepack", *arguments]):
        option, equals, value = word.partition("=")
        if word and not (option.startswith("--") and equals and not value):
            continue
        named = option or before
        if named in FREE_TEXT:
            continue
        what = named if named.startswith("-") else f"what follows '{named}'"
        raise UsageError(f"{what} is empty; give it a value or leave it out")
