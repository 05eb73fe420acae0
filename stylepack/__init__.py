"""Neural style transfer with one trunk and small style packs.

    from stylepack import Stylizer
    Stylizer.load("starry=0.5,scream=0.5").paint("photo.jpg").save("out.jpg")

Importing the package loads no torch; the first use of `Stylizer` does.
"""

from typing import TYPE_CHECKING, Any

from stylepack.errors import StylepackError

if TYPE_CHECKING:
    from stylepack.painting.stylizer import Stylizer

__all__ = ["StylepackError", "Stylizer"]


def __getattr__(name: str) -> Any:
    if name == "Stylizer":
        from stylepack.painting.stylizer import Stylizer

        return Stylizer
    raise AttributeError(f"module 'stylepack' has no attribute '{name}'")
