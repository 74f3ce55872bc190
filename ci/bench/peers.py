"""The competitors that live on NumPy or CuPy: xpnet, scikit-learn, the bare products, the textbook.

A competitor is made for a workload and a dtype.  ``epochs(n)`` trains that long and returns when
all of it is done; ``parameters()`` are what it has come to, to show that all compute the same.
"""

# ruff: noqa: D102 - what a method promises stands once, in Peer

from __future__ import annotations

import functools
import importlib.util
import itertools
import os
import time
import timeit
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from workloads import Workload

Parameters = list[tuple[np.ndarray, np.ndarray]]
Predictor = Callable[[np.ndarray], np.ndarray]
Product = tuple[Any, Any, Any]  #: (left, right, out)


class MissingPeerError(Exception):
    """Why a competitor is not there; its column stays empty."""


class Peer:
    """One competitor on one workload."""

    name: ClassVar[str]

    def __init__(self, workload: Workload, dtype: str, backend: str, threads: int) -> None:
        self.workload, self.dtype, self.threads = workload, dtype, threads
        self.on_gpu = backend == "cupy"
        self.X, self.y = workload.data(dtype)
        self.start = workload.parameters(dtype)
        self.prepare()

    def prepare(self) -> None:
        """Make everything that is made once."""

    def epochs(self, n: int) -> None:
        """Train for *n* epochs, and wait for the end of it."""
        raise NotImplementedError

    def parameters(self) -> Parameters | None:
        """Return what the network has come to, or None if this competitor has no network."""
        return None

    def predictor(self) -> Predictor | None:
        """Return what makes ``(m, 2)`` probabilities of ``(m, n_0)`` rows, both on the host."""
        return None

    def seconds(self, n: int) -> float:
        """Return how long *n* epochs take, after one that fills the caches and is not counted."""
        self.epochs(1)
        start = time.perf_counter()
        self.epochs(n)
        return time.perf_counter() - start

    def named(self) -> dict[str, np.ndarray]:
        """Return the first parameters as ``W1, b1, …, WL, bL``."""
        layers = list(enumerate(self.start, start=1))
        return {f"W{l}": W for l, (W, _) in layers} | {f"b{l}": b for l, (_, b) in layers}

    def batches(self, X: Any, y: Any) -> list[tuple[Any, Any]]:
        """Cut *X* and *y* into the batches of an epoch."""
        rows = self.workload.rows
        starts = range(0, len(X), rows)
        return [(X[start : start + rows], y[start : start + rows]) for start in starts]


class Xpnet(Peer):
    """`xpnet.train`; the clock is read by its callback, so what it does once is not counted."""

    name = "xpnet"
    fast = "0"

    def prepare(self) -> None:
        from xpnet import SGD, Adam, Network

        os.environ["XPNET_FAST"] = self.fast  # read when the network is made
        work, backend = self.workload, "cupy" if self.on_gpu else "numpy"
        self.net = Network(work.layers, init=self.named(), precision=self.dtype, backend=backend)
        if self.on_gpu:
            self.X = self.net.backend.asarray(self.X)  # as the other competitors have it
        self.optimizer = {"sgd": SGD, "adam": Adam}[work.solver](work.rate)

    def epochs(self, n: int, callback: Any = None) -> None:
        from xpnet import train

        train(
            self.net,
            self.X,
            self.y,
            optimizer=self.optimizer,
            epochs=n,
            batch_size=self.workload.rows,
            shuffle=False,
            warm_start=True,
            callback=callback,
        )

    def seconds(self, n: int) -> float:
        times: list[float] = []
        self.epochs(n + 1, lambda _: times.append(time.perf_counter()))
        return times[-1] - times[0]

    def parameters(self) -> Parameters:
        to_host = self.net.backend.to_host
        return [(to_host(W), to_host(b)) for W, b in pairs(self.net.parameters)]

    def predictor(self) -> Predictor:
        return self.net.predict_proba


class XpnetFast(Xpnet):
    """The same with the formulas compiled by Numba."""

    name = "xpnet fast"
    fast = "1"

    def prepare(self) -> None:
        if importlib.util.find_spec("numba") is None:
            raise MissingPeerError("Numba is not installed")
        super().prepare()


class ScikitLearn(Peer):
    """`MLPClassifier.partial_fit`, one call a step; on a CPU in any case."""

    name = "scikit-learn"

    def prepare(self) -> None:
        from sklearn.neural_network import MLPClassifier

        work = self.workload
        self.classifier = MLPClassifier(
            work.layers[1:-1],
            solver=work.solver,
            learning_rate_init=work.rate,
            momentum=0.0,
            alpha=0.0,
            batch_size=work.rows,
            shuffle=False,
        )
        self.parts = self.batches(self.X, self.y)
        self.classifier.partial_fit(*self.parts[0], classes=[0, 1])
        for W, b, (W_0, b_0) in zip(
            self.classifier.coefs_, self.classifier.intercepts_, self.start, strict=True
        ):
            W[...], b[...] = W_0.T, b_0[:, 0]
        del self.classifier._optimizer  # so that the first step left nothing behind

    def epochs(self, n: int) -> None:
        for _ in range(n):
            for X, y in self.parts:
                self.classifier.partial_fit(X, y)

    def parameters(self) -> Parameters:
        layers = zip(self.classifier.coefs_, self.classifier.intercepts_, strict=True)
        return [(W.T, b[:, None]) for W, b in layers]

    def predictor(self) -> Predictor:
        return self.classifier.predict_proba


