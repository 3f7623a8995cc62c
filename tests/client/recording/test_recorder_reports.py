"""What the service measures of a recorded training, against features taken out by hand."""

import copy

import pytest
import torch
from recorded_networks import ConvNet, batches, head
from torch import nn

from collapse_client import Recorder


def by_hand(client, model, layers, loader, **tensors):
    """The report on features (flattened, or with four axes averaged over space) that no Recorder has seen."""
    found = {name: [] for name in layers}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, _args, output, name=name: found[name].append(output.detach().clone())
        )
        for name in layers
    ]
    with torch.no_grad():
        for images, _ in loader:
            model(images)
    for handle in handles:
        handle.remove()
    features = {f"features.{name}": torch.cat(values) for name, values in found.items()}
    pooled = {name: value.mean((2, 3)) if value.ndim == 4 else value for name, value in features.items()}
    sent = {"labels": torch.cat([labels for _, labels in loader]), **pooled, **tensors}
    return client.report(client.wait(client.analyse(sent))["id"])


def recorded(client, recorder):
    """The reports of the steps, once all are sent."""
    recorder.close()
    assert recorder.dropped == []
    return {step: client.report(client.wait(job)["id"]) for step, job in sorted(recorder.jobs.items())}


def assert_same(report, expected, *, rel=1e-9, only=None):
    assert [layer["name"] for layer in report["layers"]] == [layer["name"] for layer in expected["layers"]]
    assert report["class_counts"] == expected["class_counts"]
    compared = 0
    for layer, other in zip(report["layers"], expected["layers"], strict=True):
        assert layer["dim"] == other["dim"]
        for name, value in other["metrics"].items():
            found = layer["metrics"][name]
            if value is None:
                assert found is None, (layer["name"], name)
            elif only is None or found is not None:
                assert found == pytest.approx(value, rel=rel, abs=1e-12), (layer["name"], name)
                compared += 1
    assert compared > 10 * len(expected["layers"])


@pytest.mark.parametrize("labels_first", [True, False])
def test_a_convolutional_network_in_parts_of_few_samples(client, service_url, tmp_path, labels_first):
    model, loader = ConvNet().eval(), batches()
    applied = {"weights.pool": model.classifier.weight, "biases.pool": model.classifier.bias}
    expected = by_hand(
        client,
        model,
        ["stem.0", "stem", "body", "pool"],
        loader,
        **{**applied, "weights.body": model.classifier.weight, "biases.body": model.classifier.bias},
    )
    recorder = Recorder(
        model,
        ["pool", "body", "stem*"],
        run="conv",
        url=service_url,
        pool="mean",
        part_bytes=4000,
        spool=tmp_path / "spool",
    )
    assert recorder.layers == ("stem", "stem.0", "stem.1", "stem.2", "body", "pool")
    with recorder.step(7):
        for images, labels in loader:
            if labels_first:
                recorder.labels(labels)
            model(images)
            if not labels_first:
                recorder.labels(labels)
    report = recorded(client, recorder)[7]
    assert [layer["name"] for layer in report["layers"]] == ["stem.0", "stem.1", "stem.2", "stem", "body", "pool"]
    report["layers"] = [layer for layer in report["layers"] if layer["name"] in ("stem.0", "stem", "body", "pool")]
    expected["layers"].sort(key=lambda layer: ["stem.0", "stem", "body", "pool"].index(layer["name"]))
    for layer in [*report["layers"], *expected["layers"]]:
        layer["metrics"].pop("balancedness", None)  # of weights one after the other, and here they are the same
    assert_same(report, expected)
    assert report["layers"][-1]["metrics"]["self_duality_distance"] is not None
    assert not (tmp_path / "spool").exists()


def test_moments_give_what_features_give(client, service_url, tmp_path):
    reports = {}
    for mode in ("features", "moments"):
        model = ConvNet()
        with Recorder(
            model,
            ["stem", "body", "pool"],
            run=f"mode-{mode}",
            url=service_url,
            mode=mode,
            second_moments="matrix",
            pool="mean",
            spool=tmp_path / "spool",
        ) as recorder:
            torch.manual_seed(5)  # for the dropout
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for epoch in range(3):
                with recorder.step(epoch):
                    for images, labels in batches(count=400, size=64):
                        loss = nn.functional.cross_entropy(model(images), labels)
                        recorder.labels(labels)
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()
        reports[mode] = recorded(client, recorder)
    assert list(reports["moments"]) == list(reports["features"]) == [0, 1, 2]
    for step, report in reports["moments"].items():
        assert_same(report, reports["features"][step], rel=1e-6, only="where moments are enough")
        for layer in report["layers"]:
            assert layer["metrics"]["within_class_variability"] is not None
        assert report["layers"][-1]["metrics"]["self_duality_distance"] is not None


def test_traces_alone_do_without_the_metrics_that_need_more(client, service_url, tmp_path):
    model, loader = head(), batches()
    with Recorder(model, ["4"], run="trace", url=service_url, mode="moments", spool=tmp_path / "spool") as recorder:
        recorder.record(loader, step=0)
    metrics = recorded(client, recorder)[0]["layers"][0]["metrics"]
    expected = by_hand(client, model, ["4"], loader)["layers"][0]["metrics"]
    assert metrics["within_class_variability"] is None
    assert metrics["variability_trace_ratio"] == pytest.approx(expected["variability_trace_ratio"], rel=1e-6)


def test_a_pass_over_a_loader_leaves_no_trace(client, service_url, tmp_path):
    model = ConvNet()
    model.body[1].eval()  # frozen by its owner
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*map(torch.cat, zip(*batches(), strict=True))), batch_size=32, shuffle=True
    )
    state = torch.get_rng_state()
    with Recorder(model, ["body"], run="pass", url=service_url, pool="mean", spool=tmp_path / "spool") as recorder:
        recorder.record(loader, step=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.is_grad_enabled()
    report = recorded(client, recorder)[0]
    applied = {"weights.body": model.classifier.weight, "biases.body": model.classifier.bias}
    assert_same(report, by_hand(client, model.eval(), ["body"], batches(), **applied), rel=1e-5)
    # the Recorder's step is one of its run
    assert client.job(recorder.jobs[0])["run"] == "pass"
