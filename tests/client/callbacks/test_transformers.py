"""The callback in real trainings of Hugging Face's Trainer, on a small BERT that is made here."""

import socket

import pytest
import torch
from torch.utils.data import DataLoader

from collapse_client.recording.errors import RecordingError, RecordingWarning

pytestmark = pytest.mark.xdist_group("transformers")
SAMPLES, CLASSES, LENGTH = 48, 3, 6
LABELS = torch.arange(SAMPLES) % CLASSES


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Imported here: not every test process needs it; and it must look for nothing on the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        import transformers

        from collapse_client.callbacks.transformers import TransformersCallback

        yield transformers, TransformersCallback


@pytest.fixture
def samples():
    random = torch.Generator().manual_seed(0)
    words = torch.randint(10, 30, (SAMPLES, LENGTH), generator=random)
    words[:, 1] = LABELS + 2
    return [{"input_ids": row, "labels": label} for row, label in zip(words, LABELS, strict=True)]


@pytest.fixture
def make_model(library):
    transformers, _ = library

    def make():
        torch.manual_seed(1)
        sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = transformers.BertConfig(vocab_size=32, num_labels=CLASSES, max_position_embeddings=16, **sizes)
        return transformers.BertForSequenceClassification(config)

    return make


@pytest.fixture
def train(library, samples, tmp_path):
    transformers, _ = library

    def run(model, *callbacks, **options):
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / "out"),
            **{"num_train_epochs": 3, "per_device_train_batch_size": 8, "learning_rate": 0.01, "seed": 5, **options},
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        return transformers.Trainer(
            model, arguments, train_dataset=samples, eval_dataset=samples, callbacks=list(callbacks)
        ).train()

    return run


@pytest.fixture
def make_callback(library, address, tmp_path):
    _, callback = library
    return lambda layers=("bert.pooler",), **options: callback(
        list(layers), **{"run": "bert", "url": address, "spool": tmp_path / "spool", "close_timeout": 60, **options}
    )


def first_position(hidden):
    return hidden[:, 0] if hidden.ndim == 3 else hidden


def test_a_pass_over_a_loader_at_the_end_of_epochs(
    library, make_model, make_callback, train, samples, reports, trace_ratio
):
    loader = DataLoader(samples, 16, collate_fn=library[0].default_data_collator)
    callback = make_callback(
        ["bert.encoder.layer.?", "bert.pooler"], loader=loader, every_n_epochs=3, pool=first_position
    )
    model = make_model()
    train(model, callback)
    [(step, report)] = reports(callback.recorder.jobs).items()
    assert step == 2
    assert [layer.name for layer in report.layers] == ["bert.encoder.layer.0", "bert.encoder.layer.1", "bert.pooler"]
    words = torch.stack([sample["input_ids"] for sample in samples])
    with torch.no_grad():
        seen = model.eval().bert(words, output_hidden_states=True)
    for layer, features in zip(report.layers, [*(h[:, 0] for h in seen.hidden_states[1:]), seen[1]], strict=True):
        assert layer.metrics["variability_trace_ratio"] == pytest.approx(
            trace_ratio(features.numpy(), LABELS.numpy()), rel=1e-5
        )
    assert report.layers[2].metrics["self_duality_distance"] is not None, "the classifier went along"


def test_the_training_batches_of_epochs_without_those_of_evaluations(make_model, make_callback, train, reports):
    callback = make_callback()
    train(make_model(), callback, num_train_epochs=2, eval_strategy="steps", eval_steps=1)
    found = reports(callback.recorder.jobs)
    assert list(found) == [0, 1]
    for report in found.values():
        assert report.class_counts == {str(label): SAMPLES // CLASSES for label in range(CLASSES)}


def test_what_is_recorded_of_training_batches_is_what_the_layer_gave(
    make_model, make_callback, train, samples, reports, trace_ratio
):
    model = make_model()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    callback = make_callback()
    train(model, callback, num_train_epochs=1, learning_rate=0.0)
    with torch.no_grad():
        pooled = model.eval().bert(torch.stack([sample["input_ids"] for sample in samples]))[1]
    assert reports(callback.recorder.jobs)[0].layers[0].metrics["variability_trace_ratio"] == pytest.approx(
        trace_ratio(pooled.numpy(), LABELS.numpy()), rel=1e-5
    )


def test_steps_of_the_optimizer_with_accumulated_batches(make_model, make_callback, train, reports):
    callback = make_callback(every_n_steps=4)
    train(make_model(), callback, gradient_accumulation_steps=2)
    assert {step: report.num_samples for step, report in reports(callback.recorder.jobs).items()} == {4: 16, 8: 16}


def test_labels_that_the_trainer_keeps_from_the_model_need_a_loader(library, make_model, make_callback, train, samples):
    callback = make_callback()
    with pytest.warns(RecordingWarning, match="Nothing was recorded in step 0|has no labels"):
        train(make_model(), callback, num_train_epochs=1, label_smoothing_factor=0.1)
    assert callback.recorder.jobs == {}


def test_the_training_is_the_same_with_and_without(library, make_model, make_callback, train, samples):
    alone = make_model()
    train(alone, num_train_epochs=2)
    loader = DataLoader(samples, 16, collate_fn=library[0].default_data_collator, shuffle=True)
    for options in ({}, {"loader": loader}, {"every_n_steps": 1}):
        recorded = make_model()
        train(recorded, make_callback(**options), num_train_epochs=2)
        for (name, tensor), other in zip(alone.state_dict().items(), recorded.state_dict().values(), strict=True):
            assert torch.equal(tensor, other), (options, name)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in recorded.modules())


def test_a_service_that_is_not_there_costs_a_warning(make_model, make_callback, train, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        callback = make_callback(url=f"http://127.0.0.1:{taken.getsockname()[1]}", close_timeout=0.1)
        with pytest.warns(RecordingWarning) as caught:
            done = train(make_model(), callback)
    assert any("collapse push" in str(warning.message) for warning in caught)
    assert done.global_step == 18
    assert len(list((tmp_path / "spool").glob("*.step"))) == 3


def test_layers_that_there_are_not_are_told_before_training(make_model, make_callback, train):
    with pytest.raises(RecordingError, match=r"bert\.pooler"):
        train(make_model(), make_callback(["nothing"]))