class BareProducts(Peer):
    """Only the matrix products of a step, all arrays C-ordered as the shape table writes them."""

    name = "bare products"

    def prepare(self) -> None:
        self.xp = namespace(self.on_gpu)
        xp, layers, m = self.xp, self.workload.layers, self.workload.rows
        inputs = [xp.asarray(X).T for X, _ in self.batches(self.X, self.y)]
        W = [xp.asarray(W) for W, _ in self.start]
        dW = [xp.empty_like(W_l) for W_l in W]
        A = [self.matrix(n, m) for n in layers[1:]]
        dA = [self.matrix(n, m) for n in layers[1:]]
        self.products = [self.step([X, *A], dA, W, dW) for X in inputs]

    @staticmethod
    def step(A: list[Any], dA: list[Any], W: list[Any], dW: list[Any]) -> list[Product]:
        """Return ``(left, right, out)`` of every product of a step, in order."""
        products = [(W[l], A[l], A[l + 1]) for l in range(len(W))]
        for l in reversed(range(len(W))):
            products.append((dA[l], A[l].T, dW[l]))
            if l:
                products.append((W[l].T, dA[l], dA[l - 1]))
        return products

    def matrix(self, n: int, m: int) -> Any:
        """Return some ``(n, m)`` numbers."""
        return self.xp.full((n, m), 0.5, dtype=self.dtype)

    def epochs(self, n: int) -> None:
        for _ in range(n):
            for products in self.products:
                for left, right, out in products:
                    left.dot(right, out=out)
        wait(self.xp)


class BestProducts(BareProducts):
    """The same products, each in the memory orders that this BLAS happens to like best.

    A floor, not a goal: nothing that goes through this BLAS with these threads can be faster, and
    perhaps nothing can have all of these orders at once.
    """

    name = "best products"

    def prepare(self) -> None:
        super().prepare()
        self.others: dict[Any, np.ndarray] = {}
        orders = [self.fastest(product) for product in self.products[0]]
        self.products = [
            [self.ordered(product, order) for product, order in zip(products, orders, strict=True)]
            for products in self.products
        ]

    def fastest(self, product: Product) -> tuple[bool, ...]:
        """Return which of *product*'s three matrices to take in the other order."""
        repeats = 3 if product[2].size * product[0].shape[1] > 10**6 else 100

        def duration(order: tuple[bool, ...]) -> float:
            left, right, out = self.ordered(product, order)
            call = functools.partial(left.dot, right, out=out)
            return min(timeit.repeat(call, number=1, repeat=repeats))

        return min(itertools.product((False, True), repeat=3), key=duration)

    def ordered(self, product: Product, order: tuple[bool, ...]) -> Product:
        """Return *product* with some of its matrices in the other order."""
        choices = zip(product, order, strict=True)
        left, right, out = (self.other(array) if turned else array for array, turned in choices)
        return (left, right, out) if out.flags.c_contiguous else (right.T, left.T, out.T)

    def other(self, array: np.ndarray) -> np.ndarray:
        """Return *array*, or the view that it is, in the other memory order: one copy of each."""
        rows = array if array.flags.c_contiguous else array.T
        key = rows.ctypes.data, rows.shape
        if key not in self.others:
            self.others[key] = np.asfortranarray(rows)
        copied = self.others[key]
        return copied if rows is array else copied.T


class Textbook(Peer):
    """`xpnet.textbook`; it knows gradient descent only, which is less work than Adam."""

    name = "textbook"

    def prepare(self) -> None:
        self.xp = xp = namespace(self.on_gpu)
        parts = self.batches(xp.asarray(self.X), xp.asarray(self.y))
        self.parts = [(X.T, y.reshape(1, -1)) for X, y in parts]
        self.state = {name: xp.asarray(array) for name, array in self.named().items()}

    def epochs(self, n: int) -> None:
        from xpnet.textbook import (
            L_model_backward,
            L_model_forward,
            compute_cost,
            update_parameters,
        )

        for _ in range(n):
            for X, Y in self.parts:
                AL, caches = L_model_forward(X, self.state)
                compute_cost(AL, Y)
                grads = L_model_backward(AL, Y, caches)
                self.state = update_parameters(self.state, grads, self.workload.rate)
        wait(self.xp)

    def parameters(self) -> Parameters | None:
        if self.workload.solver != "sgd" or self.on_gpu:
            return None
        return pairs(self.state)


def namespace(on_gpu: bool) -> Any:
    """Return NumPy, or CuPy."""
    if not on_gpu:
        return np
    import cupy

    return cupy


def wait(xp: Any) -> None:
    """Return when the device has done all that it was told."""
    if xp is not np:
        xp.cuda.Device().synchronize()


def pairs(named: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Return ``[(W1, b1), …, (WL, bL)]`` of arrays by those names."""
    return [(named[f"W{l}"], named[f"b{l}"]) for l in range(1, len(named) // 2 + 1)]
