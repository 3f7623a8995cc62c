"""One worker for each GPU; what hides GPUs hides them from us, too."""

import pytest

from jobs.settings import Settings
from server import devices


@pytest.mark.parametrize(
    ("device", "gpus", "found"),
    [
        ("auto", 0, ["auto", "auto", "auto"]),
        ("auto", 1, ["cuda:0", "cpu", "cpu"]),
        ("auto", 4, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cpu", 4, ["cpu", "cpu", "cpu"]),
    ],
)
def test_each_gpu_has_one_worker(device, gpus, found) -> None:
    assert devices.devices_of(Settings(device=device), workers=3, gpus=gpus) == found


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("", 0), ("-1", 0), ("1", 1), ("0,1", 2)])
def test_gpus_are_counted_without_a_driver_library(monkeypatch, tmp_path, visible, count) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(devices, "DRIVER", tmp_path)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.count_gpus() == count


def test_no_driver_no_gpu(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "none")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.count_gpus() == 0
