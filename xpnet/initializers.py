"""The first weights, drawn by NumPy on the host: every backend starts from the same numbers."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import InputError, known

__all__ = ["INITIALIZERS", "RandomSource", "check_random_state", "draw_seed", "initialize"]

_STATES = (np.random.Generator, np.random.RandomState)
RandomSource = int | np.random.Generator | np.random.RandomState | None

Draw = Callable[[Any, int, int], np.ndarray]  #: ``(rng, n_out, n_in) -> W`` in float64


def _normal(deviation: Callable[[int, int], float]) -> Draw:
    """Return ``W ~ N(0, σ²)`` with *deviation* ``(n_out, n_in) -> σ``."""

    def draw(rng: Any, n_out: int, n_in: int) -> np.ndarray:
        W: np.ndarray = rng.standard_normal((n_out, n_in)) * deviation(n_out, n_in)
        return W

    return draw


def _uniform(limit: Callable[[int, int], float]) -> Draw:
    """Return ``W ~ U[-a, a)`` with *limit* ``(n_out, n_in) -> a``; its variance is ``a²/3``."""

    def draw(rng: Any, n_out: int, n_in: int) -> np.ndarray:
        a = limit(n_out, n_in)
        W: np.ndarray = rng.uniform(-a, a, (n_out, n_in))
        return W

    return draw


def _small(rng: Any, n_out: int, n_in: int) -> np.ndarray:
    W: np.ndarray = 0.01 * rng.uniform(size=(n_out, n_in))
    return W


def _orthogonal(rng: Any, n_out: int, n_in: int) -> np.ndarray:
    """Return W with orthonormal rows or columns, whichever are fewer, evenly among all such."""
    tall = rng.standard_normal((max(n_out, n_in), min(n_out, n_in)))
    Q, R = np.linalg.qr(tall)
    Q *= np.copysign(1.0, np.diag(R))  # QR is unique, and so Q evenly drawn, where R's diagonal > 0
    return Q if n_out >= n_in else np.ascontiguousarray(Q.T)


_lecun = _normal(lambda n_out, n_in: 1.0 / math.sqrt(n_in))
_he = _normal(lambda n_out, n_in: math.sqrt(2.0 / n_in))

#: How a layer's weights are drawn: "random", "xavier" and "he" are the course's words.
INITIALIZERS: dict[str, Draw] = {
    "random": _normal(lambda n_out, n_in: 0.01),  # blind to the layer's width
    "uniform": _small,  # U[0, 0.01)
    "xavier": _lecun,  # what the course calls so: Glorot & Bengio's without n_out
    "lecun_normal": _lecun,  # LeCun et al. 1998: Var W = 1/n_in
    "lecun_uniform": _uniform(lambda n_out, n_in: math.sqrt(3.0 / n_in)),
    # Glorot & Bengio 2010: Var W = 2/(n_in + n_out), between what the two passes ask for
    "glorot_normal": _normal(lambda n_out, n_in: math.sqrt(2.0 / (n_in + n_out))),
    "glorot_uniform": _uniform(lambda n_out, n_in: math.sqrt(6.0 / (n_in + n_out))),
    "he": _he,
    "he_normal": _he,  # He et al. 2015: Var W = 2/n_in, for ReLU
    "he_uniform": _uniform(lambda n_out, n_in: math.sqrt(6.0 / n_in)),
    "orthogonal": _orthogonal,  # Saxe et al. 2014; even by the signs of Mezzadri 2007
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

    One call of *random_state* each; biases start at zero and are not drawn.

    Raises
    ------
    InputError
        If *init* is not in `INITIALIZERS`, or *random_state* is not one.
    """
    draw = known("init", init, INITIALIZERS)
    rng = check_random_state(random_state)
    return [draw(rng, n_out, n_in) for n_in, n_out in itertools.pairwise(layer_sizes)]


def draw_seed(random_state: RandomSource) -> int:
    """Return an int to seed what wants one: *random_state* if it is one, else one drawn from it."""
    rng = check_random_state(random_state)
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**31))
    return int(rng.randint(2**31))
