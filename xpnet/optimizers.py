"""The optimizers: each a name, its numbers, its state and one rule over flat vectors.

A rule says by what step the parameters θ fall, from their gradient and the rule's own vectors.
Those start at zero, and all that depends on the number of the step alone is in Python floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from .errors import InputError
from .formulas import Array, Formula, Xp
from .rules import Rule
from .schedules import Schedule, get_schedule
from .settings import AT_LEAST_0, BELOW_1, POSITIVE, Range, Settings, make

__all__ = [
    "LBFGS",
    "OPTIMIZERS",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "NAdam",
    "Optimizer",
    "RMSProp",
    "get_optimizer",
]


@dataclass(frozen=True)
class Optimizer(Settings):
    """What all optimizers share.

    Parameters
    ----------
    learning_rate : float
        The rate α that the schedule starts from; above 0.
    schedule : str, mapping or Schedule
        How the rate moves from the first step of a run to its last: one of `schedules.SCHEDULES`,
        by name with its defaults, or with settings of its own.
    alpha : float
        L2 penalty: ``alpha W/m`` is added to the gradient of the weights, where m is the number of
        a batch's rows, as in scikit-learn.
    l1 : float
        L1 penalty: ``l1 sign(W)/m``, likewise.
    weight_decay : float
        Decoupled decay: before a step, weights fall by ``α weight_decay W``.
    clip_norm : float, optional
        The gradient is scaled down to this Euclidean norm if its own is larger.
    clip_value : float, optional
        Each entry of the gradient is brought between ``-clip_value`` and it.

    Raises
    ------
    InputError
        If a hyper-parameter is out of its range.
    """

    ranges: ClassVar = {
        "learning_rate": POSITIVE,
        "alpha": AT_LEAST_0,
        "l1": AT_LEAST_0,
        "weight_decay": AT_LEAST_0,
        "clip_norm": POSITIVE,
        "clip_value": POSITIVE,
        "momentum": BELOW_1,
        "rho": BELOW_1,
        "beta_1": BELOW_1,
        "beta_2": BELOW_1,
        "epsilon": POSITIVE,
        "momentum_decay": AT_LEAST_0,
    }
    optional: ClassVar = frozenset({"clip_norm", "clip_value"})

    learning_rate: float = 0.01
    schedule: str | Mapping[str, Any] | Schedule = "constant"
    _: KW_ONLY
    alpha: float = 0.0
    l1: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedule", get_schedule(self.schedule))

    @property
    def rule(self) -> Rule:
        """The rule that these hyper-parameters ask for."""
        raise NotImplementedError

    @property
    def formula(self) -> Formula:
        """See `Rule.formula`."""
        return self.rule.formula

    @property
    def state(self) -> tuple[str, ...]:
        """The formula's vectors of its own, by name."""
        return self.rule.state

    def rates(self, epoch: int, losses: Sequence[float]) -> Callable[[float], float]:
        """Return the learning rate in the epoch to come: see `Schedule.epoch`."""
        factor = get_schedule(self.schedule).epoch(epoch, losses)
        return lambda done: self.learning_rate * factor(done)

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        """Return the formula's scalars at *step*, counted from 1, as Python floats."""
        raise NotImplementedError


def _descend(xp: Xp, grad: Array, rate: float) -> tuple[Array, ...]:
    return (rate * grad,)


def _momentum(
    xp: Xp, grad: Array, velocity: Array, rate: float, momentum: float
) -> tuple[Array, ...]:
    velocity = momentum * velocity + grad
    return rate * velocity, velocity


def _nesterov(
    xp: Xp, grad: Array, velocity: Array, rate: float, momentum: float
) -> tuple[Array, ...]:
    velocity = momentum * velocity + grad
    return rate * (grad + momentum * velocity), velocity


_DESCENT = Rule(_descend)
_MOMENTUM, _NESTEROV = Rule(_momentum, ("velocity",)), Rule(_nesterov, ("velocity",))


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent, stochastic where batches are: ``θ := θ - α g``.

    With *momentum* μ, as PyTorch has it (Sutskever et al. 2013): ``u := μ u + g`` and
    ``θ := θ - α u``, or with *nesterov* ``θ := θ - α (g + μ u)``.
    """

    name = "sgd"

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.nesterov, bool):
            raise InputError(f"nesterov: expected True or False; got {self.nesterov!r}")
        if self.nesterov and not self.momentum:
            raise InputError("nesterov: expected False without momentum; got True; give momentum")

    @property
    def rule(self) -> Rule:
        """Of one vector, or without momentum of none."""
        if not self.momentum:
            return _DESCENT
        return _NESTEROV if self.nesterov else _MOMENTUM

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        """Return ``(α,)``, or with momentum ``(α, μ)``."""
        return (rate, self.momentum) if self.momentum else (rate,)


def _adagrad(xp: Xp, grad: Array, v: Array, rate: float, epsilon: float) -> tuple[Array, ...]:
    v = v + grad * grad
    return rate * grad / (xp.sqrt(v) + epsilon), v


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """AdaGrad (Duchi et al. 2011), with PyTorch's defaults: ``θ := θ - α g/(√Σg² + ε)``."""

    name = "adagrad"
    rule = Rule(_adagrad, ("v",))

    epsilon: float = 1e-10

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        """Return ``(α, ε)``."""
        return rate, self.epsilon


# Moving means ``β m + (1-β) g`` are kept without the factor: ``M := β M + g`` is m/(1-β).  The
# factor is in the scalars, and with it the correction ``1/(1-βᵗ)`` for the start from zero.


