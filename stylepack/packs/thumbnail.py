"""The thumbnail in a pack's metadata."""

import base64
import datetime
import io

import torch
from torch import Tensor

from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.images.photo import Photo, resized
from stylepack.network.trunk import Trunk

THUMBNAIL = 160  # pixels, short side
THUMBNAIL_PHOTO = BUNDLED_PHOTOS / "chelsea.png"


@torch.no_grad()
def thumbnail(trunk: Trunk, style: Tensor, photo_contrast: float = 0.0) -> str:
    """A bundled photograph in this style, as a data URI."""
    photo = resized(THUMBNAIL_PHOTO, THUMBNAIL)[None].to(style.device)
    painted = Photo.from_float(trunk(photo, style, photo_contrast)[0]).to_image()
    buffer = io.BytesIO()
    painted.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def today() -> str:
    """The date in ISO form, UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
