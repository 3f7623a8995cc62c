"""Gradient descent and Adam on a batch of runs side by side: hand-written gradients, in memory that is allocated once.

A run of the usual sizes is so small that a call into torch costs more than its arithmetic. A step of all runs is some
twenty calls, whatever their number: plain gradient descent needs no gradient in memory, since θ ← θ − η∇ is the
same product as ∇ itself with other factors. Results do not depend on which runs are in the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from analysis.dufm.model import Variables, targets
from analysis.dufm.problem import Problem

Optimizer = Literal["gd", "adam"]
Operations = Iterator[Callable[[], object]]

BETAS: Final = (0.9, 0.999)
EPSILON: Final = 1e-8
"""Adam's defaults, as its authors and torch have them."""
TINY: Final = 1e-200
"""What is smaller is 0: dying neurons decay into numbers that processors take a hundred times as long for."""
HEARD_SECONDS: Final = 0.2
"""Between two calls of what listens; a single product may take longer."""


class _Block(NamedTuple):
    """H_1, W_1 … W_L of all runs, one after the other in one piece of memory, so that one call reaches them all."""

    memory: Float[Tensor, " numbers"]
    variables: Variables

    @classmethod
    def like(cls, variables: Variables) -> _Block:
        sizes = [tensor.numel() for tensor in variables.tensors]
        memory = variables.features.new_zeros(sum(sizes))
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        features, *weights = (
            memory[start : start + tensor.numel()].view(tensor.shape)
            for start, tensor in zip(starts, variables.tensors, strict=True)
        )
        return cls(memory, Variables(features, tuple(weights)))

    @classmethod
    def of(cls, variables: Variables) -> _Block:
        block = cls.like(variables)
        for own, given in zip(block.variables.tensors, variables.tensors, strict=True):
            own.copy_(given)
        return block

    def keep(self, runs: Int64[Tensor, " kept"]) -> _Block:
        return _Block.of(self.variables.select(runs))


