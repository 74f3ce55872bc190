"""How the learning rate moves while training goes on."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["SCHEDULES"]

#: The factor on the learning rate, from the fraction of all steps that are done, in [0, 1).
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,  # noqa: ARG005 - it is constant
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: (1.0 + math.cos(math.pi * done)) / 2.0,  # Loshchilov & Hutter 2017
}
