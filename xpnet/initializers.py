"""The first weights, drawn by NumPy on the host: every backend starts from the same numbers."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Sequence

import numpy as np

from .errors import InputError, known

__all__ = ["INITIALIZERS", "RandomSource", "check_random_state", "draw_seed", "initialize"]

_STATES = (np.random.Generator, np.random.RandomState)
RandomSource = int | np.random.Generator | np.random.RandomState | None

#: The standard deviation of a layer's weights, from its number of inputs.
INITIALIZERS: dict[str, Callable[[int], float]] = {
    "random": lambda n_in: 0.01,  # noqa: ARG005 - the course's first choice, blind to the layer's width
    "xavier": lambda n_in: 1.0 / math.sqrt(n_in),  # Glorot & Bengio 2010, as the course shortens it
    "he": lambda n_in: math.sqrt(2.0 / n_in),  # He et al. 2015, for ReLU
}


def check_random_state(random_state: RandomSource) -> np.random.Generator | np.random.RandomState:
    """Return the source of random numbers that *random_state* means.

    An int seeds a legacy ``RandomState``, as in scikit-learn and in the course, so ``1`` draws the
    course's own numbers; ``None`` draws fresh ones; a ``Generator`` or ``RandomState`` is used as
    it is.

    Raises
    ------
    InputError
        For anything else.
    """
    if isinstance(random_state, _STATES):
        return random_state
    if random_state is None:
        return np.random.default_rng()
    if isinstance(random_state, numbers.Integral) and 0 <= random_state < 2**32:
        return np.random.RandomState(int(random_state))
    raise InputError(
        "random_state: expected an int from 0 to 2**32 - 1, a numpy Generator, a RandomState or "
        f"None; got {random_state!r}"
    )


def initialize(
    layer_sizes: Sequence[int], init: str, random_state: RandomSource
) -> list[np.ndarray]:
    """Draw the weights ``W_l`` of shape ``(n_l, n_{l-1})``, layer by layer, in float64.

    One ``standard_normal`` call each; biases start at zero and are not drawn.

    Raises
    ------
    InputError
        If *init* is not in `INITIALIZERS`, or *random_state* is not one.
    """
    deviation = known("init", init, INITIALIZERS)
    rng = check_random_state(random_state)
    return [
        rng.standard_normal((n_out, n_in)) * deviation(n_in)
        for n_in, n_out in itertools.pairwise(layer_sizes)
    ]


def draw_seed(random_state: RandomSource) -> int:
    """Return an int to seed what wants one: *random_state* if it is one, else one drawn from it."""
    rng = check_random_state(random_state)
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**31))
    return int(rng.randint(2**31))
