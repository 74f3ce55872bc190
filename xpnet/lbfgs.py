"""L-BFGS on the full batch: SciPy's, fed with the network's loss and gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .optimizers import LBFGS
from .run import Run

__all__ = ["minimize"]


def minimize(run: Run, optimizer: LBFGS, epochs: int, end_epoch: Callable[[], bool]) -> None:
    """Minimise the mean loss of all rows, and its penalty, by at most so many iterations.

    *end_epoch* is called after each, at its parameters; where it returns True, that was the last.
    """
    from scipy import optimize

    net, backend = run.net, run.net.backend
    weights = slice(0, net.layout.n_weights)
    total = run.totals[0]

    def loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        backend.send(theta.astype(net.dtype), net.theta)
        run.gradients(0)
        run.sum_gradients()
        loss = float(np.sum(backend.to_host(run.losses), dtype=float)) / total
        gradient = backend.to_host(net.gradient).astype(float)
        gradient[weights] += optimizer.alpha / total * theta[weights]
        penalty = optimizer.alpha / (2.0 * total) * float(theta[weights] @ theta[weights])
        return loss + penalty, gradient

    def after(theta: np.ndarray) -> None:
        run.start[...] = net.theta
        loss_and_gradient(theta)
        if end_epoch():
            raise StopIteration

    options: dict[str, Any] = {
        "maxiter": epochs,
        "maxcor": optimizer.memory,
        "gtol": optimizer.tolerance,
        "ftol": 0.0,
    }
    start = backend.to_host(net.theta).astype(float)
    optimize.minimize(
        loss_and_gradient, start, jac=True, method="L-BFGS-B", callback=after, options=options
    )
