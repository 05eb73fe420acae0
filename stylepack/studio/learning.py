"""Learning a painting in the background, as `add-style` does, with a preview that grows."""

import tempfile
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.errors import StylepackError, UsageError
from stylepack.files import make_folder
from stylepack.images.decoding import as_rgb
from stylepack.images.formats import open_image
from stylepack.images.photo import Photo
from stylepack.library.install import install_new
from stylepack.library.shelf import check_free
from stylepack.losses.weights import WeightSource, without_download
from stylepack.network.device import pick_device, training_dtype
from stylepack.recipe import Recipe
from stylepack.studio.desk import Upload
from stylepack.studio.frames import LIVE_QUALITY, Frame, Frames, jpeg
from stylepack.studio.lanes import Lane, SupersededError, Turn
from stylepack.training.add_style import first_version, planned
from stylepack.training.finetune import Finetune
from stylepack.training.paintings import Painting, describe
from stylepack.training.quick import UPDATES as QUICK_UPDATES
from stylepack.training.trainer import Step

PREVIEW = 320  # pixels of the long side
EVERY = 5  # updates between previews
LEARN = "learn"
NICE = 5  # an update takes about a second, in which a slider may move


@dataclass(frozen=True)
class Progress:
    """The progress of learning `name`.

    `state` is `idle`, `starting`, `learning`, `measuring`, `done`, `cancelled` or `failed`;
    `words` give details.
    """

    state: str = "idle"
    name: str = ""
    done: int = 0
    total: int = 0
    words: str = ""
    preview: int = 0


class Learning:
    """Learns one painting at a time.

    `recipe`: the recipe to start from, None for the default.  `updates`: the most to make, None for
    as many as `add-style` makes.
    """

    def __init__(self, frames: Frames, recipe: Recipe | None = None) -> None:
        self.frames, self.recipe = frames, recipe or Recipe()
        self.updates: int | None = None
        self.lane = Lane(LEARN, [frames.live, frames.rest], frames.threads, nice=NICE)
        self.progress = Progress()
        self.preview: Frame | None = None
        self._lock = threading.Lock()

    def begin(self, painting: Upload, name: str) -> "Future[None]":
        """Begin to learn a painting under a name.

        Raises:
            UsageError: the name is invalid, or another painting is being learned.
            PackError: the name is taken.
            PhotoError: the painting is not a picture.
        """
        if self.lane.busy:
            raise UsageError("another painting is being learned; wait for it or cancel it")
        check_free(name)
        with open_image(painting) as image:
            as_rgb(image)
        self.preview, self.progress = None, Progress("starting", name)
        content = painting.getvalue()
        return self.lane.submit(lambda turn: self._learn(content, painting.name, name, turn))

    def cancel(self) -> None:
        """Stop learning; nothing is installed."""
        self.lane.drop("")

    def close(self, seconds: float = 5.0) -> None:
        """Stop learning and wait for it."""
        self.lane.close(seconds)

    def _learn(self, content: bytes, file: str, name: str, turn: Turn) -> None:
        folder = self.frames.desk.folder
        try:
            make_folder(folder, "choose another -o")
            with tempfile.TemporaryDirectory(prefix=".studio-", dir=folder) as place:
                painting = Path(place, "painting" + Path(file).suffix)
                painting.write_bytes(content)
                self._train(describe(painting, name, {"title": Path(file).stem}), turn)
        except SupersededError:
            self.progress = replace(self.progress, state="cancelled", words="cancelled")
        except StylepackError as error:
            self.progress = replace(self.progress, state="failed", words=str(error))
        except OSError as error:
            reason = error.strerror or str(error)
            self.progress = replace(self.progress, state="failed", words=f"{folder}: {reason}")
        except Exception as error:
            self.progress = replace(self.progress, state="failed", words=f"it failed: {error}")
            raise

    def _train(self, painting: Painting, turn: Turn) -> None:
        source, place = WeightSource(), self.frames.catalog.place
        device = pick_device(self.frames.catalog.engine.device)
        recipe = without_download(self.recipe, source)
        quick = first_version(painting, place, recipe, self.updates)
        updates = planned(recipe, self.updates, None, quick)
        work = Finetune(painting, BUNDLED_PHOTOS, place, updates, source, device, quick=quick)
        for step in work.first_version():
            turn(0.0)
            self._report("learning", step.done, QUICK_UPDATES, "a first version")
        self._paint(work)
        total = work.recipe.updates
        self._report("learning", 0, total, "")
        for event in work.train():
            turn(0.0)
            if not isinstance(event, Step):
                continue
            if event.done % EVERY == 1:
                self._paint(work)
            self._report("learning", event.done, total, event.words)
        evaluation = work.evaluation()
        for _ in evaluation.measure():
            turn(0.0)
            self._report("measuring", total, total, "measuring on other photographs")
        pack = work.pack(evaluation, "", "")
        install_new(pack, work.trunk.config)
        self.frames.refresh()
        self._report("done", total, total, f"'{painting.name}' is installed")

    def _report(self, state: str, done: int, total: int, words: str) -> None:
        self.progress = replace(self.progress, state=state, done=done, total=total, words=words)

    @torch.no_grad()
    def _paint(self, work: Finetune) -> None:
        """Paint the photograph on the desk in the style learned so far."""
        sheet = self.frames.desk.sheet
        if sheet is None:
            return
        device = work.trainer.device
        images = sheet.at(PREVIEW).to_float()[None].to(device, training_dtype(device))
        painted = work.trunk(images, work.trainer.average["style"][0])
        self.preview = jpeg(Photo.from_float(painted[0]).to_image(), LIVE_QUALITY)
        self.progress = replace(self.progress, preview=self.progress.preview + 1)
