"""A trunk and its styles, ready to paint photographs."""

import json
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import prod
from os import PathLike
from pathlib import Path
from typing import Literal, TypeVar, cast, overload

import torch
from PIL import Image
from torch import Tensor

from stylepack.errors import DeviceError, UsageError, option
from stylepack.images.color import keep_colors as with_colors_of
from stylepack.images.mask import composite, fit_mask
from stylepack.images.photo import Photo
from stylepack.images.upscale import enlarge, keep_strokes
from stylepack.inference.kernels import Products, painting_dtype
from stylepack.inference.layers import Style
from stylepack.inference.regions import Regions
from stylepack.inference.rows import Pages, tensor_of
from stylepack.inference.strips import (
    Advance,
    Memo,
    StripBudget,
    ignore_progress,
    paint_streaming,
    part_of,
)
from stylepack.inference.together import paint_together
from stylepack.library.resolve import Loaded, resolve
from stylepack.network.device import (
    exact_products,
    is_out_of_memory,
    keep_large_blocks,
    pick_device,
    trim_heap,
)
from stylepack.network.trunk import Trunk
from stylepack.packs.manifest import IDENTITY
from stylepack.packs.mix import AnyMix, Mix, as_mix
from stylepack.packs.pack import Pack, blend
from stylepack.painting.pictures import Array, File, Mask, Picture, as_mask, as_photos
from stylepack.painting.strength import PhotoResidual, at_strength, check_strength, style_of

InMemory = TypeVar("InMemory", Image.Image, Array, Tensor)
FULL: Literal["full"] = "full"  # size
SMALLEST_SIZE = 16  # pixels of a long side
LARGE = 1_300_000  # pixels above which a photograph is painted coarse to fine
COARSE_SIDE = 1000  # pixels of the long side of the coarse painting,
COARSE_AREA = 500_000  # or its area in pixels, if that is larger, as for panoramas
FINE_STRIPS = 2 / 3  # of a strip: kernels for the coarse painting stay in memory
SMALLEST_STRIP = 1 << 14  # pixels; if these do not fit into memory, the image does not


@dataclass(frozen=True)
class PaintOptions:
    """Options of `Stylizer.paint` that many photographs share.

    Raises:
        UsageError: the size is too small.
    """

    size: int | Literal["full"] | None = None
    upscale: bool = True
    keep_colors: bool = False
    mask: Mask | None = None
    region_masks: Sequence[Mask] = ()

    def __post_init__(self) -> None:
        size = self.size
        if size not in (None, FULL) and not (isinstance(size, int) and size >= SMALLEST_SIZE):
            raise UsageError(f"size is {size}; it must be {SMALLEST_SIZE} or more, or {FULL}")

    @property
    def reading_size(self) -> int | None:
        """The long side in pixels at which photographs can be read; None for their own."""
        return self.size if isinstance(self.size, int) and not self.upscale else None


