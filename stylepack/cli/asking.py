"""Asking before something is deleted."""

import sys

import typer

from stylepack.cli import screen
from stylepack.errors import UsageError


def confirm(what: str, question: str) -> None:
    """Go on only if the answer is yes.

    Raises:
        UsageError: stdin is no terminal, so that nobody can answer about `what`.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"nobody is there to be asked about {what}; add -y")
    if not typer.confirm(question, err=True):
        screen.say("nothing is removed")
        raise typer.Exit(1)
