"""L-BFGS on the full batch: SciPy's, fed with the network's loss and gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from .errors import InputError
from .network import Network
from .optimizers import LBFGS
from .run import Run

__all__ = ["check_steady", "minimize"]


def check_steady(net: Network, optimizer: LBFGS, options: dict[str, float]) -> None:
    """Raise `InputError` for what L-BFGS cannot do: it needs one smooth function of θ."""
    asked = {"dropout": max(net.dropout, default=0.0)} | options
    asked |= {name: getattr(optimizer, name) for name in ("l1", "weight_decay")}
    asked |= {name: getattr(optimizer, name) for name in ("clip_norm", "clip_value")}
    for name, value in asked.items():
        if value:
            raise InputError(
                f"{name}: expected none with lbfgs, which minimises one smooth function; got "
                f"{value:g}; take another optimizer, or alpha to regularise"
            )


def minimize(run: Run, optimizer: LBFGS, epochs: int, end_epoch: Callable[[], bool]) -> None:
    """Minimise the mean loss of all rows, and its penalty, by at most so many iterations.

    *end_epoch* is called after each, at its parameters; where it returns True, that was the last.
    It is called once even where the start is a minimum already.
    """
    from scipy import optimize

    net, backend, before = run.net, run.net.backend, run.state.epoch
    weights = slice(0, net.layout.n_weights)
    run.draw()  # nothing random, but the weight of all rows
    total = run.totals[0]

    def loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        backend.send(theta.astype(net.dtype), net.theta)
        run.gradients(0)
        run.sum_gradients()
        loss = run.mean_loss(backend.to_host(run.sums))
        gradient = backend.to_host(net.gradient).astype(float)
        gradient[weights] += optimizer.alpha / total * theta[weights]
        penalty = optimizer.alpha / (2.0 * total) * float(theta[weights] @ theta[weights])
        return loss + penalty, gradient

    def after(theta: np.ndarray) -> None:
        if not np.array_equal(backend.to_host(net.theta), theta.astype(net.dtype)):
            loss_and_gradient(theta)  # the line search looked elsewhere last
        run.start[...] = net.theta
        run.state.step += 1
        if end_epoch():
            raise StopIteration

    options: dict[str, Any] = {
        "maxiter": epochs,
        "maxfun": math.inf,
        "maxcor": optimizer.memory,
        "gtol": optimizer.tolerance,
        "ftol": 0.0,
    }
    start = backend.to_host(net.theta).astype(float)
    try:
        with suppress(StopIteration):
            optimize.minimize(
                loss_and_gradient,
                start,
                jac=True,
                method="L-BFGS-B",
                callback=after,
                options=options,
            )
            if run.state.epoch == before:
                after(start)
    finally:
        net.theta[...] = run.good  # and not where the line search was