class Stylizer:
    """Paints photographs in one mix of styles, or in several, each in its region.

    `mixes`: normalized, the first outside all regions; `packs`: by name or path.  `residual`: for
    strengths below 1.  `dtype`: torch.int8 for 8-bit convolutions, or the float dtype of
    activations and weights.  The trunk is moved to the device and, except for int8, to the dtype in
    place.  `loaded`: the trunk and packs, to which `changed` adds more.
    """

    def __init__(
        self,
        trunk: Trunk,
        style: Style,
        mixes: Sequence[Mix],
        packs: dict[str, Pack],
        device: torch.device,
        dtype: torch.dtype,
        provenance: str = "",
        residual: "PhotoResidual | None" = None,
        *,
        strength: float = 1.0,
        loaded: Loaded | None = None,
    ) -> None:
        self.int8 = Products() if dtype == torch.int8 else None
        self.trunk = trunk.to(device, torch.float32 if self.int8 else dtype)
        self.style = style.to(device)
        self.mixes = list(mixes)
        self.packs = packs
        self.device = device
        self.dtype = dtype
        self.provenance = provenance
        self.residual = residual
        self.strength = strength
        self.loaded = loaded
        self.memory = memory_for(device)
        keep_large_blocks()

    @classmethod
    def load(
        cls,
        mix: AnyMix | None = None,
        *,
        painting: str | PathLike[str] | None = None,
        regions: Sequence[AnyMix] = (),
        strength: float = 1.0,
        trunk: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        force: bool = False,
    ) -> "Stylizer":
        """Load the trunk and the packs of a mix.

        Args:
            mix: like `starry=0.5,scream=0.5` or `{"starry": 0.5, "scream": 0.5}`; names or
                paths of packs, weights from 0 up; or the path of one pack; or a list of packs,
                which are mixed in equal parts.
            painting: instead of a mix, the file of a picture whose style is learned in seconds
                and kept in the cache; `stylepack.add_style` learns a better one in a minute.
            regions: more mixes, one for each mask given to `paint`.
            strength: 0 is the photograph, 1 the mix, up to 1.5 beyond it, on the line from the
                trunk's identity pack `photo` through the mix.  Below 1 painting takes two passes:
                see `PhotoResidual`.
            trunk: a trunk's file or name; None is the packs' own.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            precision: `auto`, `float32`, `bfloat16`, `float16` or `int8`.
            force: accept packs that do not name their trunk.

        Raises:
            UsageError: an unknown pack or precision, invalid weights, or not one of `mix` and
                `painting`.
            PhotoError: the painting cannot be read, or has only one colour.
            PackError: a damaged pack or trunk, or a pack of another trunk.
            DeviceError: the device or int8 is not available.
        """
        if painting is not None:
            from stylepack.training.quick import learned_at_once  # painting needs no training

            if mix is not None:
                raise UsageError("give one of mix and painting")
            mix = str(learned_at_once(Path(painting), trunk, pick_device(device)))
        elif mix is None:
            raise UsageError("give a mix, like 'starry', or a painting")
        wanted = [as_mix(one).normalised() for one in (mix, *regions)]
        references = (reference for one in wanted for reference in one.references)
        packs = resolve(references, trunk, identity=strength != 1).load(force)
        return cls.on(packs, wanted, strength=strength, device=device, precision=precision)

    @classmethod
    def on(
        cls,
        loaded: Loaded,
        mixes: Sequence[Mix],
        *,
        strength: float = 1.0,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Stylizer":
        """A stylizer of loaded packs; other options as in `load`.

        Args:
            loaded: by the references of `mixes`, with the identity pack if `strength` is not 1.
            mixes: normalized, the first outside all regions.

        Raises:
            UsageError: an unknown precision, or a strength out of range.
            DeviceError: the device or int8 is not available.
        """
        check_strength(strength)
        chosen = pick_device(device)
        return cls._of(loaded, mixes, strength, chosen, painting_dtype(chosen, precision))

    @classmethod
    def _of(
        cls,
        loaded: Loaded,
        mixes: Sequence[Mix],
        strength: float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> "Stylizer":
        network = loaded.trunk
        packs = {name: loaded.packs[name] for name in _references(mixes, strength)}
        vectors = torch.stack(
            [blend([packs[name].vector for name in mix.references], mix.weights) for mix in mixes]
        )
        residual = None
        if strength != 1:
            identity = packs[IDENTITY].vector
            vectors = at_strength(vectors, identity, strength, network.slots["out"].gamma.start)
            residual = PhotoResidual(identity[None], 1 - strength) if strength < 1 else None
        return cls(
            network,
            style_of(vectors),
            mixes,
            packs,
            device,
            dtype,
            _provenance(mixes, strength, packs, loaded.sha256),
            residual,
            strength=strength,
            loaded=loaded,
        )

    def changed(
        self,
        mix: AnyMix | None = None,
        *,
        regions: Sequence[AnyMix] | None = None,
        strength: float | None = None,
    ) -> "Stylizer":
        """A stylizer on the same trunk and device with another mix, regions or strength.

        Packs that are not loaded yet are loaded; they must belong to the same trunk.

        Raises:
            StylepackError: as `load`.
        """
        if self.loaded is None:
            raise UsageError("this Stylizer cannot be changed; make one with Stylizer.load")
        first = self.mix if mix is None else as_mix(mix).normalised()
        others = self.mixes[1:] if regions is None else [as_mix(m).normalised() for m in regions]
        strength = self.strength if strength is None else strength
        check_strength(strength)
        mixes = [first, *others]
        loaded = self.loaded.including(_references(mixes, strength))
        return self._of(loaded, mixes, strength, self.device, self.dtype)

    @property
    def mix(self) -> Mix:
        """The mix outside all regions."""
        return self.mixes[0]

    def between(self, other: "Stylizer", share: float) -> "Stylizer":
        """A stylizer between this one and another with as many regions, at a `share` in 0..1.

        Style vectors are interpolated linearly, as in Dumoulin et al. 2017.
        """
        made = copy(self)
        made.style = self.style.towards(other.style, share)
        made.int8 = Products() if self.int8 is not None else None  # its cache is for one style
        return made

    @overload
    def paint(
        self,
        photo: InMemory,
        *,
        mix: AnyMix | None = None,
        strength: float | None = None,
        regions: Sequence[tuple[Mask, AnyMix]] = (),
        size: int | Literal["full"] | None = None,
        upscale: bool = True,
        keep_colors: bool = False,
        mask: Mask | None = None,
        region_masks: Sequence[Mask] = (),
        advance: Advance = ignore_progress,
    ) -> InMemory: ...

    @overload
    def paint(
        self,
        photo: File | Photo,
        *,
        mix: AnyMix | None = None,
        strength: float | None = None,
        regions: Sequence[tuple[Mask, AnyMix]] = (),
        size: int | Literal["full"] | None = None,
        upscale: bool = True,
        keep_colors: bool = False,
        mask: Mask | None = None,
        region_masks: Sequence[Mask] = (),
        advance: Advance = ignore_progress,
    ) -> Photo: ...

    def paint(
        self,
        photo: Picture,
        *,
        mix: AnyMix | None = None,
        strength: float | None = None,
        regions: Sequence[tuple[Mask, AnyMix]] = (),
        size: int | Literal["full"] | None = None,
        upscale: bool = True,
        keep_colors: bool = False,
        mask: Mask | None = None,
        region_masks: Sequence[Mask] = (),
        advance: Advance = ignore_progress,
    ) -> Photo | Image.Image | Array | Tensor:
        """Paint a photograph, at its own size unless `upscale` is off.

        Args:
            photo: a path, an open binary file or a `Photo`, for a `Photo`; or a Pillow image, a
                NumPy array, (H, W, 3) or (H, W, 4), or a torch tensor, (C, H, W) or (N, C, H, W),
                for one of the same kind, dtype and device.  Arrays and tensors are uint8, or
                floats in 0..1.
            mix: used instead of the loaded one, as in `load`.
            strength: used instead of the loaded one, 0 to 1.5.
            regions: (mask, mix) pairs; each mix is painted where its mask is white.
            size: None paints photographs above 1.3 megapixels coarse to fine, with strokes as
                large as in one of about a megapixel; `full` paints them in one pass.  A number is
                the long side in pixels to paint at: the smaller, the larger the strokes.
            upscale: return the photograph's size and edges, even with a `size`.
            keep_colors: take only the lightness from the painting.
            mask: painted where white, the photograph where black; a path, a Pillow image, or an
                (H, W) array or tensor of bool, uint8 or floats in 0..1.
            region_masks: one such mask for each of the regions given to `load`.
            advance: called with the share of the work that is done, 0..1.

        Raises:
            UsageError: no such file, too small a size, or not one mask per region.
            PhotoError: not an image, or damaged.
            DeviceError: it does not fit into the device's memory.
        """
        painter = self
        if mix is not None or strength is not None or regions:
            if regions and region_masks:
                raise UsageError("give masks in regions or in region_masks, not in both")
            mixes = [one for _, one in regions] if regions else None
            painter = self.changed(mix, regions=mixes, strength=strength)
        masks = [one for one, _ in regions] or region_masks
        options = PaintOptions(size, upscale, keep_colors, mask, masks)
        photos, back = as_photos(photo, options.reading_size)
        painted = [
            painter.paint_with(
                options, one, part_of(advance, n / len(photos), (n + 1) / len(photos))
            )
            for n, one in enumerate(photos)
        ]
        return cast(Photo | Image.Image | Array | Tensor, back(painted))

    def paint_with(
        self,
        options: PaintOptions,
        photo: Photo,
        advance: Advance = ignore_progress,
        memo: Memo | None = None,
    ) -> Photo:
        """`paint` with options that many photographs share.

        `memo` caches results for other mixes on the same trunk and this photograph.
        """
        size, regions = options.size, len(self.mixes) - 1
        if len(options.region_masks) != regions:
            raise UsageError(
                f"{len(options.region_masks)} masks for {regions} regions; give one for each"
            )
        try:
            small = photo.resized(size) if isinstance(size, int) else photo
            target = photo if options.upscale else small
            pixels = self._painted(small, target, options, advance, memo)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            width, height = photo.size
            instead = "" if self.device.type == "cpu" else f", or try {option('device', 'cpu')}"
            raise DeviceError(
                f"{width}x{height} pixels do not fit in the memory of {self.device}; make the "
                f"photograph or {option('size')} smaller{instead}"
            ) from error
        return replace(target, pixels=pixels, provenance=self.provenance)

    def paint_together(
        self, options: PaintOptions, photos: Sequence[Photo], stylizers: Sequence["Stylizer"]
    ) -> Tensor | None:
        """Paint photographs in one batch, each in its stylizer's style: (N, 3, H, W) uint8.

        None if they must be painted one by one: they are large or of several sizes, are painted at
        another size, in regions, in 8 bits or with a strength below 1, or memory runs out.
        """
        if (
            options.size is not None
            or prod(photos[0].size) > LARGE
            or len({photo.size for photo in photos}) > 1
            or len(self.mixes) > 1
            or self.int8 is not None
            or self.residual is not None
        ):
            return None
        try:
            with torch.no_grad(), exact_products(self.device):
                pixels = torch.stack([photo.pixels for photo in photos])
                return paint_together(self.trunk, [one.style for one in stylizers], pixels)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _painted(
        self,
        small: Photo,
        photo: Photo,
        options: PaintOptions,
        advance: Advance,
        memo: Memo | None,
    ) -> Tensor:
        """The painting of `small` at the size of `photo`: (3, H, W) uint8."""
        if self.residual is not None and self.residual.share == 1:
            pixels = photo.pixels
        elif options.size is None and prod(photo.size) > LARGE:
            pixels = self._coarse_to_fine(photo, options.region_masks, advance)
        else:
            pixels = self._network(
                lambda: small.pixels, small.size, options.region_masks, advance, memo
            )
            if small.size != photo.size:
                pixels = _back_to_size(pixels, small, photo)
        if options.keep_colors:
            pixels = with_colors_of(pixels, photo.pixels)
        if options.mask is not None:
            pixels = composite(pixels, photo.pixels, _fitted_mask(options.mask, photo.size))
        return pixels

    def _coarse_to_fine(
        self, photo: Photo, region_masks: Sequence[Mask], advance: Advance
    ) -> Tensor:
        """A large photograph, painted small and then again at its size: (3, H, W) uint8.

        Gatys et al. 2017, "Controlling Perceptual Factors in Neural Style Transfer", section 6.
        The second pass paints the enlarged first painting with the photograph's edges, and only
        adds details too fine for the first.
        """
        small = photo.stretched(coarse_size(*photo.size))
        done = prod(small.size) / (prod(small.size) + prod(photo.size))
        coarse = self._network(
            lambda: small.pixels, small.size, region_masks, part_of(advance, 0, done)
        )

        def enlarged() -> Pages:
            pages = Pages(photo.pixels.shape, torch.uint8, photo.pixels.device)
            enlarge(coarse, small.pixels, photo.pixels, into=pages.tensor)
            trim_heap()  # what the coarse painting needed
            return pages

        finer = copy(self)
        finer.memory = self.memory.times(FINE_STRIPS)
        fine = finer._network(enlarged, photo.size, region_masks, part_of(advance, done, 1))
        return keep_strokes(fine, coarse)

    def _network(
        self,
        pixels: Callable[[], Tensor | Pages],
        size: tuple[int, int],
        region_masks: Sequence[Mask],
        advance: Advance,
        memo: Memo | None = None,
    ) -> Tensor:
        """The trunk over a picture of (width, height) pixels, twice for a strength below 1.

        `pixels` gives them, (3, H, W) uint8, perhaps new ones in every call: they are not held here
        while the network runs.
        """
        masks = [_fitted_mask(mask, size) for mask in region_masks]
        style = replace(self.style, regions=Regions(masks, self.device) if masks else None)
        if self.residual is None:
            return self._pass(style, pixels, advance, memo)
        painted = self._pass(style, pixels, part_of(advance, 0, 0.5), memo)
        reproduced = memo.of(tensor_of(pixels())).plain if memo else None
        if reproduced is None:
            identity = style_of(self.residual.identity).to(self.device)
            reproduced = self._pass(identity, pixels, part_of(advance, 0.5, 1), memo)
        if memo:
            memo.plain = reproduced
        return self.residual.restore(painted, tensor_of(pixels()), reproduced)

    def _pass(
        self,
        style: Style,
        pixels: Callable[[], Tensor | Pages],
        advance: Advance,
        memo: Memo | None = None,
    ) -> Tensor:
        """The trunk in one style, with smaller strips if memory runs out."""
        memory = self.memory
        while True:
            try:
                with torch.no_grad(), exact_products(self.device):
                    return paint_streaming(
                        self.trunk, style, pixels(), memory, advance, int8=self.int8, memo=memo
                    )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or memory.strip < SMALLEST_STRIP:
                    raise
            memory = replace(memory, strip=memory.strip // 4, rows=16, keep=0)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def _references(mixes: Sequence[Mix], strength: float) -> list[str]:
    """References of the packs that mixes are painted with at a strength."""
    named = [reference for mix in mixes for reference in mix.references]
    return [*dict.fromkeys([*named, *([IDENTITY] if strength != 1 else [])])]


def memory_for(device: torch.device) -> StripBudget:
    """Strips and cache for a device, from its free memory on CUDA."""
    if device.type != "cuda":
        return StripBudget()
    free, _ = torch.cuda.mem_get_info(device)
    # A pixel of a strip needs about 1,000 bytes in float32.
    return StripBudget(strip=max(SMALLEST_STRIP, free // 8000), keep=free // 16)


def coarse_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the coarse painting of a large photograph."""
    scale = max(COARSE_SIDE / max(width, height), (COARSE_AREA / (width * height)) ** 0.5)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fitted_mask(mask: Mask, size: tuple[int, int]) -> Tensor:
    """A mask stretched to (width, height): (H, W) uint8."""
    return fit_mask(as_mask(mask), size)


def _back_to_size(pixels: Tensor, small: Photo, photo: Photo) -> Tensor:
    if max(small.size) < max(photo.size):
        return enlarge(pixels, small.pixels, photo.pixels)
    return Photo(pixels).stretched(photo.size).pixels


def _provenance(
    mixes: Sequence[Mix], strength: float, packs: dict[str, Pack], trunk_sha256: str
) -> str:
    """A record of how a picture was made, as ASCII JSON for its metadata."""
    # Packs by name: their paths are private.
    names = {reference: pack.manifest.name for reference, pack in packs.items()}
    named = [
        str(Mix(tuple((names[reference], weight) for reference, weight in mix.parts)))
        for mix in mixes
    ]
    facts = {
        "stylepack": version("stylepack"),
        "mix": named[0],
        "regions": named[1:],
        "strength": strength,
        "packs": {names[reference]: pack.manifest.sha256 for reference, pack in packs.items()},
        "trunk": trunk_sha256,
    }
    return json.dumps({key: value for key, value in facts.items() if value != []})
