"""`stylepack studio`: mix styles by eye, in a page on this machine."""

from __future__ import annotations

import threading
import webbrowser
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from stylepack.cli import console
from stylepack.cli.options import OUT, Device, Precision, TrunkFile, arg, flag, opt
from stylepack.errors import StylepackError, UsageError
from stylepack.files import make_folder
from stylepack.signals import stop_on_signals


def studio(
    photo: Annotated[Path | None, arg("PHOTO", "A photograph to begin with.")] = None,
    output: Annotated[
        Path, opt("FOLDER", "Save pictures and masks here.", names=OUT, show_default=False)
    ] = Path(),
    port: Annotated[int, opt("N", "The port; 0 takes a free one.", min=0, max=65_535)] = 0,
    no_browser: Annotated[
        bool, flag("--no-browser", "Print the address only; open no browser.")
    ] = False,
    trunk: TrunkFile = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Mix styles by eye in a browser page, served on this machine alone.

    The address is printed to stdout. Ctrl-C ends it.

    Examples:
      stylepack studio photo.jpg
      stylepack studio photo.jpg -o painted/ --no-browser
    """
    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise StylepackError(
                f"the studio needs the package {package}: pip install 'stylepack[studio]'"
            )
    if output.exists() and not output.is_dir():
        raise UsageError(f"-o {output} is not a folder; give the folder to save to")

    from stylepack.studio.app import Studio
    from stylepack.studio.catalog import Catalog, Engine
    from stylepack.studio.serve import listen, serve

    make_folder(output, "choose another -o")
    engine = Engine(None if trunk is None else str(trunk), device, precision)
    served = Studio(Catalog(engine), output)

    def ready(address: str) -> None:
        console.say("Ctrl-C ends the studio")
        console.result(address)
        if not no_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    with closing(served), listen(port) as bound:
        if photo is not None:
            served.lay(photo)
        # The signal may arrive in the middle of a print, when nothing else can be printed.
        with stop_on_signals("the page is closed", lambda _: None) as stop:
            serve(served, bound, ready, lambda: bool(stop))
    console.say("the studio has ended")
