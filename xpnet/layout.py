"""From layer sizes to offsets: where parameters, gradients and workspace lie in flat buffers.

Every array of the engine is a view that is carved out of a flat buffer once and kept.  The notation
of the formulas does not fix the memory order; this file alone does.  Today: parameters are all
weights, then all biases, so that "every weight" is one contiguous slice; activations are C-ordered
``(n_l, m)``; every view starts at a multiple of `ALIGNMENT`, and the gaps stay zero.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import InputError
from .formulas import Array

__all__ = ["ALIGNMENT", "Layout", "carve", "integers", "size"]

ALIGNMENT = 16  #: elements; 64 bytes of float32, what a fast matrix product wants

Shape = tuple[int, ...]

_MOST = 2**48  # parameters; far more than any memory, and still a size that arrays can have


def integers(layer_sizes: Sequence[int]) -> tuple[int, ...]:
    """Return *layer_sizes* as Python's integers; raise `InputError` where they are none."""
    try:
        return tuple(operator.index(n) for n in layer_sizes)
    except TypeError:
        raise InputError(
            f"layer_sizes: expected integers (n_features, hidden ..., 1); got {layer_sizes!r}"
        ) from None


def size(shapes: Iterable[Shape]) -> int:
    """Return how many elements a flat buffer needs to hold arrays of these *shapes*."""
    return sum(-(-math.prod(shape) // ALIGNMENT) * ALIGNMENT for shape in shapes)


def carve(flat: Array, shapes: Sequence[Shape]) -> list[Array]:
    """Return views of *flat*, one of each shape, in order."""
    views, start = [], 0
    for shape in shapes:
        views.append(flat[start : start + math.prod(shape)].reshape(shape))
        start += size([shape])
    return views


@dataclass(frozen=True)
class Workspace:
    """The views that one pass over m columns writes: see the shape table of the README."""

    A: list[Array]  #: hidden activations A_1 … A_{L-1}, (n_l, m)
    D: list[Array | None]  #: their slopes, (n_l, m), of the layers that keep them
    Y: Array  #: targets, (1, m)
    last: Array  #: Z_L, later dZ_L, and below it each example's loss, (2, m)
    dZ: list[Array]  #: dA_l, later dZ_l, of l = 1 … L-1, (n_l, m); every other one shares memory


@dataclass(frozen=True)
class Layout:
    """The shapes that follow from ``layer_sizes = (n_0, n_1, …, n_L)``.

    Parameters
    ----------
    layer_sizes : tuple of int
    normalized : bool
        Whether each hidden layer has a gain γ of layer normalisation.
    scaled : bool
        Whether the inputs have learnt scales.

    Raises
    ------
    InputError
        If there are fewer than two sizes, one is no positive integer, or n_L is not 1.
    """

    layer_sizes: tuple[int, ...]
    normalized: bool = False
    scaled: bool = False

    def __post_init__(self) -> None:
        sizes = self.layer_sizes
        good = len(sizes) >= 2 and all(isinstance(n, int) and n > 0 for n in sizes)
        if not good or sizes[-1] != 1:
            raise InputError(
                "layer_sizes: expected positive integers (n_features, hidden ..., 1), the last one "
                f"1 because the classifier is binary; got {list(sizes)}"
            )
        if self.n_flat > _MOST:
            raise InputError(
                f"layer_sizes: expected at most {_MOST:.0e} parameters; got more, of "
                f"{list(sizes)}; give smaller layers"
            )

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of W1 … WL, then of b1 … bL, gamma1 …, scale, in the order that they lie."""
        n = self.layer_sizes
        layers = list(enumerate(itertools.pairwise(n), start=1))
        shapes: dict[str, Shape] = {f"W{l}": (n_out, n_in) for l, (n_in, n_out) in layers}
        shapes |= {f"b{l}": (n_out, 1) for l, (_, n_out) in layers}
        if self.normalized:
            shapes |= {f"gamma{l}": (n_out, 1) for l, (_, n_out) in layers[:-1]}
        if self.scaled:
            shapes["scale"] = (1, n[0])
        return shapes

    @property
    def n_flat(self) -> int:
        """The length of a flat vector: all parameters and the alignment's gaps."""
        return size(self.shapes.values())

    @property
    def n_weights(self) -> int:
        """The length of its first part, which holds all weights."""
        return size(shape for name, shape in self.shapes.items() if name.startswith("W"))

    def named(self, flat: Array) -> dict[str, Array]:
        """Carve the parameters, or whatever is laid out like them, out of *flat*.

        By name, layer after layer: ``W1, b1, W2, …``.
        """
        shapes = self.shapes
        views = dict(zip(shapes, carve(flat, list(shapes.values())), strict=True))
        layers = range(1, len(self.layer_sizes))
        names = [*(f"{kind}{l}" for l in layers for kind in ("W", "b", "gamma")), "scale"]
        return {name: views[name] for name in names if name in views}

    def flops(self, m: int) -> int:
        """Return the floating-point operations of the products of a step over *m* columns."""
        n = self.layer_sizes
        products = [n_in * n_out for n_in, n_out in itertools.pairwise(n)]
        return 2 * m * (3 * sum(products) - products[0])  # dA_0 is not computed

    def _workspace_shapes(self, m: int, slopes: Sequence[bool]) -> list[Shape]:
        hidden = self.layer_sizes[1:-1]
        kept = itertools.compress(hidden, slopes)
        # dZ_l is dead once dA_{l-1} is made, so two buffers serve all layers in turn.
        turns = [max(hidden[turn::2], default=0) for turn in (0, 1)]
        return [(1, m), (2, m), *((n, m) for n in (*turns, *hidden, *kept))]

    def workspace_size(self, m: int, slopes: Sequence[bool]) -> int:
        """Return how many elements `workspace` needs for *m* columns."""
        return size(self._workspace_shapes(m, slopes))

    def workspace(self, flat: Array, m: int, slopes: Sequence[bool]) -> Workspace:
        """Carve the workspace of a pass over *m* columns out of *flat*.

        *slopes* says of each hidden layer whether it keeps its slopes.
        """
        hidden = self.layer_sizes[1:-1]
        Y, last, even, odd, *views = carve(flat, self._workspace_shapes(m, slopes))
        A, kept = views[: len(hidden)], iter(views[len(hidden) :])
        D = [next(kept) if keeps else None for keeps in slopes]
        dZ = [(even, odd)[i % 2][:n] for i, n in enumerate(hidden)]
        return Workspace(A, D, Y, last, dZ)
