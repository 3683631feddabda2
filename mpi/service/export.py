"""Taking parts of the index out as files: crosswalk, persons and links, as of one moment, audited before anyone has them.

A file holds ids, weights and codes, and local ids in the crosswalk; never a value of a record. An organisation is given what is of its own
records. In a file of the whole index, which is for its operator, people whose location is protected are left out: that a practice or a care
home knows them would tell where they are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from foundation.directory import known_codes
from foundation.errors import NotFound
from foundation.ids import format_id
from foundation.principal import Principal
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.store import export as store

What = Literal["crosswalk", "links", "persons"]

COLUMNS: Mapping[What, Mapping[str, type]] = {
    "crosswalk": {
        "organisation": str,
        "system": str,
        "local_id": str,
        "record_id": str,
        "person_id": str,
        "restricted": bool,
    },
    "links": {
        "person_id": str,
        "low_record_id": str,
        "high_record_id": str,
        "weight_millibits": int,
        "may_link": bool,
        "decision_id": str,
    },
    "persons": {
        "person_id": str,
        "epoch": int,
        "records": int,
        "identity_warning": bool,
        "restricted": bool,
    },
}
"""The columns of each file; ids are text, as they are everywhere outside."""

_STREAMS = {
    "crosswalk": store.stream_crosswalk,
    "links": store.stream_links,
    "persons": store.stream_persons,
}
_AT_ONCE = 2_000


class Sink(Protocol):
    """A file that is being written, and is nobody's yet."""

    def write(self, rows: Sequence[Sequence[Any]]) -> None: ...

    def finish(self) -> str:
        """Write what is left; return the digest of the whole (SHA-256, in hexadecimal)."""
        ...


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, in rows, and the digest of the file, which the audit row has too."""

    what: What
    organisation: str | None
    rows: int
    sha256: str

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "organisation": self.organisation,
            "rows": self.rows,
            "sha256": self.sha256,
        }


def export_index(
    mpi: Mpi,
    what: What,
    sink: Sink,
    by: Principal,
    *,
    organisation: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Exported:
    """Write a part of the index as it is at one moment, and audit that; whoever holds the sink gives it out after that only.

    Args:
        organisation: whose records it is about; None for all.

    Raises:
        NotFound: ``organisation-unknown``.
    """
    rows = 0
    with mpi.db.read() as tx:
        if organisation is not None and not known_codes(tx, [organisation]):
            raise NotFound("organisation-unknown", field="organisation")
    with mpi.db.read() as tx:
        for part in _parts(_STREAMS[what](tx, organisation)):
            sink.write([_told(what, row) for row in part])
            rows += len(part)
            progress(len(part))
    digest = sink.finish()
    detail = {"what": what, "of": organisation or "*", "rows": rows, "sha256": digest}
    with mpi.db.write() as tx:
        trail.note(tx, by, mpi.clock.now(), "index-exported", detail=detail)
    return Exported(what, organisation, rows, digest)


def _told(what: What, row: Sequence[Any]) -> list[Any]:
    return [
        value
        if value is None or isinstance(value, str)
        else format_id(value)
        if name.endswith("_id")
        else kind(value)
        for (name, kind), value in zip(COLUMNS[what].items(), row, strict=True)
    ]


def _parts(rows: Iterable[Any]) -> Iterable[list[Any]]:
    part: list[Any] = []
    for row in rows:
        part.append(row)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part
