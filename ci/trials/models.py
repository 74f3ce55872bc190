"""Small trained models for the trials, one over the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpnet import Network, save_model, train


def trained(seed: int, hidden: int = 4) -> Network:
    """Return a network in the middle of its training; another one for each *seed*."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((20, 3)).astype("f4")
    net = Network([3, hidden, 1], "tanh", backend="numpy", random_state=seed)
    train(net, X, X[:, 0] > 0, optimizer="adam", epochs=2, batch_size=8, seed=seed)
    return net


def saved(net: Network, folder: Path) -> bytes:
    """Return the bytes of the model file of *net*."""
    path = folder / "whole.h5"
    save_model(net, path)
    content = path.read_bytes()
    path.unlink()
    return content
