"""A studio that is served in a thread, for tests and benchmarks."""

import gc
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from stylepack.studio.app import Studio
from stylepack.studio.catalog import Catalog, Engine
from stylepack.studio.serve import listen, serve

CHROMIUM = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Served:
    """A running studio: its `address`, and a `client` that asks as its page would."""

    def __init__(self, studio: Studio, address: str) -> None:
        self.studio, self.address = studio, address
        self.origin = address.rsplit("/", 2)[0]
        headers = {"origin": self.origin}
        self.client = httpx.Client(base_url=address, headers=headers, timeout=60, trust_env=False)

    @property
    def photo(self) -> dict[str, str]:
        """The parameter that names the photograph on the desk."""
        return {"photo": self.studio.desk.current().id}

    def ask(self, path: str, look: object, **fields: object) -> httpx.Response:
        """Ask for something with a look."""
        return self.client.post(path, params={**self.photo, **fields}, json=look)


@contextmanager
def served(folder: Path, engine: Engine | None = None) -> Iterator[Served]:
    """Serve a studio on the CPU that saves to `folder`."""
    studio = Studio(Catalog(engine or Engine(device="cpu", precision="float32")), folder)
    ready, ended, addresses = threading.Event(), threading.Event(), []

    def note(address: str) -> None:
        addresses.append(address)
        ready.set()

    with listen(0) as bound:
        thread = threading.Thread(target=serve, args=(studio, bound, note, ended.is_set))
        thread.start()
        try:
            assert ready.wait(60)
            one = Served(studio, addresses[0])
            with one.client:
                yield one
        finally:
            ended.set()
            thread.join(60)
            with warnings.catch_warnings():  # of connections that the end of the loop has cut
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()
        assert not thread.is_alive()


def huge_png(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, and has none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
