"""Run the benchmarks: `python -m benchmarks` all of them, `python -m benchmarks metrics` those that are named."""

import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version

from benchmarks import metrics, uploads

BENCHMARKS: dict[str, Callable[[], None]] = {"metrics": metrics.main, "uploads": uploads.main}


def main() -> None:
    """Run what is named on the command line, or everything."""
    names = sys.argv[1:] or list(BENCHMARKS)
    del sys.argv[1:]  # a benchmark that is run by itself has options of its own
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    print(machine())
    for name in names:
        print(f"== {name}", flush=True)
        BENCHMARKS[name]()


def machine() -> str:
    """What the numbers were measured on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "httpx", "fastapi"))
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{system}; Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
