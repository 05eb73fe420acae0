"""A gallery as one web page that loads nothing from anywhere."""

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from string import Template

from stylepack.bundled import ASSETS
from stylepack.painting.gallery import GalleryRow, Label, Picture

TEMPLATE = ASSETS / "gallery.html"


def gallery_page(walls: Sequence[GalleryRow], labels: Sequence[Label]) -> str:
    """HTML with every painting over its photograph, and a slider from one to the other.

    Its content security policy allows the page's own script by its hash and data URIs, so that
    nothing is loaded and no stranger's words could run.
    """
    template = TEMPLATE.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", template, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    choosers = [
        _chooser("style", "Style", [label.title for label in labels]),
        _chooser("photo", "Photograph", [wall.name for wall in walls]),
    ]
    return Template(template).substitute(
        script_hash=f"sha256-{digest}",
        photographs="\n".join(
            f'.photo-{number} {{ background-image: url("{_data_uri(wall.photo)}"); }}'
            for number, wall in enumerate(walls)
        ),
        summary=f"{_count(labels, 'style')}, {_count(walls, 'photograph')}.",
        choosers="\n".join(filter(None, choosers)),
        sections="\n".join(_section(number, wall, labels) for number, wall in enumerate(walls)),
    )


def _chooser(kind: str, title: str, choices: Sequence[str]) -> str:
    """A list to choose one of, or all; nothing where there is nothing to choose."""
    if len(choices) < 2:
        return ""
    options = "".join(
        f'<option value="{number}">{escape(choice)}</option>'
        for number, choice in enumerate(choices)
    )
    return (
        f'<label>{title} <select id="{kind}">'
        f'<option value="">all {len(choices)}</option>{options}</select></label>'
    )


def _section(photo: int, wall: GalleryRow, labels: Sequence[Label]) -> str:
    figures = "\n".join(
        _figure(photo, wall, style, label, painting)
        for style, (label, painting) in enumerate(zip(labels, wall.paintings, strict=True))
    )
    return (
        f'<section data-photo="{photo}">\n<h2>{escape(wall.name)}</h2>\n'
        f'<div class="paintings">\n{figures}\n</div>\n</section>'
    )


def _figure(photo: int, wall: GalleryRow, style: int, label: Label, painting: Picture) -> str:
    width, height = painting.size
    words = escape(f"{wall.name} in the style of {label.title}")
    return f"""\
<figure data-style="{style}" style="--ratio: {width / height:.4f}">
<div class="compare photo-{photo}"><img alt="{words}" src="{_data_uri(painting)}"></div>
<input type="range" min="0" max="100" value="50" aria-label="Share of the photograph, {words}">
<figcaption><strong>{escape(label.title)}</strong>{_facts(label)}</figcaption>
</figure>"""


def _facts(label: Label) -> str:
    painter = ", ".join(filter(None, [label.artist, label.year]))
    licences = ", ".join(
        f"{thing}: {licence}"
        for thing, licence in (("painting", label.painting_licence), ("pack", label.pack_licence))
        if licence
    )
    return (f"<span>{escape(painter)}</span>" if painter else "") + (
        f"<small>{escape(licences)}</small>" if licences else ""
    )


def _data_uri(picture: Picture) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
