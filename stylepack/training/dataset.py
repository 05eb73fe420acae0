"""Training photographs: the split, random crops, and decoding in advance.

The batch of an update depends only on the seed and the update, so that a resumed run sees exactly
the batches of an uninterrupted one.
"""

import hashlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from stylepack.bundled import BUNDLED_PHOTOS, PHOTO_NAMES
from stylepack.errors import PhotoError, TrainingError, UsageError
from stylepack.events import Journal
from stylepack.images.decoding import as_rgb
from stylepack.images.formats import find_images, open_image
from stylepack.images.photo import Photo, resized
from stylepack.memory import processors
from stylepack.recipe import Recipe
from stylepack.training.distributed import ALONE, Ranks

AHEAD = 2  # batches decoded in advance
MOST_WORKERS = 16  # decoding threads
HELD_OUT_SHARE = 10  # one photograph in ten is held out,
HELD_OUT_MOST = 24  # up to this many
FLAT = 1.5 / 255  # largest difference within one colour
FEWEST = 5  # photographs from which some are held out


@dataclass
class PhotoFolder:
    """The photographs of a folder.  Damaged ones are added to `journal` as they are read."""

    paths: list[Path]
    journal: Journal = field(default_factory=Journal)

    @classmethod
    def open(cls, folder: Path, paintings: Sequence[Path] = ()) -> "PhotoFolder":
        """List the photographs of `folder`, without copies of the paintings.

        Raises:
            UsageError: no such folder, or no images in it.
            TrainingError: it has only the paintings.
        """
        known = {(path.stat().st_size, file_sha256(path)) for path in paintings}
        sizes = {size for size, _ in known}
        kept, journal = [], Journal()
        for path in find_images(folder):
            if path.parent == BUNDLED_PHOTOS and path.name not in PHOTO_NAMES:
                continue  # painted there, in a checkout
            with suppress(OSError):  # unreadable files are skipped when they are drawn
                size = path.stat().st_size
                if size in sizes and (size, file_sha256(path)) in known:
                    journal.skip(f"{path} is one of the paintings")
                    continue
            kept.append(path)
        if not kept:
            raise TrainingError(f"{folder} has only the paintings; add photographs")
        return cls(kept, journal)

    def split(self) -> tuple["PhotoFolder", "PhotoFolder"]:
        """Split into (training, held out), in the same way every time.

        Both sets are the same if the folder has fewer than `FEWEST` photographs, or no more
        readable ones than would be held out.
        """
        if len(self.paths) < FEWEST:
            return self, PhotoFolder(list(self.paths), self.journal)
        order = torch.randperm(len(self.paths), generator=seeded(0, 0)).tolist()
        count = min(HELD_OUT_MOST, max(1, len(order) // HELD_OUT_SHARE))
        readable = (index for index in order if self._can_be_read(self.paths[index]))
        first = [self.paths[index] for index in itertools.islice(readable, count + 1)]
        if 0 < len(first) <= count:
            both = sorted(first)
            return PhotoFolder(both, self.journal), PhotoFolder([*both], self.journal)
        held_out = set(first[:count])
        return (
            PhotoFolder([path for path in self.paths if path not in held_out], self.journal),
            PhotoFolder(sorted(held_out), self.journal),
        )

    def _can_be_read(self, path: Path) -> bool:
        try:
            resized(path, 1)
        except (PhotoError, UsageError) as error:
            self.journal.skip(str(error))
            return False
        return True

    def read_first(self, start: int, read: Callable[[Path], Tensor]) -> Tensor:
        """`read` the photograph at index `start`, or the next readable one.

        Raises:
            TrainingError: no photograph can be read.
        """
        for offset in range(len(self.paths)):
            path = self.paths[(start + offset) % len(self.paths)]
            try:
                return read(path)
            except (PhotoError, UsageError) as error:  # damaged, or removed since it was listed
                if str(error) not in self.journal.skipped:
                    self.journal.skip(str(error))
        raise TrainingError(
            f"none of the {len(self.paths)} photographs can be read; give another folder with "
            "--photos"
        )


@dataclass(frozen=True)
class Batch:
    """The (N, 3, crop, crop) uint8 photographs and (N,) style indices of an update.

    `targets`: the photographs' activations at the content layers, if computed.
    """

    update: int
    photos: Tensor
    styles: Tensor
    targets: dict[str, Tensor] | None = None


def on_device(photos: Tensor, device: torch.device) -> Tensor:
    """(N, 3, H, W) uint8 photographs as float32 RGB in 0..1 on a device."""
    return photos.to(device, non_blocking=True).float().div_(255)


class Decoder:
    """Decodes photographs and caches the pictures in up to `cache` bytes."""

    def __init__(self, photo_side: int, cache: int = 0) -> None:
        self.photo_side = photo_side
        self.cache = cache
        self._cached: dict[Path, Image.Image] = {}

    def __call__(self, path: Path) -> Image.Image:
        """An RGB picture with sides of at least `photo_side` pixels, if the photograph has them."""
        image = self._cached.get(path)
        if image is None:
            image = decoded(path, self.photo_side)
            size = 4 * image.width * image.height  # Pillow stores RGB in four bytes
            if size <= self.cache:  # two threads may count a photograph twice; it remains a bound
                self.cache -= size
                self._cached[path] = image
        return image


class Batches:
    """Batches from update `first` on, decoded in advance by threads.

    With several `ranks` it yields this one's part of each.  `pinned` batches are copied to CUDA
    asynchronously.  `waited` counts the seconds that iterations waited for photographs.
    """

    def __init__(
        self,
        folder: PhotoFolder,
        recipe: Recipe,
        styles: int,
        first: int = 0,
        *,
        decoder: Decoder | None = None,
        ranks: Ranks = ALONE,
        pinned: bool = False,
        workers: int | None = None,
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.styles = styles
        self.first = first
        self.decoder = decoder or Decoder(recipe.photo_side)
        self.ranks = ranks
        self.pinned = pinned
        self.workers = min(MOST_WORKERS, workers or processors())
        self.waited = 0.0

    def __iter__(self) -> Iterator[Batch]:
        workers = ThreadPoolExecutor(self.workers, "photographs")
        waiting: deque[Future[Batch]] = deque()
        try:
            for update in range(self.first, self.recipe.updates):
                waiting.append(workers.submit(self.draw, update))
                if len(waiting) > self.workers + AHEAD:
                    yield self._next(waiting)
            while waiting:
                yield self._next(waiting)
        finally:
            workers.shutdown(wait=True, cancel_futures=True)

    def _next(self, waiting: deque[Future[Batch]]) -> Batch:
        start = time.perf_counter()
        batch = waiting.popleft().result()
        self.waited += time.perf_counter() - start
        return batch

    def draw(self, update: int) -> Batch:
        """The batch of one update."""
        recipe = self.recipe
        generator = seeded(recipe.seed, update + 1)
        # Drawn for the whole batch, so that crops do not depend on the number of processes.
        where = [torch.rand(4, generator=generator).tolist() for _ in range(recipe.batch)]
        if recipe.selection == "random":
            styles = torch.randint(self.styles, (recipe.batch,), generator=generator)
        elif recipe.selection == "round-robin":
            styles = torch.full((recipe.batch,), update % self.styles)
        else:
            styles = torch.full((recipe.batch,), update * self.styles // recipe.updates)
        mine = self.ranks.part(recipe.batch)
        crops = [self._crop(update, index, where[index]) for index in range(recipe.batch)[mine]]
        photos, styles = torch.stack(crops), styles[mine]
        if self.pinned:
            photos, styles = photos.pin_memory(), styles.pin_memory()
        return Batch(update, photos, styles)

    def _crop(self, update: int, index: int, where: Sequence[float]) -> Tensor:
        """One crop of an update's batch."""
        recipe, total = self.recipe, len(self.folder.paths)
        epoch, position = divmod(update * recipe.batch + index, total)
        crop = recipe.crop_at(update)
        return self.folder.read_first(
            _shuffled(recipe.seed, epoch, total)[position],
            lambda path: random_crop(self.decoder(path), crop, recipe.photo_side, where),
        )


def decoded(path: Path, photo_side: int) -> Image.Image:
    """A photograph in sRGB, upright, decoded not much larger than `photo_side` pixels."""
    with open_image(path) as image:
        return as_rgb(image, short_side=photo_side)


def random_crop(photo: Image.Image, crop: int, photo_side: int, where: Sequence[float]) -> Tensor:
    """A square crop of an RGB photograph: (3, crop, crop) uint8.

    `where`: four numbers in 0..1 for the scale (a short side of `crop` to `photo_side` pixels),
    left, top, and mirroring.
    """
    side = crop + where[0] * max(0, photo_side - crop)
    window = crop * min(photo.size) / side
    left, top = where[1] * (photo.width - window), where[2] * (photo.height - window)
    picture = photo.resize(
        (crop, crop), Image.Resampling.BICUBIC, (left, top, left + window, top + window)
    )
    if where[3] < 0.5:
        picture = ImageOps.mirror(picture)
    return Photo.from_image(picture).pixels


def read_painting(path: Path, short_side: int) -> Tensor:
    """Read a painting as `resized` does.

    Raises:
        PhotoError: from `resized`, or the picture has only one colour.
    """
    picture = resized(path, short_side)
    if bool((picture.amax((1, 2)) - picture.amin((1, 2)) < FLAT).all()):
        raise PhotoError(f"{path} has only one colour; give a picture of a painting")
    return picture


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, total: int) -> tuple[int, ...]:
    """The shuffled order of the photographs in one epoch."""
    return tuple(torch.randperm(total, generator=seeded(seed, -1 - epoch)).tolist())


def seeded(seed: int, purpose: object, device: torch.device | None = None) -> torch.Generator:
    """A random generator for one purpose, unrelated to those of other seeds and purposes."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    generator = torch.Generator(device or "cpu")
    return generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
