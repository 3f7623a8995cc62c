"""Networks with a deep, bias-free head on scikit-learn's digits: several seeds trained side by side.

The head is the deep unconstrained features model: H_2 = W_1 H_1, H_{l+1} = W_l ReLU(H_l), output H_{L+1}, of the loss

    1/(2N) ‖output − Y‖² + Σ_l λ_W/2 ‖W_l‖² + λ_H1/2 ‖H_1‖²

where H_1, the backbone's output for all N samples, is not free but what the backbone makes of the images. As in the
paper the backbone's own weights do not decay: its features do, so that the head's losses compare with the model's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

CLASSES, SAMPLES_PER_CLASS, DEPTH, WIDTH = 10, 174, 4, 64
BACKBONE_WIDTHS = (64, 128, 128, WIDTH)
WEIGHT_DECAY = 0.005
FEATURE_DECAY = 0.025 / SAMPLES_PER_CLASS
"""n λ_H1 = 0.025, as with the paper's λ_H1 = 0.000005 and n = 5 000."""
HEAD_GAIN = 0.7
"""Times 1/√inputs, the standard deviation of the head's first weights. It decides where training ends: at 0.6 the head
dies, at 0.7 all five seeds find solutions of low rank, at 0.9 all five end in deep neural collapse."""
LEARNING_RATE, MOMENTUM, BATCH_SIZE, WARM_UP_STEPS = 0.2, 0.9, 174, 200


class Networks(nn.Module):
    """A backbone with biases, then the head; all parameters have the seeds as their first axis."""

    def __init__(self, seeds: int) -> None:
        super().__init__()
        self.backbone = nn.ParameterList(_weights(seeds, *pair, gain=2**0.5) for pair in pairwise(BACKBONE_WIDTHS))
        self.backbone[-1].data /= 8  # features of about norm 1, as they will have
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(seeds, 1, width)) for width in BACKBONE_WIDTHS[1:])
        head_widths = [*[WIDTH] * DEPTH, CLASSES]
        self.head = nn.ParameterList(_weights(seeds, *pair, gain=HEAD_GAIN) for pair in pairwise(head_widths))

    def forward(self, samples: Tensor) -> dict[str, Tensor]:
        """What every layer of the head makes of the samples, (seeds, N, dim): H_1, H_2, relu(H_2), …, output."""
        hidden = samples
        for index, (weights, bias) in enumerate(zip(self.backbone, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden.relu() if index else hidden, weights)
        layers = {"H_1": hidden}
        for index, weights in enumerate(self.head, 2):
            layers["output" if index > DEPTH else f"H_{index}"] = hidden = hidden @ weights
            if index <= DEPTH:
                layers[f"relu(H_{index})"] = hidden = hidden.relu()
        return layers

    def regularization(self, features: Tensor, num_samples: int) -> Tensor:
        """Of each seed; `features` are the H_1 of a batch, that stands for all `num_samples`."""
        decay = WEIGHT_DECAY / 2 * torch.stack([weights.square().sum(dim=(1, 2)) for weights in self.head]).sum(dim=0)
        return decay + FEATURE_DECAY / 2 * num_samples * features.square().sum(dim=2).mean(dim=1)

    def applied_weights(self, seed: int) -> dict[str, Tensor]:
        """The matrix that is applied to a layer's features: W_1 to H_1, W_l to relu(H_l)."""
        inputs = ["H_1", *(f"relu(H_{index})" for index in range(2, DEPTH + 1))]
        return {name: weights[seed].detach().T for name, weights in zip(inputs, self.head, strict=True)}


def _weights(seeds: int, inputs: int, outputs: int, *, gain: float) -> nn.Parameter:
    return nn.Parameter(torch.randn(seeds, inputs, outputs) * gain / math.sqrt(inputs))


@dataclass(frozen=True)
class Look:
    """The networks at the end of an epoch (0: as initialised), on their training set."""

    epoch: int
    accuracy: Tensor
    """of each seed"""
    fit: Tensor
    regularization: Tensor
    labels: Tensor
    layers: dict[str, Tensor]
    """name → (seeds, N, dim)"""
    weights: list[dict[str, Tensor]]
    """of each seed, name of the layer → matrix"""


def train(*, seeds: int, epochs: int, look_at: Collection[int], on_epoch: Callable[[int], object]) -> Iterator[Look]:
    """Train with SGD on the loss above, the rate going down to nothing; gives a look at each epoch in `look_at`."""
    torch.set_num_threads(1)  # the matrices are small, and the other core computes the reports meanwhile
    torch.manual_seed(0)
    samples, labels = digits()
    networks = Networks(seeds)
    optimizer = torch.optim.SGD(networks.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
    steps = epochs * (len(samples) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARM_UP_STEPS) * _cosine_in_the_second_half(step / steps)
    )
    for epoch in range(epochs + 1):
        if epoch > 0:
            _train_one_epoch(networks, samples, labels, optimizer, schedule)
        on_epoch(epoch)
        if epoch in look_at:
            yield _look(networks, epoch, samples, labels)


def _cosine_in_the_second_half(share: float) -> float:
    """Full rate for the first half, where noise helps to find low rank; then down to nothing."""
    return (1 + math.cos(math.pi * max(0.0, 2 * share - 1))) / 2


def digits() -> tuple[Tensor, Tensor]:
    """174 images of 8 × 8 of each digit, centred, of mean norm 8: the model has as many samples in all classes."""
    loaded = load_digits()
    labels = torch.tensor(loaded.target)
    chosen = torch.cat([(labels == label).nonzero()[:SAMPLES_PER_CLASS, 0] for label in range(CLASSES)])
    samples = torch.tensor(loaded.data, dtype=torch.float32)[chosen]
    samples = samples - samples.mean(dim=0)
    return samples * (8 / samples.norm(dim=1).mean()), labels[chosen]


def _train_one_epoch(
    networks: Networks,
    samples: Tensor,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    for batch in torch.randperm(len(samples)).split(BATCH_SIZE):
        optimizer.zero_grad()
        layers = networks(_for_all(networks, samples[batch]))
        loss = fit(layers["output"], labels[batch]) + networks.regularization(layers["H_1"], len(samples))
        loss.sum().backward()
        optimizer.step()
        schedule.step()


def fit(output: Tensor, labels: Tensor) -> Tensor:
    """1/(2N) ‖output − Y‖² of each seed."""
    return (output - nn.functional.one_hot(labels, CLASSES)).square().sum(dim=2).mean(dim=1) / 2


def _for_all(networks: Networks, samples: Tensor) -> Tensor:
    return samples.expand(len(networks.head[0]), *samples.shape)


@torch.no_grad()
def _look(networks: Networks, epoch: int, samples: Tensor, labels: Tensor) -> Look:
    layers = networks(_for_all(networks, samples))
    return Look(
        epoch=epoch,
        accuracy=(layers["output"].argmax(dim=2) == labels).float().mean(dim=1),
        fit=fit(layers["output"], labels),
        regularization=networks.regularization(layers["H_1"], len(samples)),
        labels=labels,
        layers=layers,
        weights=[networks.applied_weights(seed) for seed in range(len(networks.head[0]))],
    )
