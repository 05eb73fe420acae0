"""Optional packages, imported only when a clip is painted."""

from importlib.util import find_spec
from pathlib import Path

from stylepack.errors import ClipError

PACKAGES = {"av": "PyAV", "cv2": "OpenCV"}


def has_flow() -> bool:
    """Whether OpenCV, which `--steady` needs, is installed."""
    return find_spec("cv2") is not None


def require(clip: Path, steady: bool) -> None:
    """Refuse a clip for which a package is missing.

    Raises:
        ClipError: PyAV is not installed, or `steady` is set and OpenCV is not.
    """
    wanted = ["av", *(["cv2"] if steady else [])]
    missing = [PACKAGES[name] for name in wanted if find_spec(name) is None]
    if missing:
        raise ClipError(
            f"painting {clip} needs {' and '.join(missing)}: pip install 'stylepack[video]'"
        )
