"""README.md of a run folder."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from stylepack.files import write_text
from stylepack.training.settings import RunSettings

CONTENT = """\
| file | content |
|---|---|
| `run.json` | folders, options, and every start with its command and versions |
| `recipe.toml` | the recipe, for `--recipe` |
| `losses.csv`, `losses.png` | one row per image, and the curves |
| `progress.png` | one held-out photograph in every style over time |
| `sheets/` | held-out photographs in every style |
| `tensorboard/` | the losses for TensorBoard, if it is installed |
| `checkpoint.safetensors` | the last state; `checkpoint.previous.safetensors` the one before |
| `trunk.safetensors`, `packs/` | the result, when the run has finished |
"""


@dataclass
class Throughput:
    """Speed of a run since its last start, and the share of time spent waiting for photographs.

    The first report, which includes compiling, counts only if it is the only one.
    """

    reports: list[tuple[int, float, float]] = field(default_factory=list)

    def add(self, updates: int, seconds: float, waited: float) -> None:
        """Add a report."""
        self.reports.append((updates, seconds, waited))

    def __str__(self) -> str:
        if not self.reports:
            return "no updates yet"
        done = sum(updates for updates, _, _ in self.reports)
        updates, seconds, waited = map(sum, zip(*(self.reports[1:] or self.reports), strict=True))
        return (
            f"{done:,} updates, {updates / seconds:.3g} a second; {waited / seconds:.1%} of the "
            "time was spent waiting for photographs"
        )


def write_readme(
    folder: Path,
    settings: RunSettings,
    update: int,
    photographs: tuple[int, int],
    throughput: Throughput,
    failure: str = "",
) -> None:
    """Write README.md.

    `photographs`: numbers for training and held out.  `failure`: the error that ended the run.

    Raises:
        StylepackError: it cannot be written.
    """
    recipe, folder = settings.recipe, folder.absolute()
    lines = [
        "# A stylepack training run",
        "",
        f"{len(settings.paintings)} paintings from `{settings.styles}`, {photographs[0]:,} "
        f"photographs from `{settings.photos}` and {photographs[1]} held out, recipe "
        f"`{recipe.name}`.",
        "",
        f"Update {update:,} of {recipe.updates:,}. Since the last start: {throughput}.",
        "",
        *([f"**The run has failed:** {failure}.", ""] if failure else []),
        "```bash",
    ]
    if update < recipe.updates:
        lines.append(f"stylepack train --resume {shlex.quote(str(folder))}")
    else:
        first = next(iter(settings.paintings), "NAME")
        trunk, pack = folder / "trunk.safetensors", folder / "packs" / f"{first}.safetensors"
        lines.append(
            f"stylepack apply photo.jpg --trunk {shlex.quote(str(trunk))} "
            f"--style {shlex.quote(str(pack))}"
        )
    lines += ["```", "", CONTENT, "| painting | SHA-256 of its file |", "|---|---|"]
    lines += [f"| {name} | `{digest}` |" for name, digest in settings.paintings.items()]
    lines += ["", "Started and resumed by:", "", "```"]
    lines += [
        f"{start['date']} at update {start['update']}: {shlex.join(start['command'])}"
        for start in settings.starts
    ]
    lines += ["```", ""]
    write_text(folder / "README.md", "\n".join(lines))
