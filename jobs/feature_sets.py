"""Feature sets: from a staged file to a row, and from an id to open files. Joins `blobs` and `store.features`."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from analysis.commands import FeaturesOutline
from collapse_client.format import (
    FeatureFile,
    FeaturesDescription,
    MomentsFile,
    check_complete,
    describe,
    merge_descriptions,
    open_features,
    order_layers,
)
from jobs.blobs import Blobs
from jobs.descriptions import as_json, counts_as_json, from_json
from jobs.errors import Conflict, NotFound
from jobs.files import StagedFile
from jobs.settings import Settings
from jobs.store import Contents, FeaturesStore, StoredFile
from jobs.tables import OWNER_WITHOUT_KEYS, Features


@dataclass(frozen=True)
class OpenFeatures:
    """A feature set opened for reading: its layers in order, its files in the order of the parts."""

    layers: tuple[str, ...]
    parts: tuple[FeatureFile | MomentsFile, ...]


class FeatureSets:
    """Everything that is done with feature sets, whoever asks."""

    def __init__(self, settings: Settings, store: FeaturesStore, blobs: Blobs) -> None:
        self.settings = settings
        self.store = store
        self.blobs = blobs
        self.files = blobs.files

    def add_whole(
        self,
        staged: StagedFile,
        *,
        layer_order: Sequence[str] | None,
        owner: str = OWNER_WITHOUT_KEYS,
        retention_seconds: float | None = None,
    ) -> tuple[Features, bool]:
        """Validate a finished file and keep it as a set; the same again from its owner gives (the first row, False)."""
        file, description = self._validated(staged)
        check_complete(description)
        contents = _contents(file.sha256, description, layer_order, owner)
        with self.blobs.put_in_place([staged]):
            return self.store.add_whole(
                file,
                contents,
                layer_order=layer_order,
                retention_seconds=retention_seconds or self.settings.features_retention_seconds,
                owner=owner,
            )

    def open_set(
        self,
        *,
        layer_order: Sequence[str] | None,
        owner: str = OWNER_WITHOUT_KEYS,
        retention_seconds: float | None = None,
    ) -> Features:
        """An empty set that parts can be added to."""
        return self.store.open_set(
            layer_order=layer_order,
            retention_seconds=retention_seconds or self.settings.open_features_retention_seconds,
            owner=owner,
        )

    def add_part(self, features_id: str, index: int, staged: StagedFile) -> None:
        """Validate a finished file and keep it as one part of an open set."""
        file, description = self._validated(staged)
        others = [part for part in self.store.parts(features_id) if part.index != index]
        merge_descriptions([*(from_json(part.description) for part in others), description])
        with self.blobs.put_in_place([staged]):
            self.store.add_part(features_id, index, file)

    def complete(self, features_id: str, *, retention_seconds: float | None = None) -> Features:
        """Close an open set; a set that is complete already stays as it is."""
        row, parts = self.store.get(features_id), self.store.parts(features_id)
        if row.status == "ready":
            return row
        indices = [part.index for part in parts]
        if not parts or indices != list(range(len(parts))):
            missing = sorted(set(range(max(indices, default=0) + 1)) - set(indices))
            raise Conflict(
                "parts_missing", f"Parts must be 0 … n−1 without a gap; missing: {missing}. Send them, then complete."
            )
        description = merge_descriptions([from_json(part.description) for part in parts])
        check_complete(description)
        digest = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
        return self.store.complete(
            features_id,
            _contents(digest, description, row.layer_order, row.owner),
            num_parts=len(parts),
            retention_seconds=retention_seconds or self.settings.features_retention_seconds,
        )

    def delete(self, features_id: str) -> None:
        """Remove a set, and its blobs where no other set has them."""
        self.blobs.discard(self.store.delete(features_id))

    def delete_expired(self) -> int:
        """Remove the sets past their time; how many."""
        deleted = 0
        for features_id in self.store.expired():
            with suppress(Conflict, NotFound):  # a job has asked for it since, or another worker was faster
                self.delete(features_id)
                deleted += 1
        return deleted

    def outline(self, features: Features) -> FeaturesOutline:
        """What is known of a ready set without its files."""
        parts = self.store.parts(features.id)
        return FeaturesOutline(
            layers=_ready_layers(features),
            parts=[from_json(part.description) for part in parts],
            part_bytes=[part.size_bytes for part in parts],
        )

    @contextmanager
    def open(self, features_id: str, *, first_part: int = 0, stop_part: int | None = None) -> Iterator[OpenFeatures]:
        """The files of a ready set, or of some of its parts, closed when the block ends."""
        layers = _ready_layers(self.store.get(features_id))
        with ExitStack() as stack:
            parts = []
            for part in self.store.parts(features_id)[first_part:stop_part]:
                parts.append(self._open_file(stack.enter_context(self.files.lend(part.sha256))))
                stack.callback(parts[-1].close)
            yield OpenFeatures(layers=layers, parts=tuple(parts))

    def _open_file(self, path: Any) -> FeatureFile | MomentsFile:
        return open_features(path, max_inflated_bytes=self.settings.max_upload_bytes)

    def _validated(self, staged: StagedFile) -> tuple[StoredFile, FeaturesDescription]:
        with self._open_file(staged.path) as opened:
            description = describe(opened)
        return StoredFile(staged.sha256, staged.size_bytes, as_json(description)), description


def _ready_layers(features: Features) -> tuple[str, ...]:
    if features.layers is None:
        raise Conflict("features_not_ready", f"Feature set {features.id} is still open. Complete it first.")
    return tuple(layer["name"] for layer in features.layers)


def _contents(sha256: str, description: FeaturesDescription, layer_order: Sequence[str] | None, owner: str) -> Contents:
    found = {layer.name: layer for layer in description.layers}
    order = order_layers(list(found), layer_order) if layer_order else tuple(found)
    return Contents(
        sha256=sha256,
        # The same bytes in another order of layers are other features: reports list layers in that order. Those of
        # another owner, too: nobody learns what others have sent.
        fingerprint=hashlib.sha256(json.dumps([sha256, order, *([owner] if owner else [])]).encode()).hexdigest(),
        num_samples=description.num_samples,
        class_counts=counts_as_json(description.class_counts),
        layers=[asdict(found[name]) for name in order],
    )
