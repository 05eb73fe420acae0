"""Options shared by several commands, and help screens that fit 80 columns."""

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, Literal, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from stylepack.cli.completion import complete_trunk
from stylepack.recipe import RECIPES, Recipe

DEFAULTS = Recipe()
STYLE, OUTPUT, MANY, CLIPS = "Style", "Output", "Many files", "Clips"
LEARNING, PACK = "Learning", "The pack"
PAINT, LEARN, SHELF, RESEARCH = "Paint", "Learn styles", "Packs and trunks", "Research"
ADVANCED = "Advanced"
PANELS = (  # in this order; others come before the last
    *("", "Options", "Commands", STYLE, OUTPUT, PACK, LEARNING, MANY, CLIPS),
    *(PAINT, LEARN, SHELF, RESEARCH, ADVANCED),
)
WIDEST = 100  # columns of a help screen
NAMES = 27  # columns for the names of options, at most
OUT = ("-o", "--output")
TYPES = {"<int>": "N", "<int range>": "N", "<float>": "X", "<float range>": "X", "<str>": "TEXT"}
Function = TypeVar("Function", bound=Callable[..., Any])


def opt(
    metavar: str, help: str, panel: str | None = None, *, names: Sequence[str] = (), **settings: Any
) -> Any:
    """`typer.Option` for an option with a value, in a panel of the help screen."""
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel, **settings)


def flag(name: str, help: str, panel: str | None = None, **settings: Any) -> Any:
    """`typer.Option` for an option without a value."""
    return typer.Option(name, help=help, rich_help_panel=panel, **settings)


def arg(metavar: str, help: str, completion: Callable[[str], list[str]] | None = None) -> Any:
    """`typer.Argument`, with a function for shell completion."""
    return typer.Argument(metavar=metavar, help=help, autocompletion=completion)


def of_recipe(text: str, field: str) -> str:
    """Help for an option that overrides a field of the recipe."""
    return f"{text.rstrip('.')} (default: {getattr(DEFAULTS, field):g})."


Device = Annotated[
    str, opt("NAME", "auto, cpu, cuda, cuda:N or mps.", ADVANCED, show_default=False)
]
Precision = Annotated[
    str, opt("NAME", "auto, float32, bfloat16, float16 or int8.", ADVANCED, show_default=False)
]
TrunkFile = Annotated[
    Path | None,
    opt(
        "NAME|FILE", "The trunk (default: the packs' own).", ADVANCED, autocompletion=complete_trunk
    ),
]
Force = Annotated[bool, flag("--force", "Use packs without the name of their trunk.", ADVANCED)]
Replace = Annotated[bool, flag("--replace", "Replace what has the same name.")]
RecipeName = Annotated[
    str | None, opt("NAME|FILE", f"{', '.join(RECIPES)}, or a TOML file.", ADVANCED)
]
StyleWeight = Annotated[
    float | None, opt("X", of_recipe("Weight of the style loss.", "style_weight"), LEARNING)
]
Seed = Annotated[int | None, opt("N", of_recipe("Random seed.", "seed"), ADVANCED)]
VggWeights = Annotated[Path | None, opt("FILE", "VGG's weights, .safetensors or .pth.", ADVANCED)]
LossNetwork = Annotated[str | None, opt("NAME", "Loss network: bundled, vgg16 or vgg19.", ADVANCED)]
VggInput = Annotated[
    Literal["caffe", "imagenet"] | None,
    typer.Option(help="Input scale that --vgg-weights expects.", rich_help_panel=ADVANCED),
]
Author = Annotated[str | None, opt("NAME", "The pack's author.", PACK)]
License = Annotated[str | None, opt("ID", "The pack's licence.", PACK)]


class Command(TyperCommand):
    """A command whose help lists options in panels, one per line where they fit."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help screen."""
        typer.echo("\n".join(_screen(self, ctx)))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; errors carry the context, so that they can point to the command's help."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            if getattr(error, "ctx", ctx) is None:
                vars(error)["ctx"] = ctx
            raise


