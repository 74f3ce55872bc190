"""The functions of the course notes "L-layer network from scratch", line for line.

For reading and for checking: plain expressions, a new array for every result, no buffers.  They
work on NumPy and on CuPy arrays alike, by the arrays' own namespace.  `Network` is the fast form of
the same mathematics and is tested against them.  Every formula is the notes' own; where floating
point needs care, a comment says so.

Columns are examples: ``m`` of them, in layers ``l = 1 ... L`` of ``n_l`` units.

============================  =================================  ===============================
symbol                        shape                              meaning
============================  =================================  ===============================
``X = A0``                    ``(n_0, m)``                       input
``W_l``, ``b_l``              ``(n_l, n_{l-1})``, ``(n_l, 1)``   weights, biases
``Z_l = W_l A_{l-1} + b_l``   ``(n_l, m)``                       pre-activation
``A_l = g_l(Z_l)``            ``(n_l, m)``                       activation; ``AL = σ(Z_L)``
``Y``                         ``(1, m)``                         labels, 0 or 1
============================  =================================  ===============================

A gradient has the shape of what it belongs to.  ``dW`` and ``db`` are those of the mean cost,
``dA`` and ``dZ`` of each example's own loss: the mean's ``1/m`` stands in `linear_backward`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .arrays import array_namespace
from .errors import InputError, known, real
from .formulas import Array, Xp
from .initializers import RandomSource, initialize

__all__ = [
    "L_model_backward",
    "L_model_forward",
    "compute_cost",
    "initialize_parameters",
    "initialize_parameters_deep",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_activation_backward",
    "linear_activation_forward",
    "linear_backward",
    "linear_forward",
    "predict",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "tanh",
    "tanh_backward",
    "update_parameters",
]

LinearCache = tuple[Array, Array, Array]  # (A_prev, W, b)
LayerCache = tuple[LinearCache, Array]  # ((A_prev, W, b), Z)

# --- activations: (Z) -> (A, cache), and beside it (dA, cache) -> dZ, with Z as the cache ---------


def sigmoid(Z: Array) -> tuple[Array, Array]:
    """Return ``A = σ(Z) = 1/(1 + e^-Z)``, always between 0 and 1 and never one of them, and Z."""
    xp = array_namespace(Z)
    # 1/(1 + e^-Z) = e^Z/(1 + e^Z): of the two, the form whose exponential cannot overflow.
    A = xp.exp(xp.minimum(Z, 0.0)) / (1.0 + xp.exp(-abs(Z)))
    # A far Z rounds σ to 0 or 1, where the loss would divide by zero: keep the last float inside.
    least, spacing = float(xp.finfo(A.dtype).smallest_normal), float(xp.finfo(A.dtype).eps)
    return xp.maximum(xp.minimum(A, 1.0 - spacing / 2.0), least), Z


def sigmoid_backward(dA: Array, cache: Array) -> Array:
    """Return ``dZ = dA ∘ σ(Z) (1 - σ(Z))``."""
    A, _ = sigmoid(cache)
    return dA * (A * (1.0 - A))


def relu(Z: Array) -> tuple[Array, Array]:
    """Return ``A = max(0, Z)``, and Z."""
    xp = array_namespace(Z)
    return xp.maximum(Z, 0.0), Z


def relu_backward(dA: Array, cache: Array) -> Array:
    """Return ``dZ = dA`` where ``Z > 0``, else 0."""
    xp = array_namespace(dA, cache)
    return xp.where(cache > 0.0, dA, 0.0)


def leaky_relu(Z: Array) -> tuple[Array, Array]:
    """Return ``A = Z`` where ``Z > 0``, else ``0.01 Z``, and Z (Maas et al. 2013)."""
    xp = array_namespace(Z)
    return xp.where(Z > 0.0, Z, 0.01 * Z), Z


def leaky_relu_backward(dA: Array, cache: Array) -> Array:
    """Return ``dZ = dA`` where ``Z > 0``, else ``0.01 dA``."""
    xp = array_namespace(dA, cache)
    return xp.where(cache > 0.0, dA, 0.01 * dA)


def tanh(Z: Array) -> tuple[Array, Array]:
    """Return ``A = tanh(Z)``, and Z."""
    xp = array_namespace(Z)
    return xp.tanh(Z), Z


def tanh_backward(dA: Array, cache: Array) -> Array:
    """Return ``dZ = dA ∘ (1 - tanh²(Z))``."""
    A, _ = tanh(cache)
    return dA * (1.0 - A * A)


def linear(Z: Array) -> tuple[Array, Array]:
    """Return ``A = Z``, and Z."""
    return Z, Z


_ACTIVATIONS = {
    "sigmoid": (sigmoid, sigmoid_backward),
    "relu": (relu, relu_backward),
    "leaky_relu": (leaky_relu, leaky_relu_backward),
    "tanh": (tanh, tanh_backward),
    "linear": (linear, lambda dA, _: dA),  # `linear_backward` is, by the notes, that of Z = W A + b
}


def _activation(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return known("activation", name, _ACTIVATIONS)


def _activations(activation: str | Sequence[str], depth: int) -> list[str]:
    """Return the names for layers 1 ... L; the output is always sigmoid."""
    one = isinstance(activation, str) or not isinstance(activation, Iterable)
    hidden: list[Any] = [activation] * (depth - 1) if one else list(activation)
    if len(hidden) != depth - 1:
        raise InputError(
            f"activation: expected one name, or {depth - 1} for the hidden layers of {depth}; "
            f"got {hidden}"
        )
    return [*hidden, "sigmoid"]


# --- parameters -----------------------------------------------------------------------------------


def initialize_parameters(
    n_x: int, n_h: int, n_y: int, *, random_state: RandomSource = 1
) -> dict[str, Array]:
    """Draw ``W1, b1, W2, b2`` of a network with one hidden layer: ``W = 0.01 N(0, 1)``, ``b = 0``.

    ``n_x``, ``n_h`` and ``n_y`` are the units of its layers; the rest is as in
    `initialize_parameters_deep`.
    """
    return initialize_parameters_deep((n_x, n_h, n_y), init="random", random_state=random_state)


def initialize_parameters_deep(
    layer_dims: Sequence[int], *, init: str = "xavier", random_state: RandomSource = 1
) -> dict[str, Array]:
    """Draw ``W1, b1, ..., WL, bL``, float64 NumPy arrays: ``W_l = s N(0, 1)`` and ``b_l = 0``.

    Parameters
    ----------
    layer_dims : sequence of int
        ``n_0, n_1, ..., n_L``.
    init : {"xavier", "he", "random"}
        ``s = 1/√n_{l-1}``, as the notes shorten Glorot & Bengio 2010; ``s = √(2/n_{l-1})``, He et
        al. 2015; ``s = 0.01``.
    random_state : int, Generator, RandomState or None
        An int seeds a ``RandomState``, so 1 gives the notes' own numbers.

    Raises
    ------
    InputError
        If these are not two or more integers of at least 1; for an unknown init or random_state.
    """
    try:
        sizes = [operator.index(n) for n in layer_dims]
    except TypeError:
        sizes = []
    if len(sizes) < 2 or min(sizes) < 1:
        raise InputError(
            "layer_dims: expected two or more sizes of at least 1, integers from input to output; "
            f"got {layer_dims!r}"
        )
    parameters: dict[str, Array] = {}
    for layer, W in enumerate(initialize(sizes, init, random_state), start=1):
        b = array_namespace(W).zeros_like(W[:, :1])
        parameters |= {f"W{layer}": W, f"b{layer}": b}
    return parameters


def update_parameters(
    parameters: Mapping[str, Array], grads: Mapping[str, Array], learning_rate: float
) -> dict[str, Array]:
    """Return ``W_l - α dW_l`` and ``b_l - α db_l`` (gradient descent) as new arrays; change none.

    ``parameters`` are ``W1, b1, ..., WL, bL`` and ``grads`` those of `L_model_backward`; ``α`` is
    ``learning_rate``.  `InputError` if α is no number, or a gradient missing or of another shape.
    """
    rate = real("learning_rate", learning_rate)
    updated = {}
    for name, value in parameters.items():
        if f"d{name}" not in grads:
            raise InputError(f"grads: expected d{name} for parameter {name}; got {sorted(grads)}")
        gradient = grads[f"d{name}"]
        _check_shape(f"d{name}", gradient, value.shape, f"the shape of {name}")
        updated[name] = value - rate * gradient
    return updated


# --- forward --------------------------------------------------------------------------------------


def linear_forward(A: Array, W: Array, b: Array) -> tuple[Array, LinearCache]:
    """Return ``Z = W A + b``, of shape ``(n_l, m)``, and its cache ``(A, W, b)``.

    Parameters
    ----------
    A : array of shape (n_{l-1}, m)
    W : array of shape (n_l, n_{l-1})
    b : array of shape (n_l, 1)

    Raises
    ------
    InputError
        If the shapes do not fit, or the arrays are of different libraries.
    """
    array_namespace(A, W, b)
    if A.ndim != 2 or W.ndim != 2 or A.shape[0] != W.shape[1]:
        raise InputError(
            f"A: expected shape (n_prev, m) for W of shape (n, n_prev) = {tuple(W.shape)}, columns "
            f"being examples; got {tuple(A.shape)}; pass X.T if your examples are rows"
        )
    _check_shape("b", b, (W.shape[0], 1), "one row for each row of W")
    Z = W @ A + b
    return Z, (A, W, b)


def linear_activation_forward(
    A_prev: Array, W: Array, b: Array, activation: str
) -> tuple[Array, LayerCache]:
    """Return a layer's ``A = g(W A_prev + b)`` and its cache ``((A_prev, W, b), Z)``.

    Shapes and errors are those of `linear_forward`, A's shape is Z's; ``activation`` is "sigmoid",
    "relu", "leaky_relu", "tanh" or "linear", and any other raises `InputError`.
    """
    forward, _ = _activation(activation)
    Z, linear_cache = linear_forward(A_prev, W, b)
    A, activation_cache = forward(Z)
    return A, (linear_cache, activation_cache)


def L_model_forward(
    X: Array, parameters: Mapping[str, Array], *, activation: str | Sequence[str] = "relu"
) -> tuple[Array, list[LayerCache]]:
    """Return the network's output ``AL`` and the caches of its layers.

    Parameters
    ----------
    X : array of shape (n_0, m)
        Columns are examples.
    parameters : mapping
        ``W1, b1, ..., WL, bL``.
    activation : str or sequence of str
        Of every hidden layer, or of each; the output's is sigmoid.

    Returns
    -------
    AL : array of shape (n_L, m)
        The probability of label 1.
    caches : list
        For each layer ``((A_prev, W, b), Z)``, the first layer's first.

    Raises
    ------
    InputError
        If names are missing, shapes do not fit or an activation is unknown.
    """
    depth = len(parameters) // 2
    expected = [f"{letter}{layer}" for layer in range(1, depth + 1) for letter in "Wb"]
    if not depth or set(expected) != set(parameters):
        raise InputError(f"parameters: expected W1, b1, ..., WL, bL; got {sorted(parameters)}")
    A, caches = X, []
    for layer, name in enumerate(_activations(activation, depth), start=1):
        W, b = parameters[f"W{layer}"], parameters[f"b{layer}"]
        A, cache = linear_activation_forward(A, W, b, name)
        caches.append(cache)
    return A, caches


def predict(
    X: Array, parameters: Mapping[str, Array], *, activation: str | Sequence[str] = "relu"
) -> Array:
    """Return 1 where ``AL > 0.5``, else 0: integers of shape ``(n_L, m)``.

    Parameters and errors are those of `L_model_forward`.
    """
    AL, _ = L_model_forward(X, parameters, activation=activation)
    xp = array_namespace(AL)
    return xp.asarray(AL > 0.5, dtype=xp.int64)


# --- cost and backward ----------------------------------------------------------------------------


def compute_cost(AL: Array, Y: Array) -> float:
    """Return the cross-entropy ``J = -1/m Σ (Y log AL + (1 - Y) log(1 - AL))``.

    ``AL`` and ``Y`` are probabilities and labels of shape ``(1, m)``; `InputError` if their shapes
    differ.  J is finite also where an AL is 0 or 1.
    """
    xp, Y, m = _labels(AL, Y)
    P, Q = _above_zero(AL), _above_zero(1.0 - AL)
    return float(-xp.sum(Y * xp.log(P) + (1.0 - Y) * xp.log(Q)) / m)


def linear_backward(dZ: Array, cache: LinearCache) -> tuple[Array, Array, Array]:
    """Return ``dA_prev, dW, db``, the gradients of ``Z = W A_prev + b``.

    ``dW = 1/m dZ A_prevᵀ``, ``db = 1/m Σ dZ`` over the examples, ``dA_prev = Wᵀ dZ`` (Rumelhart,
    Hinton & Williams 1986).

    Parameters
    ----------
    dZ : array of shape (n_l, m)
    cache : tuple
        ``(A_prev, W, b)`` of `linear_forward`.

    Raises
    ------
    InputError
        If dZ does not have Z's shape.
    """
    A_prev, W, _ = cache
    m = A_prev.shape[1]
    _check_shape("dZ", dZ, (W.shape[0], m), "the shape of Z")
    xp = array_namespace(dZ, A_prev, W)
    dW = dZ @ A_prev.T / m
    db = xp.sum(dZ, axis=1, keepdims=True) / m
    dA_prev = W.T @ dZ
    return dA_prev, dW, db


def linear_activation_backward(
    dA: Array, cache: LayerCache, activation: str
) -> tuple[Array, Array, Array]:
    """Return ``dA_prev, dW, db`` of a layer: ``dZ = dA ∘ g'(Z)``, then `linear_backward`.

    ``dA`` has the shape of the layer's A, ``cache`` and ``activation`` are those of
    `linear_activation_forward`.  `InputError` if they do not fit or the activation is unknown.
    """
    _, backward = _activation(activation)
    linear_cache, activation_cache = cache
    _check_shape("dA", dA, activation_cache.shape, "the shape of Z")
    return linear_backward(backward(dA, activation_cache), linear_cache)


def L_model_backward(
    AL: Array,
    Y: Array,
    caches: Sequence[LayerCache],
    *,
    activation: str | Sequence[str] = "relu",
) -> dict[str, Array]:
    """Return the gradients of all layers, from ``dAL = -(Y/AL - (1 - Y)/(1 - AL))`` downwards.

    Parameters
    ----------
    AL, Y : array of shape (1, m)
        Probabilities and labels.
    caches : sequence
        Those of `L_model_forward`.
    activation : str or sequence of str
        As it was there.

    Returns
    -------
    dict
        ``dA{l}``, ``dW{l}`` and ``db{l}`` of layer l's own A, W and b for l = 1 ... L, and ``dA0``
        of the input.

    Raises
    ------
    InputError
        If shapes or lengths do not fit or an activation is unknown.
    """
    _, Y, _ = _labels(AL, Y)
    names = _activations(activation, len(caches))
    dA = -(Y / _above_zero(AL) - (1.0 - Y) / _above_zero(1.0 - AL))
    grads = {f"dA{len(caches)}": dA}
    for layer in range(len(caches), 0, -1):
        # Each layer's gradient flows from the layer above it.
        dA, dW, db = linear_activation_backward(dA, caches[layer - 1], names[layer - 1])
        grads |= {f"dA{layer - 1}": dA, f"dW{layer}": dW, f"db{layer}": db}
    return grads


def _above_zero(P: Array) -> Array:
    """Return P with the least normal float for 0, so that 0 log 0 and 0/0 are 0 as in the limit."""
    xp = array_namespace(P)
    return xp.maximum(P, float(xp.finfo(P.dtype).smallest_normal))


def _labels(AL: Array, Y: Array) -> tuple[Xp, Array, int]:
    """Return the namespace, Y in the dtype of AL, and how many examples there are."""
    xp = array_namespace(AL, Y)
    _check_shape("Y", Y, AL.shape, "the shape of AL")
    return xp, xp.asarray(Y, dtype=AL.dtype), AL.shape[1]


def _check_shape(name: str, array: Array, shape: tuple[int, ...], why: str) -> None:
    if tuple(array.shape) != tuple(shape):
        raise InputError(
            f"{name}: expected shape {tuple(shape)}, {why}; got {tuple(array.shape)}; "
            "columns are examples, so reshape or transpose it"
        )
