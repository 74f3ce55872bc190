"""The L-layer network: its parameters, its doors, its copies.

Columns are examples: ``X = A_0`` of shape ``(n_0, m)`` is a transposed view of the user's rows, and
the shape table of the README holds for every name here.  Public methods take rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from .activations import ACTIVATIONS
from .arrays import is_on_host, is_sparse
from .backend import Backend, dtype_of, get_backend
from .checks import check_features, check_finite, check_logits, check_X, quiet
from .errors import InputError, flag, known, real, several, unknown
from .formulas import Array, sigmoid
from .initializers import RandomSource, initialize
from .layout import Layout, integers
from .losses import Loss, get_loss
from .normalization import normalize
from .passes import Pass
from .preprocessing import Scaling
from .state import TrainingState

__all__ = ["Network", "is_uint8"]

T = TypeVar("T")


class Network:
    """An L-layer binary classifier: linear → g, L-1 times, then linear → sigmoid.

    Copies and pickles have parameters of their own, and leave the state of `training` behind.

    Parameters
    ----------
    layer_sizes : sequence of int
        ``(n_0, …, n_L)``: features, hidden units of each layer, and 1.
    activation : str or sequence of str
        One of `activations.ACTIVATIONS` for every hidden layer, or one for each.
    init : str or mapping
        One of `initializers.INITIALIZERS` for the first weights, biases starting at zero; or the
        parameters themselves, as `set_parameters` takes them.
    dropout : float or sequence of float
        The share of each hidden layer's units that is dropped in a step of training; one rate for
        all layers, or one for each.
    normalization : {None, "layer"}
        "layer" normalises Z of each hidden layer; its gains are the parameters ``gamma1, …``.
    input_scale : bool
        Whether each input has a learnt factor, the parameter ``scale`` of shape ``(1, n_0)``.
    precision : {"float32", "float64", "tf32", "bfloat16", "float16"}
        Parameters and rows are float64 for "float64", float32 for the others.  The last three
        round what goes into matrix products, for the tensor cores of a CUDA device that has them;
        sums stay float32.
    backend : str or Backend
        See `backend.get_backend`.
    random_state : int, Generator, RandomState or None
        Where the weights come from, layer by layer, on the host.

    Attributes
    ----------
    parameters : mapping
        ``W1, b1, …, WL, bL``: live views, ``(n_l, n_{l-1})`` and ``(n_l, 1)``, of `theta`.
    theta, gradient : array
        All parameters, and the gradients last computed, each in one flat buffer on the device.
    classes_ : ndarray or None
        The two labels, negative first, once trained.
    picture_shape : tuple or None
        ``(h, w[, c])``, if trained on pictures.
    scaling : Scaling or None
        What `train` fitted to the rows, and every row goes through.
    temperature : float
        What logits are divided by, since `decisions.fit_temperature` found it; 1 at first.
    threshold : float
        The probability above which `predict` says the second class.
    training : TrainingState or None
        The state of the last run of `train`.

    Raises
    ------
    InputError
        If an argument is none of those.
    BackendUnavailable
        If the backend is not to be had here.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        activation: str | Sequence[str] = "relu",
        *,
        init: str | Mapping[str, Any] = "he",
        dropout: float | Sequence[float] = 0.0,
        normalization: str | None = None,
        input_scale: bool = False,
        precision: str = "float32",
        backend: str | Backend = "auto",
        random_state: RandomSource = None,
    ) -> None:
        named = isinstance(normalization, str) and normalization == "layer"
        if normalization is not None and not named:
            raise unknown("normalization", normalization, ["None", "layer"])
        self.layout = Layout(integers(layer_sizes), named, flag("input_scale", input_scale))
        n_hidden = len(self.layer_sizes) - 2
        self.activations = _per_layer("activation", "name", activation, n_hidden, _activation)
        self.dropout = _per_layer("dropout", "rate", dropout, n_hidden, _rate)
        self.backend = get_backend(backend)
        self.precision = self.backend.check_precision(precision)
        if not isinstance(init, Mapping):
            weights = initialize(self.layer_sizes, init, random_state)
            init = {f"W{l}": W for l, W in enumerate(weights, start=1)}
        self.classes_: Any = None
        self.picture_shape: tuple[int, ...] | None = None
        self.scaling: Scaling | None = None
        self.threshold, self.temperature = 0.5, 1.0
        self.training: TrainingState | None = None
        with self.backend as backend:
            self._carve(backend.xp.zeros(self.layout.n_flat, dtype=self.dtype))
            for name, view in self.parameters.items():
                if name == "scale" or name.startswith("gamma"):
                    view[...] = 1.0
        self.set_parameters(init)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """``(n_0, …, n_L)``."""
        return self.layout.layer_sizes

    @property
    def dtype(self) -> str:
        """What parameters and rows are made of: ``"float32"`` or ``"float64"``."""
        return dtype_of(self.precision)

    @property
    def depth(self) -> int:
        """L, the number of layers with weights."""
        return len(self.layer_sizes) - 1

    def _carve(self, theta: Array) -> None:
        self.theta = theta
        self.gradient = self.backend.xp.zeros_like(theta)
        self.parameters: Mapping[str, Array] = MappingProxyType(self.layout.named(theta))
        self.layers = tuple(
            (self.parameters[f"W{l}"], self.parameters[f"b{l}"]) for l in range(1, self.depth + 1)
        )

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Copy host or device arrays into the parameters of those names; the others stay.

        Raises
        ------
        InputError
            If a name is not a parameter's or a shape not its; then nothing is changed.
        """
        if not isinstance(parameters, Mapping):
            raise InputError(
                f"parameters: expected a mapping of W1, b1, ... to arrays; got {parameters!r}"
            )
        with self.backend as backend:
            arrived = {}
            for name, value in parameters.items():
                if name not in self.parameters:
                    raise unknown("parameter", name, self.parameters)
                arrived[name] = backend.asarray(value, self.dtype, name)
                if arrived[name].shape != self.parameters[name].shape:
                    raise InputError(
                        f"{name}: expected shape {self.parameters[name].shape}; "
                        f"got {arrived[name].shape}"
                    )
            for name, value in arrived.items():
                self.parameters[name][...] = value

    # --- rows in ----------------------------------------------------------------------------------

    def columns(self, X: Any, name: str = "X", *, finite: bool = False) -> Array:
        """Return rows *X* as ``A_0`` of shape ``(n_0, m)`` on the device: the one way in.

        No copy is made of C-ordered rows that are there in the network's dtype; one of others.
        Arrays of more than two dimensions are flattened.  ``uint8`` pictures are divided by 255 on
        the device, and so are ``uint8`` rows for a network that was trained on pictures; other rows
        go through `scaling`, if there is one.

        Raises
        ------
        InputError
            Where `check_X` and `check_features` raise it; if *finite* is asked for, also where X is
            not finite in the network's dtype.
        """
        backend, X = self.backend, check_X(X, name)
        check_features(X, self.layer_sizes[0], self.picture_shape, name)
        picture = is_uint8(X) and (X.ndim > 2 or self.picture_shape is not None)
        scaling = None if picture else self.scaling
        dtype = self.dtype if scaling is None or str(X.dtype) == "float32" else "float64"
        A = backend.asarray(X, None if picture else dtype, name)
        if A.ndim > 2:
            A = A.reshape(A.shape[0], -1)
        if picture:
            A = backend.xp.divide(A, 255.0, out=backend.xp.empty(A.shape, dtype=self.dtype))
        elif finite and not backend.seems_finite(A):
            check_finite(backend.to_host(A), name)
        return (A if scaling is None else self._scaled(A, scaling)).T

    def rows(self, X: Any, name: str = "X", *, finite: bool = False) -> Any:
        """Return `columns` transposed, rows ``(m, n_0)`` on the device; sparse ones stay sparse."""
        if not is_sparse(X):
            return self.columns(X, name, finite=finite).T
        X = check_X(X, name)
        check_features(X, self.layer_sizes[0], name=name)
        rows = self.backend.sparse(X, self.dtype)
        if finite and not self.backend.seems_finite(rows.data):
            check_finite(self.backend.to_host(rows.data), f"{name}.data")
        if self.scaling is not None:  # it centres nothing: `fit_scaling` sees to that
            scale = self.backend.asarray(self.scaling.scale, self.dtype)
            rows.data *= scale[rows.indices]
        return rows

    def _scaled(self, rows: Array, scaling: Scaling) -> Array:
        """Return scaled *rows* in the network's dtype, computed in their own, some at a time."""
        backend, out = self.backend, self.backend.xp.empty(rows.shape, dtype=self.dtype)
        center, scale = (
            backend.asarray(values[None, :], str(rows.dtype))
            for values in (scaling.center, scaling.scale)
        )
        step = max(1, backend.chunk // rows.shape[1])
        for start in range(0, rows.shape[0], step):
            part = slice(start, start + step)
            out[part] = scaling.apply(backend.xp, rows[part], center, scale)
        return out

    def logits(self, columns: Array) -> Array:
        """Return ``Z_L`` of shape ``(1, m)`` on the device for *columns* ``(n_0, m)``."""
        backend, m = self.backend, columns.shape[1]
        Z = backend.xp.empty((1, m), dtype=self.dtype)
        n = min(m, backend.workers(self.layout.flops(m)))
        cuts = [slice(m * t // n, m * (t + 1) // n) for t in range(n)]
        with backend.splitting(n):
            backend.run([partial(self._predict, columns[:, cut], Z[:, cut]) for cut in cuts])
        return Z

    def _predict(self, columns: Array, Z: Array) -> None:
        """Write the logits of *columns* into *Z*, as many at a time as the backend likes."""
        xp, parameters = self.backend.xp, self.parameters
        weights = [W for W, _ in self.layers]
        if self.layout.scaled:
            weights[0] = weights[0] * parameters["scale"]
        chunk = max(1, self.backend.chunk // max(self.layer_sizes[1:]))
        for start in range(0, Z.shape[1], chunk):
            A = columns[:, start : start + chunk]
            for l, name in enumerate(self.activations, start=1):
                A = xp.matmul(weights[l - 1], A)
                if self.layout.normalized:
                    A = normalize(xp, A, parameters[f"gamma{l}"])
                A = ACTIVATIONS[name].value(xp, A + parameters[f"b{l}"])
            Z[:, start : start + chunk] = xp.matmul(weights[-1], A) + self.layers[-1][1]
        if self.temperature != 1.0:
            Z /= self.temperature

    def decision_function(self, X: Any) -> Array:
        """Return the logits of rows *X*, shape ``(m,)``: above zero means the second class.

        Host rows give a NumPy array, device rows a device array; so do the methods below.  Host
        rows that are not finite in the network's dtype, or whose logits are not, are an
        `InputError`.
        """
        with self.backend.products(self.precision):
            return self._as_came(self._scores(X)[0], X)

    def _scores(self, X: Any) -> Array:
        # To look closely at rows that are not on the host would stop the device.
        on_host = is_on_host(X)
        rows = self.rows(X, finite=on_host)
        return self.finite_scores(rows) if on_host else self.scores(rows)

    def finite_scores(self, rows: Any) -> Array:
        """Return `scores`; raise `InputError` where the sums of finite rows overflow."""
        with quiet():
            Z = self.scores(rows)
        if not self.backend.seems_finite(Z):
            check_logits(self.backend.to_host(Z))
        return Z

    def scores(self, rows: Any) -> Array:
        """Return `logits` of what `rows` returned; sparse rows are made dense some at a time."""
        if not is_sparse(rows):
            return self.logits(rows.T)
        xp, m = self.backend.xp, rows.shape[0]
        Z = xp.empty((1, m), dtype=self.dtype)
        step = max(1, self.backend.chunk // max(self.layer_sizes))
        for start in range(0, m, step):
            part = slice(start, start + step)
            Z[:, part] = self.logits(rows[part].toarray().T)
        return Z

    def forward(self, X: Any) -> Array:
        """Return ``A_L = σ(Z_L)`` of rows *X*, shape ``(m, 1)``: P(second class)."""
        return self.predict_proba(X)[:, 1:]

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of both classes, shape ``(m, 2)``, for rows *X*."""
        backend = self.backend
        with backend.products(self.precision):
            Z = self._scores(X)
            P = backend.xp.empty((Z.shape[1], 2), dtype=self.dtype)
            P[:, 1] = sigmoid(backend.xp, Z[0])
            P[:, 0] = sigmoid(backend.xp, -Z[0])  # not 1 - P: that would round small ones away
            return self._as_came(P, X)

    def predict(self, X: Any) -> Any:
        """Return the labels of rows *X*, a NumPy array ``(m,)`` of `classes_`, or of 0 and 1."""
        second = self.backend.to_host(self.predict_proba(X)[:, 1]) > self.threshold
        return second.astype(int) if self.classes_ is None else self.classes_[second.astype(int)]

    def _as_came(self, result: Array, X: Any) -> Array:
        return self.backend.to_host(result) if is_on_host(X) else result

    def loss_and_gradients(
        self, X: Any, y: Any, loss: str | Loss = "logistic"
    ) -> tuple[float, dict[str, Array]]:
        """Return the mean *loss* of rows *X* and its gradients ``dW1, db1, …, dWL, dbL``.

        Parameters
        ----------
        X : array of shape (m, n_0)
        y : array of shape (m,)
            0 and 1.
        loss : Loss or {"logistic", "focal", "squared_hinge"}

        Returns
        -------
        loss : float
        gradients : dict of device arrays
            Views of `gradient`, shaped like the parameters; the next call overwrites them.
        """
        backend, loss = self.backend, get_loss(loss)
        with backend.products(self.precision):
            A = self.columns(X)
            m, sums = A.shape[1], backend.xp.empty((2, 1), dtype=self.dtype)
            step = Pass(self, m, loss=loss)
            step.Y[...] = self.targets(y, m)
            step.loss_and_gradients(A, 1.0 / m, sums)
            mean = float(backend.to_host(sums)[1, 0]) / m
            views = self.layout.named(self.gradient)
            return mean, {f"d{name}": view for name, view in views.items()}

    def targets(self, y: Any, m: int) -> Array:
        """Return 0/1 targets *y* as ``Y`` of shape ``(1, m)`` on the device."""
        Y = self.backend.asarray(y, self.dtype, "y")
        if Y.shape != (m,):
            raise InputError(f"y: expected shape ({m},), one target a row of X; got {Y.shape}")
        return Y.reshape(1, m)

    # --- copies: the views are carved anew; the state of a training run stays behind --------------

    def to(self, backend: str | Backend = "auto", precision: str | None = None) -> Network:
        """Return a copy of this network on another *backend*, or in another *precision*.

        By default it keeps its own, or its dtype where the backend does not have it.
        """
        other = copy.copy(self)
        other.backend = get_backend(backend)
        kept = self.precision if other.backend.has_precision(self.precision) else self.dtype
        other.precision = other.backend.check_precision(precision or kept)
        with other.backend as target:
            theta = target.xp.empty(self.layout.n_flat, dtype=other.dtype)
            theta[...] = target.asarray(self.backend.to_host(self.theta), other.dtype)
            other._carve(theta)
        return other

    def __getstate__(self) -> dict[str, Any]:
        carved = {"gradient", "layers", "parameters"}
        state = {name: value for name, value in vars(self).items() if name not in carved}
        return state | {"theta": self.backend.to_host(self.theta), "training": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        with self.backend as backend:
            theta = backend.xp.empty(self.layout.n_flat, dtype=self.dtype)
            backend.send(state["theta"], theta)
            self._carve(theta)

    def __repr__(self) -> str:
        sizes = "-".join(map(str, self.layer_sizes))
        return f"<Network {sizes} {self.precision} on {self.backend.name}>"


def _per_layer(
    name: str, word: str, value: Any, n_hidden: int, check: Callable[[Any], T]
) -> tuple[T, ...]:
    """Return a checked value for each hidden layer, of one for all or of one for each."""
    checked = tuple(check(item) for item in (value if several(value) else (value,)))
    checked = checked if several(value) else checked * n_hidden
    if len(checked) != n_hidden:
        raise InputError(
            f"{name}: expected one {word}, or one for each of the {n_hidden} hidden layers; "
            f"got {len(checked)}: {list(checked)}"
        )
    return checked


def _activation(name: Any) -> str:
    known("activation", name, ACTIVATIONS)
    return str(name)


def _rate(rate: Any) -> float:
    return real("dropout", rate, least=0.0, below=1.0)


def is_uint8(X: Any) -> bool:
    """Tell whether *X*, of whatever library, holds ``uint8``."""
    return str(getattr(X, "dtype", "")).endswith("uint8")
