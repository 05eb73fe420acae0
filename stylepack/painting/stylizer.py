"""A trunk and a blended style, ready to paint photographs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from stylepack.errors import DeviceError
from stylepack.network.device import keep_large_blocks, painting_dtype, pick_device
from stylepack.network.trunk import Trunk
from stylepack.packs.mix import Mix, parse_mix
from stylepack.packs.pack import Pack, blend, check_trunk, load_pack
from stylepack.packs.shelf import BUNDLED_TRUNK, find_pack
from stylepack.packs.trunkfile import load_trunk
from stylepack.painting.streaming import Memory, paint_streaming
from stylepack.pictures.photo import Photo, read_photo

SMALLEST_STRIP = 1 << 14  # pixels; below this an image does not fit at all


class Stylizer:
    """Paints photographs in one mix of styles.

    `mix` is the normalised mix and `packs` the packs behind it, in its order.
    """

    def __init__(
        self,
        trunk: Trunk,
        style: Tensor,
        mix: Mix,
        packs: list[Pack],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.trunk = trunk.to(device, dtype)
        self.style = style.to(device)
        self.mix = mix
        self.packs = packs
        self.device = device
        self.dtype = dtype
        self.memory = memory_for(device)
        keep_large_blocks()

    @classmethod
    def load(
        cls,
        mix: str | Mix,
        *,
        trunk: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        force: bool = False,
    ) -> "Stylizer":
        """Load the trunk and the packs of a mix.

        Args:
            mix: like `starry=0.5,scream=0.5`; names or paths of packs, weights from 0 up.
            trunk: a trunk file; None is the bundled trunk.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            precision: `auto`, `float32`, `bfloat16` or `float16`.
            force: also use packs that do not say which trunk they belong to.

        Raises:
            UsageError: an unknown pack or precision, or weights that make no mix.
            PackError: a damaged pack or trunk, or a pack that belongs to another trunk.
            DeviceError: the device is not there.
        """
        wanted = (parse_mix(mix) if isinstance(mix, str) else mix).normalised()
        paths = [find_pack(reference) for reference in wanted.references]
        chosen = pick_device(device)
        dtype = painting_dtype(chosen, precision)
        network, digest = load_trunk(Path(trunk) if trunk else BUNDLED_TRUNK)
        packs = []
        for reference, path in zip(wanted.references, paths, strict=True):
            pack = load_pack(path, network.config)
            if pack.manifest.trunk_sha256 or not force:
                check_trunk(pack.manifest, digest, f"'{reference}'")
            packs.append(pack)
        style = blend([pack.style for pack in packs], wanted.weights)
        return cls(network, style, wanted, packs, chosen, dtype)

    def paint(
        self,
        photo: str | Path | Image.Image | Photo,
        advance: Callable[[float], None] = lambda share: None,
    ) -> Photo:
        """Paint a photograph: a file, a Pillow image or a `Photo`; the size stays.

        `advance` is called with the share of the work that is done, 0..1.

        Raises:
            UsageError: no such file.
            PhotoError: not an image, or damaged.
            DeviceError: too large for the device's memory.
        """
        if isinstance(photo, Image.Image):
            photo = Photo.from_image(photo)
        elif not isinstance(photo, Photo):
            photo = read_photo(photo)
        memory = self.memory
        while True:
            try:
                with torch.inference_mode():
                    return Photo(
                        paint_streaming(self.trunk, self.style, photo.pixels, memory, advance)
                    )
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if memory.strip < SMALLEST_STRIP:
                    width, height = photo.size
                    raise DeviceError(
                        f"{width}x{height} pixels do not fit in the memory of {self.device}; "
                        "make the photograph smaller or try --device cpu"
                    ) from error
            memory = replace(memory, strip=memory.strip // 4, rows=16, keep=0)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def memory_for(device: torch.device) -> Memory:
    """Strips and keepsakes sized to the device: to its free memory where it has its own."""
    if device.type != "cuda":
        return Memory()
    free, _ = torch.cuda.mem_get_info(device)
    # A strip's pixel needs some 1,000 bytes at its widest, in float32.
    return Memory(strip=max(SMALLEST_STRIP, free // 8000), keep=free // 4)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; on the CPU it has no exception of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
