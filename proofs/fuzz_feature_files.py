"""A process that feeds the parsers with broken files, following their branches, until one of them breaks.

`python fuzz_feature_files.py RUNS SEED FOLDER`: a file that is refused with anything but a FormatError, or that takes
more memory than the bound, ends the process with another exit code than 0. It prints what it did as JSON.
"""

import json
import os
import random
import resource
import sys
import traceback
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["collapse_client.format"]):
    from collapse_client.format import FormatError, check_complete, describe, open_features

from mutants import mutant, valid_files

MEMORY_BYTES = 256 * 2**20
"""Beyond what the process has before the first file."""
MAX_INFLATED_BYTES = 16 * 2**20
MAX_FILE_BYTES = 64 * 1024
outcomes: Counter[str] = Counter()


def main() -> None:
    """Run until all runs are done or one has failed."""
    runs, seed, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for number, content in enumerate(valid_files()):
        (corpus / str(number)).write_bytes(content)
    place = Path("/dev/shm") if Path("/dev/shm").is_dir() else folder  # written two hundred thousand times
    path = place / f"fuzz-{os.getpid()}"
    done = 0

    def look(content: bytes) -> None:
        nonlocal done
        done += 1
        path.write_bytes(content)
        outcomes[outcome_of(path)] += 1
        if done == runs:
            path.unlink()
            tell(done)

    arguments = [sys.argv[0], str(corpus), f"-seed={seed % 2**32}", f"-max_len={MAX_FILE_BYTES}", f"-runs={2 * runs}",
                 "-verbosity=0", "-print_final_stats=0", f"-artifact_prefix={folder}/"]  # fmt: skip
    atheris.Setup(arguments, look, custom_mutator=changed)
    limit = virtual_bytes() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    atheris.Fuzz()


def changed(content: bytes, max_size: int, seed: int) -> bytes:
    """Half of them as libFuzzer changes bytes, half as somebody who knows the format does."""
    if seed % 2 or not content:
        return bytes(atheris.Mutate(content, max_size))
    try:
        return mutant(content, random.Random(seed))[:max_size]
    except Exception:  # ours, not the parsers': libFuzzer would wait for ever
        traceback.print_exc()
        os._exit(3)


def outcome_of(path: Path) -> str:
    """Open and read a file as the service does when it is uploaded: what it was refused for, or "taken"."""
    try:
        with open_features(path, max_inflated_bytes=MAX_INFLATED_BYTES) as file:
            check_complete(describe(file))
    except FormatError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from error  # refused, but only because there was no more
        return error.code
    return "taken"


def tell(done: int) -> None:
    """Say what was done, and end: libFuzzer's own end tells nothing of it."""
    # Not getrusage: its peak is that of the process that started this one, where that was higher.
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    sys.stdout.write(json.dumps({"files": done, "outcomes": outcomes, "peak_bytes": peak}) + "\n")
    sys.stdout.flush()
    os._exit(0)


def virtual_bytes() -> int:
    """What RLIMIT_AS counts, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
