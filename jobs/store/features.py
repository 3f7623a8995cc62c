"""Every statement on feature sets and their parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import case, delete, exists, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from jobs.errors import Conflict
from jobs.keys import Limits
from jobs.store.blobs import let_go
from jobs.store.database import Database
from jobs.store.jobs import features_not_found
from jobs.store.quotas import bytes_of, limits_of
from jobs.tables import ENDED, OWNER_WITHOUT_KEYS, Features, FeaturesPart, Job, new_id


@dataclass(frozen=True)
class StoredFile:
    """A validated file that lies in the blob folder under its digest."""

    sha256: str
    size_bytes: int
    description: Mapping[str, Any]


@dataclass(frozen=True)
class Contents:
    """What a complete feature set holds, as its row says it."""

    sha256: str
    fingerprint: str
    num_samples: int
    class_counts: Mapping[str, int]
    layers: Sequence[Mapping[str, Any]]


class FeaturesStore:
    """The tables `features` and `features_parts`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add_whole(
        self,
        file: StoredFile,
        contents: Contents,
        *,
        layer_order: Sequence[str] | None,
        retention_seconds: float,
        owner: str = OWNER_WITHOUT_KEYS,
    ) -> tuple[Features, bool]:
        """Commit a ready set of one file; (row, True), or (the row that the same upload made before, False)."""
        if earlier := self._keep_earlier(file, contents.fingerprint, retention_seconds):
            return earlier, False
        row = self._new(owner, status="ready", layer_order=layer_order, retention_seconds=retention_seconds)
        _fill(row, contents, size_bytes=file.size_bytes)
        try:
            with self.database.write() as session:
                bytes_of(session, owner, self._limits(session, owner)).require_room(file.size_bytes)
                session.add(row)
                session.flush()
                session.add(_part(row.id, 0, file))
                let_go(session, [file.sha256], self.database.now())
        except IntegrityError:  # the same upload raced us
            earlier = self._keep_earlier(file, contents.fingerprint, retention_seconds)
            if earlier is None:
                raise
            return earlier, False
        return row, True

    def _keep_earlier(self, file: StoredFile, fingerprint: str, retention_seconds: float) -> Features | None:
        """Prolong the life of the set, which whoever sent it first may still count on: never shorten it."""
        now = self.database.now()
        expires_at = now + timedelta(seconds=retention_seconds)
        statement = (
            update(Features)
            .where(Features.fingerprint == fingerprint)
            .values(expires_at=case((Features.expires_at > expires_at, Features.expires_at), else_=expires_at))
            .returning(Features)
        )
        with self.database.write() as session:
            row = session.scalar(statement)
            if row is not None:
                let_go(session, [file.sha256], now)
        return row

    def _limits(self, session: Session, owner: str) -> Limits:
        return limits_of(session, owner, self.database.now(), lock=True)

    def open_set(
        self, *, layer_order: Sequence[str] | None, retention_seconds: float, owner: str = OWNER_WITHOUT_KEYS
    ) -> Features:
        """Commit an empty set that parts can be added to."""
        row = self._new(owner, status="open", layer_order=layer_order, retention_seconds=retention_seconds)
        with self.database.write() as session:
            session.add(row)
        return row

    def _new(self, owner: str, *, status: str, layer_order: Sequence[str] | None, retention_seconds: float) -> Features:
        now = self.database.now()
        return Features(
            id=new_id("features"),
            owner=owner,
            status=status,
            layer_order=list(layer_order) if layer_order else None,
            size_bytes=0,
            num_samples=0,
            created_at=now,
            expires_at=now + timedelta(seconds=retention_seconds),
        )

    def add_part(self, features_id: str, index: int, file: StoredFile) -> None:
        """Commit one part; the same index with the same bytes again is harmless, anything else a `Conflict`."""
        with self.database.write() as session:
            owner = session.scalar(select(Features.owner).where(Features.id == features_id))
            limits = self._limits(session, owner or OWNER_WITHOUT_KEYS)
            row = _locked(session, features_id)
            earlier = session.get(FeaturesPart, (features_id, index))
            if earlier is not None and earlier.sha256 == file.sha256:
                let_go(session, [file.sha256], self.database.now())
                return
            if earlier is not None:
                raise Conflict(
                    "part_conflict", f"Part {index} was sent before with other bytes. Use the next free index."
                )
            if row.status != "open":
                raise Conflict("part_conflict", f"Feature set {features_id} is complete: no part can be added to it.")
            bytes_of(session, row.owner, limits).require_room(file.size_bytes)
            session.add(_part(features_id, index, file))
            row.size_bytes += file.size_bytes
            let_go(session, [file.sha256], self.database.now())

    def complete(self, features_id: str, contents: Contents, *, num_parts: int, retention_seconds: float) -> Features:
        """Close an open set whose parts are still those that `contents` was made from."""
        with self.database.write() as session:
            row = _locked(session, features_id)
            parts = session.scalar(select(func.count()).where(FeaturesPart.features_id == features_id))
            if row.status == "ready":
                return row
            if parts != num_parts:
                raise Conflict("part_conflict", "A part arrived while the set was being completed. Complete it again.")
            _fill(row, contents, size_bytes=row.size_bytes)
            row.fingerprint = None  # another set of the same parts is another set
            row.expires_at = self.database.now() + timedelta(seconds=retention_seconds)
        return row

    def get(self, features_id: str, *, owner: str | None = None) -> Features:
        """The row; `NotFound` if there is none, or if it is not this owner's where one is named."""
        query = select(Features).where(Features.id == features_id)
        with self.database.read() as session:
            row = session.scalar(query if owner is None else query.where(Features.owner == owner))
        if row is None:
            raise features_not_found(features_id)
        return row

    def parts(self, features_id: str) -> list[FeaturesPart]:
        """The parts of a set in the order of their indices."""
        query = select(FeaturesPart).where(FeaturesPart.features_id == features_id).order_by(FeaturesPart.index)
        with self.database.read() as session:
            return list(session.scalars(query))

    def delete(self, features_id: str) -> list[str]:
        """Remove the rows of a set that no unfinished job needs; the digests that it referred to."""
        with self.database.write() as session:
            _locked(session, features_id)  # a job that refers to it can commit before this line or not at all
            if job_id := session.scalar(select(Job.id).where(_needs(features_id)).limit(1)):
                raise Conflict(
                    "features_in_use",
                    f"Job {job_id} still needs feature set {features_id}. Cancel it, or wait for its end.",
                )
            digests = list(session.scalars(select(FeaturesPart.sha256).where(FeaturesPart.features_id == features_id)))
            session.execute(delete(Features).where(Features.id == features_id))
        return digests

    def expired(self) -> list[str]:
        """Sets past their time that no unfinished job needs."""
        query = select(Features.id).where(
            Features.expires_at < self.database.now(),
            ~exists().where(Job.features_id == Features.id, Job.status.not_in(ENDED)),
        )
        with self.database.read() as session:
            return list(session.scalars(query))


def _needs(features_id: str) -> Any:
    return (Job.features_id == features_id) & Job.status.not_in(ENDED)


def _locked(session: Session, features_id: str) -> Features:
    row = session.get(Features, features_id, with_for_update=True)
    if row is None:
        raise features_not_found(features_id)
    return row


def _part(features_id: str, index: int, file: StoredFile) -> FeaturesPart:
    return FeaturesPart(
        features_id=features_id,
        index=index,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        description=dict(file.description),
    )


def _fill(row: Features, contents: Contents, *, size_bytes: int) -> None:
    row.status = "ready"
    row.sha256, row.fingerprint = contents.sha256, contents.fingerprint
    row.size_bytes, row.num_samples = size_bytes, contents.num_samples
    row.class_counts, row.layers = dict(contents.class_counts), [dict(layer) for layer in contents.layers]
