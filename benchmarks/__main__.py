"""Run the benchmarks.

usage: python -m benchmarks                     all of them
       python -m benchmarks NAME …              those that are named
       python -m benchmarks NAME OPTION …       one of them, with options of its own (NAME --help tells which)
"""

import itertools
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from benchmarks import client, cluster, dufm, metrics, pages, uploads

BENCHMARKS: dict[str, Callable[[Sequence[str]], None]] = {
    "metrics": metrics.main,
    "uploads": uploads.main,
    "client": client.main,
    "dufm": dufm.main,
    "pages": pages.main,
    "cluster": cluster.main,
}


def main() -> None:
    """Run what is named on the command line, or everything."""
    names, options = split(sys.argv[1:])
    if not names and options:
        sys.exit(f"{__doc__.strip()}\n\nNAME is one of {', '.join(BENCHMARKS)}")
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    if options and len(names) > 1:
        sys.exit(f"{options[0]} belongs to one benchmark: name one, not {' and '.join(names)}")
    print(machine())
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        BENCHMARKS[name](options)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of benchmarks, and what follows them from the first option on."""
    names = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    return names, list(arguments[len(names) :])


def machine() -> str:
    """What the numbers were measured on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "httpx", "fastapi"))
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{system}; Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
