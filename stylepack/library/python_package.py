"""A Python package of packs, ready to be built: what `pip install` then puts on the shelf."""

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from stylepack.bundled import BUNDLED
from stylepack.errors import UsageError, printable
from stylepack.library.fetch import PackFile
from stylepack.library.install import check_packs
from stylepack.library.plugins import GROUP
from stylepack.library.shelf import Origin
from stylepack.library.transaction import staging
from stylepack.packs.header import read_content
from stylepack.packs.manifest import LARGEST_PACK, SUFFIX, Manifest, common_license

NAME_PATTERN = re.compile(r"(?=.{1,64}$)[a-z][a-z0-9]*(?:-[a-z0-9]+)*")  # normalised already
TAKEN_NAMES = frozenset(["stylepack", BUNDLED, str(Origin.YOURS)])
SPDX = frozenset(
    [
        *("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"),
        *("MIT", "ISC", "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MPL-2.0"),
        *("GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "Unlicense"),
    ]
)

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = {name}
version = "0.1.0"
description = {description}
readme = "README.md"
{license}requires-python = ">=3.11"
dependencies = ["stylepack>={version}"]

# The folder whose packs appear on the shelf, by its dotted name; it is never imported.
[project.entry-points."{group}"]
{name} = "{module}.packs"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""

README = """\
# {name}

Style packs for [stylepack](https://pypi.org/project/stylepack):

| pack | title | artist | licence |
|---|---|---|---|
{rows}

```bash
pip install {name}
stylepack packs list -q {first}
stylepack apply photo.jpg --style {name}/{first}
```

The packs are painted on the trunk {trunk}.
"""


def write_collection(
    folder: Path, packs: Mapping[str, Path], trunk: Path, trunk_in_words: str
) -> list[str]:
    """Write a package of pack files: pyproject.toml, README.md and the packs, or nothing.

    Args:
        folder: made; it must not exist.  Its name is the distribution's.
        packs: files by the names that the packs are to have in it; all of one trunk.
        trunk: that trunk's file.
        trunk_in_words: what the README says it is.

    Returns:
        Names of packs that do not name a licence.

    Raises:
        UsageError: a name that is none, or a folder that exists.
        PackError: a pack is damaged, or another trunk's.
    """
    name = folder.name
    if not NAME_PATTERN.fullmatch(name) or name in TAKEN_NAMES:
        raise UsageError(
            f"'{name}' cannot be a package's name; use lower-case letters, digits and single '-', "
            f"at most 64, the first a letter, and not {', '.join(sorted(TAKEN_NAMES))}"
        )
    if not folder.absolute().parent.is_dir():
        raise UsageError(f"no such folder: {folder.parent}, for {folder}; make it first")
    files = [PackFile(str(path), read_content(path, LARGEST_PACK)) for path in packs.values()]
    manifests = dict(zip(packs, check_packs(files, trunk, force=True), strict=True))
    module = name.replace("-", "_")
    advice = "choose a place that exists and that is yours"
    with staging(folder.absolute().parent, advice, own=False) as stage:
        if folder.exists():
            raise UsageError(f"{folder} exists already; choose another name or place")
        texts = {
            "pyproject.toml": _pyproject(name, module, manifests),
            "README.md": _readme(name, manifests, trunk_in_words),
            f"{module}/__init__.py": f'"""Style packs: {", ".join(packs)}."""\n',
        }
        for path, text in texts.items():
            stage.add(f"{name}/{path}", text.encode())
        for pack, file in zip(packs, files, strict=True):
            stage.add(f"{name}/{module}/packs/{pack}{SUFFIX}", file.content)
        stage.place()
    return [pack for pack, manifest in manifests.items() if not manifest.license]


def _pyproject(name: str, module: str, manifests: Mapping[str, Manifest]) -> str:
    return PYPROJECT.format(
        name=json.dumps(name),
        module=module,
        group=GROUP,
        version=version("stylepack"),
        description=json.dumps(f"Style packs for stylepack: {', '.join(manifests)}"),
        license=_license_field(common_license(manifests.values())),
    )


def _license_field(license: str) -> str:
    """A line of pyproject.toml, empty without a licence; a stranger's words must not stop a build.

    As an SPDX expression (PEP 639) only what build tools are sure to know.
    """
    text = printable(" ".join(license.split()))
    if not text:
        return ""
    quoted = json.dumps(text, ensure_ascii=False)
    return f"license = {quoted}\n" if text in SPDX else f"license = {{text = {quoted}}}\n"


def _readme(name: str, manifests: Mapping[str, Manifest], trunk: str) -> str:
    rows = [
        (pack, one.title, one.style_image.get("artist", ""), one.license)
        for pack, one in manifests.items()
    ]
    return README.format(
        name=name,
        first=next(iter(manifests)),
        trunk=trunk,
        rows="\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows),
    )


def _cell(text: object) -> str:
    """A stranger's words in a table of Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", printable(" ".join(str(text).split())))
