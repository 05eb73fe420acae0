"""Pack files from files, folders, zips and https addresses, read once into memory."""

import hashlib
import re
import shlex
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from threading import Thread
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from stylepack.errors import PackError, UsageError
from stylepack.library.archive import is_zip, other_kind, packs_in_zip
from stylepack.packs.header import parse_content, read_content
from stylepack.packs.manifest import ARCHITECTURE, LARGEST_PACK, LARGEST_TRUNK, SUFFIX, TRUNK_FILE

SHA256_PATTERN = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")
CHECKPOINTS = "checkpoint*.safetensors"  # in the folder of a stopped training
MOST_PACKS = 1000  # in one command
LARGEST_TOTAL = 256 << 20  # bytes of them in all
LARGEST_DOWNLOAD = 64 << 20
TIMEOUT = 30.0  # seconds without an answer
LONGEST = 600.0  # seconds in all
CHUNK = 1 << 16
LOOPBACK = ("127.0.0.1", "localhost", "::1")
Progress = Callable[[float], None]


@dataclass(frozen=True)
class PackFile:
    """A file's bytes, and its source for messages."""

    source: str
    content: bytes

    @property
    def other_kind(self) -> str:
        """Architecture of a valid trunk or loss network, else ""."""
        return other_kind(self.content, len(self.content))


def gather(sources: Sequence[str], sha256: str, progress: Progress) -> list[PackFile]:
    """Every pack file of the sources, not yet checked.

    Args:
        sources: pack files, folders, zips, wheels and https addresses.
        sha256: expected hash of the only source; empty for none.
        progress: called with the number of sources read, including the share of a download.

    Raises:
        UsageError: a source that does not exist, or an invalid hash or one for several sources.
        PackError: a source that cannot be read, has no pack, or has another hash.
    """
    if sha256:
        _check_hash_option(sources, sha256)
    gathered: list[PackFile] = []
    for index, source in enumerate(sources):
        arrived = partial(_pass_on, progress, index)
        files = _in_folder(source) if _is_folder(source) else _in_one(source, sha256, arrived)
        packs = [file for file in files if file.source == source or not file.other_kind]
        if not packs:
            raise PackError(f"there is no pack in {source}; expected files named NAME{SUFFIX}")
        gathered += packs
        arrived(1.0)
        _check_amount(len(gathered), sum(len(file.content) for file in gathered), source)
    return gathered


def gather_trunk(source: str, sha256: str, progress: Progress) -> tuple[PackFile, list[PackFile]]:
    """A trunk and the packs that come with it, not yet checked.

    Args:
        source: a folder with a trunk file and `packs/`, as `stylepack train` writes it, or a zip
            of that, a trunk file alone, or an https address of one of these.
        sha256: expected hash of the source; empty for none.
        progress: called with the share that is read.

    Raises:
        UsageError: a source that does not exist, or an invalid hash.
        PackError: it cannot be read, does not have exactly one trunk, or has another hash.
    """
    if sha256:
        _check_hash_option([source], sha256)
    if _is_folder(source):
        trunk = Path(source) / TRUNK_FILE
        if not trunk.is_file():
            if any(Path(source).glob(CHECKPOINTS)):
                raise UsageError(
                    f"the training in {source} has not ended; continue it: "
                    f"`stylepack train --resume {shlex.quote(source)}`"
                )
            raise UsageError(f"no {TRUNK_FILE} in {source}; give a folder that `train` wrote")
        files = [PackFile(str(trunk), read_content(trunk, LARGEST_TRUNK))]
        files += _in_folder(str(Path(source) / "packs"))
    else:
        files = _in_one(source, sha256, progress, LARGEST_TRUNK, _is_of_trunk)
    trunks = [file for file in files if file.other_kind == ARCHITECTURE]
    for file in files if not trunks else ():
        parse_content(file.content, file.source)  # names the fault if the trunk is damaged
    if len(trunks) != 1:
        raise PackError(
            f"there are {len(trunks) or 'no'} trunks in {source}; expected one, like a folder that "
            "`stylepack train` wrote"
        )
    return trunks[0], [file for file in files if not file.other_kind]


def _pass_on(progress: Progress, before: int, share: float) -> None:
    progress(before + share)


def _check_hash_option(sources: Sequence[str], sha256: str) -> None:
    if not SHA256_PATTERN.fullmatch(sha256):
        raise UsageError(f"--sha256 is '{sha256}'; expected 64 hexadecimal digits")
    if len(sources) != 1:
        raise UsageError(f"--sha256 is for one source, not {len(sources)}; install them one by one")
    if _is_folder(sources[0]):
        raise UsageError(f"--sha256 is for a file or an address, and {sources[0]} is a folder")


def _is_folder(source: str) -> bool:
    return source != "" and not is_url(source) and Path(source).is_dir()


def _in_folder(folder: str) -> list[PackFile]:
    """The files in a folder that are named like packs.

    Raises:
        PackError: there are too many, or one cannot be read.
    """
    files: list[PackFile] = []
    total = 0
    for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
        if path.is_file() and not path.name.startswith("."):
            files.append(PackFile(str(path), read_content(path, LARGEST_DOWNLOAD)))
            total += len(files[-1].content)
            _check_amount(len(files), total, folder)
    return files


def _check_amount(packs: int, total: int, source: str) -> None:
    if packs > MOST_PACKS or total > LARGEST_TOTAL:
        raise PackError(
            f"more than {MOST_PACKS:,} packs or {LARGEST_TOTAL:,} bytes at {source}; "
            "install them in several commands"
        )


def _is_of_trunk(entry: str) -> bool:
    """Whether an entry of a zip is a trunk file or in a folder `packs`."""
    *folders, name = entry.split("/")
    return name == TRUNK_FILE or folders[-1:] == ["packs"]


def _in_one(
    source: str,
    sha256: str,
    progress: Progress,
    largest: int = LARGEST_PACK,
    is_wanted: Callable[[str], bool] = lambda name: True,
) -> list[PackFile]:
    """The file at a path or address, or the entries of a zip by `packs_in_zip`."""
    if is_url(source):
        content = download(source, progress)
    elif Path(source).is_file():
        content = read_content(Path(source), max(LARGEST_DOWNLOAD, largest))
    else:
        raise UsageError(
            f"no such file: {source}; give a file, a folder, a zip or an https address"
        )
    if sha256:
        digest = hashlib.sha256(content).hexdigest()
        if digest != sha256.lower().removeprefix("0x"):
            raise PackError(
                f"{source} has the SHA-256 {digest}, not that of --sha256; download it again, or "
                "ask its author"
            )
    if not is_zip(content):
        return [PackFile(source, content)]
    inside = packs_in_zip(content, source, largest, is_wanted)
    return [PackFile(f"{source}:{name}", data) for name, data in inside]


def is_url(source: str) -> bool:
    """Whether this is an address of any kind."""
    return "://" in source


def download(url: str, progress: Progress) -> bytes:
    """The bytes at an https address; `progress` is called with the share that is read.

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
        except BaseException as error:  # for the waiting thread
            answer.set_exception(error)

    # A server can delay every step, headers and redirects included, by sending single bytes.  Only
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
    """Refuse addresses other than https, or http on this machine.

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
    """Refuse redirects to anything but https.

    Raises:
        PackError: the new address is not https.
    """
    if urlsplit(url).scheme != "https":
        raise PackError(f"{source} redirects to '{url}', which is not https; not followed")


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
