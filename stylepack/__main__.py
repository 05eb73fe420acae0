"""`python -m stylepack`."""

from stylepack.cli.main import main

main()
