"""Every statement on keys of the API."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select

from jobs.errors import Conflict, NotFound
from jobs.keys import PREFIX_LENGTH, Limits, digest, make_key
from jobs.store.audit import entry
from jobs.store.database import Database
from jobs.tables import ApiKey, new_id


def active(now: datetime) -> Any:
    """The condition on a key that is neither revoked nor expired."""
    return and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now))


class KeyStore:
    """The table `api_keys`; what changes it is in the audit log."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(
        self,
        *,
        owner: str | None,
        scopes: Sequence[str],
        limits: Limits = Limits(),
        lifetime: timedelta | None = None,
        note: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Commit a new key; its row, and the key, which is kept nowhere. Without an owner, it has one of its own."""
        key, key_id, now = make_key(), new_id("key"), self.database.now()
        row = ApiKey(
            id=key_id,
            sha256=digest(key),
            prefix=key[:PREFIX_LENGTH],
            owner=key_id if owner is None else owner,
            scopes=list(scopes),
            note=note,
            created_at=now,
            expires_at=now + lifetime if lifetime is not None else None,
            **vars(limits),
        )
        with self.database.write() as session:
            session.add(row)
            session.add(entry(now, owner=row.owner, action="create_key", object_id=key_id))
        return row, key

    def find(self, key: str) -> ApiKey | None:
        """The row of a key that is neither revoked nor expired, as it is at this moment."""
        sha256 = digest(key)
        with self.database.read() as session:
            row = session.scalar(select(ApiKey).where(ApiKey.sha256 == sha256, active(self.database.now())))
        # What an index compares, it may tell by its time; of a digest that tells nothing of the key.
        return row if row is not None and secrets.compare_digest(row.sha256, sha256) else None

    def is_active(self, key_id: str) -> bool:
        """Whether a key that was there is still neither revoked nor expired."""
        with self.database.read() as session:
            found = session.scalar(select(ApiKey.id).where(ApiKey.id == key_id, active(self.database.now())))
        return found is not None

    def any(self) -> bool:
        """Whether a key was ever made: from then on nobody gets in without one."""
        with self.database.read() as session:
            return session.scalar(select(ApiKey.id).limit(1)) is not None

    def any_active(self) -> bool:
        """Whether there is a key by which somebody could get in."""
        with self.database.read() as session:
            return session.scalar(select(ApiKey.id).where(active(self.database.now())).limit(1)) is not None

    def list(self) -> Sequence[ApiKey]:
        """All keys, the newest first."""
        with self.database.read() as session:
            return session.scalars(select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id)).all()

    def revoke(self, name: str) -> ApiKey:
        """Let nobody in by the key with this id, or these first characters, from now on.

        Raises NotFound: key_not_found; Conflict: key_ambiguous.
        """
        now = self.database.now()
        with self.database.write() as session:
            found = session.scalars(
                select(ApiKey).where(or_(ApiKey.id == name, ApiKey.prefix == name[:PREFIX_LENGTH])).with_for_update()
            ).all()
            if not found:
                raise NotFound(
                    "key_not_found", f"No key has this id or these first characters: {name[:PREFIX_LENGTH]}."
                )
            if len(found) > 1:
                ids = ", ".join(row.id for row in found)
                raise Conflict("key_ambiguous", f"Several keys begin like that: {ids}. Give the id of one.")
            (row,) = found
            if row.revoked_at is None:
                row.revoked_at = now
                session.add(entry(now, owner=row.owner, action="revoke_key", object_id=row.id))
        return row
