"""Style packs: parsing, checking, writing and blending."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylepack.errors import PackError, UsageError, WrongTrunkError, worded
from stylepack.network.trunk import TrunkConfig
from stylepack.packs.header import Header, read_content, shown
from stylepack.packs.manifest import LARGEST_PACK, Manifest, common_license
from stylepack.packs.mix import Mix, merge
from stylepack.packs.tensors import parse_tensors, tensors_content, write_tensors

LARGEST_VALUE = 1000  # of gamma and beta; those of the bundled packs are below 3


@dataclass(frozen=True)
class Pack:
    """One style: `style` is (style_size,) float32 in the order of `TrunkConfig.layout`."""

    manifest: Manifest
    style: Tensor

    @property
    def vector(self) -> Tensor:
        """The style and its share of the photograph's contrast, (style_size + 1,)."""
        return torch.cat([self.style, torch.tensor([self.manifest.own_contrast])])

    def with_thumbnail(self, picture: str) -> "Pack":
        """The same pack with a thumbnail, a data URI."""
        return replace(self, manifest=replace(self.manifest, thumbnail=picture))

    def save(self, path: Path, config: TrunkConfig) -> None:
        """Write the pack file (docs/pack-format.md)."""
        write_tensors(path, self._tensors(config), self.manifest.to_metadata())

    def content(self, config: TrunkConfig) -> bytes:
        """The bytes that `save` writes."""
        return tensors_content(self._tensors(config), self.manifest.to_metadata())[0]

    def _tensors(self, config: TrunkConfig) -> dict[str, Tensor]:
        tensors = {}
        for slot in config.layout():
            tensors[f"{slot.name}.gamma"] = self.style[slot.gamma].float()
            tensors[f"{slot.name}.beta"] = self.style[slot.beta].float()
        return tensors


def load_pack(path: Path, config: TrunkConfig) -> Pack:
    """Read a pack file and check every tensor against the trunk's layout.

    Raises:
        PackError: damaged, or tensors missing, extra, misshapen, not finite or enormous.
    """
    return parse_pack(read_content(path, LARGEST_PACK), config, path)


def parse_pack(content: bytes, config: TrunkConfig, path: object) -> Pack:
    """`load_pack` for a pack in memory; errors name `path`.

    Raises:
        PackError: too large, damaged, or tensors missing, extra, misshapen, not finite or enormous.
    """
    if len(content) > LARGEST_PACK:
        raise PackError(f"{path} is {len(content):,} bytes; a pack has at most {LARGEST_PACK:,}")
    header, tensors, _ = parse_tensors(content, path)
    manifest = Manifest.from_header(header, path)
    check_layout(header, config, path)
    for name, tensor in tensors.items():
        if tensor.abs().amax() > LARGEST_VALUE:
            raise PackError(
                f"{path}: tensor '{name}' has {tensor.abs().amax():.3g}; a gamma or beta "
                f"is at most {LARGEST_VALUE}"
            )
    style = torch.empty(config.style_size)
    for slot in config.layout():
        style[slot.gamma] = tensors[f"{slot.name}.gamma"]
        style[slot.beta] = tensors[f"{slot.name}.beta"]
    return Pack(manifest, style)


def check_layout(header: Header, config: TrunkConfig, path: object) -> None:
    """Refuse a pack whose tensors are not exactly the trunk's gammas and betas in float32."""
    expected = {
        f"{slot.name}.{kind}": (slot.channels,)
        for slot in config.layout()
        for kind in ("gamma", "beta")
    }
    missing = sorted(expected.keys() - header.tensors.keys())
    extra = sorted(header.tensors.keys() - expected.keys())
    if missing or extra:
        what = (
            f"lacks tensor '{missing[0]}'"
            if missing
            else f"has an extra tensor '{shown(extra[0])}'"
        )
        raise PackError(f"{path} {what}; it does not fit this trunk")
    for name, entry in header.tensors.items():
        if entry.shape != expected[name] or entry.dtype != "F32":
            raise PackError(
                f"{path}: tensor '{name}' is {entry.dtype}{list(entry.shape)}, "
                f"expected F32{list(expected[name])}"
            )


