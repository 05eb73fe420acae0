"""`stylepack packs export`: trunk and packs for browsers and phones."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli import screen
from stylepack.cli.completion import complete_pack
from stylepack.cli.options import Force, Replace, TrunkFile
from stylepack.errors import StylepackError, UsageError
from stylepack.files import check_target, replacing
from stylepack.packs.shelf import by_name, find_pack
from stylepack.packs.trunks import choose_trunk

EXTRA = ("onnx", "onnxruntime")


def export(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The model, a .onnx.")
    ],
    packs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PACK",
            help="Packs by name or file.  (default: every pack of the trunk)",
            autocompletion=complete_pack,
        ),
    ] = None,
    trunk: TrunkFile = None,
    replace: Replace = False,
    force: Force = False,
) -> None:
    r"""Write a trunk as ONNX, and packs as JSON beside it, to be blended where they are run.

    The model takes a photograph of any size and a style, and is checked against torch.  The
    paths of both files are printed to stdout.  Needs `pip install 'stylepack\[export]'`.
    """
    if output.suffix != ".onnx":
        like = output.stem.strip(".") if output.suffix else ""
        raise UsageError(f"-o is '{output}'; name it like {like or 'trunk'}.onnx")
    beside = output.with_suffix(".json")
    for file in (output, beside):
        check_target(file, "-o", replace)
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise StylepackError(
            f"exporting needs {' and '.join(missing)}: pip install 'stylepack[export]'"
        )
    found = {reference: find_pack(reference) for reference in packs or ()}
    named = by_name(found.values())
    place = choose_trunk(found, trunk)

    from stylepack.packs.onnxfile import checked_model, packs_beside
    from stylepack.packs.pack import check_trunk, load_pack
    from stylepack.packs.trunkfile import load_trunk
    from stylepack.training.start import packs_of

    network, digest = load_trunk(place)
    loaded = {name: load_pack(path, network.config) for name, path in named.items()}
    for name, pack in loaded.items():
        check_trunk(pack.manifest, digest, f"'{name}'", force)
    loaded = loaded or packs_of(place, digest, network.config)
    if not loaded:
        raise UsageError(f"no pack of {place} is installed; name packs by their files")
    content, apart = checked_model(network, [pack.numbers for pack in loaded.values()])
    text = packs_beside(loaded, network, digest, output.name)
    with replacing(output) as model, replacing(beside) as told:  # both whole before either is there
        model.write_bytes(content)
        told.write_text(text, encoding="utf-8")
    packs_in_words = "1 pack" if len(loaded) == 1 else f"{len(loaded)} packs"
    screen.say(f"{packs_in_words}; onnxruntime and torch differ by at most {apart:.1e} of 1")
    print(output)
    print(beside)
