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
from stylepack.packs.resolve import resolve

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
    selection = resolve(packs or (), trunk).by_name()

    from stylepack.packs.onnxfile import checked_model, packs_beside

    loaded = selection.load(force)
    found = loaded.packs
    if not found:
        raise UsageError(f"no pack of {selection.trunk} is installed; name packs by their files")
    content, apart = checked_model(loaded.trunk, [pack.numbers for pack in found.values()])
    text = packs_beside(found, loaded.trunk, loaded.sha256, output.name)
    with replacing(output) as model, replacing(beside) as told:  # both whole before either is there
        model.write_bytes(content)
        told.write_text(text, encoding="utf-8")
    packs_in_words = "1 pack" if len(found) == 1 else f"{len(found)} packs"
    screen.say(f"{packs_in_words}; onnxruntime and torch differ by at most {apart:.1e} of 1")
    screen.result(output)
    screen.result(beside)
