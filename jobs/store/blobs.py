"""Who refers to a blob, and who is just putting one in place: what neither does may be removed.

Whoever puts a blob in place claims it before, and lets go of it in the transaction that refers to it. Whoever removes
one looks for references and claims, and removes it, while it holds the row that every claim must write. So, on any
number of hosts, no blob goes between its place and its row. A claim ends after a day: its holder has died, or will
find, when it lets go, that it has come too late.
"""

import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, delete, exists, select, union, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from jobs.errors import ClaimLost
from jobs.store.database import Database
from jobs.tables import Artifact, Blob, FeaturesPart

CLAIM_SECONDS = 86400
REMOVED_AT_ONCE = 100
"""In one transaction: others wait for it."""
HOLD = "hold-"
"""How the names of claims on all blobs begin."""


class BlobStore:
    """The table `blobs`, and all others with a digest in them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def claim(self, digests: Iterable[str]) -> None:
        """Nobody may remove these for a day, or until they are let go of."""
        now = self.database.now()
        until = now + timedelta(seconds=CLAIM_SECONDS)
        rows = [{"sha256": sha256, "claims": 1, "claimed_until": until} for sha256 in sorted(set(digests))]
        claims = case((Blob.claimed_until > now, Blob.claims + 1), else_=1)
        with self.database.write() as session:
            for row in rows:
                session.execute(
                    _insert(session, row).on_conflict_do_update(
                        index_elements=[Blob.sha256], set_={"claims": claims, "claimed_until": until}
                    )
                )

    def release(self, digests: Iterable[str]) -> None:
        """Let go of them without a row that refers to them."""
        with self.database.write() as session:
            _let_go(session, digests, self.database.now())

    def hold_all(self) -> str:
        """Nobody may remove any blob for a day, or until `release_all` gets the name that this gives."""
        now = self.database.now()
        name = f"{HOLD}{secrets.token_hex(16)}"
        until = now + timedelta(seconds=CLAIM_SECONDS)
        with self.database.write() as session:
            session.execute(delete(Blob).where(Blob.sha256.startswith(HOLD), Blob.claimed_until <= now))
            session.add(Blob(sha256=name, claims=1, claimed_until=until))
        return name

    def keep_holding(self, name: str) -> None:
        """For another day from now."""
        until = self.database.now() + timedelta(seconds=CLAIM_SECONDS)
        with self.database.write() as session:
            session.execute(update(Blob).where(Blob.sha256 == name).values(claimed_until=until))

    def release_all(self, name: str) -> None:
        """End it."""
        with self.database.write() as session:
            session.execute(delete(Blob).where(Blob.sha256 == name))

    def mark(self, digests: Collection[str], *, seconds: float) -> int:
        """Note blobs that turned up in the store: they may go once so much time has passed. How many are new."""
        until = self.database.now() + timedelta(seconds=seconds)
        new = self.unknown(digests)
        with self.database.write() as session:
            for sha256 in new:  # who claims one meanwhile keeps it
                row = {"sha256": sha256, "claims": 0, "claimed_until": until}
                session.execute(_insert(session, row).on_conflict_do_nothing())
        return len(new)

    def unknown(self, digests: Collection[str]) -> list[str]:
        """Which of these blobs nothing refers to, nobody has claimed and nobody has marked."""
        noted = select(Blob.sha256).where(Blob.sha256.in_(digests))
        with self.database.read() as session:
            return sorted(set(digests) - set(session.scalars(noted)) - set(session.scalars(_referenced(digests))))

    def referenced(self, digests: Collection[str]) -> set[str]:
        """Which of these blobs some row refers to."""
        with self.database.read() as session:
            return set(session.scalars(_referenced(digests)))

    def all_referenced(self) -> list[str]:
        """Every blob that some row refers to, in ascending order."""
        with self.database.read() as session:
            return sorted(session.scalars(every_reference()))

    def waiting(self, digests: Collection[str]) -> set[str]:
        """Which of these blobs are claimed, or marked and not yet to go."""
        query = select(Blob.sha256).where(Blob.sha256.in_(digests), Blob.claimed_until > self.database.now())
        with self.database.read() as session:
            return set(session.scalars(query))

    def garbage(self, *, limit: int = 10_000) -> Sequence[str]:
        """Known blobs that nothing refers to and nobody claims."""
        query = (
            select(Blob.sha256)
            .where(Blob.claimed_until <= self.database.now(), ~Blob.sha256.startswith(HOLD))
            .where(*(~exists().where(table.sha256 == Blob.sha256) for table in (FeaturesPart, Artifact)))
            .order_by(Blob.sha256)
            .limit(limit)
        )
        with self.database.read() as session:
            return session.scalars(query).all()

    def remove_unreferenced(self, digests: Collection[str], remove: Callable[[Sequence[str]], None]) -> list[str]:
        """Have those of these blobs removed that nothing refers to and nobody claims; which."""
        ordered = sorted(set(digests))
        removed: list[str] = []
        for start in range(0, len(ordered), REMOVED_AT_ONCE):
            removed += self._remove(ordered[start : start + REMOVED_AT_ONCE], remove)
        return removed

    def _remove(self, digests: Sequence[str], remove: Callable[[Sequence[str]], None]) -> list[str]:
        now = self.database.now()
        with self.database.write() as session:
            # Also of those that earlier versions kept: a row is what claims wait for.
            for sha256 in digests:
                row = {"sha256": sha256, "claims": 0, "claimed_until": now}
                session.execute(_insert(session, row).on_conflict_do_nothing())
            rows = session.execute(
                select(Blob.sha256, Blob.claimed_until)
                .where(Blob.sha256.in_(digests))
                .order_by(Blob.sha256)
                .with_for_update()
            ).all()
            held = select(Blob.sha256).where(Blob.sha256.startswith(HOLD), Blob.claimed_until > now)
            if session.scalar(held.limit(1)):
                return []
            # Asked after the lock was given: whoever held it before may have referred to them.
            referenced = set(session.scalars(_referenced(digests)))
            free = [sha256 for sha256, claimed_until in rows if claimed_until <= now and sha256 not in referenced]
            if free:
                remove(free)
                session.execute(delete(Blob).where(Blob.sha256.in_(free)))
        return free

    def forget_claims(self) -> None:
        """After a restore: nobody of those who claimed something is there any more."""
        with self.database.write() as session:
            session.execute(delete(Blob).where(Blob.sha256.startswith(HOLD)))
            session.execute(update(Blob).values(claims=0, claimed_until=self.database.now()))


def let_go(session: Session, digests: Iterable[str], now: datetime) -> None:
    """End a claim on each of these, in the transaction that refers to them.

    Raises `ClaimLost` if one of the claims has run out: the blob may be gone, and no row may refer to it.
    """
    wanted = set(digests)
    if len(_let_go(session, wanted, now)) != len(wanted):
        raise ClaimLost(
            "storage_unavailable", "Writing this took so long that what was stored may be gone. Send it again."
        )


def every_reference() -> Any:
    """The question for every digest that some row refers to."""
    return union(select(FeaturesPart.sha256), select(Artifact.sha256))


def _let_go(session: Session, digests: Iterable[str], now: datetime) -> Sequence[str]:
    held = select(Blob.sha256).where(Blob.sha256.in_(set(digests)), Blob.claims > 0, Blob.claimed_until > now)
    # In one order: no two transactions wait for each other.
    locked = session.scalars(held.order_by(Blob.sha256).with_for_update()).all()
    until = case((Blob.claims <= 1, now), else_=Blob.claimed_until)
    session.execute(
        update(Blob)
        .where(Blob.sha256.in_(locked))
        .values(claims=Blob.claims - 1, claimed_until=until)
        .execution_options(synchronize_session=False)
    )
    return locked


def _referenced(digests: Collection[str]) -> Any:
    return union(*(select(table.sha256).where(table.sha256.in_(digests)) for table in (FeaturesPart, Artifact)))


def _insert(session: Session, values: dict[str, Any]) -> Any:
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(Blob).values(**values)
