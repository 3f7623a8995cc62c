"""What a backup says of itself: the last file that is written, and the first that is read."""

import os
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ValidationError

from server.errors import StartRefused

NAME = "backup.json"
BLOBS = "blobs"


class Manifest(BaseModel):
    """Which file of the folder is the database, and what made it."""

    database: str
    kind: Literal["sqlite", "postgresql"]
    revision: str | None
    service_version: str
    made_at: datetime
    files: int

    def write(self, folder: Path) -> None:
        """Put it in place of the one before, at once and durably."""
        partial = folder / f"{NAME}.partial"
        with partial.open("w") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / NAME)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Of a backup that was finished. Raises StartRefused if there is none."""
        try:
            return cls.model_validate_json((folder / NAME).read_bytes())
        except (OSError, ValidationError) as error:
            raise StartRefused(
                f"{folder} holds no backup that was finished: {NAME} is missing or unreadable. Name another folder."
            ) from error
