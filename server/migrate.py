"""`collapse migrate`: upgrades the database to a revision of the packaged migrations."""

from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from jobs.store import Database
from jobs.store.database import unavailable_when_away
from server.errors import StartRefused


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade the database to a revision.

    Raises:
        StartRefused: if the URL, the revision or the database is no good.

    """
    try:
        shown = make_url(url).render_as_string(hide_password=True)
    except ArgumentError as error:
        raise StartRefused(
            "COLLAPSE_DATABASE_URL is no SQLAlchemy URL; write postgresql+psycopg://user:password@host/database."
        ) from error
    try:
        command.upgrade(alembic_config(url), revision)
    except CommandError as error:
        raise StartRefused(
            f"{shown} could not be migrated to {revision!r}: {error} "
            "If a newer version of the service has migrated this database, install that version or restore a backup."
        ) from error
    except DBAPIError as error:
        raise StartRefused(
            f"{shown} could not be migrated: {error.orig} "
            "Check that the database runs, and COLLAPSE_DATABASE_URL or the rights on the data folder."
        ) from error


def alembic_config(url: str) -> Config:
    """Build Alembic's configuration for the `migrations` package, wherever it is installed."""
    config = Config()
    config.set_main_option("script_location", str(resources.files("migrations")))
    # The parser takes % for an interpolation; passwords in URLs are full of it.
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def head_revision() -> str | None:
    """The newest revision that this service knows."""
    return ScriptDirectory.from_config(alembic_config("sqlite://")).get_current_head()


def revision_of(database: Database) -> str | None:
    """The revision that a database is at; None if it has none of our tables."""
    with unavailable_when_away(), database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