def _rmsprop(
    xp: Xp, grad: Array, v: Array, rate: float, rho: float, epsilon: float
) -> tuple[Array, ...]:
    v = rho * v + grad * grad
    return rate * grad / (xp.sqrt(v) + epsilon), v


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """RMSProp (Hinton 2012), with PyTorch's defaults: ``θ := θ - α g/(√v + ε)``.

    Parameters
    ----------
    rho : float
        The decay of v, the moving mean of g², in [0, 1).
    epsilon : float
        Added to ``√v``.
    """

    name = "rmsprop"
    rule = Rule(_rmsprop, ("v",))

    rho: float = 0.99
    epsilon: float = 1e-8

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        """Return ``(α c, ρ, ε c)`` with ``c = √V/√v``."""
        c = 1.0 / math.sqrt(1.0 - self.rho)
        return rate * c, self.rho, self.epsilon * c


def _adam(
    xp: Xp,
    grad: Array,
    m: Array,
    v: Array,
    rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> tuple[Array, ...]:
    m = beta_1 * m + grad
    v = beta_2 * v + grad * grad
    return rate * m / (xp.sqrt(v) + epsilon), m, v


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), with PyTorch's defaults: ``θ := θ - α m̂/(√v̂ + ε)``.

    Parameters
    ----------
    beta_1, beta_2 : float
        The decay of the first and second moment, in [0, 1).
    epsilon : float
        Added to ``√v̂``.
    """

    name = "adam"
    rule = Rule(_adam, ("m", "v"))

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        """Return ``(α c (1-β₁)/(1-β₁ᵗ), β₁, β₂, ε c)`` with ``c = √V/√v̂``."""
        first, c = (1.0 - self.beta_1) / (1.0 - self.beta_1**step), self._root(step)
        return rate * c * first, self.beta_1, self.beta_2, self.epsilon * c

    def _root(self, step: int) -> float:
        """``√V/√v̂ = √((1-β₂ᵗ)/(1-β₂))``."""
        return math.sqrt((1.0 - self.beta_2**step) / (1.0 - self.beta_2))


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), with PyTorch's defaults."""

    name = "adamw"

    weight_decay: float = field(default=0.01, kw_only=True)


def _nadam(
    xp: Xp,
    grad: Array,
    m: Array,
    v: Array,
    rate: float,
    rate_m: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> tuple[Array, ...]:
    m = beta_1 * m + grad
    v = beta_2 * v + grad * grad
    return (rate * grad + rate_m * m) / (xp.sqrt(v) + epsilon), m, v


@dataclass(frozen=True)
class NAdam(Adam):
    """Adam with Nesterov's momentum (Dozat 2016), with PyTorch's defaults.

    Parameters
    ----------
    momentum_decay : float
        How fast the momentum ``μ_t = β₁ (1 - 0.96^(t momentum_decay)/2)`` grows.
    """

    name = "nadam"
    rule = Rule(_nadam, ("m", "v"))

    learning_rate: float = 0.002
    momentum_decay: float = 0.004

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        """Return ``α (1-μ_t)/(1-Πμ)`` and ``α μ_{t+1}/(1-Πμ μ_{t+1})`` for M, then Adam's."""
        mu, coming = self._mu(step), self._mu(step + 1)
        product, c = self._product(step), self._root(step)
        of_grad = (1.0 - mu) / (1.0 - product)
        of_m = coming * (1.0 - self.beta_1) / (1.0 - product * coming)
        return rate * c * of_grad, rate * c * of_m, self.beta_1, self.beta_2, self.epsilon * c

    def _mu(self, step: int) -> float:
        return self.beta_1 * (1.0 - 0.5 * math.pow(0.96, step * self.momentum_decay))

    def _product(self, step: int) -> float:
        """``Π_{i=1}^t μ_i``, in closed form: a run goes on from the number of its step alone.

        By ``log(1 - x/2) = -Σ_k x^k/(k 2^k)``, of which each term is a geometric sum over i.
        """
        if self.beta_1**step < 2.0**-60:  # the product is smaller still, and nothing beside 1
            return 0.0
        total, log_q = step * math.log(self.beta_1), self.momentum_decay * math.log(0.96)
        for k in range(1, 65):
            s = k * log_q
            powers = math.exp(s) * math.expm1(step * s) / math.expm1(s) if s else step
            total -= powers / (k * 2.0**k)
        return math.exp(total)


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """Limited-memory BFGS (Liu & Nocedal 1989), SciPy's, for small data.

    Every epoch is an iteration.  It takes full batches, finds its own step lengths, and begins anew
    in every run; rate and schedule are not asked.

    Parameters
    ----------
    memory : int
        How many past steps approximate the Hessian.
    tolerance : float
        It ends where no entry of the gradient is larger.
    """

    name = "lbfgs"
    ranges: ClassVar = {
        **Optimizer.ranges,
        "memory": Range("an integer above 0", lambda n: n > 0, int),
        "tolerance": POSITIVE,
    }

    memory: int = 10
    tolerance: float = 1e-5

    @property
    def rule(self) -> Rule:
        """None of its own."""
        return _DESCENT


OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.name: kind for kind in (SGD, RMSProp, AdaGrad, Adam, AdamW, NAdam, LBFGS)
}


def get_optimizer(optimizer: str | Optimizer, **hyper_parameters: Any) -> Optimizer:
    """Return *optimizer*, or a new one of that name with these *hyper_parameters*.

    Raises
    ------
    InputError
        If there is none of that name, or a hyper-parameter is not its or out of range.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    return make("optimizer", OPTIMIZERS, optimizer, hyper_parameters)
