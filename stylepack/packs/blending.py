"""One pack made of several: what a mix paints, to keep and to pass on."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from stylepack.errors import UsageError
from stylepack.packs.header import shown
from stylepack.packs.manifest import Manifest, common_license
from stylepack.packs.mix import Mix, merge
from stylepack.packs.pack import Pack, blend


def blend_packs(mix: Mix, packs: Mapping[str, Pack], told: Manifest) -> Pack:
    """The pack that paints what a mix of packs paints.

    Args:
        mix: normalised here.
        packs: by the references of the mix; all of one trunk.
        told: name, author, date and what else the caller knows; title, licence and tags that
            are empty come from the packs.

    Raises:
        UsageError: the packs belong to different trunks, or the weights are all zero.
    """
    parts = [(packs[reference], weight) for reference, weight in mix.normalised().parts if weight]
    first = parts[0][0].manifest
    for pack, _ in parts:
        if pack.manifest.trunk_sha256 != first.trunk_sha256:
            raise UsageError(
                f"'{first.name}' and '{pack.manifest.name}' belong to different trunks; only packs "
                "of one trunk can be blended"
            )
    numbers = blend([pack.numbers for pack, _ in parts], [weight for _, weight in parts])
    own = min(max(float(numbers[-1]), 0.0), 1.0)
    return Pack(_describe(parts, told, own), numbers[:-1])


def _describe(parts: list[tuple[Pack, float]], told: Manifest, own: float) -> Manifest:
    manifests = [pack.manifest for pack, _ in parts]
    mix = str(merge((pack.manifest.name, weight) for pack, weight in parts))
    shares = ", ".join(
        f"{weight:.0%} {shown(m.title or m.name)}"
        for m, (_, weight) in zip(manifests, parts, strict=True)
    )
    tags = dict.fromkeys(tag.strip() for m in manifests for tag in m.tags.split(",") if tag.strip())
    return Manifest(
        name=told.name,
        trunk_sha256=manifests[0].trunk_sha256,
        title=told.title or shares,
        description=told.description or f"A blend: {shares}.",
        author=told.author,
        date=told.date,
        license=told.license or common_license(manifests),
        tags=told.tags or ", ".join(tags),
        thumbnail=told.thumbnail,
        merged_from=mix,
        own_contrast=own,
        style_image=_shared_words(manifests),
        train={
            "blend": [
                {"name": pack.manifest.name, "sha256": pack.manifest.sha256, "weight": weight}
                for pack, weight in parts
            ],
            "stylepack": version("stylepack"),
        },
    )


def _shared_words(manifests: list[Manifest]) -> dict[str, Any]:
    """The artists of all paintings, and the paintings' licence if it is one and the same."""
    images = [manifest.style_image for manifest in manifests if manifest.style_image]
    artists = dict.fromkeys(str(image["artist"]) for image in images if image.get("artist"))
    licences = {str(image.get("licence", "")) for image in images}
    words = {"artist": ", ".join(artists)}
    if len(licences) == 1:
        words["licence"] = licences.pop()
    return {key: value for key, value in words.items() if value}
