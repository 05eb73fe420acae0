"""Saving from the studio: pictures and masks to the chosen folder, packs to the shelf."""

import os
import shlex
import subprocess
from pathlib import Path

from stylepack.errors import UsageError
from stylepack.images.photo import Photo
from stylepack.library.install import install_new
from stylepack.library.shelf import check_free
from stylepack.packs.manifest import IDENTITY, Manifest
from stylepack.packs.mix import Mix
from stylepack.packs.pack import blend_packs
from stylepack.packs.thumbnail import thumbnail, today
from stylepack.studio.catalog import Catalog
from stylepack.studio.desk import Desk
from stylepack.studio.look import Look


def save_picture(desk: Desk, painted: Photo, look: Look) -> Path:
    """Write the painted photograph to the chosen folder, under a name that is free there.

    Raises:
        StylepackError: it cannot be written.
    """
    path = desk.free_name(look)
    painted.save(path)
    return path


def command_of(desk: Desk, catalog: Catalog, look: Look, *, write_masks: bool) -> str:
    """The command that paints a look, quoted for a shell; masks are written with `write_masks`.

    Raises:
        StylepackError: a mask cannot be written.
    """
    files = desk.mask_files(look, write=write_masks)
    words = look.command(desk.current().place, files, catalog.engine.words)
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def save_pack(catalog: Catalog, mix: Mix, name: str, title: str) -> str:
    """Install a mix as a pack, as `packs blend` does; return a sentence about it.

    Raises:
        UsageError: an invalid name.
        PackError: the name is taken.
    """
    if name == IDENTITY:
        raise UsageError(f"'{IDENTITY}' is the identity pack's name; choose another")
    check_free(name)
    loaded = catalog.loaded
    blended = blend_packs(mix, loaded.packs, Manifest(name=name, title=title, date=today()))
    picture = thumbnail(loaded.trunk, blended.style, blended.manifest.own_contrast)
    install_new(blended.with_thumbnail(picture), loaded.trunk.config)
    if blended.manifest.license:
        return f"'{name}' is installed"
    return f"'{name}' is installed; its packs have no licence in common, so it names none"