class Group(TyperGroup):
    """A group of commands with help like `Command`'s; suggests a command for a wrong name."""

    command_class = Command
    SYNONYMS = (
        ("remove", ("uninstall", "delete", "rm")),
        ("install", ("add", "get")),
        ("list", ("ls", "search", "show")),
        ("info", ("inspect", "about", "cat")),
        ("apply", ("paint", "stylize", "stylise", "run")),
        ("add-style", ("learn", "finetune", "new-style")),
    )

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help screen."""
        typer.echo("\n".join(_screen(self, ctx)))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command; suggest it if a synonym is given."""
        if args and args[0] not in self.commands:
            meant = {
                other: name
                for name, others in self.SYNONYMS
                if name in self.commands
                for other in others
            }
            close = get_close_matches(args[0], [*meant, *self.commands], n=1, cutoff=0.7)
            if close and (name := meant.get(close[0])):
                ctx.fail(f"No such command '{args[0]}'. Did you mean '{name}'?")
        return super().resolve_command(ctx, args)


class App(typer.Typer):
    """A Typer whose commands and groups are `Command` and `Group`."""

    def __init__(self, *, help: str) -> None:
        super().__init__(
            cls=Group,
            help=help,
            no_args_is_help=True,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """Typer's decorator for a command."""
        return super().command(name, **{"cls": Command, **settings})


def _screen(command: Command | Group, ctx: Any) -> Iterator[str]:
    """Lines of a help screen: usage, text, arguments, options and commands by panel, examples."""
    width = min(get_terminal_size().columns, WIDEST)
    parameters: list[Any] = [one for one in command.get_params(ctx) if one.name != "help"]
    arguments = [_argument(one) for one in parameters if not isinstance(one, TyperOption)]
    pieces = arguments or [one for one in command.collect_usage_pieces(ctx) if one[0] != "["]
    yield f"{_heading('Usage:')} {ctx.command_path} {' '.join(['[OPTIONS]', *pieces])}"
    text, _, examples = (command.help or "").partition("Examples:")
    for paragraph in filter(None, map(str.strip, text.split("\n\n"))):
        yield ""
        yield from textwrap.wrap(" ".join(paragraph.split()), width)
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in parameters:
        if not parameter.hidden:
            is_option = isinstance(parameter, TyperOption)
            panel = parameter.rich_help_panel or ("Options" if is_option else "")
            row = _names(parameter, ctx) if is_option else _argument(parameter)
            panels.setdefault(panel, []).append((row, _help(parameter)))
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            panel = getattr(inner, "rich_help_panel", None)
            named = panel if isinstance(panel, str) else "Commands"
            panels.setdefault(named, []).append((name, _first_sentence(inner.help or "")))
    rows = [names for panel in panels.values() for names, _ in panel]
    column = min(max(map(len, rows), default=0), NAMES)
    yield ""
    last = PANELS.index(ADVANCED)
    order = {panel: PANELS.index(panel) if panel in PANELS else last - 0.5 for panel in panels}
    for panel, entries in sorted(panels.items(), key=lambda item: order[item[0]]):
        if panel:
            yield _heading(panel)
        for names, words in entries:
            yield from _entry(names, words, column, width)
    if examples.strip():
        yield _heading("Examples")
        yield from (f"  {line.strip()}" for line in examples.strip().splitlines() if line.strip())


def _entry(names: str, words: str, column: int, width: int) -> Iterator[str]:
    indent = " " * (column + 4)
    lines = textwrap.wrap(words, width - len(indent)) or [""]
    if len(names) > column:
        yield f"  {names}"
        names = ""
    yield f"  {names.ljust(column)}  {lines[0]}".rstrip()
    yield from (f"{indent}{line}" for line in lines[1:])


def _argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return f"{name}..." if argument.nargs == -1 else name


def _names(option: Any, ctx: Any) -> str:
    """`-o, --output PATH`: short names, and the first long one."""
    short = [name for name in option.opts if not name.startswith("--")]
    long = [name for name in option.opts if name.startswith("--")][:1]
    names = ", ".join([*short, *long])
    if option.secondary_opts:
        return f"{names}/{option.secondary_opts[0]}"
    if option.is_flag:
        return names
    kind = str(option.display_type_rich(ctx=ctx) or "")
    return f"{names} {option.metavar or TYPES.get(kind, kind.strip('[]<>'))}".rstrip()


def _help(parameter: Any) -> str:
    words = parameter.help or ""
    default = parameter.default
    shown = isinstance(default, int | float | str | Path) and not isinstance(default, bool)
    if isinstance(parameter, TyperOption) and parameter.show_default and shown and default != "":
        return f"{words} (default: {default})"
    return words


def _first_sentence(text: str) -> str:
    sentence = re.split(r"(?<=[.:])\s", " ".join(text.split("\n\n")[0].split()))[0]
    return sentence.rstrip(".:")


def _heading(text: str) -> str:
    return typer.style(text, bold=True)
