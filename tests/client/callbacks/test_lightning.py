"""The callback in real trainings of PyTorch Lightning: what arrives is what the layers gave; training is as without."""

import socket

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from collapse_client.recording.errors import RecordingError, RecordingWarning

pytestmark = [
    pytest.mark.xdist_group("lightning"),
    # Lightning's own: of torch's tree functions, of few processes for data, of the logger that is switched off.
    pytest.mark.filterwarnings("ignore::FutureWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*:UserWarning"),
]
SAMPLES, CLASSES = 60, 3
LABELS = torch.arange(SAMPLES) % CLASSES


@pytest.fixture(scope="module")
def library():
    """Imported here: not every test process needs it."""
    import lightning.pytorch

    from collapse_client.callbacks.lightning import LightningCallback

    return lightning.pytorch, LightningCallback


@pytest.fixture
def data():
    random = torch.Generator().manual_seed(0)
    images = torch.randn(SAMPLES, 1, 6, 6, generator=random) + 2 * LABELS[:, None, None, None]
    return TensorDataset(images, LABELS)


@pytest.fixture
def make_module(library):
    """A convolutional network with batch norm and dropout."""
    pl, _ = library

    class Module(pl.LightningModule):
        def __init__(self, rate):
            super().__init__()
            self.rate, self.fails_at = rate, None
            conv = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
            self.backbone = nn.Sequential(*conv, nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.3))
            self.head = nn.Linear(8, CLASSES)

        def forward(self, images):
            return self.head(self.backbone(images))

        def training_step(self, batch, index):
            if self.global_step == self.fails_at:
                raise ArithmeticError("the training's own")
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, index):
            self(batch[0] + 100)  # would be seen in what is recorded

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), self.rate)

    def make(rate=0.05):
        torch.manual_seed(1)
        return Module(rate)

    return make


@pytest.fixture
def quiet(tmp_path):
    """What a Trainer is told so that it only trains."""
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return {"accelerator": "cpu", "default_root_dir": tmp_path, **dict.fromkeys(off, False)}


@pytest.fixture
def fit(library, data, quiet):
    pl, _ = library

    def run(module, *callbacks, samples=data, **options):
        torch.manual_seed(2)
        loader = DataLoader(samples, 20, shuffle=True, generator=torch.Generator().manual_seed(3))
        trainer = pl.Trainer(callbacks=list(callbacks), **{"max_epochs": 4, **quiet, **options})
        trainer.fit(module, loader, DataLoader(samples, 30))
        return module

    return run


@pytest.fixture
def make_callback(library, address, tmp_path):
    _, callback = library
    layers = ["backbone.0", "backbone.5"]
    return lambda layers=layers, **options: callback(
        layers, **{"run": "lightning", "url": address, "spool": tmp_path / "spool", "close_timeout": 60, **options}
    )


def test_a_pass_over_a_loader_at_the_end_of_every_second_epoch(
    make_module, make_callback, fit, data, reports, trace_ratio
):
    callback = make_callback(every_n_epochs=2, loader=DataLoader(data, 16))
    module = fit(make_module(), callback)
    found = reports(callback.recorder.jobs)
    assert list(found) == [1, 3]
    assert [layer.name for layer in found[3].layers] == ["backbone.0", "backbone.5"]
    assert found[3].num_samples == SAMPLES
    features = module.eval().backbone[:6](data.tensors[0]).detach()
    assert found[3].layer("backbone.5").metrics["variability_trace_ratio"] == pytest.approx(
        trace_ratio(features.numpy(), LABELS.numpy()), rel=1e-5
    )
    assert found[3].layer("backbone.5").metrics["self_duality_distance"] is not None, "the classifier went along"


