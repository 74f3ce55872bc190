"""The buffers and routines of one run of training: everything that a step uses is made here."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from .divergence import diverged, is_finite
from .dropout import Noise, Places, draw_keys
from .errors import TrainingDiverged
from .formulas import Array, Formula, Xp, accumulate
from .layout import ALIGNMENT
from .losses import LOSSES, Loss
from .network import Network
from .passes import Pass
from .rows import Rows
from .rules import clip_value, decay, penalise, scale_by
from .state import Pause, TrainingState

__all__ = ["Plan", "Run"]


@dataclass(frozen=True)
class Plan:
    """How a step is made, beside the optimizer."""

    loss: Loss = field(default_factory=lambda: LOSSES["logistic"])
    shuffle: bool = True
    input_noise: float = 0.0
    average: float = 0.0
    rate_factors: Mapping[str, float] = field(default_factory=dict)


def _average(xp: Xp, average: Array, theta: Array, gain: float) -> Array:
    return average + gain * (theta - average)


def _clip_factor(xp: Xp, factor: Array, squares: Array, limit: float) -> Array:
    return xp.minimum(limit / (xp.sqrt(squares) + 1e-6), 1.0)


_average_formula = Formula(_average, ("average",))
_clip_factor_formula = Formula(_clip_factor, ("factor",))


class _Worker:
    """One thread's share of every batch: its columns, the passes over them, and their gradient.

    Columns are views of the data; shuffled, sparse or noisy ones are gathered into a buffer, by the
    indices in *order*.
    """

    def __init__(
        self,
        run: Run,
        rows: Rows,
        cuts: list[slice],
        offsets: list[int],
        gradient: Array,
    ) -> None:
        net, order = run.net, run.order
        self.backend = net.backend
        widths = [cut.stop - cut.start for cut in cuts]
        self.passes = self._make_passes(run, widths, offsets, rows.w is not None, gradient)
        self.gathered = order is not None
        self.noise: list[Noise] = []
        if order is None:
            X, Y = rows.X.T, rows.Y.T
            self.columns = [X[:, cut] for cut in cuts]
            sources = [Y] if rows.w is None else [Y, rows.w.T]
            self.sources = [[source[:, cut] for source in sources] for cut in cuts]
            self.targets = [[step.Y, step.w][: len(sources)] for step in self.passes]
            self.load(0)
            return
        buffer = net.backend.xp.empty((max(widths), rows.X.shape[1]), dtype=net.dtype)
        self.rows = [rows.X, rows.Y] if rows.w is None else [rows.X, rows.Y, rows.w]
        self.indices = [order[cut] for cut in cuts]
        self.buffers = [
            [buffer[:width], step.Y.T, *([] if step.w is None else [step.w.T])]
            for width, step in zip(widths, self.passes, strict=True)
        ]
        self.columns = [buffers[0].T for buffers in self.buffers]
        if run.plan.input_noise > 0.0:
            self.noise = [
                Noise(run.places(start, width), 0, run.plan.input_noise, buffers[0])
                for start, width, buffers in zip(offsets, widths, self.buffers, strict=True)
            ]

    def _make_passes(
        self, run: Run, widths: list[int], offsets: list[int], weighted: bool, gradient: Array
    ) -> list[Pass]:
        """One pass for each width and place in the batch; all share the widest one's workspace."""
        made: dict[tuple[int, int], Pass] = {}
        workspace = None
        for width, start in sorted(set(zip(widths, offsets, strict=True)), reverse=True):
            places = run.places(start, width) if any(run.net.dropout) else None
            made[width, start] = step = Pass(
                run.net,
                width,
                loss=run.plan.loss,
                weighted=weighted,
                places=places,
                workspace=workspace,
                gradient=gradient,
            )
            workspace = step.workspace
        return [made[key] for key in zip(widths, offsets, strict=True)]

    def load(self, k: int) -> None:
        """Bring the columns, targets and weights of batch *k* to where its pass wants them."""
        if not self.gathered:
            for source, target in zip(self.sources[k], self.targets[k], strict=True):
                target[...] = source
            return
        for rows, buffer in zip(self.rows, self.buffers[k], strict=True):
            self.backend.gather(rows, self.indices[k], buffer)
        if self.noise:
            self.noise[k].apply()

    def step(self, k: int, sums: Array, scale: float) -> None:
        """Compute the gradient of this share of batch *k*."""
        if self.gathered or len(self.passes) > 1:
            self.load(k)
        self.passes[k].loss_and_gradients(self.columns[k], scale, sums)


