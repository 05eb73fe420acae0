"""Paths of the files that are bundled with the package."""

from pathlib import Path

BUNDLED = "bundled"  # the name of the trunk that comes with stylepack
ASSETS = Path(__file__).resolve().parent / "assets"
BUNDLED_TRUNK = ASSETS / "trunk.safetensors"
BUNDLED_LOSS_NETWORK = ASSETS / "loss-network.safetensors"
BUNDLED_PHOTOS = ASSETS / "photos"
PHOTO_NAMES = ("astronaut.png", "chelsea.png", "china.jpg", "coffee.png", "rocket.jpg")
