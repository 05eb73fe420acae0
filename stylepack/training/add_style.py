"""Learning one new style and installing it, for `stylepack add-style` and for Python."""

import logging
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.errors import UsageError, option
from stylepack.events import Notice, Skipped
from stylepack.files import make_folder
from stylepack.library.install import install_new
from stylepack.library.resolve import resolve
from stylepack.library.shelf import MOVE_HOME, check_free, shelf, unfinished_file
from stylepack.library.trunks import find_trunk
from stylepack.losses.weights import WeightSource, without_download
from stylepack.network.device import pick_device
from stylepack.packs.manifest import typed_name
from stylepack.packs.pack import Pack
from stylepack.recipe import Recipe, RecipeChanges, load_recipe
from stylepack.training.finetune import (
    FINISH,
    REFINING_STEPS,
    STEPS,
    Finetune,
    finetune_recipe,
)
from stylepack.training.initial import Earlier
from stylepack.training.paintings import Painting, describe, need_painting, pack_name
from stylepack.training.quick import UPDATES as QUICK_UPDATES
from stylepack.training.quick import QuickStyle, can_be_quick, keeping_tones
from stylepack.training.trainer import Step

_log = logging.getLogger("stylepack")


def add_style(
    painting: str | os.PathLike[str],
    name: str = "",
    *,
    photos: str | os.PathLike[str] | None = None,
    updates: int | None = None,
    max_time: float = math.inf,
    style_weight: float | None = None,
    seed: int | None = None,
    loss_network: str | None = None,
    vgg_weights: str | os.PathLike[str] | None = None,
    trunk: str | os.PathLike[str] | None = None,
    device: str = "auto",
    title: str = "",
    artist: str = "",
    author: str = "",
    license: str = "",
    replace: bool = False,
    resume: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Learn a new style from one painting and install it as a pack.

    Only gamma and beta are trained; the trunk and the other packs stay as they are.  An interrupt
    (Ctrl-C) keeps what has been learned for a later call with `resume`.

    Args:
        painting: an image file.
        name: the pack's name; empty takes the file's.
        photos: a folder of photographs to learn on; None takes a few bundled ones.
        updates: updates at most; None is 60, after a first version of the style.
        max_time: seconds at most.
        style_weight, seed, loss_network: in place of the default recipe's; without `loss_network`
            VGG-19 is used if its weights are cached, else the bundled network.
        vgg_weights: the loss network's weights, a .safetensors or .pth file.
        trunk: a trunk's name or file; None is the bundled one.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        title, artist: of the painting, for the pack's metadata.
        author, license: of the pack, for its metadata.
        replace: replace an installed pack of this name.
        resume: continue the style of an interrupted call, or the installed pack of this name.
        progress: called with the share of the updates that are done, 0..1.

    Returns:
        The installed pack's file.

    Raises:
        UsageError: no such file, a name that cannot be a pack's, or nothing to resume.
        PackError: the name is taken and `replace` is not set.
        TrainingError: the photographs or the loss network cannot be read.
        DeviceError: this machine does not have the device.
    """
    path = Path(painting)
    described = described_painting(path, name, title=title, artist=artist)
    source = WeightSource(Path(vgg_weights) if vgg_weights else None, None)
    changes = RecipeChanges(style_weight=style_weight, seed=seed, loss_network=loss_network)
    recipe = load_recipe("default", changes)
    if not loss_network:
        recipe = without_download(recipe, source)
    place = find_trunk(trunk if isinstance(trunk, str | None) else Path(trunk))
    earlier = earlier_style(described, place) if resume else None
    check_free(described.name, replace or resume)
    quick = None if resume else first_version(described, place, recipe, updates)
    work = Finetune(
        described,
        Path(photos) if photos else BUNDLED_PHOTOS,
        place,
        planned(recipe, updates, earlier, quick),
        source,
        pick_device(device),
        max_time,
        earlier,
        quick,
    )
    for _ in work.first_version():
        pass
    try:
        for event in work.train():
            match event:
                case Skipped(reason):
                    _log.warning("skipped: %s", reason)
                case Notice(message):
                    _log.warning("%s", message)
                case Step() if progress:
                    progress(event.done / work.trainer.planned)
        evaluation = work.evaluation()
        for _ in evaluation.measure():
            pass
        pack = work.pack(evaluation, author, license)
    except KeyboardInterrupt:
        work.settle()
        file = keep_unfinished(work, author, license)
        _log.warning("kept the style after %d updates: %s", work.updates, file)
        raise
    return install_learned(work, pack, replace=replace or resume)


def described_painting(
    path: Path, name: str = "", *, title: str = "", artist: str = ""
) -> Painting:
    """A painting to learn, with the name of its future pack.

    Raises:
        UsageError: no such file, or a name that cannot be a pack's.
    """
    need_painting(path)
    if name:
        typed_name(name, option("name"))
    facts = {key: value for key, value in (("title", title), ("artist", artist)) if value}
    return describe(path, name or pack_name(path), facts)


def first_version(
    painting: Painting, trunk: Path, recipe: Recipe, updates: int | None = None
) -> QuickStyle | None:
    """The style to start from, to be learned in seconds.

    None if there are fewer `updates` than it takes itself, or if the bundled loss network lacks
    layers of the recipe: learning then starts from a mix of packs.
    """
    if not can_be_quick(recipe) or (updates is not None and updates < QUICK_UPDATES):
        return None
    return QuickStyle.for_painting(painting, trunk, recipe)


def planned(
    recipe: Recipe,
    updates: int | None,
    earlier: Earlier | None,
    quick: QuickStyle | None = None,
) -> Recipe:
    """The recipe for one style, with the updates that remain after earlier ones."""
    refining = earlier is not None or quick is not None
    total = updates or (REFINING_STEPS if refining else STEPS)
    left = max(total - earlier.updates, min(FINISH, total)) if earlier else total
    return finetune_recipe(keeping_tones(recipe), left, refining=refining)


def keep_unfinished(work: Finetune, author: str = "", license: str = "") -> Path:
    """Write what has been learned so far as a pack; return its file.

    Raises:
        StylepackError: it cannot be written.
    """
    file = unfinished_file(work.painting.name)
    make_folder(file.parent, MOVE_HOME)
    work.pack(None, author, license).save(file, work.trunk.config)
    return file


def install_learned(work: Finetune, pack: Pack, *, replace: bool) -> Path:
    """Install a learned style, and delete its unfinished version if there is one.

    Raises:
        PackError: it could not be installed and is in the working folder.
    """
    place = install_new(pack, work.trunk.config, replace)
    with suppress(OSError):
        unfinished_file(pack.manifest.name).unlink(missing_ok=True)
    return place


def earlier_style(painting: Painting, trunk: Path) -> Earlier:
    """The style that an interrupted command has kept, or else the installed one, to continue.

    Raises:
        UsageError: there is neither, or it was learned from another picture.
        PackError: it is damaged, or belongs to another trunk.
    """
    name, file = painting.name, unfinished_file(painting.name)
    installed = shelf().get(name)
    if not file.is_file() and (installed is None or installed.bundled):
        raise UsageError(
            f"there is no unfinished style '{name}' to resume; leave out {option('resume')}"
        )
    reference = str(file if file.is_file() or installed is None else installed.path)
    (pack,) = resolve([reference], trunk).load().packs.values()
    if pack.manifest.style_image.get("sha256") != painting.facts["sha256"]:
        raise UsageError(
            f"'{name}' was learned from another picture than {painting.path}; choose another "
            f"{option('name')} or leave out {option('resume')}"
        )
    updates = pack.manifest.train.get("updates", 0)
    return Earlier.of(pack, updates if isinstance(updates, int) and updates > 0 else 0)
