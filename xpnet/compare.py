"""One run on every backend side by side, and the textbook functions beside them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import textbook
from .arrays import on_host
from .backend import PLAIN, Backend, available_backends
from .checks import check_finite, check_problem
from .errors import InputError, positive
from .network import Network
from .optimizers import SGD
from .training import train

__all__ = ["Comparison", "Run", "compare_backends"]


@dataclass(frozen=True)
class Run:
    """What one engine made of the common task.

    Attributes
    ----------
    name, backend, dtype : str
    gradient_difference : float
        ``‖g - g_ref‖∞ / ‖g_ref‖∞`` of the gradient of all parameters before the first update,
        against that of the textbook functions in float64.
    losses : list of float
        The cost before each epoch's update.
    seconds_per_epoch : float
        The median of the second half.
    """

    name: str
    backend: str
    dtype: str
    gradient_difference: float
    losses: list[float]
    seconds_per_epoch: float


@dataclass(frozen=True)
class Comparison:
    """All runs, the textbook's first, and why backends that are missing could not run."""

    runs: tuple[Run, ...]
    unavailable: dict[str, str]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # `train` says what diverges
def compare_backends(
    net: Network, X: Any, y: Any, *, epochs: int = 20, learning_rate: float = 0.0075
) -> Comparison:
    """Train copies of *net* by full-batch gradient descent on every usable backend and dtype.

    Parameters
    ----------
    net : Network
        Where all start from; it is not changed.  Of dropout, layer normalisation and learnt input
        scales the textbook knows nothing.
    X : array of shape (m, n_0)
    y : array of shape (m,)
        Any two labels.

    Raises
    ------
    InputError
        If X or y cannot be used, or *net* has what the textbook has not.
    """
    _check_plain(net)
    epochs = positive("epochs", epochs)
    X, targets, _ = check_problem(X, y, net.classes_, both=True)
    reference = net.to("numpy", "float64")
    X = on_host(X, "X")
    check_finite(X)
    runs = [_textbook_run(reference, X, targets, epochs, learning_rate)]
    expected = _textbook_gradients(reference, X, targets)
    unavailable = {}
    for name, backend in available_backends().items():
        if not isinstance(backend, Backend):
            unavailable[name] = str(backend)
            continue
        for precision in PLAIN:
            copy = net.to(backend, precision)
            runs.append(_engine_run(copy, X, targets, expected, epochs, learning_rate))
    return Comparison(tuple(runs), unavailable)


def _check_plain(net: Network) -> None:
    parts = {
        "dropout": any(net.dropout),
        "normalization": net.layout.normalized,
        "input_scale": net.layout.scaled,
    }
    for name, there in parts.items():
        if there:
            raise InputError(
                "net: expected a network that the textbook functions can train; got one with "
                f"{name}; make it without"
            )


def _engine_run(
    net: Network, X: Any, y: np.ndarray, expected: dict[str, Any], epochs: int, rate: float
) -> Run:
    _, gradients = net.loss_and_gradients(X, y)
    found = {name: net.backend.to_host(gradient) for name, gradient in gradients.items()}
    difference = _difference(found, expected)  # now: training writes over the gradients
    clock = [time.perf_counter()]

    def tick(_: object) -> None:
        net.backend.synchronize()
        clock.append(time.perf_counter())

    history = train(
        net, X, y, optimizer=SGD(rate), epochs=epochs, scaling=net.scaling, callback=tick
    )
    times = np.diff(clock)
    seconds = float(np.median(times[epochs // 2 :]))  # threads of BLAS spin on from before
    name = f"{net.backend.name} {net.dtype}"
    return Run(name, net.backend.name, net.dtype, difference, history["loss"], seconds)


def _textbook_run(net: Network, X: Any, y: np.ndarray, epochs: int, rate: float) -> Run:
    A, Y, parameters = net.columns(X), y.reshape(1, -1).astype(float), dict(net.parameters)
    losses, seconds = [], []
    for _ in range(epochs):
        start = time.perf_counter()
        AL, caches = textbook.L_model_forward(A, parameters, activation=net.activations)
        losses.append(float(textbook.compute_cost(AL, Y)))
        gradients = textbook.L_model_backward(AL, Y, caches, activation=net.activations)
        parameters = textbook.update_parameters(parameters, gradients, rate)
        seconds.append(time.perf_counter() - start)
    median = float(np.median(seconds[epochs // 2 :]))
    return Run("textbook float64", "textbook", "float64", 0.0, losses, median)


def _textbook_gradients(net: Network, X: Any, y: np.ndarray) -> dict[str, Any]:
    A, Y = net.columns(X), y.reshape(1, -1).astype(float)
    AL, caches = textbook.L_model_forward(A, dict(net.parameters), activation=net.activations)
    return dict(textbook.L_model_backward(AL, Y, caches, activation=net.activations))


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """The largest difference of an entry, relative to the largest entry of all."""
    largest = max(np.max(np.abs(expected[name])) for name in found)
    return float(max(np.max(np.abs(g - expected[name])) for name, g in found.items()) / largest)
