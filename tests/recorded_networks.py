"""Networks and samples that the Recorder is tried on."""

import torch
from torch import nn

CLASSES = 4


def batches(count=96, size=20, seed=0):
    """Images (…, 3, 8, 8) of four classes with their labels, in batches of which the last is smaller."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    centers = torch.randn(CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(99))
    images = centers[labels] + torch.randn(count, 3, 8, 8, generator=generator)
    return list(zip(images.split(size), labels.split(size), strict=True))


class ConvNet(nn.Module):
    """Convolutions with batch norm, ReLUs in place, dropout before the classifier."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.body = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2), nn.BatchNorm2d(12), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(12, CLASSES)

    def forward(self, images):
        hidden = self.pool(self.body(self.stem(images))).flatten(1)
        return self.classifier(self.dropout(hidden))


def head(width=6, inputs=192):
    """Two linear layers with ReLUs, and a classifier; as wide as you like."""
    torch.manual_seed(2)
    hidden = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, CLASSES))


LABELS = torch.arange(12) % CLASSES


def one_batch(recorder, model, inputs, labels=LABELS):
    """One step of one batch."""
    with recorder.step(0):
        output = model(inputs)
        recorder.labels(labels)
    return output
