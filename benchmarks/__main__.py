"""Run the benchmarks: `python -m benchmarks` all of them, `python -m benchmarks metrics` those that are named."""

import sys
from collections.abc import Callable

from benchmarks import metrics, uploads

BENCHMARKS: dict[str, Callable[[], None]] = {"metrics": metrics.main, "uploads": uploads.main}


def main() -> None:
    """Run what is named on the command line, or everything."""
    names = sys.argv[1:] or list(BENCHMARKS)
    del sys.argv[1:]  # a benchmark that is run by itself has options of its own
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    for name in names:
        print(f"== {name}")
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
