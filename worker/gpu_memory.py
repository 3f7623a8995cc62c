"""How much memory of the GPU is in use, asked in a thread of its own: a driver that hangs must hold up nothing else."""

import threading

import structlog
from prometheus_client import CollectorRegistry, Gauge

logger = structlog.get_logger()
INTERVAL_SECONDS = 5.0


def watch_gpu_memory(registry: CollectorRegistry, device: str) -> None:
    """Tell the memory in use on a CUDA device from now on; the thread ends with the process."""
    used = Gauge(
        "collapse_gpu_memory_used_bytes",
        "Memory of the GPU in use, by whatever runs on it",
        ["device"],
        registry=registry,
        multiprocess_mode="livemax",
    )
    threading.Thread(target=_watch, args=(used.labels(device), device), name="gpu-memory", daemon=True).start()


def _watch(used: Gauge, device: str) -> None:
    import torch

    waiting = threading.Event()  # never set
    while True:
        try:
            free, total = torch.cuda.mem_get_info(device)
        except RuntimeError as error:
            logger.warning("the memory of the GPU is no longer told", device=device, reason=str(error))
            return
        used.set(total - free)
        waiting.wait(INTERVAL_SECONDS)
