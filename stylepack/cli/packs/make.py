"""`stylepack packs make`, `blend`, `export` and `new`: new packs, and files made from packs."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from stylepack.cli import console
from stylepack.cli.completion import complete_mix, complete_pack
from stylepack.cli.options import OUT, Author, Device, Force, License, Replace, TrunkFile, arg, opt
from stylepack.errors import StylepackError, UsageError, counted
from stylepack.files import check_target, written_through
from stylepack.library.resolve import resolve
from stylepack.library.shelf import check_free, shelf, user_packs
from stylepack.library.transaction import recover, staging
from stylepack.library.trunks import find_trunk, name_of, trunk_names
from stylepack.packs.manifest import IDENTITY, SUFFIX, Manifest, typed_name
from stylepack.packs.mix import parse_mix

EXTRA = ("onnx", "onnxruntime")
SHOWN = 20  # packs that are named


def blend(
    mix: Annotated[str, arg("A=X,B=Y", "Packs, by name or file, with weights.", complete_mix)],
    name: Annotated[str, opt("NAME", "The new pack's name.")],
    output: Annotated[
        Path | None, opt("FILE", "Write a file instead of installing the pack.", names=OUT)
    ] = None,
    title: Annotated[str, opt("TEXT", "The new pack's title.")] = "",
    author: Author = None,
    license: License = None,
    replace: Replace = False,
    trunk: TrunkFile = None,
    force: Force = False,
) -> None:
    """Make one pack from a mix; it paints the same as the mix.

    The pack records its parts. Its licence is the packs', if they share one.

    Examples:
      stylepack packs blend starry=0.5,scream=0.5 --name night
      stylepack packs blend starry=0.7,wave=0.3 --name sea -o sea.safetensors
    """
    wanted = parse_mix(mix).normalised()
    selection = resolve(wanted.references, trunk)
    typed_name(name, "--name")
    if name == IDENTITY:
        raise UsageError(f"--name {IDENTITY} is the identity pack's; choose another name")
    if output and output.suffix != SUFFIX:
        raise UsageError(f"-o is {output}; name it like {name}{SUFFIX}")
    if output:
        check_target(output, "-o", replace)

    from stylepack.library.install import install_new
    from stylepack.packs.pack import blend_packs
    from stylepack.packs.thumbnail import thumbnail, today

    loaded = selection.load(force)
    if not output:
        check_free(name, replace)
    described = Manifest(
        name=name, title=title, author=author or "", license=license or "", date=today()
    )
    blended = blend_packs(wanted, loaded.packs, described)
    picture = thumbnail(loaded.trunk, blended.style, blended.manifest.own_contrast)
    blended = blended.with_thumbnail(picture)
    if output:
        blended.save(output, loaded.trunk.config)
        done = f"wrote {output}"
    else:
        done = f"installed '{name}' as {install_new(blended, loaded.trunk.config, replace)}"
    if not blended.manifest.license:
        console.warn(
            "the packs do not share a licence, so the blend has none; set one with --license"
        )
    console.say(done)


def make(
    paintings: Annotated[Path, arg("FOLDER", "Paintings, one style each.")],
    author: Author = None,
    license: License = None,
    replace: Replace = False,
    trunk: TrunkFile = None,
    device: Device = "auto",
) -> None:
    """Learn and install a pack for every painting in a folder, in seconds each.

    Packs are named after the files. `add-style --resume` improves one of them.
    Titles, artists, years and licences are read from paintings.csv, if it is there.

    Examples:
      stylepack packs make paintings/
      stylepack packs make paintings/ --license CC0-1.0 --replace
    """
    from stylepack.network.device import pick_device
    from stylepack.training.paintings import read_paintings
    from stylepack.training.quick import QuickStyle

    place, target = find_trunk(trunk), pick_device(device)
    installed, missing = shelf(), []
    for painting in read_paintings(paintings):
        pack = installed.get(painting.name)
        if pack is None or replace:
            missing.append(QuickStyle.for_painting(painting, place))
        else:
            console.say(f"'{painting.name}' {pack.presence} already; --replace replaces it")
    failed = 0
    with console.meter("learning", len(missing)) as meter:
        for style in missing:
            try:
                for step in style.learn(target):
                    meter.share(step.done / len(style))
                file = style.install(author or "", license or "", replace=replace)
                meter.result(str(file))
            except StylepackError as error:
                console.fail(str(error))
                failed += 1
            meter.advance(style.painting.name)
    if failed:
        rest = "none is" if failed == len(missing) else "the rest are"
        raise StylepackError(f"{failed} of {len(missing)} paintings failed; {rest} installed")


def export(
    output: Annotated[Path, opt("FILE", "The model, a .onnx.", names=OUT)],
    packs: Annotated[
        list[str] | None,
        arg("PACK", "Packs, by name or file (default: all of the trunk).", complete_pack),
    ] = None,
    trunk: TrunkFile = None,
    replace: Replace = False,
    force: Force = False,
) -> None:
    """Write a trunk as ONNX and packs as JSON beside it.

    The model takes a photograph of any size and a style, and is checked against torch. Both
    files are written or none. Needs `pip install 'stylepack[export]'`.

    Examples:
      stylepack packs export -o trunk.onnx
      stylepack packs export starry wave -o trunk.onnx
    """
    if output.suffix != ".onnx":
        like = output.stem.strip(".") if output.suffix else ""
        raise UsageError(f"-o is '{output}'; name it like {like or 'trunk'}.onnx")
    check_target(output, "-o")
    output = written_through(output)
    beside = output.with_suffix(".json")
    names = (output.name, beside.name)
    recover(output.parent, own=False, names=names)
    for file in (output, beside):
        check_target(file, "-o", replace)
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise StylepackError(
            f"exporting needs {' and '.join(missing)}: pip install 'stylepack[export]'"
        )
    selection = resolve(packs or (), trunk).by_name()

    from stylepack.packs.onnx import checked_model, packs_beside

    loaded = selection.load(force)
    found = loaded.packs
    if not found:
        raise UsageError(f"no installed pack belongs to {selection.trunk}; give packs as files")
    content, apart = checked_model(loaded.trunk, [pack.vector for pack in found.values()])
    text = packs_beside(found, loaded.trunk, loaded.sha256, output.name)
    with staging(output.parent, "choose another -o", own=False, names=names) as stage:
        stage.add(output.name, content)
        stage.add(beside.name, text.encode())
        stage.place(replace)
    packs_in_words = counted(len(found), "pack")
    console.say(f"{packs_in_words}; onnxruntime and torch differ by at most {apart:.1e} of 1")
    console.result(output)
    console.result(beside)


def new(
    folder: Annotated[Path, arg("NAME", "The package's name, or a folder of that name.")],
    packs: Annotated[
        list[str] | None,
        arg("PACK", "Packs, by name or file (default: all you installed).", complete_pack),
    ] = None,
    trunk: TrunkFile = None,
) -> None:
    """Write a Python package with packs, ready to build and to install with pip.

    Examples:
      stylepack packs new my-styles
      stylepack packs new my-styles dream starry
    """
    wanted = packs or list(user_packs())
    if not wanted:
        raise UsageError("you have installed no packs; name some: `stylepack packs new NAME PACK`")
    selection = resolve(wanted, trunk).by_name()
    named = {name: pack.path for name, pack in selection.packs.items()}
    hashes = [pack.manifest.trunk_sha256 for pack in selection.packs.values()]
    its_name = name_of(next(filter(None, hashes), ""), trunk_names())

    from stylepack.library.python_package import write_collection

    unlicensed = write_collection(folder, named, selection.trunk, in_words(its_name))
    for name in unlicensed:
        console.warn(f"'{name}' has no licence; say in README.md what others may do with it")
    if its_name != "bundled":
        console.warn(f"trunk '{its_name}' is not bundled; users of the packs need it as well")
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    shown, there = ", ".join([*named][:SHOWN]), shlex.quote(str(folder))
    console.say(f"wrote {shown}{more}; build it: cd {there} && python -m build --wheel")
    console.result(folder)


def in_words(trunk: str) -> str:
    """The trunk's name in a sentence of the README."""
    return "that is bundled with stylepack" if trunk == "bundled" else f"`{trunk}`"
