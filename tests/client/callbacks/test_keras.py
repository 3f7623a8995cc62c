"""The callback in real trainings of Keras 3, with torch behind it; graphs and a model that is none."""

import os
import socket

import numpy as np
import pytest

from collapse_client.callbacks.batches import class_labels
from collapse_client.recording.errors import RecordingError, RecordingWarning

pytestmark = [
    pytest.mark.xdist_group("keras"),
    # Keras's variables, which numpy 2 copies.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
SAMPLES, CLASSES = 60, 3
LABELS = np.arange(SAMPLES) % CLASSES


@pytest.fixture(scope="module")
def library():
    """Imported here: not every test process needs it, and the backend is chosen before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
        import keras

        from collapse_client.callbacks.keras import KerasCallback

        yield keras, KerasCallback


@pytest.fixture
def images():
    noise = np.random.default_rng(0).normal(size=(SAMPLES, 6, 6, 1))
    return (noise + 2 * LABELS[:, None, None, None]).astype(np.float32)


@pytest.fixture
def make_model(library):
    """A graph with a model within it, batch norm and dropout; or the same as a class."""
    keras, _ = library

    def parts():
        block = [keras.layers.Conv2D(4, 3, name="conv"), keras.layers.BatchNormalization(name="norm")]
        head = [keras.layers.Flatten(name="flat"), keras.layers.Dense(8, activation="relu", name="hidden")]
        last = [keras.layers.Dropout(0.3, name="drop"), keras.layers.Dense(CLASSES, name="logits")]
        return keras.Sequential(block, name="block"), [*head, *last]

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.block, self.rest = parts()

        def call(self, images, training=None):
            hidden = self.block(images, training=training)
            for layer in self.rest:
                hidden = layer(hidden)
            return hidden

    def make(kind="graph", loss=None, **options):
        keras.utils.set_random_seed(1)
        if kind == "class":
            model = Net()
        else:
            block, rest = parts()
            images = keras.Input((6, 6, 1))
            hidden = block(images)
            for layer in rest:
                hidden = layer(hidden)
            model = keras.Model(images, hidden)
        loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.05), loss, **options)
        return model

    return make


@pytest.fixture
def fit(library, images):
    keras, _ = library

    def run(model, *callbacks, labels=LABELS, **options):
        keras.utils.set_random_seed(2)
        model.fit(images, labels, callbacks=list(callbacks), **{"epochs": 2, "batch_size": 20, "verbose": 0, **options})
        return model

    return run


@pytest.fixture
def make_callback(library, images, address, tmp_path):
    _, callback = library
    return lambda layers=("hidden",), samples=(images, LABELS), **options: callback(
        list(layers),
        samples,
        **{"run": "keras", "url": address, "spool": tmp_path / "spool", "close_timeout": 60, **options},
    )


@pytest.mark.parametrize("kind", ["graph", "class"])
def test_what_is_recorded_is_what_the_layers_give(
    library, kind, make_model, make_callback, fit, images, reports, trace_ratio
):
    keras, _ = library
    callback = make_callback(["block/*", "hidden"], every_n_epochs=2, batch_size=16, part_bytes=20_000)
    model = fit(make_model(kind), callback)
    [(step, report)] = reports(callback.recorder.jobs).items()
    assert step == 1
    assert [layer.name for layer in report.layers] == ["block/conv", "block/norm", "hidden"]
    assert report.num_samples == SAMPLES
    block, *rest = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    conv, norm = block.layers
    outputs = [conv(images), norm(conv(images), training=False)]
    outputs.append(rest[1](rest[0](outputs[1])))
    for layer, output in zip(report.layers, outputs, strict=True):
        features = keras.ops.convert_to_numpy(output)
        assert layer.metrics["variability_trace_ratio"] == pytest.approx(trace_ratio(features, LABELS), rel=1e-5)


def test_the_matrices_that_are_applied_go_along(library, make_model, make_callback, fit, tmp_path):
    """Of a layer before the flattening, too; looked at where they wait for a service that is not there."""
    from safetensors.numpy import load_file

    keras, _ = library
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        callback = make_callback(["block/*", "hidden"], url=url, close_timeout=0.1)
        with pytest.warns(RecordingWarning) as caught:
            model = fit(make_model(), callback, epochs=1)
    assert any("collapse push" in str(warning.message) for warning in caught)
    [part] = (tmp_path / "spool").glob("*.step/part-*.safetensors")
    tensors = load_file(part)
    hidden, logits = model.get_layer("hidden"), model.get_layer("logits")
    assert {name for name in tensors if not name.startswith("features.")} == {
        "labels", "weights.block/norm", "biases.block/norm", "weights.hidden", "biases.hidden",
    }  # fmt: skip
    np.testing.assert_array_equal(tensors["weights.block/norm"], keras.ops.convert_to_numpy(hidden.kernel).T)
    np.testing.assert_array_equal(tensors["weights.hidden"], keras.ops.convert_to_numpy(logits.kernel).T)
    np.testing.assert_array_equal(tensors["biases.hidden"], keras.ops.convert_to_numpy(logits.bias))


def test_steps_pooling_and_a_limit(library, make_model, make_callback, fit, images, reports, trace_ratio):
    keras, _ = library
    callback = make_callback(["block/conv"], every_n_steps=4, pool="mean", max_samples=32, batch_size=16)
    model = fit(make_model(), callback, epochs=4)
    found = reports(callback.recorder.jobs)
    assert {step: report.num_samples for step, report in found.items()} == {4: 32, 8: 32, 12: 32}
    assert found[12].layers[0].dim == 4
    pooled = keras.ops.convert_to_numpy(model.get_layer("block").layers[0](images[:32])).mean((1, 2))
    assert found[12].layers[0].metrics["variability_trace_ratio"] == pytest.approx(
        trace_ratio(pooled, LABELS[:32]), rel=1e-5
    )


def test_one_hot_labels_and_samples_in_batches(library, make_model, make_callback, fit, images, reports):
    keras, _ = library
    batches = [(images[start : start + 25], np.eye(CLASSES)[LABELS[start : start + 25]], None) for start in (0, 25)]

    class Samples(keras.utils.PyDataset):
        def __len__(self):
            return len(batches)

        def __getitem__(self, index):
            return batches[index]

    for samples in (batches, Samples()):
        callback = make_callback(samples=samples)
        model = make_model(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
        fit(model, callback, labels=np.eye(CLASSES)[LABELS], epochs=1)
        assert reports(callback.recorder.jobs)[0].num_samples == 50


def test_the_training_is_the_same_with_and_without(make_model, make_callback, fit):
    alone = fit(make_model())
    for options in ({}, {"every_n_steps": 1}):
        recorded = fit(make_model(), make_callback(["*"], **options))
        for mine, other in zip(alone.get_weights(), recorded.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, other)
        assert not any("call" in vars(layer) for layer in recorded._flatten_layers())


def test_samples_that_cannot_be_recorded_cost_a_warning(make_model, make_callback, fit, images):
    callback = make_callback(samples=(images, np.random.default_rng(0).normal(size=SAMPLES)))
    with pytest.warns(RecordingWarning, match="are no classes"):
        model = fit(make_model(), callback)
    assert callback.recorder.dropped == [0, 1]
    assert len(model.history.epoch) == 2


def test_a_queue_that_is_full_leaves_steps_out(make_model, make_callback, fit, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        callback = make_callback(url=url, close_timeout=0.1, queue_bytes=0)
        with pytest.warns(RecordingWarning, match="wait to be sent"):
            fit(make_model(), callback)
    assert callback.recorder.dropped == [0, 1]
    assert not (tmp_path / "spool").exists()


def test_layers_that_there_are_not_are_told_before_training(make_model, make_callback, fit):
    with pytest.raises(RecordingError, match="there are: block, block/conv, block/norm, flat, hidden, drop, logits"):
        fit(make_model(), make_callback(["nothing"]))


@pytest.mark.parametrize("labels", [np.array([0.5, 1.0]), np.eye(3)[:, :2], np.zeros((2, 2, 1), int)])
def test_labels_that_are_no_classes(labels):
    with pytest.raises(RecordingError, match="are no classes"):
        class_labels(labels)
