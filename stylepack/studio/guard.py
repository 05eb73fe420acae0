"""Access control: only the page itself, from this machine, with uploads of bounded size."""

import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from stylepack.errors import PhotoError, StylepackError
from stylepack.files import write_text
from stylepack.library.shelf import home_folder

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 1 << 28  # of a photograph or a painting
MOST_JSON = 1 << 16
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
REFUSED = "This address is not open to you. Use the one that `stylepack studio` has printed.\n"


class Guard:
    """Lets through requests from the page, by host, origin and the token in the address."""

    def __init__(self, app: Application, token: str, port: int) -> None:
        self.app, self.token = app, token
        self.hosts = [f"127.0.0.1:{port}", f"localhost:{port}"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 403, or pass the request on and add headers to the answer."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        allowed = self._is_ours(Headers(scope=scope), scope["method"]) and self._has_token(scope)
        app = self.app if allowed else PlainTextResponse(REFUSED, 403)
        await app(scope, receive, send_with_headers)

    def _is_ours(self, headers: Headers, method: str) -> bool:
        host = headers.get("host", "")
        if host not in self.hosts:
            return False
        origin = headers.get("origin")
        if origin is None:
            return method in ("GET", "HEAD") and self._site(headers) in ("same-origin", "none")
        return origin == f"http://{host}" and self._site(headers) == "same-origin"

    def _site(self, headers: Headers) -> str:
        """The request's origin as the browser reports it; old browsers do not."""
        return headers.get("sec-fetch-site", "same-origin")

    def _has_token(self, scope: Scope) -> bool:
        first = str(scope["path"]).split("/")[1] if "/" in scope["path"] else ""
        return hmac.compare_digest(first.encode(), self.token.encode())


def kept_token() -> str:
    """The token in this user's addresses, kept so that bookmarks remain valid.

    If it cannot be stored, every studio has a new one.
    """
    path = home_folder() / "studio-token"
    with suppress(OSError, UnicodeDecodeError):
        kept = path.read_text().strip()
        if len(kept) >= 20 and kept.isascii() and kept.replace("-", "").replace("_", "").isalnum():
            return kept
    token = secrets.token_urlsafe(24)
    with suppress(OSError, StylepackError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        write_text(path, token)
    return token


async def body_of(request: Request, most: int = MOST_BYTES, what: str = "the file") -> bytes:
    """The body of a request.

    Raises:
        PhotoError: more than `most` bytes; the rest is not read.
    """
    limit = f"{most >> 20} MB" if most >> 20 else f"{most >> 10} KB"
    too_much = PhotoError(f"{what} has more than {limit}; send less")
    with suppress(ValueError):
        if int(request.headers.get("content-length", "0")) > most:
            raise too_much
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise too_much
        pieces.append(piece)
    return b"".join(pieces)
