"""Neural style transfer with one trunk and small style packs.

    import stylepack
    stylepack.Stylizer.load("starry=0.5,scream=0.5").paint("photo.jpg").save("out.jpg")

`packs()` lists the installed packs, and `add_style()` learns a new one from a painting.  Importing
the package does not import torch; the first use of `Stylizer`, `Photo` or `add_style` does.  See
docs/python.md for a guide.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import stylepack.packs  # noqa: F401 - it becomes callable below
from stylepack.errors import StylepackError

if TYPE_CHECKING:
    from stylepack.images.photo import Photo, SaveOptions
    from stylepack.library.info import PackInfo, packs
    from stylepack.packs.mix import Mix
    from stylepack.painting.stylizer import Stylizer
    from stylepack.training.add_style import add_style

    __version__: str

__all__ = [
    "Mix",
    "PackInfo",
    "Photo",
    "SaveOptions",
    "StylepackError",
    "Stylizer",
    "__version__",
    "add_style",
    "packs",
]

_HOMES = {
    "Mix": "stylepack.packs.mix",
    "PackInfo": "stylepack.library.info",
    "Photo": "stylepack.images.photo",
    "SaveOptions": "stylepack.images.photo",
    "Stylizer": "stylepack.painting.stylizer",
    "add_style": "stylepack.training.add_style",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("stylepack")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'stylepack' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__


class _PacksModule(ModuleType):
    """The subpackage `stylepack.packs`, which can also be called as the function `packs()`."""

    def __call__(self) -> "list[PackInfo]":
        """Return the installed packs, as `stylepack.library.info.packs` does."""
        from stylepack.library.info import packs

        return packs()


sys.modules["stylepack.packs"].__class__ = _PacksModule
