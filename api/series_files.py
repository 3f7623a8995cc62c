"""Series as files: JSON, CSV, Parquet; written block by block, so that memory does not grow with their length."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic_core import to_json

from jobs.store import SeriesRow

Format = Literal["json", "csv", "parquet"]
Blocks = Iterable[Sequence[SeriesRow]]
COLUMNS = SeriesRow._fields


def as_json(blocks: Blocks) -> Iterator[bytes]:
    """A list of objects, one for each row.

    >>> row = SeriesRow("r", 3, "layer1", 0, "class_mean_rank", None, "job_1")
    >>> b"".join(as_json([[row], []])).decode()
    '[{"run":"r","step":3,"layer":"layer1","layer_index":0,"metric":"class_mean_rank","value":null,"job_id":"job_1"}]'
    """
    before = b"["
    for block in blocks:
        if block:
            yield before + to_json([row._asdict() for row in block], inf_nan_mode="null")[1:-1]
            before = b","
    yield b"]" if before == b"," else b"[]"


def as_csv(blocks: Blocks) -> Iterator[bytes]:
    r"""RFC 4180, in UTF-8, with a line of names; what is undefined is empty.

    >>> row = SeriesRow("r", None, 'a "b", c', 0, "class_mean_rank", 0.1, "job_1")
    >>> list(as_csv([[row]]))[1]
    b'r,,"a ""b"", c",0,class_mean_rank,0.1,job_1\r\n'
    """
    yield _lines([COLUMNS])
    for block in blocks:
        yield _lines(block)


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


def as_parquet(blocks: Blocks) -> Iterator[bytes]:
    """One row group for each block."""
    import pyarrow  # 40 MB, for those who want it
    import pyarrow.parquet

    types = {"step": pyarrow.int64(), "layer_index": pyarrow.int64(), "value": pyarrow.float64()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in COLUMNS])
    written = _Written()
    with pyarrow.parquet.ParquetWriter(written, schema, compression="zstd") as writer:
        for block in blocks:
            columns = zip(*block, strict=True) if block else ([] for _ in COLUMNS)
            arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            yield written.take()
    yield written.take()


class _Written(io.RawIOBase):
    """A file that can only be written on, and whose beginning is gone once it was taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, piece: Any) -> int:
        """Append."""
        self._pieces.append(bytes(piece))
        self._length += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        """How much was written."""
        return self._length

    def take(self) -> bytes:
        """What was written since this was last asked."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


WRITERS: Mapping[Format, tuple[str, Callable[[Blocks], Iterator[bytes]]]] = {
    "json": ("application/json", as_json),
    "csv": ("text/csv; charset=utf-8", as_csv),
    "parquet": ("application/vnd.apache.parquet", as_parquet),
}
"""Format → media type, and what writes it."""
