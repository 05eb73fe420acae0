"""Names of packs and trunks for the shell to complete.  Nothing here raises."""

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
    """While bash asks for completions, undo that it splits words at `=`, as in `starry=0.5,sc`.

    It says which words there are in COMP_WORDS, one a line, and which is meant in COMP_CWORD;
    it then puts the answers in place of what follows the last `=` alone.
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
        if before.startswith("-"):  # the answers are without `--mix=`
            before = before.partition("=")[2]
        for answer in answers.getvalue().splitlines():
            print(answer.removeprefix(before))


def rejoined(words: Sequence[str], current: int) -> tuple[list[str], int, str]:
    """(words, the current one's index, what of it bash leaves alone), joined at `=`.

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
    """Packs on the shelf that begin like this."""
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
    """Trunks that begin like this."""
    try:
        return [name for name in known_trunks() if name.startswith(incomplete)]
    except (StylepackError, OSError):
        return []


def _names() -> list[str]:
    try:
        return list(shelf())
    except (StylepackError, OSError):
        return []
