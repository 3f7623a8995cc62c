"""A job and its children in this process, over files on disk, as workers would run them one after the other."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from analysis.commands import KINDS, ChildJob, ChildrenFirst, FeaturesOutline
from collapse_client.format import describe, open_features

MOST = 1 << 30


@dataclass
class Parts:
    layers: tuple
    parts: list


class Spread:
    """Surroundings of the parent; those of a child are the same with another id."""

    run, step, device, service_version = None, None, "cpu", "0.1.0"

    def __init__(self, folder: Path, parts, *, spread_bytes, fails=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.spread_bytes, self.fails = folder, spread_bytes, fails
        self.job_id, self.jobs = "job_parent", []
        self.paths = [folder / f"{index}.part" for index in range(len(parts))]
        for path, tensors in zip(self.paths, parts, strict=True):
            if isinstance(tensors, Path):
                shutil.copy(tensors, path)
            else:
                save_file({name: torch.as_tensor(value).contiguous() for name, value in tensors.items()}, path)

    def report_of(self, command):
        """Run the command, and every child that it asks for, until its report is there."""
        while True:
            answer = command.run(self)
            if not isinstance(answer, ChildrenFirst):
                return answer
            for child in answer.commands:
                self._run_child(child)

    def _run_child(self, child):
        job_id = f"job_{len(self.jobs)}"
        if len(self.jobs) == self.fails:
            outcome = {"status": "failed", "error_code": "unsafe_file", "error_detail": "a broken part", "report": None}
        else:
            again = KINDS[child.kind].model_validate(child.model_dump(mode="json"))  # as it is stored
            report = again.run(_Child(self, job_id))
            outcome = {"status": "succeeded", "error_code": None, "error_detail": None}
            outcome["report"] = report.model_dump(mode="json")
        self.jobs.append(ChildJob(job_id=job_id, kind=child.kind, parameters=child.model_dump(mode="json"), **outcome))

    def outline_features(self, features_id):
        with self.open_features(features_id) as features:
            descriptions = [describe(part) for part in features.parts]
            return FeaturesOutline(features.layers, descriptions, [path.stat().st_size for path in self.paths])

    @contextlib.contextmanager
    def open_features(self, features_id, *, first_part=0, stop_part=None):
        with contextlib.ExitStack() as stack:
            files = [
                stack.enter_context(open_features(path, max_inflated_bytes=MOST))
                for path in self.paths[first_part:stop_part]
            ]
            yield Parts(files[0].layers, files)

    def children(self):
        return self.jobs

    def previous_report(self):
        return None

    def keep_artifact(self, name, content):
        folder = self.folder / self.job_id
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    def artifact(self, job_id, name):
        path = self.folder / job_id / name
        return path if path.exists() else None

    def progress(self, *, phase, current, total):
        assert 0 <= current <= total


class _Child(Spread):
    def __init__(self, parent, job_id):
        self.__dict__.update(parent.__dict__)
        self.job_id = job_id
