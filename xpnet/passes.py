"""The forward and backward pass over m columns.

Columns are examples; the shape table of the README holds for every name here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .activations import ACTIVATIONS, Activation
from .dropout import Dropout, Places
from .formulas import Array, Formula, Xp
from .losses import LOSSES, Loss
from .normalization import LayerNorm

__all__ = ["Pass"]

Views = Mapping[str, Array]
Compiler = Callable[..., Callable[..., None]]


class _Layer:
    """Layer l over m columns, its two directions side by side.

    ``dA_prev`` is where the layer below wants its ``dA``: None for the first layer, whose inputs
    need no gradient.
    """

    def __init__(self, l: int, parameters: Views, gradients: Views, A: Array, dZ: Array) -> None:
        self.A, self.dZ = A, dZ
        self.W, self.b = parameters[f"W{l}"], parameters[f"b{l}"]
        self.dW, self.db = gradients[f"W{l}"], gradients[f"b{l}"]
        self.WT = self.W.T
        self.dA_prev: Array | None = None

    def product(self, A_prev: Array) -> Array:
        """``W A_prev``, where A will be."""
        self.A_prev_T = A_prev.T
        self.W.dot(A_prev, out=self.A)
        return self.A

    def gradients(self) -> None:
        """``dW = dZ A_prevᵀ`` and ``dA_prev = Wᵀ dZ``."""
        self.dZ.dot(self.A_prev_T, out=self.dW)
        if self.dA_prev is not None:
            self.WT.dot(self.dZ, out=self.dA_prev)


class _Hidden(_Layer):
    """A layer with an activation, below another; perhaps normalised, perhaps with dropout."""

    norm: LayerNorm | None = None
    dropout: Dropout | None = None

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
        if above.W.shape[0] == 1 and self.dropout is None:  # dA is an outer product: none for BLAS
            outer = activation.backward_from_one
            self.differentiate = compiler(outer, self.dZ, kept, above.WT, above.dZ)
        else:
            above.dA_prev = self.dZ
            self.differentiate = compiler(activation.backward, self.dZ, kept)
        return self

    def forward(self, A_prev: Array) -> Array:
        """``A = g(W A_prev + b)``, and the slope of g there, if it is kept."""
        self.product(A_prev)
        if self.norm is not None:
            self.norm.forward()
        self.activate()
        if self.dropout is not None:
            self.dropout.forward()
        return self.A

    def backward(self) -> None:
        """``dZ = dA ∘ g'(Z)`` and ``db = Σ dZ``; then `gradients`."""
        if self.dropout is not None:
            self.dropout.backward()
        self.differentiate()
        self.dZ.dot(self.ones, out=self.db)
        if self.norm is not None:
            self.norm.backward()
        self.gradients()


def _scale_weights(xp: Xp, V: Array, W: Array, s: Array) -> Array:
    return W * s


# ∂/∂W and ∂/∂s of a loss of V = W diag(s): dV ∘ s, and the sum over the units of dV ∘ W.
def _scale_gradients(xp: Xp, dV: Array, V: Array, W: Array, s: Array) -> tuple[Array, Array]:
    return dV * s, dV * W


_scale_weights_formula = Formula(_scale_weights, ("V",))
_scale_gradients_formula = Formula(_scale_gradients, ("dV", "V"))


class _InputScale:
    """Learnt scales of the inputs: the first layer's weights are ``V = W_1 diag(s)``."""

    def __init__(
        self, xp: Xp, first: _Layer, parameters: Views, gradients: Views, compiler: Compiler
    ) -> None:
        W, s = parameters["W1"], parameters["scale"]
        self.V, self.ds = xp.empty_like(W), gradients["scale"]
        self.ones = xp.ones((1, W.shape[0]), dtype=W.dtype)
        self.forward = compiler(_scale_weights_formula, self.V, W, s)
        self.differentiate = compiler(_scale_gradients_formula, first.dW, self.V, W, s)
        first.W = self.V

    def backward(self) -> None:
        """``dW_1 = dV ∘ s`` and ``ds = Σ dV ∘ W_1``."""
        self.differentiate()
        self.ones.dot(self.V, out=self.ds)


class Pass:
    """The forward and backward pass of `Network` *net* over *m* columns, bound beforehand.

    Parameters
    ----------
    net : Network
    m : int
    loss : Loss
    weighted : bool
        Whether each example has a weight.
    places : Places, optional
        Where dropout draws from; without it nothing is dropped.
    workspace : array, optional
        That of a larger pass, to be shared.
    gradient : array, optional
        Where gradients go; by default the network's own.

    Attributes
    ----------
    Y, w : arrays of shape (1, m)
        Targets and weights, to be filled in before `loss_and_gradients`; w is None without any.
    """

    def __init__(
        self,
        net: Any,
        m: int,
        *,
        loss: Loss = LOSSES["logistic"],
        weighted: bool = False,
        places: Places | None = None,
        workspace: Array | None = None,
        gradient: Array | None = None,
    ) -> None:
        xp, compiler = net.backend.xp, net.backend.compiler()
        activations = [ACTIVATIONS[name] for name in net.activations]
        slopes = [activation.keeps_slope for activation in activations]
        if workspace is None:
            workspace = xp.empty(net.layout.workspace_size(m, slopes), dtype=net.dtype)
        self.workspace = workspace
        views = net.layout.workspace(workspace, m, slopes)
        self.Y, self._last = views.Y, views.last
        self.w = xp.empty_like(self.Y) if weighted else None
        self._ones = ones = xp.ones((m, 1), dtype=net.dtype)
        parameters = net.parameters
        gradients = net.layout.named(net.gradient if gradient is None else gradient)
        Z, losses = views.last[:1], views.last[1:]
        self.output = above = _Layer(net.depth, parameters, gradients, Z, Z)
        self.hidden: list[_Hidden] = []
        for l in range(net.depth - 1, 0, -1):
            A, D, dZ = views.A[l - 1], views.D[l - 1], views.dZ[l - 1]
            layer = _Hidden(l, parameters, gradients, A, dZ)
            if net.layout.normalized:
                gamma = parameters[f"gamma{l}"], gradients[f"gamma{l}"]
                layer.norm = LayerNorm(xp, compiler, A, dZ, *gamma, ones)
            if places is not None and net.dropout[l - 1] > 0.0:
                layer.dropout = Dropout(places, l, net.dropout[l - 1], A, dZ)
            above = layer.activated(activations[l - 1], D, above, ones, compiler)
            self.hidden.insert(0, layer)
        self.scale = None
        if net.layout.scaled:
            self.scale = _InputScale(xp, above, parameters, gradients, compiler)
        if self.w is None:
            self._loss = compiler(loss.both, Z, losses, self.output.b, self.Y)
        else:
            self._loss = compiler(loss.weighted, Z, losses, self.output.b, self.Y, self.w)

    def loss_and_gradients(self, A: Array, scale: float, sums: Array) -> None:
        """Write the gradients of ``scale · Σ loss``, and ``Σ loss`` itself into ``sums[1, 0]``."""
        if self.scale is not None:
            self.scale.forward()
        for layer in self.hidden:
            A = layer.forward(A)
        self.output.product(A)
        self._loss(scale)  # Z_L is dZ_L now, and the losses are below it
        self._last.dot(self._ones, out=sums)  # Σ dZ_L and Σ loss at one go
        self.output.db[...] = sums[:1]
        self.output.gradients()
        for layer in reversed(self.hidden):
            layer.backward()
        if self.scale is not None:
            self.scale.backward()
