"""Serving the studio on 127.0.0.1 until it is stopped."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from stylepack.errors import StylepackError
from stylepack.studio.app import Studio, application
from stylepack.studio.guard import kept_token

HOST = "127.0.0.1"
KEEP_ALIVE = 60  # seconds that an idle connection stays open
PATIENCE = 2  # seconds for pending requests on shutdown


class _Server(uvicorn.Server):
    """A server whose signals the caller handles; it ends when `stopped` returns True."""

    def __init__(self, config: uvicorn.Config, stopped: Callable[[], bool]) -> None:
        super().__init__(config)
        self._stopped = stopped

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signal handlers unchanged."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Check whether to end, ten times a second."""
        return self._stopped() or await super().on_tick(counter)


def listen(port: int) -> socket.socket:
    """A socket that only this machine can reach; port 0 takes a free one.

    Raises:
        StylepackError: the port is taken or not allowed.
    """
    # asyncio turns off Nagle's algorithm, 40 ms per answer, only if the protocol is given.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if hasattr(socket, "SO_REUSEADDR"):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError as error:
        bound.close()
        raise StylepackError(
            f"cannot listen on port {port}: {error.strerror}; choose another --port"
        ) from error
    return bound


def serve(
    studio: Studio,
    bound: socket.socket,
    ready: Callable[[str], None],
    stopped: Callable[[], bool],
) -> None:
    """Serve until `stopped` returns True; `ready` is called first, with the address."""
    port, token = bound.getsockname()[1], kept_token()
    config = uvicorn.Config(
        application(studio, token, port),
        log_level="error",
        access_log=False,
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=PATIENCE,
    )
    ready(f"http://{HOST}:{port}/{token}/")
    try:
        _Server(config, stopped).run(sockets=[bound])
    finally:
        studio.close()
