"""Choice of the largest picture that can be painted while a slider moves."""

SIDES = (128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768)  # pixels of the long side
FIRST = 256
LATENCY = 0.25  # seconds from a slider's move to its pixels, most of the time
FRAMES = 2  # a slider moves during one frame and is seen in the next
SMALLEST_BUDGET = 0.04  # seconds per frame
MARGIN = 0.85  # share of the budget within which a larger size is expected to stay
MEMORY = 0.5  # weight of the newest time


class Pace:
    """Chooses the long side of frames from the times that they took."""

    def __init__(self) -> None:
        self._at = SIDES.index(FIRST)
        self._seconds: dict[int, float] = {}

    @property
    def side(self) -> int:
        """Pixels of the next frame's long side."""
        return SIDES[self._at]

    def took(self, side: int, seconds: float, elsewhere: float = 0.0) -> None:
        """Record the seconds that a frame took to paint, and those of its way to the screen."""
        if side != self.side:
            return
        before = self._seconds.get(side, seconds)
        known = self._seconds[side] = before + MEMORY * (seconds - before)
        budget = max(SMALLEST_BUDGET, (LATENCY - elsewhere) / FRAMES)
        if known > budget and self._at > 0:
            self._at -= 1
            self._seconds.pop(self.side, None)  # it was too slow or is outdated
        elif self._at + 1 < len(SIDES):
            larger = SIDES[self._at + 1]
            if known * (larger / side) ** 2 < budget * MARGIN:
                self._at += 1
