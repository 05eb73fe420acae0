"""The photograph, its smaller copies and its masks, and the folder for results."""

import hashlib
import io
import re
import secrets
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylepack.errors import StylepackError, UsageError
from stylepack.files import replacing
from stylepack.images.mask import read_mask
from stylepack.images.photo import Photo, read_photo
from stylepack.painting.jobs import mark_of, painted_name
from stylepack.painting.stylizer import LARGE, coarse_size
from stylepack.studio.look import Look

MOST_MASKS = 200
MASK_ID = re.compile("[0-9a-f]{12}")
MOST_MASK_PIXELS = 1 << 21
SHOWN = 1600  # pixels of the long side at which the photograph is shown whole
NAME_LENGTH = 120


class Upload(io.BytesIO):
    """A file that the page has sent, with its name but no path."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = file_name(name)


def file_name(name: str) -> str:
    """A file's name without folders, characters that steer terminals, and excessive length."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter for letter in last if letter.isprintable()).lstrip(".")
    stem, suffix = Path(kept).stem[:NAME_LENGTH], Path(kept).suffix[:16]
    return f"{stem}{suffix}" if stem else "photograph"


class Sheet:
    """One photograph on the desk.

    Args:
        photo: as it was read.
        place: its name in the command: a typed path, or a name that the page has sent.
        typed: whether `place` is a path on this machine.
    """

    def __init__(self, photo: Photo, place: str, *, typed: bool) -> None:
        self.photo, self.place, self.typed = photo, place, typed
        self.id = secrets.token_hex(6)
        self.name = file_name(place)
        self._sizes: dict[int, Photo] = {}
        self.settled = photo if self.is_small else photo.stretched(coarse_size(*photo.size))

    @property
    def is_small(self) -> bool:
        """Whether it is painted at once at its own size, not coarse to fine."""
        width, height = self.photo.size
        return width * height <= LARGE

    def at(self, side: int) -> Photo:
        """The photograph with a long side of `side` pixels, or as it is if that is smaller."""
        side = min(side, max(self.photo.size))
        if side not in self._sizes:
            base = self.settled if side <= max(self.settled.size) else self.photo
            self._sizes[side] = base.resized(side)
        return self._sizes[side]

    def shown(self) -> Image.Image:
        """The photograph as the page shows it whole."""
        return self.at(SHOWN).flattened("white").to_image()


class Desk:
    """One photograph at a time, and masks by id.  Results are written only to `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sheet: Sheet | None = None
        self.masks: OrderedDict[str, Tensor] = OrderedDict()

    def lay(self, source: Path | Upload) -> Sheet:
        """Read a photograph as `apply` does; it replaces the last one.

        Raises:
            UsageError: no such file.
            PhotoError: not an image, damaged, or too large.
        """
        photo = read_photo(source)
        self.sheet = Sheet(photo, str(getattr(source, "name", "")), typed=False)
        if isinstance(source, Path):
            self.sheet = Sheet(photo, str(source), typed=True)
        return self.sheet

    def current(self, photo_id: str | None = None) -> Sheet:
        """The current photograph; with an id, only if it has that id.

        Raises:
            UsageError: there is none, or it has another id.
        """
        if self.sheet is None:
            raise UsageError("there is no photograph yet; drop one on the page")
        if photo_id is not None and photo_id != self.sheet.id:
            raise UsageError("another photograph is open in this studio now; reload the page")
        return self.sheet

    def keep_mask(self, content: bytes, width: int, height: int) -> str:
        """Keep a mask of width * height bytes, row by row; return its id.

        Raises:
            UsageError: too large, or not as many bytes.
        """
        if not (width > 0 and height > 0 and width * height <= MOST_MASK_PIXELS):
            raise UsageError(f"a mask has at most {MOST_MASK_PIXELS:,} pixels")
        if len(content) != width * height:
            raise UsageError(f"the mask has {len(content)} bytes, not {width}x{height}")
        digest = hashlib.sha256(f"{width}x{height}:".encode() + content)
        mask_id = digest.hexdigest()[:12]
        values = np.frombuffer(content, np.uint8).reshape(height, width).copy()
        self.masks[mask_id] = torch.from_numpy(values)
        self.masks.move_to_end(mask_id)
        while len(self.masks) > MOST_MASKS:
            self.masks.popitem(last=False)
        return mask_id

    def mask(self, mask_id: str) -> Tensor:
        """A mask, (H, W) uint8.

        Raises:
            UsageError: there is no such mask.
        """
        self._recall(mask_id)
        found = self.masks.get(mask_id)
        if found is None:
            raise UsageError("that mask is not here any more; paint it again")
        return found

    def mask_png(self, mask_id: str) -> bytes:
        """A mask as a grey PNG.

        Raises:
            UsageError: there is no such mask.
        """
        encoded = io.BytesIO()
        Image.fromarray(self.mask(mask_id).numpy(), "L").save(encoded, "PNG")
        return encoded.getvalue()

    def _recall(self, mask_id: str) -> None:
        """Read a mask that was written to this folder earlier, with a copied command."""
        if mask_id in self.masks or not MASK_ID.fullmatch(mask_id):
            return
        for path in sorted(self.folder.glob(f"*.mask-{mask_id}.png")):
            with suppress(StylepackError):
                values = read_mask(path)
                self.keep_mask(values.numpy().tobytes(), values.shape[1], values.shape[0])

    def mask_files(self, look: Look, *, write: bool) -> dict[str, str]:
        """The files of a look's masks in the chosen folder, by their ids.

        Raises:
            StylepackError: they cannot be written.
        """
        stem = Path(self.current().name).stem
        wanted = {look.mask, *(region.mask for region in look.regions)} - {""}
        files = {one: self.folder / f"{stem}.mask-{one}.png" for one in sorted(wanted)}
        if write:
            for mask_id, path in files.items():
                with replacing(path) as temporary:
                    temporary.write_bytes(self.mask_png(mask_id))
        return {mask_id: str(path) for mask_id, path in files.items()}

    def free_name(self, look: Look) -> Path:
        """A path for the painted photograph where no file exists."""
        mark = mark_of([look.mix, *(region.mix for region in look.regions)])
        first = self.folder / painted_name(Path(self.current().name), mark)
        path, number = first, 2
        while path.exists():
            path = first.with_name(f"{first.stem}-{number}{first.suffix}")
            number += 1
        return path
