"""Run every benchmark: `python -m benchmarks`."""

from benchmarks.metrics import main

main()
