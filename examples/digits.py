"""A bias-free ReLU network with a deep head, trained on scikit-learn's digits until long after its last error."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

CLASSES, STEM_WIDTH, HEAD_WIDTH, HEAD_DEPTH = 10, 256, 64, 6
LEARNING_RATE, MOMENTUM, BATCH_SIZE, WARM_UP_STEPS = 0.1, 0.9, 128, 200
# The stem makes features nearly freely, as deep backbones do; the decay of the head is what lowers its rank.
STEM_DECAY, HEAD_DECAY = 1e-4, 2e-3


class Network(nn.Module):
    """64 → stem → six layers of the head → 10 scores; linear layers without biases, a ReLU after each but the last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, STEM_WIDTH, bias=False)
        widths = [STEM_WIDTH, *[HEAD_WIDTH] * HEAD_DEPTH]
        self.head = nn.ModuleList(nn.Linear(*pair, bias=False) for pair in pairwise(widths))
        self.classifier = nn.Linear(HEAD_WIDTH, CLASSES, bias=False)
        for parameter in self.parameters():
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")

    def forward(self, samples: Tensor) -> Tensor:
        """The scores (N, 10)."""
        hidden = self.stem(samples).relu()
        for layer in self.head:
            hidden = layer(hidden).relu()
        return self.classifier(hidden)

    def features(self, samples: Tensor) -> dict[str, Tensor]:
        """What every layer makes of the samples, before its ReLU (`head.3`) and after it (`head.3.relu`)."""
        features, hidden = {}, samples
        for name, layer in self._hidden_layers().items():
            features[name] = layer(hidden)
            features[f"{name}.relu"] = hidden = features[name].relu()
        return features

    def applied_weights(self) -> dict[str, Tensor]:
        """The matrix that is applied to a layer's features: the next layer's, in the end the classifier."""
        layers = self._hidden_layers()
        following = [*list(layers.values())[1:], self.classifier]
        return {f"{name}.relu": layer.weight for name, layer in zip(layers, following, strict=True)}

    def _hidden_layers(self) -> dict[str, nn.Module]:
        return {"stem": self.stem} | {f"head.{number}": layer for number, layer in enumerate(self.head, 1)}


@dataclass(frozen=True)
class Snapshot:
    """The network at the end of an epoch (0: as initialised), looked at on its training set."""

    epoch: int
    accuracy: float
    loss: float
    labels: Tensor
    features: dict[str, Tensor]
    weights: dict[str, Tensor]


def train(
    *, epochs: int, record_at: Collection[int], on_epoch: Callable[[int], object], seed: int = 0
) -> Iterator[Snapshot]:
    """Train with squared error, SGD and weight decay; gives a snapshot of each epoch in `record_at`."""
    torch.set_num_threads(1)  # the matrices are small, and the other core computes the reports meanwhile
    torch.manual_seed(seed)
    samples, labels = _digits()
    network = Network()
    parameters = [
        {"params": network.stem.parameters(), "weight_decay": STEM_DECAY},
        {"params": [*network.head.parameters(), *network.classifier.parameters()], "weight_decay": HEAD_DECAY},
    ]
    optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
    steps = epochs * (len(samples) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warm_up_then_cosine(step, steps))
    for epoch in range(epochs + 1):
        if epoch > 0:
            _train_one_epoch(network, samples, labels, optimizer, schedule)
        on_epoch(epoch)
        if epoch in record_at:
            yield _look(network, epoch, samples, labels)


def _digits() -> tuple[Tensor, Tensor]:
    """1 797 images of 8 × 8, centred, of mean norm 8."""
    digits = load_digits()
    samples = torch.tensor(digits.data, dtype=torch.float32)
    samples = samples - samples.mean(dim=0)
    return samples * (8 / samples.norm(dim=1).mean()), torch.tensor(digits.target)


def _warm_up_then_cosine(step: int, steps: int) -> float:
    """Full rate for the first half; in the second down to nothing, where the small singular values die out."""
    second_half = max(0.0, 2 * step / steps - 1)
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (1 + math.cos(math.pi * second_half)) / 2


def _train_one_epoch(
    network: Network,
    samples: Tensor,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    batches = torch.randperm(len(samples)).split(BATCH_SIZE)
    for batch in batches[: len(samples) // BATCH_SIZE]:
        optimizer.zero_grad()
        _squared_error(network(samples[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()


def _squared_error(scores: Tensor, labels: Tensor) -> Tensor:
    """(1/2N) Σ_i ‖scores_i − one-hot(y_i)‖²."""
    return (scores - nn.functional.one_hot(labels, CLASSES)).square().sum(dim=1).mean() / 2


@torch.no_grad()
def _look(network: Network, epoch: int, samples: Tensor, labels: Tensor) -> Snapshot:
    scores = network(samples)
    return Snapshot(
        epoch=epoch,
        accuracy=float((scores.argmax(dim=1) == labels).float().mean()),
        loss=float(_squared_error(scores, labels)),
        labels=labels,
        features=network.features(samples),
        weights={name: weight.detach().clone() for name, weight in network.applied_weights().items()},
    )
