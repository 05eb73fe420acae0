"""`packs new`: a Python package of packs, which `pip install` then puts on the shelf."""

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

NAME_PATTERN = re.compile(r"(?=.{1,64}$)[a-z][a-z0-9]*(?:-[a-z0-9]+)*")  # already normalized
TAKEN_NAMES = frozenset(["stylepack", BUNDLED, str(Origin.USER)])
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

# The dotted name of the folder whose packs appear on the shelf; it is never imported.
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

The packs belong to the trunk {trunk}.
"""


def write_collection(
    folder: Path, packs: Mapping[str, Path], trunk: Path, trunk_in_words: str
) -> list[str]:
    """Write a package of pack files: pyproject.toml, README.md and the packs, or nothing.

    Args:
        folder: must not exist; its name is the distribution's.
        packs: files by their names in the package; all of one trunk.
        trunk: that trunk's file.
        trunk_in_words: its description for the README.

    Returns:
        Names of packs without a licence.

    Raises:
        UsageError: an invalid name, or a folder that exists.
        PackError: a pack is damaged, or belongs to another trunk.
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
    advice = "choose a folder that exists and that you can write to"
    with staging(folder.absolute().parent, advice, own=False) as stage:
        if folder.exists():
            raise UsageError(f"{folder} already exists; choose another name or folder")
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
    """A line of pyproject.toml, empty without a licence.

    It is an SPDX expression (PEP 639) only for identifiers that all build tools know.
    """
    text = printable(" ".join(license.split()))
    if not text:
        return ""
    quoted = json.dumps(text, ensure_ascii=False)
    return f"license = {quoted}\n" if text in SPDX else f"license = {{text = {quoted}}}\n"


def _readme(name: str, manifests: Mapping[str, Manifest], trunk: str) -> str:
    rows = [
        (pack, manifest.title, manifest.style_image.get("artist", ""), manifest.license)
        for pack, manifest in manifests.items()
    ]
    return README.format(
        name=name,
        first=next(iter(manifests)),
        trunk=trunk,
        rows="\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows),
    )


def _cell(text: object) -> str:
    """Untrusted text, escaped for a Markdown table."""
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", printable(" ".join(str(text).split())))
