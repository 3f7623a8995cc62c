"""Which workers a job is for: by what it needs, and by who is there."""

import pytest

from analysis.commands import FeaturesOutline, FindDufmOptimum, MeasureCollapse, Needs, TrainDufm
from collapse_client.format import FeaturesDescription, LayerInfo
from jobs.errors import TooLarge
from jobs.memory import memory_for_jobs, memory_of_host
from jobs.routing import queue_for, queues_of
from jobs.store import WorkerStore
from jobs.tables import Worker

LARGE = 2**31
MUCH = 1e12


def worker(*queues: str, gibibytes: float = 1.0) -> Worker:
    return Worker(name="w", device="d", queues=list(queues), memory_bytes=int(gibibytes * 2**30))


@pytest.mark.parametrize(
    ("needs", "workers", "queue"),
    [
        (Needs(), [], "cpu"),
        (Needs(multiply_adds=MUCH), [], "cpu"),
        (Needs(multiply_adds=MUCH), [worker("cpu")], "cpu"),
        (Needs(multiply_adds=MUCH), [worker("cpu"), worker("gpu", "cpu")], "gpu"),
        (Needs(multiply_adds=1e6), [worker("cpu"), worker("gpu", "cpu")], "cpu"),
        (Needs(multiply_adds=1e6), [worker("gpu")], "gpu"),
        (Needs(memory_bytes=3 * 2**30), [], "cpu-large"),
        (Needs(memory_bytes=3 * 2**30), [worker("cpu"), worker("cpu", "cpu-large", gibibytes=8)], "cpu-large"),
        # A GPU that the job does not fit into is none.
        (
            Needs(memory_bytes=9 * 2**30, multiply_adds=MUCH),
            [worker("gpu", "gpu-large", gibibytes=8), worker("cpu", "cpu-large", gibibytes=16)],
            "cpu-large",
        ),
    ],
)
def test_a_job_goes_where_it_fits_and_gains(needs, workers, queue) -> None:
    assert queue_for(needs, workers, large_job_bytes=LARGE) == queue


def test_what_fits_nobody_is_refused_with_the_numbers() -> None:
    with pytest.raises(TooLarge, match=r"needs about 20\.0 GiB of memory, and the largest worker has 8\.0 GiB"):
        queue_for(Needs(memory_bytes=20 * 2**30), [worker("cpu", gibibytes=8)], large_job_bytes=LARGE)


def test_a_worker_with_much_memory_takes_large_jobs_too() -> None:
    assert queues_of(gpu=False, memory_bytes=2**33, large_job_bytes=LARGE) == ["cpu", "cpu-large"]
    assert queues_of(gpu=True, memory_bytes=2**33, large_job_bytes=LARGE) == ["gpu", "cpu", "gpu-large", "cpu-large"]
    assert queues_of(gpu=True, memory_bytes=2**30, large_job_bytes=LARGE) == ["gpu", "cpu"]


def test_the_memory_of_the_host_is_shared_by_its_workers() -> None:
    assert 0 < memory_for_jobs(workers=4) == int(0.8 * memory_of_host() / 4)


def outline(*, num_classes: int, dim: int, num_samples: int = 10_000) -> FeaturesOutline:
    layers = (LayerInfo("a", 3, "float32", None), LayerInfo("b", dim, "float32", None))
    counts = dict.fromkeys(range(num_classes), num_samples // num_classes)
    return FeaturesOutline(("a", "b"), [FeaturesDescription(num_samples, counts, layers)], [1])


def test_needs_grow_with_what_is_asked_for() -> None:
    measure = MeasureCollapse(kind="measure_collapse", features="features_1")
    small = measure.needs(outline(num_classes=10, dim=512))
    assert measure.needs(outline(num_classes=5000, dim=512)).memory_bytes > 12 * 8 * 5000**2
    whole = measure.model_copy(update={"spectra": ("features",)}).needs(outline(num_classes=10, dim=4096))
    assert whole.memory_bytes > 4 * 8 * 4096**2 > small.memory_bytes
    assert whole.multiply_adds >= 10_000 * 4096**2
    narrow = measure.model_copy(update={"layers": ("a",)}).needs(outline(num_classes=10, dim=4096))
    assert narrow.memory_bytes < small.memory_bytes
    assert TrainDufm(kind="train_dufm", runs=8).needs(None).memory_bytes == pytest.approx(
        8 * TrainDufm(kind="train_dufm").needs(None).memory_bytes
    )
    assert FindDufmOptimum(kind="find_dufm_optimum").needs(None).memory_bytes > 0


def test_who_was_not_heard_of_lately_is_not_counted_on(database, clock) -> None:
    store = WorkerStore(database)
    store.arrive("a", device="cpu", queues=["cpu"], memory_bytes=1)
    store.arrive("b", device="cuda", queues=["gpu", "cpu"], memory_bytes=2)
    clock.move(50)
    store.keep_alive("a")
    clock.move(20)
    assert [(worker.name, worker.queues) for worker in store.present()] == [("a", ["cpu"])]
    store.leave("a")
    assert store.present() == []