class Descent:
    """Steps of one optimiser on the loss of `problem`, for all runs of `variables` at once.

    gd: θ ← θ − η∇Loss. adam: Kingma, Ba 2015, with the gradient of the whole loss, decays included.

    >>> problem = Problem(num_classes=1, widths=(1,), weight_decays=(0.5,), feature_decay=0.5)
    >>> one = torch.ones(1, 1, 1)
    >>> descent = Descent(problem, Variables(one, (one,)), optimizer="gd", learning_rate=0.5)
    >>> descent.advance(1)
    >>> descent.variables.features.item()
    0.75
    """

    def __init__(self, problem: Problem, variables: Variables, *, optimizer: Optimizer, learning_rate: float) -> None:
        self.problem, self._optimizer, self._learning_rate = problem, optimizer, learning_rate
        self._state = [_Block.of(variables)]
        """θ; of Adam the two moments besides"""
        if optimizer == "adam":
            self._state += [_Block.like(variables), _Block.like(variables)]
        self._powers = variables.features.new_ones(2)
        """β_1^t, β_2^t after t steps"""
        self._prepare()

    @property
    def variables(self) -> Variables:
        """Where the runs are: the memory itself, which the next steps change."""
        return self._state[0].variables

    def advance(self, steps: int, hear: Callable[[], None] = lambda: None) -> None:
        """Take so many steps; `hear` is called five times a second, and may raise to stop between two products."""
        due = time.monotonic() + HEARD_SECONDS
        for _ in range(steps):
            for operation in self._step:
                operation()
                if time.monotonic() >= due:
                    hear()
                    due = time.monotonic() + HEARD_SECONDS
        for block in self._state:
            block.memory.copy_(torch.hardshrink(block.memory, TINY))

    def keep(self, runs: Int64[Tensor, " kept"]) -> None:
        """Go on with these runs alone, in this order."""
        self._state = [block.keep(runs) for block in self._state]
        self._prepare()

    def _prepare(self) -> None:
        operations = self._gradient_descent() if self._optimizer == "gd" else self._adam()
        self._step = tuple(operations)
        if self.variables.features.is_cuda:
            self._step = (_as_one_graph(self._step, [block.memory for block in self._state] + [self._powers]),)

    # -- what a step is made of ----------------------------------------------------------------------------------------

    def _gradient_descent(self) -> Operations:
        """θ ← (1 − ηλ) θ − η/N · product; W_1 is read for H_1 before it changes, and H_1 for W_1."""
        variables, rate = self.variables, self._learning_rate
        moved = Variables(torch.empty_like(variables.features), variables.weights)
        yield from self._combine(moved, of_decay=lambda decay: 1 - rate * decay, of_product=-rate)
        yield partial(variables.features.copy_, moved.features)

    def _adam(self) -> Operations:
        parameters, first, second = (block.memory for block in self._state)
        gradient = _Block.like(self.variables)
        yield from self._combine(gradient.variables, of_decay=lambda decay: decay, of_product=1.0)
        betas, ones = self._powers.new_tensor(BETAS), torch.ones_like(self._powers)
        corrections, root = torch.empty_like(ones), torch.empty_like(ones[1])
        divisor, mean = torch.empty_like(first), torch.empty_like(first)
        yield partial(first.lerp_, gradient.memory, 1 - BETAS[0])
        yield partial(second.mul_, BETAS[1])
        yield partial(second.addcmul_, gradient.memory, gradient.memory, value=1 - BETAS[1])
        yield partial(self._powers.mul_, betas)
        yield partial(torch.sub, ones, self._powers, out=corrections)
        yield partial(torch.sqrt, corrections[1], out=root)
        yield partial(torch.sqrt, second, out=divisor)
        yield partial(divisor.div_, root)
        yield partial(divisor.add_, EPSILON)
        yield partial(torch.div, first, corrections[0], out=mean)
        yield partial(parameters.addcdiv_, mean, divisor, value=-self._learning_rate)

    def _combine(self, out: Variables, *, of_decay: Callable[[float], float], of_product: float) -> Operations:
        """Forward and back; into each variable of `out`, of_decay(λ) · variable + of_product · gradient of the fit."""
        problem, variables = self.problem, self.variables
        relu = problem.activation == "relu"
        pre = [weight.new_empty(*weight.shape[:2], problem.num_samples) for weight in variables.weights]
        inputs = [variables.features, *(torch.empty_like(h) if relu else h for h in pre[:-1])]
        back = [torch.empty_like(h) for h in pre]
        for layer, weight in enumerate(variables.weights):
            if layer and relu:
                yield partial(torch.clamp_min, pre[layer - 1], 0, out=inputs[layer])
            yield partial(torch.bmm, weight, inputs[layer], out=pre[layer])
        yield from _residuals(problem, pre[-1], out=back[-1])
        scale = of_product / problem.num_samples
        for layer in reversed(range(problem.depth)):
            weight = variables.weights[layer]
            if layer:
                yield partial(torch.bmm, weight.mT, back[layer], out=back[layer - 1])
                if relu:
                    mask = torch.ops.aten.threshold_backward.grad_input
                    yield partial(mask, back[layer - 1], pre[layer - 1], 0, grad_input=back[layer - 1])
            else:
                factors = {"beta": of_decay(problem.feature_decay), "alpha": scale}
                yield partial(torch.baddbmm, variables.features, weight.mT, back[0], **factors, out=out.features)
            factors = {"beta": of_decay(problem.weight_decays[layer]), "alpha": scale}
            yield partial(torch.baddbmm, weight, back[layer], inputs[layer].mT, **factors, out=out.weights[layer])


def _residuals(problem: Problem, output: Tensor, *, out: Tensor) -> Operations:
    """The gradient of N · fit in the output: output − Y, or softmax − Y."""
    y = targets(problem, like=output)
    if problem.loss == "mse":
        yield partial(torch.sub, output, y, out=out)
    else:
        yield partial(torch.softmax, output, 1, out=out)
        yield partial(out.sub_, y)


def _as_one_graph(step: tuple[Callable[[], object], ...], state: list[Tensor]) -> Callable[[], object]:
    """The calls of a step as one CUDA graph; what warming up and capturing did to `state` is undone."""
    before = [tensor.clone() for tensor in state]
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has none here
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for operation in step:
            operation()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for operation in step:
            operation()
    for tensor, kept in zip(state, before, strict=True):
        tensor.copy_(kept)
    return graph.replay