class _Update:
    """One thread's part of the flat vectors: gradients are summed there, then θ is moved."""

    def __init__(self, run: Run, part: slice, gradients: list[Array], clip: Array) -> None:
        net, state = run.net, run.state
        self.optimizer, compiler = state.optimizer, net.backend.compiler()
        theta, (first, *others) = net.theta[part], [gradient[part] for gradient in gradients]
        vectors = [state.vectors[name][part] for name in self.optimizer.state]
        weights = slice(0, max(0, min(net.layout.n_weights, part.stop) - part.start))
        self.has_weights = weights.stop > 0
        self.sums = [compiler(accumulate, first, other) for other in others]
        self.scale = compiler(scale_by, first, clip)
        self.clip = compiler(clip_value, first)
        if self.has_weights:
            self.penalise = compiler(penalise, first[weights], theta[weights])
            self.decay = compiler(decay, theta[weights])
        rule = self.optimizer.rule
        if run.factors is None:
            self.move = compiler(rule.formula, theta, first, *vectors)
        else:
            factors = run.factors[part]
            self.move = compiler(rule.formula_with_factors, theta, first, factors, *vectors)
        self.state, self.gain = state, 1.0 - run.plan.average
        self.average = None
        if run.plan.average > 0.0:
            self.average = compiler(_average_formula, state.vectors["average"][part], theta)

    def sum(self) -> None:
        """Add up the workers' gradients, in fixed order."""
        for add in self.sums:
            add()

    def apply(self, rate: float, total: float, scalars: tuple[float, ...]) -> None:
        """Move θ; *total* is the batch's number of rows, or their weight."""
        optimizer = self.optimizer
        if optimizer.clip_norm is not None:
            self.scale()
        if optimizer.clip_value is not None:
            self.clip(-optimizer.clip_value, optimizer.clip_value)
        if self.has_weights and (optimizer.alpha or optimizer.l1):
            self.penalise(optimizer.alpha / total, optimizer.l1 / total)
        if self.has_weights and optimizer.weight_decay:
            self.decay(1.0 - rate * optimizer.weight_decay)
        self.move(*scalars)
        if self.average is not None:
            self.average(max(self.gain, 9.0 / (self.state.step + 9.0)))

    def sum_and_apply(self, rate: float, total: float, scalars: tuple[float, ...]) -> None:
        """Both at one go."""
        self.sum()
        self.apply(rate, total, scalars)


