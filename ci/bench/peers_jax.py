"""JAX: jitted step by step, and as one jitted loop over all steps of all epochs."""

# ruff: noqa: D102 - what a method promises stands once, in Peer

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from peers import MissingPeerError, Parameters, Peer, Predictor

jax.config.update("jax_enable_x64", True)


class JaxStep(Peer):
    """One call of a jitted function a step, its buffers donated."""

    name = "JAX step"

    def prepare(self) -> None:
        platform = jax.default_backend()
        if self.on_gpu and platform != "gpu":
            raise MissingPeerError(f"this jax runs on {platform} only")
        if self.on_gpu:
            jax.config.update("jax_default_matmul_precision", "highest")  # float32, not TF32
        theta = [(jnp.asarray(W.T), jnp.asarray(b[:, 0])) for W, b in self.start]
        zeros = jax.tree.map(jnp.zeros_like, (theta, theta))
        self.state = (theta, zeros, jnp.zeros((), self.dtype)), jnp.zeros((), self.dtype)
        self.place(self.X, self.y.astype(self.dtype))
        update = {"sgd": descend, "adam": adam}[self.workload.solver]
        self.step = partial(step, partial(update, self.workload.rate))
        self.jitted = jax.jit(self.function(), donate_argnums=0)

    def place(self, X: np.ndarray, y: np.ndarray) -> None:
        """Put the data where the function reads them."""
        self.parts = [tuple(map(jnp.asarray, part)) for part in self.batches(X, y)]

    def function(self) -> Any:
        """Return what is to be jitted."""
        return self.step

    def epochs(self, n: int) -> None:
        for _ in range(n):
            for part in self.parts:
                self.state = self.jitted(self.state, part)
        jax.block_until_ready(self.state)

    def parameters(self) -> Parameters:
        (theta, _, _), _ = self.state
        return [(np.asarray(W).T, np.asarray(b)[:, None]) for W, b in theta]

    def predictor(self) -> Predictor:
        (theta, _, _), _ = self.state
        jitted = jax.jit(probabilities)
        return lambda X: np.asarray(jitted(theta, X))


class JaxLoop(JaxStep):
    """One call for all epochs: Python, launches and loss reading are paid for once."""

    name = "JAX loop"

    def place(self, X: np.ndarray, y: np.ndarray) -> None:
        work = self.workload
        shape = work.batches, work.rows
        self.all = jnp.asarray(X.reshape(*shape, -1)), jnp.asarray(y.reshape(shape))

    def function(self) -> Any:
        def epoch(_: Any, state: Any, parts: Any) -> Any:
            return jax.lax.scan(lambda state, part: (self.step(state, part), None), state, parts)[0]

        def epochs(state: Any, parts: Any, n: Any) -> Any:
            return jax.lax.fori_loop(0, n, partial(epoch, parts=parts), state)

        return epochs

    def epochs(self, n: int) -> None:
        self.state = jax.block_until_ready(self.jitted(self.state, self.all, n))


def logits(theta: Any, X: Any) -> Any:
    """Return ``Z_L`` of rows *X*."""
    *hidden, (W, b) = theta
    for W_l, b_l in hidden:
        X = jax.nn.relu(X @ W_l + b_l)
    return (X @ W + b)[:, 0]


def probabilities(theta: Any, X: Any) -> Any:
    """Return the probabilities of both classes of rows *X*."""
    P = jax.nn.sigmoid(logits(theta, X))
    return jnp.stack([1.0 - P, P], axis=1)


def loss(theta: Any, X: Any, y: Any) -> Any:
    """Return the mean logistic loss."""
    Z = logits(theta, X)
    return jnp.mean(jax.nn.softplus(Z) - y * Z)


def step(update: Any, state: Any, part: Any) -> Any:
    """Return the state after one step, and the sum of the losses so far."""
    trained, total = state
    value, gradient = jax.value_and_grad(loss)(trained[0], *part)
    return update(trained, gradient), total + value


def descend(rate: float, state: Any, gradient: Any) -> Any:
    """Return the state after a step of gradient descent."""
    theta, zeros, t = state
    return jax.tree.map(lambda p, g: p - rate * g, theta, gradient), zeros, t


def adam(rate: float, state: Any, gradient: Any) -> Any:
    """Return the state after a step of Adam."""
    theta, (m, v), t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: m + 0.1 * (g - m), m, gradient)
    v = jax.tree.map(lambda v, g: v + 0.001 * (g * g - v), v, gradient)
    first, second = rate / (1 - 0.9**t), 1 / jnp.sqrt(1 - 0.999**t)
    theta = jax.tree.map(lambda p, m, v: p - first * m / (jnp.sqrt(v) * second + 1e-8), theta, m, v)
    return theta, (m, v), t
