"""A trunk and a blended style, ready to paint photographs."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from stylepack.errors import StylepackError
from stylepack.network.device import keep_large_blocks, pick_device
from stylepack.network.trunk import Trunk
from stylepack.packs.mix import Mix, parse_mix
from stylepack.packs.pack import Pack, blend, check_trunk, load_pack
from stylepack.packs.shelf import BUNDLED_TRUNK, find_pack
from stylepack.packs.trunkfile import load_trunk
from stylepack.pictures.photo import Photo, read_photo


class Stylizer:
    """Paints photographs in one mix of styles.

    `mix` is the normalised mix and `packs` the packs behind it, in its order.
    """

    def __init__(
        self, trunk: Trunk, style: Tensor, mix: Mix, packs: list[Pack], device: torch.device
    ) -> None:
        self.trunk = trunk.to(device)
        self.style = style.to(device)
        self.mix = mix
        self.packs = packs
        self.device = device

    @classmethod
    def load(
        cls,
        mix: str | Mix,
        *,
        trunk: str | Path | None = None,
        device: str = "auto",
        force: bool = False,
    ) -> "Stylizer":
        """Load the trunk and the packs of a mix.

        Args:
            mix: like `starry=0.5,scream=0.5`; names or paths of packs, weights from 0 up.
            trunk: a trunk file; None is the bundled trunk.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            force: also use packs that do not say which trunk they belong to.

        Raises:
            UsageError: an unknown pack, or weights that make no mix.
            PackError: a damaged pack or trunk, or a pack that belongs to another trunk.
            DeviceError: the device is not there.
        """
        wanted = (parse_mix(mix) if isinstance(mix, str) else mix).normalised()
        paths = [find_pack(reference) for reference in wanted.references]
        chosen = pick_device(device)
        network, digest = load_trunk(Path(trunk) if trunk else BUNDLED_TRUNK)
        packs = []
        for reference, path in zip(wanted.references, paths, strict=True):
            pack = load_pack(path, network.config)
            if pack.manifest.trunk_sha256 or not force:
                check_trunk(pack.manifest, digest, f"'{reference}'")
            packs.append(pack)
        style = blend([pack.style for pack in packs], wanted.weights)
        return cls(network, style, wanted, packs, chosen)

    def paint(self, photo: str | Path | Image.Image | Photo) -> Photo:
        """Paint a photograph: a file, a Pillow image or a `Photo`; the size stays.

        Raises:
            UsageError: no such file.
            PhotoError: not an image, damaged, or too large for the device's memory.
        """
        if isinstance(photo, Image.Image):
            photo = Photo.from_image(photo)
        elif not isinstance(photo, Photo):
            photo = read_photo(photo)
        return Photo.from_float(self.paint_tensor(photo.to_float()[None])[0])

    @torch.inference_mode()
    def paint_tensor(self, images: Tensor) -> Tensor:
        """Paint (N, 3, H, W) RGB images in 0..1; the result is alike, on this device."""
        keep_large_blocks()
        try:
            painted: Tensor = self.trunk(images.to(self.device), self.style)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "alloc" in str(error):
                height, width = images.shape[-2:]
                raise StylepackError(
                    f"not enough memory on {self.device} for {width}x{height} pixels; "
                    "make the photograph smaller or try --device cpu"
                ) from error
            raise
        return painted
