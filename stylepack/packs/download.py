"""Fetching a pack or a zip of packs over https, with limits."""

import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from http.client import HTTPException, HTTPMessage, HTTPResponse
from threading import Thread
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from stylepack.errors import PackError, UsageError

LARGEST_DOWNLOAD = 64 << 20
TIMEOUT = 30.0  # seconds of silence
LONGEST = 600.0  # seconds in all
CHUNK = 1 << 16
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Progress = Callable[[float], None]


def is_url(source: str) -> bool:
    """Whether this is an address, of whatever kind."""
    return "://" in source


def download(url: str, progress: Progress) -> bytes:
    """The bytes behind an https address; `progress` is called with the share that is here.

    Raises:
        UsageError: not an https address.
        PackError: no answer, an error from the server, too large, too slow, or cut off.
    """
    check_address(url)
    too_slow = PackError(f"{url} takes more than {LONGEST:.0f} seconds; download it yourself")
    deadline, answer = time.monotonic() + LONGEST, Future[bytes]()

    def in_time(share: float) -> None:
        if time.monotonic() > deadline:
            raise too_slow
        progress(share)

    def fetch() -> None:
        try:
            answer.set_result(_fetch(url, in_time))
        except BaseException as error:  # for the thread that waits
            answer.set_exception(error)

    # A server can hold up every step, headers and redirects too, with a byte now and then.  Only
    # another thread can stop waiting for all of them; this one ends with the process.
    Thread(target=fetch, daemon=True).start()
    try:
        return answer.result(LONGEST)
    except TimeoutError:
        raise too_slow from None


def _fetch(url: str, progress: Progress) -> bytes:
    handlers: list[urllib.request.BaseHandler] = [_OnlyToHttps()]
    if _is_loopback(url):
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    request = urllib.request.Request(url, headers={"User-Agent": "stylepack"})
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            return _read(response, url, progress)
    except HTTPError as error:
        error.close()
        raise PackError(f"{url}: the server answered {error.code}; check the address") from None
    except TimeoutError:
        raise PackError(f"{url}: no answer for {TIMEOUT:.0f} seconds; try again later") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise PackError(f"cannot download {url}: {reason or type(error).__name__}") from error


def check_address(url: str) -> None:
    """Refuse what is not https; plain http only from this machine itself.

    Raises:
        UsageError: another kind of address.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(url))
        good = good and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"'{url}' is not an https address; packs are downloaded over https only")


def check_redirect(url: str, source: str) -> None:
    """Refuse to be sent on to anything but https.

    Raises:
        PackError: the server's new address is another.
    """
    if urlsplit(url).scheme != "https":
        raise PackError(f"{source} sends on to '{url}', which is not https; not followed")


class _OnlyToHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            check_redirect(newurl, req.full_url)
        except PackError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _read(response: HTTPResponse, url: str, progress: Progress) -> bytes:
    declared = response.length
    too_large = PackError(f"{url} is larger than {LARGEST_DOWNLOAD:,} bytes; not downloaded")
    if declared is not None and declared > LARGEST_DOWNLOAD:
        raise too_large
    content = bytearray()
    while chunk := response.read1(CHUNK):
        content += chunk
        if len(content) > LARGEST_DOWNLOAD:
            raise too_large
        progress(len(content) / declared if declared else 0.0)
    if declared is not None and len(content) != declared:
        raise PackError(
            f"{url} was cut off after {len(content):,} of {declared:,} bytes; try again"
        )
    return bytes(content)


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK
