"""The forward and backward pass over m columns.

Columns are examples; the shape table of the README holds for every name here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .activations import ACTIVATIONS, Activation
from .formulas import Array, Xp, logistic

__all__ = ["Pass"]

Pair = tuple[Array, Array]
Compiler = Callable[..., Callable[..., None]]


class _Layer:
    """One layer over m columns, its two directions side by side.

    ``dA_prev`` is where the layer below wants its ``dA``: None for the first layer, whose inputs
    need no gradient.
    """

    def __init__(self, xp: Xp, parameters: Pair, gradients: Pair, A: Array, dZ: Array) -> None:
        self.xp, self.A, self.dZ = xp, A, dZ
        self.W, self.b = parameters
        self.dW, self.db = gradients
        self.WT = self.W.T
        self.dA_prev: Array | None = None

    def product(self, A_prev: Array) -> Array:
        """``W A_prev``, where A will be."""
        self.A_prev_T = A_prev.T
        self.xp.matmul(self.W, A_prev, out=self.A)
        return self.A

    def gradients(self) -> None:
        """``dW = dZ A_prevᵀ`` and ``dA_prev = Wᵀ dZ``."""
        self.xp.matmul(self.dZ, self.A_prev_T, out=self.dW)
        if self.dA_prev is not None:
            self.xp.matmul(self.WT, self.dZ, out=self.dA_prev)


class _Hidden(_Layer):
    """A layer with an activation, below the layer *above*."""

    def activated(
        self,
        activation: Activation,
        D: Array | None,
        above: _Layer,
        ones: Array,
        compiler: Compiler,
    ) -> _Hidden:
        """Compile its formulas; *D* is for the slopes, if they are kept; *ones* sums over m."""
        self.ones = ones
        written = [self.A] if D is None else [self.A, D]
        kept = written[-1]
        self.activate = compiler(activation.forward, *written, self.b)
        if above.W.shape[0] == 1:  # dA = Wᵀ dZ is an outer product: no work for BLAS
            outer = activation.backward_from_one
            self.differentiate = compiler(outer, self.dZ, kept, above.WT, above.dZ)
        else:
            above.dA_prev = self.dZ
            self.differentiate = compiler(activation.backward, self.dZ, kept)
        return self

    def forward(self, A_prev: Array) -> Array:
        """``A = g(W A_prev + b)``, and the slope of g there, if it is kept."""
        self.product(A_prev)
        self.activate()
        return self.A

    def backward(self) -> None:
        """``dZ = dA ∘ g'(Z)`` and ``db = Σ dZ``; then `gradients`."""
        self.differentiate()
        self.xp.matmul(self.dZ, self.ones, out=self.db)
        self.gradients()


class Pass:
    """The forward and backward pass of `Network` *net* over *m* columns, bound beforehand.

    A smaller pass may share the *workspace* of a larger one.  Gradients go into *gradient*, by
    default the network's own.

    Attributes
    ----------
    Y : array of shape (1, m)
        The targets, to be filled in before `loss_and_gradients`.
    """

    def __init__(
        self,
        net: Any,
        m: int,
        *,
        workspace: Array | None = None,
        gradient: Array | None = None,
    ) -> None:
        xp, compiler = net.backend.xp, net.backend.compiler()
        activations = [ACTIVATIONS[name] for name in net.activations]
        slopes = [activation.keeps_slope for activation in activations]
        if workspace is None:
            workspace = xp.empty(net.layout.workspace_size(m, slopes), dtype=net.dtype)
        self.workspace, self._xp = workspace, xp
        views = net.layout.workspace(workspace, m, slopes)
        self.Y, self._last = views.Y, views.last
        self._ones = xp.ones((m, 1), dtype=net.dtype)
        gradients = net.layout.parameters(net.gradient if gradient is None else gradient)
        Z, losses = views.last[:1], views.last[1:]
        self.output = above = _Layer(xp, net.layers[-1], gradients[-1], Z, Z)
        self.hidden: list[_Hidden] = []
        for i in reversed(range(net.depth - 1)):
            layer = _Hidden(xp, net.layers[i], gradients[i], views.A[i], views.dZ[i])
            above = layer.activated(activations[i], views.D[i], above, self._ones, compiler)
            self.hidden.insert(0, layer)
        self._logistic = compiler(logistic, Z, losses, self.output.b, self.Y)

    def loss_and_gradients(self, A: Array, scale: float, sums: Array) -> None:
        """Write the gradients of ``scale · Σ loss``, and ``Σ loss`` itself into ``sums[1, 0]``."""
        for layer in self.hidden:
            A = layer.forward(A)
        self.output.product(A)
        self._logistic(scale)  # Z_L is dZ_L now, and the losses are below it
        self._xp.matmul(self._last, self._ones, out=sums)  # Σ dZ_L and Σ loss at one go
        self.output.db[...] = sums[:1]
        self.output.gradients()
        for layer in reversed(self.hidden):
            layer.backward()
