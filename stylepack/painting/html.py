"""A gallery as one self-contained web page."""

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from string import Template

from stylepack.bundled import ASSETS
from stylepack.errors import counted
from stylepack.painting.gallery import GalleryRow, Label, Picture

TEMPLATE = ASSETS / "gallery.html"


def gallery_page(rows: Sequence[GalleryRow], labels: Sequence[Label]) -> str:
    """HTML with every painting over its photograph, and a slider between them.

    Its content security policy allows only the page's own script, by hash, and data URIs.
    """
    template = TEMPLATE.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", template, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    choosers = [
        _chooser("style", "Style", [label.title_and_name for label in labels]),
        _chooser("photo", "Photograph", [row.name for row in rows]),
    ]
    return Template(template).substitute(
        script_hash=f"sha256-{digest}",
        photographs="\n".join(
            f'.photo-{number} {{ background-image: url("{_data_uri(row.photo)}"); }}'
            for number, row in enumerate(rows)
        ),
        summary=f"{counted(len(labels), 'style')}, {counted(len(rows), 'photograph')}.",
        choosers="\n".join(filter(None, choosers)),
        sections="\n".join(_section(number, row, labels) for number, row in enumerate(rows)),
    )


def _chooser(kind: str, title: str, choices: Sequence[str]) -> str:
    """A select element for one choice or all; empty with fewer than two choices."""
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


def _section(photo: int, row: GalleryRow, labels: Sequence[Label]) -> str:
    figures = "\n".join(
        _figure(photo, row, style, label, painting)
        for style, (label, painting) in enumerate(zip(labels, row.paintings, strict=True))
    )
    return (
        f'<section data-photo="{photo}">\n<h2>{escape(row.name)}</h2>\n'
        f'<div class="paintings">\n{figures}\n</div>\n</section>'
    )


def _figure(photo: int, row: GalleryRow, style: int, label: Label, painting: Picture) -> str:
    width, height = painting.size
    words = escape(f"{row.name} in the style of {label.title}")
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
    name = f"<code>{escape(label.name)}</code> " if label.name != label.title else ""
    return (
        name
        + (f"<span>{escape(painter)}</span>" if painter else "")
        + (f"<small>{escape(licences)}</small>" if licences else "")
    )


def _data_uri(picture: Picture) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"
