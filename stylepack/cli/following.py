"""Following the events of long work on the screen."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import typer

from stylepack.cli import screen
from stylepack.events import Notice, Saved, Skipped
from stylepack.signals import Stop, stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from stylepack.events import Event
    from stylepack.training.preview import Preview


def follow(
    events: Generator[Event],
    title: str,
    total: int,
    *,
    stop: Stop | None = None,
    done: int = 0,
    speed: bool = False,
) -> int:
    """Show events to the end, or to a `stop` before the last step; return the steps done.

    Without a `stop` the work ends by itself.
    """
    with screen.meter(title, total, done, speed=speed) as meter, closing(events):
        for event in events:
            match event:
                case Skipped(reason):
                    screen.warn(f"skipped: {reason}")
                case Notice(message):
                    screen.warn(message)
                case Saved(_, words):
                    screen.say(words)
                case _:
                    done = event.done
                    meter.advance(event.words, to=done)
                    if stop and done < total:
                        break
    return done


def follow_style(events: Generator[Event], name: str, total: int) -> None:
    """Show the learning of one style to its end; Ctrl-C ends the command."""
    with stop_on_signals("nothing will be written", screen.say) as stop:
        done = follow(events, f"learning {name}", total, stop=stop)
    if stop:
        raise typer.Exit(stop.exit_code)
    if done < total:
        screen.say(f"done after {done} of {total} updates")


def follow_previews(previews: Sequence[Preview], path: Path) -> None:
    """Learn every painting at every style weight and paint the sheet."""
    from stylepack.training.preview import paint_previews

    for preview in previews:
        follow_style(preview.train(), preview.work.painting.name, len(preview))
    paint_previews(path, previews)
    screen.result(path)
    screen.say("choose a weight by eye and give it with --style-weight")
