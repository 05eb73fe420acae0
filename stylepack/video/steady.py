"""Flicker reduction: each painted frame is blended with the last one, moved along the clip's flow.

After Ruder et al. 2016, "Artistic style transfer for videos", whose loss has the same aim; here it
is one weighted mean per frame, without optimisation.  Moving a picture again and again softens it.
To compensate, the finest detail of the blend is amplified, in grey, until it has, locally, a fixed
share of the energy of the fresh painting's detail.
"""

import cv2
import numpy as np

from stylepack.video.flow import Field, Motion, Rgb, warped

FINE = 1.0  # pixels, deviation of the Gaussian that separates fine detail from the rest
WINDOW = (5, 5)  # of this Gaussian, in pixels
AROUND = 5  # pairs of pixels, side of the square over which energy is measured
SHARE = 0.85  # of the fresh painting's deviation in fine detail that the blend should have
MOST_GAIN = 1.5
NOISE = 1.0  # levels squared, added to both energies: below it there is nothing to amplify


def blend(painted: Rgb, last: Rgb | None, motion: Motion | None, weight: float) -> Rgb:
    """Blend a painted frame with the previous steady frame.

    Args:
        painted: (H, W, 3) uint8.
        last: the previous steady frame, of the same shape; None at the beginning.
        motion: the clip's, from that frame to this; None starts afresh, as does a cut.
        weight: of the previous frame where the flow is trusted, from 0 to below 1.

    Returns:
        (H, W, 3) uint8.
    """
    if motion is None or last is None or motion.is_cut:
        return painted
    # In float32, OpenCV moves and mixes pictures faster than in uint8.
    moved = warped(last.astype(np.float32), motion.back, cv2.INTER_CUBIC)
    share = weight * motion.trust
    blended = cv2.blendLinear(moved, painted.astype(np.float32), share, 1 - share)
    return _sharpened(blended, painted)


def _sharpened(blended: Field, fresh: Rgb) -> Rgb:
    """`blended` with its finest detail amplified, in grey, towards that of `fresh`."""
    detail = _detail(blended)
    there, wanted = _energy(detail), _energy(_detail(fresh))
    wanted *= SHARE**2
    wanted += NOISE
    there += NOISE
    gain = np.clip(cv2.divide(wanted, there, dst=wanted), 1, MOST_GAIN**2, out=wanted)
    detail *= cv2.resize(np.sqrt(gain, out=gain) - 1, detail.shape[::-1])
    more = cv2.cvtColor(detail, cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.add(blended, more, dtype=cv2.CV_8U), dtype=np.uint8)  # clips


def _detail(picture: Rgb | Field) -> Field:
    """A picture's finest detail in grey: (H, W, 3) -> (H, W), from -255 to 255."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32, copy=False)
    return np.asarray(grey - cv2.GaussianBlur(grey, WINDOW, FINE), dtype=np.float32)


def _energy(detail: Field) -> Field:
    """The local mean square of detail: (H, W) -> (H / 2, W / 2), at least 1."""
    size = [max(1, side // 2) for side in reversed(detail.shape)]
    squares = cv2.resize(detail * detail, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.blur(squares, (AROUND, AROUND)), dtype=np.float32)
