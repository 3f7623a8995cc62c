"""Alembic's tree of schema changes."""
