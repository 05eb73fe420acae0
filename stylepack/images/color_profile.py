"""Conversion from ICC colour profiles to sRGB and back."""

import io
from functools import lru_cache

from PIL import ImageCms

PROFILE_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


@lru_cache(maxsize=8)
def to_srgb(icc: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """(mode to convert to first, transform from there to sRGB) for RGB, CMYK, LAB or L.

    The transform is None without a valid profile for the mode.
    """
    try:
        if mode == "LAB":
            profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif icc:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            if mode == "L" and profile.profile.xcolor_space.strip() == "RGB":
                mode = "RGB"
        else:
            return "RGB", None
        srgb = ImageCms.createProfile("sRGB")
        return mode, ImageCms.buildTransform(profile, srgb, mode, "RGB")
    except PROFILE_ERRORS:
        return "RGB", None


@lru_cache(maxsize=8)
def from_srgb(icc: bytes) -> ImageCms.ImageCmsTransform:
    """The transform from sRGB to a profile's colours.

    Raises:
        PyCMSError: the profile only supports the other direction.
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), profile, "RGB", "RGB")


def is_writable(icc: bytes) -> bool:
    """Whether pictures can be converted to a profile's colours."""
    try:
        from_srgb(icc)
    except PROFILE_ERRORS:
        return False
    return True
