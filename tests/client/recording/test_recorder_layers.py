"""Which layers are recorded, and what of them: read from the files that a Recorder writes."""

import pytest
import torch
from recorded_networks import CLASSES, LABELS, ConvNet, batches, head, one_batch
from torch import nn

from collapse_client.recording.errors import RecordingError, RecordingWarning

pytestmark = pytest.mark.filterwarnings("ignore::collapse_client.recording.errors.RecordingWarning")


@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        (["classifier"], ["classifier"]),
        (["body.*", "stem"], ["stem", "body.0", "body.1", "body.2"]),
        (["*.0"], ["stem.0", "body.0"]),
        (["[sb]*[my]"], ["stem", "body"]),
    ],
)
def test_patterns(make_recorder, patterns, selected):
    assert list(make_recorder(ConvNet(), patterns).layers) == selected


@pytest.mark.parametrize(("patterns", "words"), [(["stem", "head.*"], r"'head\.\*'.*stem, stem\.0"), ([], "empty")])
def test_a_pattern_without_a_match_lists_the_names(make_recorder, patterns, words):
    with pytest.raises(RecordingError, match=words):
        make_recorder(ConvNet(), patterns)


@pytest.mark.parametrize("option", ["mode", "at", "second_moments", "when_full", "pool", "classifier"])
def test_options_that_are_none(make_recorder, option):
    with pytest.raises(RecordingError, match=f"{option}|there are"):
        make_recorder(ConvNet(), ["stem"], **{option: "nonsense"})


def test_layers_come_in_the_order_in_which_they_run(make_recorder, written):
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(5, CLASSES), nn.Linear(3, 5)

        def forward(self, inputs):
            return self.last(self.first(inputs))

    model, inputs = Backwards(), torch.randn(12, 3)
    recorder = make_recorder(model, ["*"])
    one_batch(recorder, model, inputs)
    [[part]] = written(recorder)
    names = [name for name in part if name.startswith("features.")]
    assert sorted(names) == ["features.first", "features.last"]
    assert torch.equal(part["weights.first"], model.last.weight)
    assert "weights.last" not in part
    assert list(recorder.layers) == ["last", "first"]


def test_a_module_that_is_called_again_counts_with_its_last_call(make_recorder, written):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.square, self.relu = nn.Linear(4, 4), nn.ReLU()

        def forward(self, inputs):
            return self.relu(self.square(self.relu(self.square(inputs))))

    model, inputs = Shared(), torch.randn(12, 4)
    recorder = make_recorder(model, ["relu"])
    output = one_batch(recorder, model, inputs)
    [[part]] = written(recorder)
    assert torch.equal(part["features.relu"], output)
    assert torch.equal(part["weights.relu"], model.square.weight)  # of its first output


@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: (None, torch.arange(12), value, value + 1),
        lambda value: {"loss": value.mean(), "hidden": [value, value + 1]},
        lambda value: [{"a": (value,)}],
    ],
)
def test_of_several_outputs_it_is_the_first_floating_tensor_of_two_axes(make_recorder, written, wrap):
    class Several(nn.Module):
        def forward(self, inputs):
            return wrap(inputs * 2)

    model, inputs = nn.Sequential(Several()), torch.randn(12, 4)
    recorder = make_recorder(model, ["0"])
    one_batch(recorder, model, inputs)
    [[part]] = written(recorder)
    assert torch.equal(part["features.0"], inputs * 2)


def test_an_output_without_features_is_told_and_training_goes_on(make_recorder, written):
    class Scalar(nn.Module):
        def forward(self, inputs):
            return inputs.sum()

    model = nn.Sequential(nn.Linear(4, 4), Scalar())
    recorder = make_recorder(model, ["1"])
    with pytest.warns(RecordingWarning, match="switched off.*output of 1 has no floating tensor"):
        one_batch(recorder, model, torch.randn(12, 4)).backward()
    assert written(recorder) == []
    assert recorder.dropped == [0]


def test_at_the_input_linear_layers_go_with_their_own_weights(make_recorder, written):
    model = head()
    recorder = make_recorder(model, ["[135]"], at="input")
    inputs = torch.randn(12, 3, 8, 8)
    one_batch(recorder, model, inputs)
    [[part]] = written(recorder)
    assert torch.equal(part["features.1"], inputs.flatten(1))
    assert torch.equal(part["features.5"], model[:5](inputs))
    for name in "135":
        assert torch.equal(part[f"weights.{name}"], model[int(name)].weight)
        assert torch.equal(part[f"biases.{name}"], model[int(name)].bias)


def test_weights_go_with_what_they_are_applied_to(make_recorder, written):
    model = head()
    recorder = make_recorder(model, ["*"])
    one_batch(recorder, model, torch.randn(12, 3, 8, 8))
    [[part]] = written(recorder)
    found = {name: part[name] for name in part if name.startswith("weights.")}
    assert found.keys() == {"weights.0", "weights.2", "weights.4"}  # not 1 and 3: a ReLU is in between
    for name in "024":
        assert torch.equal(found[f"weights.{name}"], model[int(name) + 1].weight)


