"""Which layers are recorded, and what of them: read from the files that a Recorder writes."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from recorded_networks import CLASSES, ConvNet, batches, head
from torch import nn
from torch.utils.checkpoint import checkpoint

from collapse_client import Recorder
from collapse_client.recording.errors import RecordingError, RecordingWarning

pytestmark = pytest.mark.filterwarnings("ignore::collapse_client.recording.errors.RecordingWarning")

LABELS = torch.arange(12) % CLASSES


def one_batch(recorder, model, inputs, labels=LABELS):
    """One step of one batch."""
    with recorder.step(0):
        output = model(inputs)
        recorder.labels(labels)
    return output


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


def test_outside_a_step_there_is_no_hook_and_inside_copies_of_the_model_have_inert_ones(make_recorder, written):
    model = head()
    recorder = make_recorder(model, ["*"])

    def hooks(of):
        return [hook for module in of.modules() for hook in [*module._forward_hooks, *module._forward_pre_hooks]]

    assert hooks(model) == []
    recorder.labels(LABELS)  # and labels are nobody's
    with recorder.step(0):
        assert hooks(model)
        average, restored = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        inputs = torch.randn(12, 3, 8, 8)
        model(inputs)
        average(inputs + 1)
        restored(inputs + 1)
        recorder.labels(LABELS)
    assert hooks(model) == []
    [[part]] = written(recorder)
    assert torch.equal(part["features.0"], inputs.flatten(1))


@pytest.mark.parametrize("mode", ["features", "moments"])
def test_the_graph_is_not_kept_alive(make_recorder, mode):
    model = head()
    recorder = make_recorder(model, ["*"], mode=mode)
    with recorder.step(0):
        inputs = torch.randn(12, 3, 8, 8, requires_grad=True)
        held_by_graph = weakref.ref(inputs)
        output = model(inputs)
        recorder.labels(LABELS)
        del inputs
        gc.collect()
        assert held_by_graph() is not None
        del output
        gc.collect()
        assert held_by_graph() is None


def test_passes_that_checkpointing_repeats_are_not_recorded(make_recorder, written):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Sequential(nn.Linear(4, 5), nn.ReLU()), nn.Linear(5, CLASSES)

        def forward(self, inputs):
            return self.outer(checkpoint(self.inner, inputs, use_reentrant=False))

    model, inputs = Checkpointed(), torch.randn(12, 4)
    recorder = make_recorder(model, ["inner", "outer"])
    with recorder.step(0):
        for shift in range(3):
            loss = nn.functional.cross_entropy(model(inputs + shift), LABELS)
            recorder.labels(LABELS)
            loss.backward()
    [[part]] = written(recorder)
    assert torch.equal(part["features.inner"], torch.cat([model.inner(inputs + shift) for shift in range(3)]))


def test_in_inference_mode(make_recorder, written):
    model = head()
    recorder = make_recorder(model, ["4"], mode="moments")
    with recorder.step(0):
        for context in (torch.inference_mode(), torch.no_grad(), torch.inference_mode()):
            with context:
                model(torch.randn(200, 3, 8, 8))
                recorder.labels(torch.arange(200) % CLASSES)
    [[part]] = written(recorder)
    assert part["counts"].tolist() == [150] * CLASSES


def test_a_compiled_model_is_recorded_under_its_own_names(make_recorder, written):
    model = head()
    compiled = torch.compile(model, backend="eager")
    inputs = torch.randn(12, 3, 8, 8)
    compiled(inputs)  # before there are hooks
    recorder = make_recorder(compiled, ["4"])
    assert recorder.layers == ("4",)
    one_batch(recorder, compiled, inputs)
    [[part]] = written(recorder)
    assert torch.allclose(part["features.4"], model[:5](inputs))
    assert torch.equal(part["weights.4"], model[5].weight)


def test_layers_that_do_not_run_are_told(make_recorder, written):
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, inputs):
            return self.used(inputs)

    model = Branch()
    recorder = make_recorder(model, ["*"])
    with pytest.warns(RecordingWarning, match="did not run are not recorded: unused"):
        one_batch(recorder, model, torch.randn(12, 4))
    [[part]] = written(recorder)
    assert "features.used" in part
    assert "features.unused" not in part


def test_a_step_in_which_nothing_ran_is_told(make_recorder, written):
    model = head()
    recorder = make_recorder(model, ["4"])
    with pytest.warns(RecordingWarning, match="Nothing was recorded in step 3"), recorder.step(3):
        recorder.labels(LABELS)
    assert written(recorder) == []


def test_a_pass_without_labels_does_no_harm(make_recorder, written):
    model, inputs = nn.Sequential(nn.Linear(4, 3)), torch.randn(12, 4)
    recorder = make_recorder(model, ["0"])
    with recorder.step(0):
        for shift in range(2):
            model(torch.randn(5, 4))  # an augmentation, a second opinion
            model(inputs + shift)
            recorder.labels(LABELS)
    [[part]] = written(recorder)
    assert torch.equal(part["features.0"], torch.cat([model(inputs), model(inputs + 1)]))


def test_a_pass_that_ends_halfway_is_left_out(make_recorder, written):
    class Fails(nn.Module):
        def forward(self, inputs):
            if len(inputs) == 7:
                raise MemoryError
            return inputs

    model, inputs = nn.Sequential(nn.Linear(4, 3), Fails(), nn.ReLU()), torch.randn(12, 4)
    recorder = make_recorder(model, ["0", "2"])
    with recorder.step(0):
        for batch, labels in ((inputs, LABELS), (inputs[:7], LABELS[:7]), (inputs, LABELS)):
            recorder.labels(labels)
            try:
                model(batch)
            except MemoryError:
                continue
    [[part]] = written(recorder)
    assert len(part["labels"]) == 24


def test_no_more_samples_than_asked_for(make_recorder, written):
    model = head()
    recorder = make_recorder(model, ["4"], max_samples=30)
    with recorder.step(0):
        for images, labels in batches(count=200, size=20):
            model(images)
            recorder.labels(labels)
    [[part]] = written(recorder)
    assert len(part["labels"]) == 40  # whole batches


def test_batches_that_are_dicts(make_recorder, written):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, *, inputs, scale):
            return {"loss": None, "logits": self.linear(inputs) * scale}

    model = Named()
    loader = [{"inputs": torch.randn(12, 4), "scale": 2.0, "labels": LABELS} for _ in range(2)]
    recorder = make_recorder(model, ["linear"])
    recorder.record(loader, step=0)
    [[part]] = written(recorder)
    assert torch.equal(part["features.linear"], model.linear(torch.cat([batch["inputs"] for batch in loader])))
    with pytest.raises(RecordingError, match="has no labels"):
        make_recorder(model, ["linear"]).record([{"inputs": torch.randn(12, 4)}], step=0)


def test_steps_do_not_nest_and_end_with_close(make_recorder):
    recorder = make_recorder(head(), ["4"])
    with recorder.step(0), pytest.raises(RecordingError, match="End a step"), recorder.step(1):
        pass
    recorder.close()
    with pytest.raises(RecordingError, match="closed"), recorder.step(1):
        pass


def test_a_replica_on_several_devices_is_refused():
    parallel = nn.DataParallel(head())
    parallel.device_ids = [0, 1]
    with pytest.raises(RecordingError, match="DistributedDataParallel"):
        Recorder(parallel, ["4"], run="r")
    parallel.device_ids = []
