"""Showing a training's progress: what `train`, `add-style` and their previews share."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import typer

from stylepack.cli import screen
from stylepack.signals import Stop, stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from stylepack.packs.manifest import Manifest
    from stylepack.training.evaluate import Evaluation
    from stylepack.training.finetune import Finetune
    from stylepack.training.preview import Preview
    from stylepack.training.trainer import Step


def follow_style(work: Finetune, steps: Generator[Step], total: int) -> None:
    """Show the learning of one style to its end; Ctrl-C ends the command."""
    told = done = 0
    with (
        stop_on_signals("nothing will be written", screen.say) as stop,
        screen.meter(f"learning {work.painting.name}", total) as meter,
        closing(steps),
    ):
        for step in steps:
            done += 1
            for reason in work.photos.skipped[told:]:
                screen.warn(f"skipped: {reason}")
            told = len(work.photos.skipped)
            meter.advance(losses_in_words(step))
            if stop:
                raise typer.Exit(stop.exit_code)
    if done < total:
        screen.say(f"done after {done} of {total} updates")


def follow_previews(previews: Sequence[Preview], path: Path) -> None:
    """Learn every painting at every style weight and paint the sheet."""
    from stylepack.training.preview import paint_previews

    for preview in previews:
        follow_style(preview.work, preview.train(), len(preview))
    paint_previews(path, previews)
    print(path)
    screen.say("choose a weight by eye and give it with --style-weight")


def measure(evaluation: Evaluation, stop: Stop | None = None) -> None:
    """Measure every held-out photograph, or those before a `stop`."""
    with screen.meter("measuring", len(evaluation)) as meter:
        for path in evaluation:
            meter.advance(path.name)
            if stop:
                break


def metrics_in_words(manifest: Manifest) -> str:
    """A pack's held-out losses."""
    metrics = manifest.metrics
    many = metrics["photographs"] != 1
    return (
        f"{manifest.name}: content loss {metrics['content']:.3f}, style loss "
        f"{metrics['style']:.3f} on {metrics['photographs']} held-out "
        f"photograph{'s' if many else ''}"
    )


def losses_in_words(step: Step) -> str:
    """The mean losses of one update; the identity style's zero style loss is left out."""
    styles = [loss for loss in step.style if loss > 0] or [0.0]
    return (
        f"content {sum(step.content) / len(step.content):.3f}  "
        f"style {sum(styles) / len(styles):.3f}"
    )
