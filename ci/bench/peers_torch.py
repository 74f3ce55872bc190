"""PyTorch: eager, compiled, and on a GPU as a captured CUDA graph."""

# ruff: noqa: D102 - what a method promises stands once, in Peer

from __future__ import annotations

import itertools
import shutil
from typing import Any

import numpy as np
import torch
from peers import MissingPeerError, Parameters, Peer, Predictor


class Torch(Peer):
    """Eager PyTorch with fused optimizers."""

    name = "PyTorch"

    def prepare(self) -> None:
        if self.on_gpu and not torch.cuda.is_available():
            raise MissingPeerError("this torch sees no CUDA device")
        torch.set_num_threads(self.threads)
        self.device = "cuda" if self.on_gpu else "cpu"
        dtype = getattr(torch, self.dtype)
        self.model = self.network().to(self.device, dtype)
        X = torch.from_numpy(self.X).to(self.device)
        y = torch.from_numpy(self.y).to(self.device, dtype).reshape(-1, 1)
        self.parts = self.batches(X, y)
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[self.workload.solver]
        options = {"capturable": True} if kind is torch.optim.Adam and self.on_gpu else {}
        self.optimizer = kind(self.model.parameters(), lr=self.workload.rate, fused=True, **options)
        self.loss = self.compiled(self.eager_loss)

    def network(self) -> Any:
        """Return the model, starting from the same parameters as all."""
        layers: list[Any] = []
        for (n_in, n_out), (W, b) in zip(
            itertools.pairwise(self.workload.layers), self.start, strict=True
        ):
            linear = torch.nn.Linear(n_in, n_out)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(W))
                linear.bias.copy_(torch.from_numpy(b[:, 0]))
            layers += [linear, torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])

    def eager_loss(self, X: Any, y: Any) -> Any:
        """Return the mean loss."""
        return torch.nn.functional.binary_cross_entropy_with_logits(self.model(X), y)

    def compiled(self, function: Any) -> Any:
        """Return *function* as it is called."""
        return function

    def step(self, X: Any, y: Any) -> None:
        """Take one step."""
        self.optimizer.zero_grad()
        self.loss(X, y).backward()
        self.optimizer.step()

    def epochs(self, n: int) -> None:
        for _ in range(n):
            for X, y in self.parts:
                self.step(X, y)
        if self.on_gpu:
            torch.cuda.synchronize()

    def parameters(self) -> Parameters:
        values = [value.detach().cpu().numpy() for value in self.model.parameters()]
        return [(W, b[:, None]) for W, b in zip(values[::2], values[1::2], strict=True)]

    def predictor(self) -> Predictor:
        def probabilities(X: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                P = torch.sigmoid(self.model(torch.from_numpy(X).to(self.device)))
                return torch.cat([1.0 - P, P], dim=1).cpu().numpy()

        return probabilities


class TorchCompiled(Torch):
    """The same with forward, loss and backward compiled."""

    name = "PyTorch compiled"

    def prepare(self) -> None:
        if not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise MissingPeerError("there is no C++ compiler")
        super().prepare()

    def compiled(self, function: Any) -> Any:
        torch._dynamo.reset()
        return torch.compile(function, dynamic=False)


class TorchGraph(Torch):
    """A whole step captured in a CUDA graph, which reads its batch from fixed buffers."""

    name = "PyTorch graph"

    def prepare(self) -> None:
        super().prepare()
        self.fixed = [tensor.clone() for tensor in self.parts[0]]
        before = [value.detach().clone() for value in self.model.parameters()]
        side = torch.cuda.Stream()  # PyTorch asks for some steps beside the captured stream
        torch.cuda.synchronize()
        with torch.cuda.stream(side):
            for _ in range(3):
                super().step(*self.fixed)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            super().step(*self.fixed)
        with torch.no_grad():  # the three steps before did not happen
            for value, first in zip(self.model.parameters(), before, strict=True):
                value.copy_(first)
            for state in self.optimizer.state.values():
                for tensor in filter(torch.is_tensor, state.values()):
                    tensor.zero_()

    def step(self, X: Any, y: Any) -> None:
        if len(self.parts) > 1:
            for fixed, tensor in zip(self.fixed, (X, y), strict=True):
                fixed.copy_(tensor)
        self.graph.replay()
