"""`stylepack study`: the COMP6248 report's experiments, as they were and put right."""

import typer

from stylepack.cli.study_compare import compare
from stylepack.cli.study_interpolate import interpolate
from stylepack.cli.study_losses import losses
from stylepack.cli.study_reconstruct import reconstruct

study = typer.Typer(
    no_args_is_help=True,
    help="Repeat the COMP6248 report's experiments on your own paintings and photographs.",
)
study.command()(losses)
study.command()(compare)
study.command()(reconstruct)
study.command()(interpolate)
