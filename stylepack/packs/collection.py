"""A Python package of packs, ready to be built: what `pip install` then puts on the shelf."""

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from stylepack.errors import UsageError
from stylepack.packs.header import parse_content, read_content
from stylepack.packs.manifest import LARGEST_PACK, Manifest, common_license
from stylepack.packs.packages import GROUP
from stylepack.packs.shelf import SUFFIX
from stylepack.packs.staging import staging

NAME_PATTERN = re.compile(r"[a-z](?:[a-z0-9-]{0,62}[a-z0-9])?")
SPDX_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")

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


def write_collection(folder: Path, name: str, packs: Mapping[str, Path], trunk: str) -> list[str]:
    """Write a package of pack files: pyproject.toml, README.md and the packs, or nothing.

    Args:
        folder: made; it must not exist.
        name: the distribution's name.
        packs: files by the names that the packs are to have in it; all of one trunk.
        trunk: that trunk in words.

    Returns:
        Names of packs that do not name a licence.

    Raises:
        UsageError: a name that is none, or a folder that exists.
        PackError: a pack is damaged.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot be a package's name; use lower-case letters, digits and '-', at most "
            "64, the first a letter"
        )
    if folder.exists():
        raise UsageError(f"{folder} exists already; choose another name or place")
    contents = {pack: read_content(path, LARGEST_PACK) for pack, path in packs.items()}
    manifests = {
        pack: Manifest.from_header(parse_content(content, packs[pack]), packs[pack])
        for pack, content in contents.items()
    }
    module = name.replace("-", "_")
    advice = "choose a place that exists and that is yours"
    with staging(folder.absolute().parent, advice, sweep=False) as stage:
        files = {
            "pyproject.toml": _pyproject(name, module, manifests).encode(),
            "README.md": _readme(name, manifests, trunk).encode(),
            f"{module}/__init__.py": f'"""Style packs: {", ".join(packs)}."""\n'.encode(),
            **{f"{module}/packs/{pack}{SUFFIX}": content for pack, content in contents.items()},
        }
        for file, content in files.items():
            stage.add(f"{folder.name}/{file}", content)
        stage.place()
    return [pack for pack, manifest in manifests.items() if not manifest.license]


def _pyproject(name: str, module: str, manifests: Mapping[str, Manifest]) -> str:
    license = common_license(manifests.values())
    known = SPDX_PATTERN.fullmatch(license)
    return PYPROJECT.format(
        name=json.dumps(name),
        module=module,
        group=GROUP,
        version=version("stylepack"),
        description=json.dumps(f"Style packs for stylepack: {', '.join(manifests)}"),
        license=f"license = {json.dumps(license)}\n" if known else "",
    )


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
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", " ".join(str(text).split()))
