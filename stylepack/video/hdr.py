"""Conversion of HDR frames to SDR: BT.2020 with the curves of BT.2100 to sRGB."""

from functools import lru_cache

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
WHITE = 203.0  # cd/m2: diffuse white of HDR pictures, ITU-R BT.2408
HLG_PEAK = 1000.0  # cd/m2 of the display that HLG is converted for
# ITU-R BT.2087: linear BT.2020 to linear BT.709.
TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    dtype=np.float32,
)


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether a frame's brightness is on one of the curves of BT.2100."""
    return frame.color_trc in (PQ, HLG)


def to_sdr(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 sRGB, with lights brighter than white rolled off."""
    full = frame.color_range == ColorRange.JPEG
    wide = frame.reformat(
        format="rgb48le",
        src_colorspace=Colorspace.BT2020,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    )
    coded = np.asarray(wide.to_ndarray(), dtype=np.uint16)
    light = _light(frame.color_trc)[coded >> 4] @ TO_709.T
    # Reinhard et al. 2002, equation 4, on the brightest channel to keep the hue.  White at 0.8.
    peak = np.maximum(light.max(-1, keepdims=True), 1e-6)
    most = HLG_PEAK / WHITE
    rolled = peak * (1 + peak / most**2) / (1 + peak) * (1.6 / (1 + 1 / most**2))
    shown = np.clip(light * (rolled / peak), 0, 1)
    low = 12.92 * shown
    high = 1.055 * np.maximum(shown, 1e-9) ** (1 / 2.4) - 0.055
    encoded = np.where(shown <= 0.0031308, low, high)
    return np.asarray(encoded * 255 + 0.5, dtype=np.uint8)


@lru_cache(maxsize=2)
def _light(curve: int) -> NDArray[np.float32]:
    """Light in units of diffuse white, of 4096 coded values.  ITU-R BT.2100, tables 4 and 5."""
    coded = np.linspace(0, 1, 4096)
    if curve == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = coded ** (1 / m2)
        light = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
        light = HLG_PEAK * scene**1.2
    return np.asarray(light / WHITE, dtype=np.float32)
