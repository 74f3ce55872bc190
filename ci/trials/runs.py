"""Short runs for the trials, each in a forked process that may be killed."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import Checkpoint, Network, resume, save_model, train
from xpnet.training import EarlyStopping

Kind = tuple[dict[str, Any], dict[str, Any]]  #: settings of `Network` and of `train`

#: Of these a trial takes one after the other.
KINDS: list[Kind] = [
    ({}, {"optimizer": "sgd"}),
    ({"dropout": 0.2}, {"optimizer": "adam", "average": 0.9}),
    (
        {"precision": "float64", "normalization": "layer"},
        {"optimizer": "rmsprop", "early_stopping": EarlyStopping(patience=1), "scaling": "robust"},
    ),
    ({"input_scale": True}, {"optimizer": "adamw", "input_noise": 0.1, "average": 0.5}),
]
EPOCHS, BATCHES = 3, 6

_rng = np.random.default_rng(0)
X, V = _rng.standard_normal((48, 4)).astype("f4"), _rng.standard_normal((16, 4)).astype("f4")
Y, W = X[:, 0] + 0.5 * _rng.standard_normal(48) > 0, V[:, 0] > 0


def begin(kind: Kind, folder: Path | None) -> Network:
    """Run a kind from its start, with a checkpoint after every batch if there is a *folder*."""
    made, called = kind
    net = Network([4, 5, 3, 1], "tanh", backend="numpy", random_state=1, **made)
    checkpoint = None if folder is None else Checkpoint(folder, seconds=1e-9)
    size = len(Y) // BATCHES
    options = {"validation_data": (V, W), "seed": 2, "checkpoint": checkpoint}
    train(net, X, Y, epochs=EPOCHS, batch_size=size, **options, **called)
    return net


def go_on(folder: Path) -> Network:
    """Go on with a run, with a checkpoint after every batch."""
    net, _ = resume(Checkpoint(folder, seconds=1e-9), X, Y, validation_data=(V, W))
    return net


def whole(kind: Kind, folder: Path) -> bytes:
    """Return the bytes of the model that a run gives which nothing interrupts."""
    path = folder / "whole.h5"
    save_model(begin(kind, None), path)
    content = path.read_bytes()
    path.unlink()
    return content


def fork(work: Callable[[], object]) -> int:
    """Start a process that does *work* and then exits with 0; return its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except KeyboardInterrupt:
            code = 130  # as of Python itself
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return child


def exit_code(child: int) -> int:
    """Wait for a process; return its exit code, as a shell does for one that a signal ended."""
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def kill_after(child: int, seconds: float, number: int = signal.SIGKILL) -> None:
    """Send a process a signal some time from now; it need not live then."""
    time.sleep(seconds)
    os.kill(child, number)
