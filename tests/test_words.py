"""Docstrings and messages are in plain modern English."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "stylepack"
AWKWARD = {
    "an opening with What": re.compile(r"^What (?!.*\?)"),
    "a fronted genitive": re.compile(r"(?:^|(?<=\.) {1,2})Of (?!course\b)"),
    "'is no' for 'is not a'": re.compile(
        r"(?<!there )(?<!There )\b(?:is|are) no (?!longer\b|more\b)"
    ),
    "'that is none'": re.compile(r"\bthat (?:is|are) none\b"),
    "'told'": re.compile(r"\btold\b"),
    "'mend'": re.compile(r"\bmend(?:s|ed)?\b"),
}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of docstrings and of string literals that are sentences."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = (str(x.value) if isinstance(x, ast.Constant) else "_" for x in node.values)
            yield node.lineno, " ".join("".join(parts).split())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, " ".join(node.value.split())


def faults(source: str) -> list[str]:
    return [
        f"line {line}: {name}: {text[max(0, match.start() - 30) : match.end() + 40]}"
        for line, text in texts(source)
        for name, pattern in AWKWARD.items()
        if (match := pattern.search(text))
    ]


PATHS = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_and_messages_read_like_plain_english(path: Path) -> None:
    assert not faults(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text",
    ["What a pack says.", "Of its rows.", "'x' is no folder", "a name that is none", "as told"],
)
def test_awkward_words_are_found(text: str) -> None:
    assert faults(f'"""{text}"""')


def test_plain_words_pass() -> None:
    assert not faults('"""Rows of an image that is no longer there."""')
    assert not faults('message = f"{path} is not a folder; what next?"')
