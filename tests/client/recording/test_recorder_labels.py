"""Labels of every kind, and the moments of their classes: read from the files that a Recorder writes."""

import pytest
import torch
from recorded_networks import LABELS, one_batch
from torch import nn

from collapse_client.recording.errors import RecordingWarning

pytestmark = pytest.mark.filterwarnings("ignore::collapse_client.recording.errors.RecordingWarning")


@pytest.mark.parametrize("mode", ["features", "moments"])
def test_samples_without_a_class_are_left_out(make_recorder, written, mode):
    model, inputs = nn.Sequential(nn.Linear(4, 3)), torch.randn(12, 4)
    recorder = make_recorder(model, ["0"], mode=mode)
    one_batch(recorder, model, inputs, torch.where(LABELS == 1, -100, LABELS))
    [[part]] = written(recorder)
    if mode == "features":
        assert torch.equal(part["features.0"], model(inputs)[LABELS != 1])
    else:
        assert dict(zip(part["classes"].tolist(), part["counts"].tolist(), strict=True)) == {0: 3, 2: 3, 3: 3}


@pytest.mark.parametrize("labels", [LABELS.numpy(), LABELS.tolist(), LABELS.to(torch.uint8)])
def test_labels_of_any_integer_kind(make_recorder, written, labels):
    model = nn.Sequential(nn.Linear(4, 3))
    recorder = make_recorder(model, ["0"])
    one_batch(recorder, model, torch.randn(12, 4), labels)
    [[part]] = written(recorder)
    assert part["labels"].tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("labels", "words"),
    [(LABELS[:7], r"\(12, 3\), the labels are \(7,\)"), (LABELS.float(), "float32"), (LABELS.sum(), r"shape \(\)")],
)
def test_labels_that_do_not_fit_are_told_and_training_goes_on(make_recorder, written, labels, words):
    model = nn.Sequential(nn.Linear(4, 3))
    recorder = make_recorder(model, ["0"])
    with pytest.warns(RecordingWarning, match=words):
        one_batch(recorder, model, torch.randn(12, 4), labels)
    assert written(recorder) == []


def test_moments_of_classes_that_come_later(make_recorder, written):
    model = nn.Sequential(nn.Linear(4, 3))
    recorder = make_recorder(model, ["0"], mode="moments")
    inputs = [torch.randn(200, 4) for _ in range(3)]
    with recorder.step(0):
        for index, batch in enumerate(inputs):
            model(batch)
            recorder.labels(torch.full((200,), 3 * index))
    [[part]] = written(recorder)
    assert part["classes"].tolist() == [0, 3, 6]
    expected = torch.stack([model(batch).mean(0) for batch in inputs]).double()
    assert torch.allclose(part["means.0"] + part["shift.0"], expected, atol=1e-6)


def test_moments_of_many_batches_far_from_the_origin(make_recorder, written):
    model = nn.Sequential(nn.Linear(4, 3))
    recorder = make_recorder(model, ["0"], mode="moments")
    inputs = 1000 + torch.randn(7000, 4)
    labels = torch.randint(5, (7000,))
    labels[:3000] %= 3  # so that two classes come while sums of the others are under way
    with recorder.step(0), torch.no_grad():
        for batch, of_batch in zip(inputs.split(150), labels.split(150), strict=True):
            model(batch)
            recorder.labels(of_batch)
        features = torch.cat([model(batch) for batch in inputs.split(150)]).double()
    [[part]] = written(recorder)
    assert part["counts"].tolist() == torch.bincount(labels).tolist()
    for index in range(5):
        own = features[labels == index]
        spread = own.std()
        mean = part["means.0"][index] + part["shift.0"][index]
        assert torch.allclose(mean, own.mean(0), rtol=0, atol=1e-6 * spread)
        assert torch.allclose(part["scatter.0"][index], (own - own.mean(0)).square().sum(), rtol=1e-6)
