"""Lines of JSON made into source records: FHIR Patients, records as the API takes them, and rows under a sender's own headings."""

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from foundation.errors import Invalid
from foundation.json_lines import numbered_lines, object_of
from mpi.feeds.delimited import Row, check_plain, table_reader
from mpi.feeds.fhir import Systems, read_patient
from mpi.feeds.mapping import FileMap
from mpi.records import RecordKey, SourceRecord, faults

_LISTS = ("identifiers", "names", "addresses", "telecoms")
_UNREADABLE_AT_FIRST = 1_000
"""Lines without an object of JSON among them, after which a file is taken for something else."""


def count_lines(path: Path) -> int:
    """Return how many lines a file has.

    Raises:
        Invalid: ``file-empty``, ``file-format`` for what is no text, ``file-not-plain`` for a pipe.
    """
    check_plain(path)
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            lines += part.count(b"\n")
            last = part[-1:]
    lines += last != b"\n"
    if lines == 0:
        raise Invalid("file-empty", detail="The file has no lines.")
    return lines


def read_json_lines(path: Path, today: date, mapping: FileMap, systems: Systems) -> Iterator[Row]:
    """Read a file line by line; a line that cannot be read says why, and the next one follows. Empty lines are passed over.

    A line is a FHIR Patient (``resourceType``); a document of a record, where a member is a list or an object; else a row of a table, whose
    members are columns.

    Raises:
        Invalid: ``file-format`` where no line is an object of JSON; ``map-part-not-read`` where a map says of Patients what they do
            not take from it.
    """
    reader = _Lines(today, mapping, systems)
    waiting: list[Row] | None = []
    with path.open("rb") as file:
        for number, line in numbered_lines(file):
            if line is not None and not line.strip():
                continue
            said = None if line is None else object_of(line)
            if said is None or line is None:
                unreadable = Row(number, None, (Invalid("row-unreadable", row=number),))
                if waiting is None:
                    yield unreadable
                else:
                    waiting.append(unreadable)
                    if len(waiting) == _UNREADABLE_AT_FIRST:
                        raise _no_json()
                continue
            yield from waiting or ()
            waiting = None
            if (row := reader.read(number, line, said)) is not None:
                yield row
    if waiting:
        raise _no_json()


def _no_json() -> Invalid:
    return Invalid("file-format", detail="No line is an object of JSON; say with --format what the file is.")


class _Lines:
    def __init__(self, today: date, mapping: FileMap, systems: Systems) -> None:
        self._today, self._map, self._systems = today, mapping, systems
        self._shapes = mapping.shapes(today)
        self._read_row = table_reader(today, mapping)

    def read(self, number: int, line: bytes, said: Mapping[str, Any]) -> Row | None:
        """Read a line; None for a row in which nothing stands."""
        is_patient = "resourceType" in said
        if is_patient:
            self._check_map()
        try:
            if is_patient:
                return self._patient(number, object_of(line, as_written=False))
            said = {name: value for name, value in said.items() if value is not None or name not in _LISTS}
            if any(isinstance(value, list | dict) for value in said.values()):
                return self._judged(number, self._document(said))
            return self._read_row(
                number, tuple(said), ["" if value is None else value for value in said.values()]
            )
        except Invalid as fault:
            return Row(number, None, (Invalid(fault.code, field=fault.field, row=number),))

    def _judged(self, number: int, record: SourceRecord) -> Row:
        found = tuple(
            Invalid(fault.code, field=fault.field, row=number)
            for fault in faults(record, self._today, strict_numbers=True)
        )
        return Row(number, None if found else record, found)

    # Documents

    def _document(self, said: Mapping[str, Any]) -> SourceRecord:
        document = {
            name: shape(value) or None
            if (shape := self._shapes.get(name)) is not None and isinstance(value, str)
            else value
            for name, value in said.items()
        }
        for name, constant in self._map.constants.items():
            if document.get(name) is not None:
                raise Invalid("column-repeated", field=name)
            document[name] = constant
        flag = document.get("restricted")
        if flag is not None:
            document["restricted"] = {"true": True, "false": False}.get(str(flag), flag)
        return SourceRecord.from_payload(document)

    # Patients

    def _check_map(self) -> None:
        """See that a map says nothing of Patients that they do not take from it.

        Raises:
            Invalid: ``map-part-not-read``.
        """
        for name in ("dates", "codes"):
            if getattr(self._map, name):
                raise Invalid("map-part-not-read", field=name, detail="A Patient says these in FHIR's words.")
        for name in self._map.constants:
            if name not in ("organisation", "system"):
                detail = "For Patients the organisation and the system alone may be constants."
                raise Invalid("map-part-not-read", field=f"constants.{name}", detail=detail)

    def _patient(self, number: int, patient: Any) -> Row:
        read = read_patient(patient, self._key(patient))
        if read.is_active is False or read.replaced_by is not None:
            # A file brings versions of records; taking one out of the index is an act of its own.
            raise Invalid(
                "active-false", field="Patient.active" if read.is_active is False else "Patient.link"
            )
        read = read.without_ours(self._systems, self._map.local_id_system)
        found = tuple(
            Invalid(told.code, field=told.field, row=number)
            for fault in faults(read.record, self._today, strict_numbers=True)
            for told in (read.as_told(fault),)
        )
        return Row(number, None if found else read.record, found)

    def _key(self, patient: Mapping[str, Any]) -> RecordKey:
        """Return the record that a Patient is: by an identifier in a system of ours, or by the map and its local id.

        Raises:
            Invalid: ``required``, ``repeated``, ``type-list``.
        """
        given = patient.get("identifier")
        listed = given if isinstance(given, list) else []
        pairs = [
            (system, value)
            for one in listed
            if isinstance(one, Mapping)
            for system, value in [(one.get("system"), one.get("value"))]
            if isinstance(system, str) and isinstance(value, str)
        ]
        ours = [key for system, value in pairs if (key := self._systems.key_of(system, value)) is not None]
        if len(ours) > 1:
            raise Invalid("repeated", field="Patient.identifier")
        if ours:
            return ours[0]
        organisation, system = (self._map.constants.get(name) for name in ("organisation", "system"))
        if not organisation or not system:
            raise Invalid("required", field="Patient.identifier")
        if self._map.local_id_system is None:
            local_id = patient.get("id")
            if not isinstance(local_id, str) or not local_id:
                raise Invalid("required", field="Patient.id")
            return RecordKey(organisation, system, local_id)
        found = [value for named, value in pairs if named == self._map.local_id_system]
        if len(found) != 1:
            raise Invalid("repeated" if found else "required", field="Patient.identifier")
        return RecordKey(organisation, system, found[0])
