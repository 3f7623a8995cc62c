"""Which forward passes are recorded, and what they do not notice of it."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from recorded_networks import CLASSES, LABELS, batches, head, one_batch
from torch import nn
from torch.utils.checkpoint import checkpoint

from collapse_client import Recorder
from collapse_client.recording.errors import RecordingError, RecordingWarning

pytestmark = pytest.mark.filterwarnings("ignore::collapse_client.recording.errors.RecordingWarning")


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