class Run:
    """One call of `train`: its batches, its workers, and the step that they make."""

    def __init__(self, net: Network, state: TrainingState, rows: Rows, plan: Plan) -> None:
        xp, self.net, self.state, self.plan, self.rows = net.backend.xp, net, state, plan, rows
        m = len(rows)
        width = state.batch_size or m
        starts = range(0, m, width)
        self.starts, self.widths = list(starts), [min(width, m - start) for start in starts]
        self.shuffled = plan.shuffle and len(starts) > 1
        self.random = plan.input_noise > 0.0 or any(net.dropout)
        gathered = self.shuffled or rows.sparse or plan.input_noise > 0.0
        self.order = xp.arange(m, dtype="int64") if gathered else None
        self.key = xp.zeros((net.depth, 1, 1), dtype="uint32")
        self.keys = xp.zeros((len(starts), net.depth, 1, 1), dtype="uint32")
        self.factors = self._factors() if plan.rate_factors else None
        self._start_average()
        n = net.backend.workers(net.layout.flops(width))
        self.sums = xp.empty((len(starts), n, 2, 1), dtype=net.dtype)
        self.totals = [float(w) for w in self.widths]
        self._bind()
        self.start, self.good = xp.copy(net.theta), xp.copy(net.theta)
        self.batch = 0  #: batches done of the epoch

    def _bind(self) -> None:
        """Make the workers' buffers, and bind the routines of a step to them."""
        net, xp, n = self.net, self.net.backend.xp, self.sums.shape[1]
        gradients = [net.gradient, *(xp.zeros_like(net.gradient) for _ in range(n - 1))]
        self.workers: list[_Worker] = []
        self.shares: list[list[partial[None]]] = []  # a former binding's memory is free now
        for t, gradient in enumerate(gradients):
            bounds = [(w * t // n, w * (t + 1) // n) for w in self.widths]
            cuts = [slice(s + a, s + b) for s, (a, b) in zip(self.starts, bounds, strict=True)]
            self.workers.append(_Worker(self, self.rows, cuts, [a for a, _ in bounds], gradient))
        self.shares = [
            [partial(worker.step, k, self.sums[k, t]) for t, worker in enumerate(self.workers)]
            for k in range(len(self.starts))
        ]
        clip = xp.ones(1, dtype=net.dtype)
        updates = [_Update(self, part, gradients, clip) for part in _parts(net.theta.size, n)]
        self.adds, self.moves = [u.sum for u in updates], [u.apply for u in updates]
        self.adds_and_moves = [u.sum_and_apply for u in updates]
        self._bind_norm(clip)

    def places(self, start: int, width: int) -> Places:
        """Where *width* columns from *start* of a batch draw their random numbers from."""
        backend = self.net.backend
        return Places(backend.xp, backend.compiler(), self.key, start, width)

    def _factors(self) -> Array:
        """The factors on the learning rate, laid out like θ."""
        flat = self.net.backend.xp.zeros_like(self.net.theta) + 1.0
        for name, view in self.net.layout.named(flat).items():
            kind = name.rstrip("0123456789")
            view[...] = self.plan.rate_factors.get(name, self.plan.rate_factors.get(kind, 1.0))
        return flat

    def _start_average(self) -> None:
        """The average starts at θ, or goes on where a run left both."""
        vectors, net = self.state.vectors, self.net
        raw = vectors.pop("raw", None)
        if self.plan.average > 0.0:
            vectors["average"] = net.backend.xp.copy(net.theta)
            if raw is not None:
                net.theta[...] = raw

    def _bind_norm(self, clip: Array) -> None:
        """Prepare ``min(1, limit/‖g‖)``, which `scale_by` takes from *clip*."""
        xp, g = self.net.backend.xp, self.net.gradient
        self.row, self.column = g.reshape(1, -1), g.reshape(-1, 1)
        self.squares = xp.empty((1, 1), dtype=self.net.dtype)
        compiler = self.net.backend.compiler()
        self.clip_factor = compiler(_clip_factor_formula, clip, self.squares.reshape(1))

    def gradients(self, k: int) -> None:
        """Let every worker compute the gradient of its share of batch *k*."""
        if self.random:
            self.key[...] = self.keys[k]
        self.net.backend.run(self.shares[k], 1.0 / self.totals[k])

    def sum_gradients(self) -> None:
        """Add up the workers' gradients in the network's."""
        self.net.backend.run(self.adds)

    def step(self, k: int, rate: float) -> None:
        """One update from batch *k*."""
        state, backend, total = self.state, self.net.backend, self.totals[k]
        self.gradients(k)
        state.step += 1
        scalars = state.optimizer.scalars(rate, state.step)
        limit = state.optimizer.clip_norm
        if limit is None:
            backend.run(self.adds_and_moves, rate, total, scalars)
            return
        self.sum_gradients()
        self.row.dot(self.column, out=self.squares)
        self.clip_factor(limit)
        backend.run(self.moves, rate, total, scalars)

    def epoch(self, last: int, after: Callable[[], bool] | None = None) -> bool:
        """Run what is left of an epoch, of the *last* that there will be; `sums` has its losses.

        *after* is called between batches, and where it returns True, the epoch is left there; tell
        whether it is done.
        """
        state, n = self.state, len(self.widths)
        if self.batch == 0:
            self.start[...] = self.net.theta
        self.draw()
        history = state.history
        rate = state.optimizer.rates(state.epoch, history.get("val_loss", history["loss"]))
        begun = time.perf_counter()
        for k in range(self.batch, n):
            self.step(k, rate((state.epoch + k / n) / last))
            if after is not None and k + 1 < n:
                self.batch = k + 1
                if after():
                    return False
        self.batch = 0
        if self.net.backend.spent(time.perf_counter() - begun):
            self._bind()
        return True

    def pause(self) -> tuple[dict[str, Array], np.ndarray | None]:
        """Return what is needed to go on from here beside θ and the state: vectors, and losses."""
        if self.batch == 0:
            return {"good": self.good}, None
        sums = self.net.backend.to_host(self.sums)[: self.batch, :, :, 0]
        return {"good": self.good, "start": self.start}, sums

    def resume(self, pause: Pause) -> Array | None:
        """Go on from *pause*; return the parameters of the best epoch, if they are kept.

        The network has those then, and *pause* what goes on: θ, or its average.
        """
        self.good[...] = pause.vectors["good"]
        self.batch = pause.batch
        if pause.sums is not None:
            self.start[...] = pause.vectors["start"]
            n, sums = self.sums.shape[1], pause.sums
            if sums.shape[1] != n:  # of other threads: the first takes it all
                sums = np.zeros((pause.batch, n, 2), sums.dtype)
                sums[:, 0] = pause.sums.sum(axis=1)
            self.sums[: pause.batch] = self.net.backend.asarray(sums[..., None])
        if "current" not in pause.vectors:
            return None
        goes_on = self.state.vectors["average"] if self.plan.average > 0.0 else self.net.theta
        best = self.net.backend.xp.copy(goes_on)
        goes_on[...] = pause.vectors["current"]
        return best

    def draw(self) -> None:
        """Send what is random in this epoch: the order of the rows, the keys of each step."""
        state, send, rows = self.state, self.net.backend.send, self.rows
        order: Any = slice(None)
        if self.shuffled:
            order = np.random.default_rng([state.seed, state.epoch]).permutation(len(rows))
            send(order, self.order)
        if self.random:
            keys = draw_keys(state.seed, state.epoch, len(self.widths), self.net.depth)
            send(keys.reshape(self.keys.shape), self.keys)
        if rows.weights is not None:
            self.totals = np.add.reduceat(rows.weights[order], self.starts).tolist()

    def mean_loss(self, sums: np.ndarray) -> float:
        """Return the last epoch's mean loss from its *sums*, once they are on the host."""
        return float(sums.reshape(-1, 2)[:, 1].sum(dtype=float)) / sum(self.totals)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """In here the network is as after the run, with the averaged parameters if there are."""
        self._swap("average", "raw")
        try:
            yield
        finally:
            self._swap("raw", "average")

    def _swap(self, name: str, other: str) -> None:
        """Let θ and the vector of that *name* change places; the vector gets its *other* name."""
        theta, vectors = self.net.theta, self.state.vectors
        if name in vectors:
            kept = self.net.gradient  # no one needs it between steps
            kept[...] = theta
            theta[...] = vectors[name]
            vectors[name][...] = kept
            vectors[other] = vectors.pop(name)

    def finish(self, best: Array | None) -> TrainingDiverged | None:
        """Leave the network with its *best* parameters, or else the averaged ones.

        If the last ones are not finite, they are taken back; return the error that says so.
        """
        self._swap("average", "raw")
        error = None
        if not is_finite(self.net):
            error = diverged(self.net, self.state.epoch, "parameters")
            self._take_back()
        if best is not None:
            self.net.theta[...] = best
            self.state.vectors.pop("raw", None)
        return error

    def require_finite(self, value: float, what: str) -> None:
        """Unless *value* is finite, take back the last good parameters and say so."""
        if not math.isfinite(value):
            error = diverged(self.net, self.state.epoch + 1, what)
            self._take_back()
            raise error

    def _take_back(self) -> None:
        """Let the optimizer start anew from the last good parameters: its vectors are not."""
        self.net.theta[...] = self.good
        for name, vector in self.state.vectors.items():
            vector[...] = self.good if name in ("average", "raw") else 0.0
        self.state.step = 0


def _parts(length: int, n: int) -> list[slice]:
    """Cut *length* into *n* slices, aligned as the layout is."""
    cuts = [length * t // n // ALIGNMENT * ALIGNMENT for t in range(n)]
    return [slice(a, b) for a, b in itertools.pairwise([*cuts, length])]
