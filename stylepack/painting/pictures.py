"""Conversion of pictures and masks: files, Pillow images, NumPy arrays and torch tensors."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stylepack.errors import UsageError
from stylepack.images.mask import mask_of_image, read_mask
from stylepack.images.photo import Photo, read_photo

Array = NDArray[Any]
File = str | os.PathLike[str] | BinaryIO
Picture = File | Image.Image | Array | Tensor | Photo
Mask = str | os.PathLike[str] | Image.Image | Array | Tensor
Back = Callable[[Sequence[Photo]], Any]

OVERSHOOT = 1e-3  # beyond 0..1, allowed for rounding errors
KINDS = "a path, an open file, a Pillow image, a NumPy array, a torch tensor or a Photo"


def as_photos(picture: object, size: int | None = None) -> tuple[list[Photo], Back]:
    """Photographs from a picture, and a function that converts paintings back to its type.

    Args:
        picture: a `Picture`.  Files and a `Photo` come back as a `Photo`, Pillow images as Pillow
            images.  NumPy arrays are (H, W), (H, W, 3) or (H, W, 4), torch tensors (C, H, W) or
            (N, C, H, W) with 1, 3 or 4 channels; both are uint8 or floats in 0..1 and come back in
            their dtype and on their device, with 3 channels, or 4 if they have an alpha.
        size: the long side in pixels to read files at; None for their own.

    Raises:
        UsageError: another type, shape, dtype or range.
        PhotoError: a file that is not an image, or damaged.
    """
    if isinstance(picture, Photo):
        return [picture], _only
    if isinstance(picture, Image.Image):
        photo = Photo.from_image(picture, background="")
        return [photo], lambda painted: painted[0].to_image(alpha=True)
    if isinstance(picture, Tensor):
        return _from_tensor(picture)
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, str | os.PathLike):
        return [read_photo(Path(picture), size)], _only
    if isinstance(picture, bytes | bytearray):
        return [read_photo(io.BytesIO(picture), size)], _only
    if hasattr(picture, "read"):
        return [read_photo(_seekable(picture), size)], _only  # type: ignore[arg-type]
    raise UsageError(f"cannot paint a {type(picture).__name__}; give {KINDS}")


def as_mask(mask: object) -> Tensor:
    """A mask as (H, W) uint8, 255 where it is white.

    Args:
        mask: a `Mask`; arrays and tensors are (H, W), (H, W, 1) or (1, H, W), bool, uint8 or floats
            in 0..1.

    Raises:
        UsageError: another type, shape, dtype or range, or no such file.
        PhotoError: a file that is not an image, or damaged.
    """
    if isinstance(mask, str | os.PathLike):
        return read_mask(Path(mask))
    if isinstance(mask, Image.Image):
        return mask_of_image(mask)
    if isinstance(mask, np.ndarray):
        mask = _tensor_of(mask)
    if not isinstance(mask, Tensor):
        raise UsageError(
            f"a mask cannot be a {type(mask).__name__}; give a path, a Pillow image, a NumPy "
            "array or a torch tensor"
        )
    plane = mask
    if mask.dim() == 3 and 1 in (mask.shape[0], mask.shape[2]):
        plane = mask.squeeze(0) if mask.shape[0] == 1 else mask.squeeze(2)
    if plane.dim() != 2 or not plane.numel():
        raise UsageError(f"a mask of shape {tuple(mask.shape)}; its shape must be (H, W)")
    return _in_bytes(plane, "a mask")


def _only(painted: Sequence[Photo]) -> Photo:
    return painted[0]


def _seekable(file: BinaryIO) -> BinaryIO:
    """The rest of an open file in memory, for decoders that seek."""
    content = file.read()
    if not isinstance(content, bytes):
        raise UsageError("the file is open as text; open it with mode 'rb'")
    copy = io.BytesIO(content)
    copy.name = getattr(file, "name", "the open file")
    return copy


def _from_tensor(tensor: Tensor) -> tuple[list[Photo], Back]:
    if tensor.dim() not in (3, 4) or not tensor.numel():
        raise UsageError(
            f"a tensor of shape {tuple(tensor.shape)}; it must be (C, H, W) or (N, C, H, W)"
        )
    photos = [_photo(one) for one in (tensor if tensor.dim() == 4 else tensor[None])]

    def back(painted: Sequence[Photo]) -> Tensor:
        planes = torch.stack([_planes(photo) for photo in painted])
        found = _like(planes, tensor.dtype).to(tensor.device)
        return found if tensor.dim() == 4 else found[0]

    return photos, back


def _from_array(array: Array) -> tuple[list[Photo], Back]:
    if array.ndim not in (2, 3) or not array.size:
        raise UsageError(f"an array of shape {array.shape}; it must be (H, W, 3) or (H, W, 4)")
    planes = _tensor_of(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1)
    if len(planes) not in (1, 3, 4):
        hint = "; transpose it with array.transpose(1, 2, 0)" if len(array) in (1, 3, 4) else ""
        raise UsageError(
            f"an array of shape {array.shape}; it must be (H, W, 3) or (H, W, 4){hint}"
        )
    photo = _photo(planes)
    dtype = array.dtype

    def back(painted: Sequence[Photo]) -> Array:
        rows = _planes(painted[0]).permute(1, 2, 0).contiguous().numpy()
        return rows if dtype == np.uint8 else (rows / np.float32(255)).astype(dtype)

    return [photo], back


def _tensor_of(array: Array) -> Tensor:
    if array.dtype.kind not in "bf" and array.dtype != np.uint8:
        raise UsageError(f"an array of {array.dtype}; give uint8 in 0..255, or floats in 0..1")
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(array).copy())


def _photo(planes: Tensor) -> Photo:
    """(C, H, W) as a photograph: one channel is grey, the fourth is the alpha."""
    channels = len(planes)
    if channels not in (1, 3, 4):
        hint = "; permute it with tensor.permute(2, 0, 1)" if planes.shape[2] in (3, 4) else ""
        raise UsageError(
            f"a picture of shape {tuple(planes.shape)}; it must be (3, H, W) or (4, H, W){hint}"
        )
    pixels = _in_bytes(planes, "a picture")
    alpha = pixels[3].contiguous() if channels == 4 else None
    return Photo(pixels[:3].expand(3, -1, -1).contiguous(), alpha)


def _in_bytes(values: Tensor, name: str) -> Tensor:
    """Bool, uint8 or floats in 0..1 as uint8 on the CPU."""
    values = values.detach().cpu()
    if values.dtype == torch.uint8:
        return values
    if values.dtype == torch.bool:
        return values.to(torch.uint8) * 255
    if not values.is_floating_point():
        raise UsageError(f"{name} of {values.dtype}; give uint8 in 0..255, or floats in 0..1")
    wide = values.float()
    low, high = float(wide.amin()), float(wide.amax())
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):  # so that a NaN is refused too
        raise UsageError(f"{name} of floats from {low:g} to {high:g}; they must be in 0..1")
    return wide.mul(255).round_().clamp_(0, 255).to(torch.uint8)


def _planes(photo: Photo) -> Tensor:
    """(3, H, W), or (4, H, W) with an alpha."""
    if photo.alpha is None:
        return photo.pixels
    return torch.cat([photo.pixels, photo.alpha[None]])


def _like(planes: Tensor, dtype: torch.dtype) -> Tensor:
    return planes if dtype == torch.uint8 else planes.float().div_(255).to(dtype)