def fitting_config(header: Header) -> TrunkConfig:
    """Sizes of a trunk that fit a pack's tensors, for `check_layout`."""

    def channels(norm: str) -> int:
        entry = header.tensors.get(f"{norm}.gamma")
        return entry.shape[0] if entry and len(entry.shape) == 1 else 0

    blocks = sum(name.startswith("res") and name.endswith("a.gamma") for name in header.tensors)
    return TrunkConfig((channels("conv1"), channels("conv2"), channels("conv3")), blocks)


def check_trunk(
    manifest: Manifest, trunk_sha256: str, source: object, force: bool | None = None
) -> None:
    """Refuse a pack of another trunk, which may have the right shapes but paints garbage.

    Args:
        manifest: the pack's metadata.
        trunk_sha256: the trunk that it is to be used on.
        source: the pack's name in messages.
        force: accept a pack that does not name its trunk; None if there is no option for that.

    Raises:
        WrongTrunkError: another trunk's hash, or none.
    """
    if not manifest.trunk_sha256:
        if force:
            return
        anyway = f"add {worded('--force', 'force=True')} to use it anyway"
        advice = "leave it out" if force is None else anyway
        raise WrongTrunkError(f"pack {source} does not say which trunk it belongs to; {advice}")
    if manifest.trunk_sha256 != trunk_sha256:
        raise WrongTrunkError(
            f"pack {source} belongs to trunk {manifest.trunk_sha256[:12]}, this trunk is "
            f"{trunk_sha256[:12]}; give its trunk with {worded('--trunk FILE', 'trunk=')}"
        )


def blend(styles: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted sum of style vectors, (style_size,) float32.

    Section 5 of the COMP6248 report and section 3.5 of Dumoulin et al. 2017: averaged gammas and
    betas paint a style in between.
    """
    return torch.einsum(
        "s,sk->k", torch.tensor(weights, dtype=torch.float32), torch.stack(list(styles))
    )


def blend_packs(mix: Mix, packs: Mapping[str, Pack], manifest: Manifest) -> Pack:
    """The pack that paints like a mix of packs.

    Args:
        mix: normalized here.
        packs: by the references of the mix; all of one trunk.
        manifest: name, author, date and so on; an empty title, description, licence and tags are
            derived from the packs.

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
    vector = blend([pack.vector for pack, _ in parts], [weight for _, weight in parts])
    photo_contrast = min(max(float(vector[-1]), 0.0), 1.0)
    return Pack(_describe(parts, manifest, photo_contrast), vector[:-1])


def _describe(parts: list[tuple[Pack, float]], base: Manifest, photo_contrast: float) -> Manifest:
    manifests = [pack.manifest for pack, _ in parts]
    mix = str(merge((pack.manifest.name, weight) for pack, weight in parts))
    shares = ", ".join(
        f"{weight:.0%} {shown(m.title or m.name)}"
        for m, (_, weight) in zip(manifests, parts, strict=True)
    )
    tags = dict.fromkeys(tag.strip() for m in manifests for tag in m.tags.split(",") if tag.strip())
    return replace(
        base,
        trunk_sha256=manifests[0].trunk_sha256,
        title=base.title or shares,
        description=base.description or f"A blend: {shares}.",
        license=base.license or common_license(manifests),
        tags=base.tags or ", ".join(tags),
        merged_from=mix,
        own_contrast=photo_contrast,
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
    """The artists of all paintings, and the paintings' licence if all have the same."""
    images = [manifest.style_image for manifest in manifests if manifest.style_image]
    artists = dict.fromkeys(str(image["artist"]) for image in images if image.get("artist"))
    licences = {str(image.get("licence", "")) for image in images}
    words = {"artist": ", ".join(artists)}
    if len(licences) == 1:
        words["licence"] = licences.pop()
    return {key: value for key, value in words.items() if value}