@pytest.mark.parametrize("training", [True, False])
def test_the_classifier_is_found_behind_pooling_and_dropout(make_recorder, written, training):
    model = ConvNet().train(training)
    recorder = make_recorder(model, ["body"], pool="mean")
    one_batch(recorder, model, torch.randn(12, 3, 8, 8))
    [[part]] = written(recorder)
    assert torch.equal(part["weights.body"], model.classifier.weight)
    assert torch.equal(part["biases.body"], model.classifier.bias)


def test_a_classifier_may_be_named(make_recorder, written):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.classifier = nn.Linear(4, 6), nn.Conv1d(6, CLASSES, 1)

        def forward(self, inputs):
            return self.classifier(self.hidden(inputs)[:, :, None])[:, :, 0]

    model = Odd()
    recorder = make_recorder(model, ["hidden"], classifier="classifier")
    one_batch(recorder, model, torch.randn(12, 4))
    [[part]] = written(recorder)
    assert torch.equal(part["weights.hidden"], model.classifier.weight[:, :, 0])
    with pytest.raises(RecordingError, match=r"no classifier 'head'.*hidden, classifier"):
        make_recorder(model, ["hidden"], classifier="head")


def test_weights_are_those_of_the_end_of_the_step(make_recorder, written):
    model = head()
    recorder = make_recorder(model, ["4"])
    with recorder.step(0):
        for images, labels in batches():
            model(images)
            recorder.labels(labels)
            with torch.no_grad():
                model[5].weight += 1
    [[part]] = written(recorder)
    assert torch.equal(part["weights.4"], model[5].weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_kept(make_recorder, written, dtype):
    model, inputs = nn.Sequential(nn.Linear(4, 3)).to(dtype), torch.randn(12, 4, dtype=dtype)
    recorder = make_recorder(model, ["0"])
    output = one_batch(recorder, model, inputs)
    [[part]] = written(recorder)
    assert part["features.0"].dtype == dtype
    assert torch.equal(part["features.0"], output)


@pytest.mark.parametrize("mode", ["features", "moments"])
def test_what_is_changed_in_place_afterwards_was_recorded_before(make_recorder, written, mode):
    model, inputs = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True)).eval(), torch.randn(12, 4)
    recorder = make_recorder(model, ["0"], mode=mode)
    expected = model[0](inputs).detach()
    for first in (True, False):
        with recorder.step(0), torch.no_grad():
            for _ in range(3):
                if first:
                    recorder.labels(LABELS)
                model(inputs)
                if not first:
                    recorder.labels(LABELS)
    for [part] in written(recorder):
        if mode == "features":
            assert torch.equal(part["features.0"], expected.repeat(3, 1))
        else:
            means = (part["means.0"] + part["shift.0"]).float()
            assert torch.allclose(means, torch.stack([expected[c == LABELS].mean(0) for c in range(CLASSES)]))


def test_a_batch_that_is_changed_in_place_for_once_is_left_out_of_moments(make_recorder, written):
    model, inputs = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), torch.randn(12, 4).repeat(20, 1)
    labels = LABELS.repeat(20)
    recorder = make_recorder(model, ["0"], mode="moments")
    with recorder.step(0), torch.no_grad():
        for batch in range(6):
            model[1].inplace = batch == 3
            model(inputs)
            recorder.labels(labels)
    [[part]] = written(recorder)
    assert part["counts"].tolist() == [5 * 60] * CLASSES
    means = (part["means.0"] + part["shift.0"]).float()
    assert torch.allclose(
        means, torch.stack([model[0](inputs[c == labels]).mean(0) for c in range(CLASSES)]), atol=1e-6
    )


@pytest.mark.parametrize(
    ("shape", "options", "labels", "expected"),
    [
        ((12, 5, 4), {}, LABELS, lambda x: x.flatten(1)),
        ((12, 5, 4), {"pool": "mean"}, LABELS, lambda x: x.mean(1)),
        ((12, 5, 4), {}, LABELS[:, None].repeat(1, 5), lambda x: x.flatten(0, 1)),
        ((12, 5, 4, 4), {}, LABELS, lambda x: x.flatten(1)),
        ((12, 5, 4, 4), {"pool": "mean"}, LABELS, lambda x: x.mean((2, 3))),
        ((12, 5, 2, 2, 4), {"pool": "mean"}, LABELS, lambda x: x.mean((2, 3, 4))),
        ((12, 5, 4), {"pool": lambda x: x[:, 0]}, LABELS, lambda x: x[:, 0]),
    ],
)
def test_axes_of_space_and_time(make_recorder, written, shape, options, labels, expected):
    model, inputs = nn.Sequential(nn.Identity(), nn.Linear(4, 2)), torch.randn(shape)
    recorder = make_recorder(model, ["0"], **options)
    one_batch(recorder, model, inputs, labels)
    [[part]] = written(recorder)
    assert torch.equal(part["features.0"], expected(inputs))
    assert torch.equal(part["labels"], labels.flatten())


def test_three_axes_of_a_network_with_one_dimensional_convolutions_are_channels_and_length(make_recorder, written):
    model, inputs = nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU()), torch.randn(12, 4, 9)
    recorder = make_recorder(model, ["1"], pool="mean")
    output = one_batch(recorder, model, inputs)
    [[part]] = written(recorder)
    assert torch.equal(part["features.1"], output.mean(2))
