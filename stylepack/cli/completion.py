"""Shell completion for the names of packs and trunks.  Nothing here raises."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from stylepack.errors import StylepackError
from stylepack.library.shelf import home_folder, read_hidden, shelf, user_packs
from stylepack.library.trunks import known_trunks

IN_BASH = ("_STYLEPACK_COMPLETE", "complete_bash")


@contextmanager
def whole_words_in_bash() -> Iterator[None]:
    """While bash asks for completions, rejoin the words that it split at `=`: `starry=0.5,sc`.

    Bash passes the words in COMP_WORDS, one per line, and the current one's index in COMP_CWORD.
    The answers replace only the text after the last `=`.
    """
    if os.environ.get(IN_BASH[0]) != IN_BASH[1]:
        yield
        return
    meant = os.environ.get("COMP_CWORD", "")
    words, current, before = rejoined(
        os.environ.get("COMP_WORDS", "").split("\n"), int(meant) if meant.isdecimal() else 0
    )
    os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(current)}
    answers = io.StringIO()
    try:
        with redirect_stdout(answers):
            yield
    finally:
        if before.startswith("-"):  # the answers do not begin with `--mix=`
            before = before.partition("=")[2]
        for answer in answers.getvalue().splitlines():
            print(answer.removeprefix(before))


def rejoined(words: Sequence[str], current: int) -> tuple[list[str], int, str]:
    """Words joined at `=`: (words, the current one's index, the part of it that bash keeps).

    `["--mix", "starry", "=", "0.5,sc"], 3` to `["--mix", "starry=0.5,sc"], 1, "starry="`.
    """
    joined: list[str] = []
    place, before = current, ""
    for index, word in enumerate(words):
        if len(joined) > 1 and (word == "=" or joined[-1].endswith("=")):
            left_alone = joined[-1] + (word if word == "=" else "")
            joined[-1] += word
        else:
            left_alone = ""
            joined.append(word)
        if index == current:
            place, before = len(joined) - 1, left_alone
    return joined, place, before


def complete_pack(incomplete: str) -> list[str]:
    """Packs on the shelf whose names begin with `incomplete`."""
    return [name for name in _names() if name.startswith(incomplete)]


def complete_mix(incomplete: str) -> list[str]:
    """A mix whose last part is completed to a pack: `starry=0.5,sc` to `starry=0.5,scream`."""
    before, comma, part = incomplete.rpartition(",")
    used = {one.partition("=")[0].strip() for one in before.split(",")}
    return [
        f"{before}{comma}{name}" for name in _names() if name.startswith(part) and name not in used
    ]


def complete_installed(incomplete: str) -> list[str]:
    """Packs that can be removed."""
    try:
        return [name for name in user_packs() if name.startswith(incomplete)]
    except (StylepackError, OSError):
        return []


def complete_hidden(incomplete: str) -> list[str]:
    """Packs that can be restored."""
    try:
        return sorted(n for n in read_hidden(home_folder()) if n.startswith(incomplete))
    except (StylepackError, OSError):
        return []


def complete_trunk(incomplete: str) -> list[str]:
    """Trunks whose names begin with `incomplete`."""
    try:
        return [name for name in known_trunks() if name.startswith(incomplete)]
    except (StylepackError, OSError):
        return []


def _names() -> list[str]:
    try:
        return list(shelf())
    except (StylepackError, OSError):
        return []
