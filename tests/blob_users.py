"""Uploads, reads and deletes the same few files again and again, beside others that do: run as a script.

Arguments: the URL of the database, the settings of the store as JSON, whose sets to make, how many rounds. Ends with 0
if every set had its file for as long as it was there.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from feature_files import feature_arrays, write_file

from jobs.blobs import Blobs
from jobs.feature_sets import FeatureSets
from jobs.files import open_file_store
from jobs.settings import Settings
from jobs.store import BlobStore, Database, FeaturesStore


def make_blobs(database: Database, settings: Settings) -> Blobs:
    return Blobs(open_file_store(settings), BlobStore(database))


def add(sets: FeatureSets, content: bytes, owner: str) -> str:
    with sets.files.stage() as staged:
        staged.write(content)
        staged.finish()
        return sets.add_whole(staged, layer_order=None, owner=owner)[0].id


def use(database_url: str, store: str, owner: str, rounds: int) -> None:
    settings = Settings(**json.loads(store))
    database = Database(database_url)
    blobs = make_blobs(database, settings)
    sets = FeatureSets(settings, FeaturesStore(database), blobs)
    with tempfile.TemporaryDirectory() as folder:
        contents = [
            write_file(Path(folder) / "file.safetensors", feature_arrays(num_samples=8, seed=seed)).read_bytes()
            for seed in range(3)
        ]
    for number in range(rounds):
        content = contents[number % 3]
        features_id = add(sets, content, owner)
        if number % 5 == 0:
            blobs.collect_garbage(grace_seconds=0)
        sha256 = sets.store.get(features_id).sha256
        assert hashlib.sha256(b"".join(blobs.files.read(sha256))).hexdigest() == sha256
        sets.delete(features_id)
    database.close()


if __name__ == "__main__":
    use(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
