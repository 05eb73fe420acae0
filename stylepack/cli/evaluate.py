"""`stylepack evaluate`: measure installed packs and compare them with baselines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylepack.cli import console
from stylepack.cli.completion import complete_pack
from stylepack.cli.console import follow
from stylepack.cli.options import (
    OUT,
    Device,
    LossNetwork,
    RecipeName,
    TrunkFile,
    VggInput,
    VggWeights,
    flag,
    opt,
)
from stylepack.errors import counted
from stylepack.files import make_folder
from stylepack.library.resolve import resolve
from stylepack.recipe import RecipeChanges, load_recipe
from stylepack.signals import stop_on_signals

if TYPE_CHECKING:
    from stylepack.lab.evaluate import Figures
    from stylepack.lab.intervals import Estimate

COLUMNS = ("pack", "method", "content", "95 %", "style", "95 %", "PSNR")


def evaluate(
    photos: Annotated[Path, opt("FOLDER", "Photographs, searched recursively.")],
    paintings: Annotated[Path, opt("FOLDER", "The paintings that the packs were learned from.")],
    output: Annotated[Path, opt("FOLDER", "Folder for the results.", names=OUT)] = Path(
        "evaluation"
    ),
    style: Annotated[
        list[str] | None,
        opt(
            "NAME",
            "A pack; repeatable (default: all with a painting).",
            autocompletion=complete_pack,
        ),
    ] = None,
    limit: Annotated[int, opt("N", "Photographs in the sample.", min=1)] = 24,
    held_out: Annotated[
        bool, flag("--held-out", "Only photographs that `train` held out.")
    ] = False,
    optimize: Annotated[
        int | None, opt("N", "Also optimise pixels for N updates; slow.", min=1)
    ] = None,
    recipe: RecipeName = None,
    loss_network: LossNetwork = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    trunk: TrunkFile = None,
    device: Device = "auto",
) -> None:
    """Measure packs' content and style losses on photographs, with 95 % intervals.

    Each pack is compared with the untouched photograph, whose style loss it must beat, and with
    the painting itself, whose content loss it must beat. Writes evaluation.csv, evaluation.json
    and sheet.png; Ctrl-C stops and writes the photographs that are done.

    Examples:
      stylepack evaluate --photos photos/ --paintings paintings/
      stylepack evaluate --photos photos/ --paintings paintings/ --style wave
    """
    base = load_recipe(recipe or "default", RecipeChanges(loss_network=loss_network))
    selection = resolve(style or (), trunk).by_name()

    from stylepack.lab.evaluate import Comparison, Request
    from stylepack.losses.weights import WeightSource, without_download
    from stylepack.network.device import pick_device

    target = pick_device(device)
    source = WeightSource(vgg_weights, vgg_input)
    if not loss_network:
        base = without_download(base, source)
    request = Request(photos, paintings, selection, limit, optimize or 0, held_out)
    comparison = Comparison(request, base, source, target)
    if comparison.unmatched:
        console.warn(f"skipped, no painting in {paintings}: {', '.join(comparison.unmatched)}")
    made = not output.exists()
    make_folder(output, "choose another folder with -o")
    with stop_on_signals("writing what has been measured", console.say) as stop:
        follow(comparison.measure(), "measuring", len(comparison), stop=stop)
    if not comparison.measured:
        if made:
            with suppress(OSError):  # it may contain other files by now
                output.rmdir()
        console.say("stopped before a whole photograph was measured; nothing is written")
        raise typer.Exit(stop.exit_code)
    figures = comparison.figures()
    comparison.write(output, figures)
    console.show_table((*COLUMNS, *base.style_layers), table(figures, base.style_layers))
    done, planned = len(comparison.measured), comparison.planned
    cut_short = stop and done < planned
    photographs = counted(done, "photograph")
    console.say(
        f"{f'stopped after {done} of {planned} photographs' if cut_short else photographs}, "
        f"loss network {base.loss_network}; wrote evaluation.csv, evaluation.json and sheet.png "
        f"in {output}"
    )
    if cut_short:
        raise typer.Exit(stop.exit_code)


def table(figures: Figures, layers: Sequence[str]) -> list[list[str]]:
    """One row per pack and method, under `COLUMNS` and the style layers; blank if not measured."""
    rows = []
    for pack, methods in figures.items():
        for method, quantities in methods.items():
            content, style = quantities.get("content"), quantities.get("style")
            rest = [quantities.get(name) for name in ("psnr", *(f"style {x}" for x in layers))]
            cells = (mean(content), interval(content), mean(style), interval(style))
            rows.append([pack, method, *cells, *map(mean, rest)])
    return rows


def mean(figure: Estimate | None) -> str:
    """A mean; blank if there is none."""
    return number(figure.mean) if figure else ""


def interval(figure: Estimate | None) -> str:
    """A 95 % interval; blank if there is none."""
    return "-".join(map(number, figure.interval)) if figure and figure.interval else ""


def number(value: float) -> str:
    """Three decimals for 0 and from 0.001 to 10, else three significant digits."""
    return f"{value:.3f}" if value == 0 or 1e-3 <= value < 10 else f"{value:#.3g}"