def test_the_training_batches_of_an_epoch_without_those_of_validation(
    make_module, make_callback, fit, data, reports, trace_ratio
):
    callback = make_callback(["backbone.4"], pool="mean")
    module = make_module(rate=0.0)
    module.backbone[1] = nn.Identity()  # so that a sample's features do not depend on its batch
    fit(module, callback, max_epochs=2, val_check_interval=1)
    found = reports(callback.recorder.jobs)
    assert list(found) == [0, 1]
    expected = trace_ratio(module.eval().backbone[:5](data.tensors[0]).detach().numpy(), LABELS.numpy())
    for report in found.values():
        assert report.class_counts == {str(label): SAMPLES // CLASSES for label in range(CLASSES)}
        assert report.layers[0].metrics["variability_trace_ratio"] == pytest.approx(expected, rel=1e-5)


def test_steps_of_the_optimizer_with_accumulated_batches(make_module, make_callback, fit, reports):
    callback = make_callback(every_n_steps=2)
    fit(make_module(), callback, max_epochs=2, accumulate_grad_batches=2)
    found = reports(callback.recorder.jobs)
    assert {step: report.num_samples for step, report in found.items()} == {2: 20, 4: 20}


def test_steps_with_a_loader(make_module, make_callback, fit, data, reports):
    callback = make_callback(every_n_steps=5, loader=DataLoader(data, 60))
    fit(make_module(), callback)
    assert {step: report.num_samples for step, report in reports(callback.recorder.jobs).items()} == {5: 60, 10: 60}


def test_moments(make_module, make_callback, fit, data, reports, trace_ratio):
    callback = make_callback(mode="moments", loader=DataLoader(data, 16), every_n_epochs=4)
    module = fit(make_module(), callback)
    [report] = reports(callback.recorder.jobs).values()
    features = module.eval().backbone[:6](data.tensors[0]).detach().numpy()
    assert report.layers[1].metrics["variability_trace_ratio"] == pytest.approx(
        trace_ratio(features, LABELS.numpy()), rel=1e-5
    )


def test_labels_of_batches_of_another_form(make_module, make_callback, fit, data, reports):
    callback = make_callback(labels=lambda batch: batch[1])
    with_index = TensorDataset(*data.tensors, torch.zeros(SAMPLES, dtype=torch.int64))
    fit(make_module(), callback, samples=with_index, max_epochs=1)
    assert reports(callback.recorder.jobs)[0].num_classes == CLASSES


def test_another_precision(make_module, make_callback, fit, data, reports):
    callback = make_callback(loader=DataLoader(data, 20))
    fit(make_module(), callback, max_epochs=1, precision="bf16-true")
    assert reports(callback.recorder.jobs)[0].num_samples == SAMPLES


def test_the_training_is_the_same_with_and_without(make_module, make_callback, fit, data):
    alone = fit(make_module()).state_dict()
    for options in ({}, {"loader": DataLoader(data, 16, shuffle=True)}, {"every_n_steps": 1}):
        recorded = fit(make_module(), make_callback(**options)).state_dict()
        for name, tensor in alone.items():
            assert torch.equal(tensor, recorded[name]), (options, name)


def test_a_service_that_is_not_there_costs_a_warning(make_module, make_callback, fit, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        callback = make_callback(url=url, close_timeout=0.1)
        with pytest.warns(RecordingWarning) as caught:
            module = fit(make_module(), callback)
    assert any("collapse push" in str(warning.message) for warning in caught)
    assert module.trainer.current_epoch == 4
    assert len(list((tmp_path / "spool").glob("*.step"))) == 4


def test_a_training_that_fails_fails_as_it_would_and_what_it_cut_short_is_not_sent(
    make_module, make_callback, fit, reports
):
    callback = make_callback()
    module = make_module()
    module.fails_at = 4
    with pytest.raises(ArithmeticError, match="the training's own"):
        fit(module, callback)
    assert list(reports(callback.recorder.jobs)) == [0]


def test_a_loader_that_fails_costs_a_warning(make_module, make_callback, fit):
    callback = make_callback(loader=[{"images": torch.zeros(2, 1, 6, 6)}])
    with pytest.warns(RecordingWarning, match="has no labels"):
        module = fit(make_module(), callback)
    assert module.trainer.current_epoch == 4


def test_layers_that_there_are_not_are_told_before_training(make_module, make_callback, fit):
    with pytest.raises(RecordingError, match=r"backbone\.0"):
        fit(make_module(), make_callback(["nothing"]))
    with pytest.raises(RecordingError, match="not both"):
        make_callback(every_n_steps=1, every_n_epochs=1)


def test_it_serves_the_older_name(make_callback, data, reports, quiet):
    import pytorch_lightning

    class Old(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(36, CLASSES)

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.head(batch[0].flatten(1)), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    callback = make_callback(["head"])
    pytorch_lightning.Trainer(max_epochs=1, callbacks=[callback], **quiet).fit(Old(), DataLoader(data, 20))
    assert reports(callback.recorder.jobs)[0].num_samples == SAMPLES
