"""`stylepack distill`: distil a large loss network into a small one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli import console
from stylepack.cli.console import follow
from stylepack.cli.options import OUT, Device, Seed, TrunkFile, VggInput, VggWeights, flag, opt
from stylepack.errors import UsageError
from stylepack.files import check_target
from stylepack.library.trunks import find_trunk
from stylepack.packs.manifest import SUFFIX
from stylepack.signals import stop_on_signals


def distill(
    photos: Annotated[Path, opt("FOLDER", "Photographs, searched recursively.")],
    styles: Annotated[Path, opt("FOLDER", "Paintings, searched recursively.")],
    output: Annotated[Path, opt("FILE", "The loss network's file.", names=OUT)],
    replace: Annotated[bool, flag("--replace", "Replace an existing file.")] = False,
    resume: Annotated[
        bool, flag("--resume", "Continue from the checkpoint beside the file.")
    ] = False,
    updates: Annotated[int, opt("N", "Updates in all.", min=1)] = 2000,
    seed: Seed = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    deep_network: Annotated[
        Path | None, opt("FILE", "A loss network used in place of VGG-19 from block 4 on.")
    ] = None,
    trunk: TrunkFile = None,
    device: Device = "auto",
) -> None:
    """Distil VGG-19 into a small loss network like the bundled one.

    The network learns VGG-19's activations at the default recipe's layers. It learns more from
    paintings that installed packs were learned from: packs make learns such packs first. Ctrl-C
    stops and keeps a checkpoint beside the file; --resume continues from it.

    Examples:
      stylepack distill --photos photos/ --styles art/ -o small.safetensors
      stylepack distill --photos photos/ --styles art/ -o small.safetensors --resume
    """
    if output.suffix != SUFFIX:
        raise UsageError(f"-o is {output}; name it like {output.stem or 'loss-network'}{SUFFIX}")
    if output.parent.is_dir():  # otherwise it is created
        check_target(output, "-o", replace or resume)

    from stylepack.lab.distill.data import Folders
    from stylepack.lab.distill.distill import Distillation, DistillRecipe
    from stylepack.losses.weights import WeightSource
    from stylepack.network.device import pick_device

    folders = Folders(photos, styles, find_trunk(trunk))
    recipe = DistillRecipe(updates=updates, seed=seed or 0)
    source = WeightSource(vgg_weights, vgg_input)
    target = pick_device(device)
    console.say("loading VGG-19 and initialising the small network")
    work = Distillation.start(output, folders, recipe, source, deep_network, target, resume=resume)
    with closing(work):
        with stop_on_signals("saving a checkpoint", console.say) as stop:
            follow(work.train(), "distilling", updates, stop=stop, done=work.update)
            if not stop:
                total = recipe.corrected_styles * recipe.corrected_updates
                follow(work.correct(), "measuring corrections", total, stop=stop)
        if not work.corrections:
            at = f"at update {work.update}" if work.update < updates else "before the corrections"
            console.say(f"stopped {at}; add --resume to continue")
            raise typer.Exit(stop.exit_code)
        size = work.write()
    console.say(f"wrote {output}, {size / 1e6:.2f} MB")
