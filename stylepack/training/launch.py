"""Which of several processes this one is, as torchrun says.  No torch here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from stylepack.errors import UsageError


@dataclass(frozen=True)
class Launch:
    """This process's number among all that train together, and among those of its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Launch":
        """What RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE say; alone without WORLD_SIZE.

        Raises:
            UsageError: they are no numbers, or incomplete.
        """
        if "WORLD_SIZE" not in environment:
            return cls()
        try:
            rank, world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
            local_rank = int(environment.get("LOCAL_RANK", rank))
            local_world = int(environment.get("LOCAL_WORLD_SIZE", world))
        except (KeyError, ValueError):
            rank, world, local_rank, local_world = -1, 0, 0, 1
        if not 0 <= rank < world or local_rank < 0 or local_world < 1:
            raise UsageError(
                "WORLD_SIZE is set, but RANK and WORLD_SIZE do not number this process; start it "
                "with torchrun, or unset WORLD_SIZE"
            )
        return cls(rank, world, local_rank, local_world)
