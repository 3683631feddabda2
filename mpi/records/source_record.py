"""The source record: what one organisation's system says of one person, as it was received."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from foundation.errors import Invalid
from mpi.records.dates import parse_instant
from mpi.records.demographics import Address, HumanName, Identifier, Telecom
from mpi.records.nhs_number import NhsNumberEvidence, NumberState, number_evidence


@dataclass(frozen=True, slots=True, order=True)
class RecordKey:
    """Whose record it is: organisation (ODS code), system, and that system's own id. Its order breaks every tie in matching."""

    organisation: str
    system: str
    local_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One version of one source record. Values are strings as received; None or empty means that nothing was sent.

    The first of ``names`` and ``addresses`` is the current one unless its ``use`` says otherwise. ``restricted`` marks people
    whose location is protected (the S-flag); None says nothing of it, and leaves it as the version before has it. ``updated_at`` is the
    source's own time of the change, aware UTC. What is said of the NHS number: who verified it and when, the number that took its place,
    and when it was withdrawn; see ``evidence``.
    """

    key: RecordKey
    nhs_number: str | None = field(default=None, repr=False)
    nhs_number_status: str | None = None
    nhs_number_verified_by: str | None = None
    nhs_number_verified_at: str | None = None
    nhs_number_superseded_by: str | None = field(default=None, repr=False)
    nhs_number_withdrawn_at: str | None = None
    identifiers: tuple[Identifier, ...] = field(default=(), repr=False)
    names: tuple[HumanName, ...] = field(default=(), repr=False)
    birth_date: str | None = field(default=None, repr=False)
    gender: str | None = field(default=None, repr=False)
    addresses: tuple[Address, ...] = field(default=(), repr=False)
    telecoms: tuple[Telecom, ...] = field(default=(), repr=False)
    gp_practice: str | None = field(default=None, repr=False)
    mother_nhs_number: str | None = field(default=None, repr=False)
    birth_order: str | None = field(default=None, repr=False)
    death_date: str | None = field(default=None, repr=False)
    restricted: bool | None = None
    updated_at: datetime | None = None

    def evidence(self, *, accept_reserved: bool = True) -> NhsNumberEvidence | None:
        """Say what the NHS number is worth by all that is said of it; None where none was sent."""
        at = self.nhs_number_verified_at
        try:
            verified_at = parse_instant(at) if at and at.strip() else None
        except Invalid:
            verified_at = None
        return number_evidence(
            self.nhs_number,
            self.nhs_number_status,
            accept_reserved=accept_reserved,
            verified_by=self.nhs_number_verified_by,
            verified_at=verified_at,
            superseded_by=self.nhs_number_superseded_by,
            is_withdrawn=bool(self.nhs_number_withdrawn_at),
        )

    @property
    def usable_numbers(self) -> tuple[str, ...]:
        """The digits of the NHS numbers that find the person: its own, if superseded too, and the one that then took its place."""
        evidence = self.evidence() if self.nhs_number else None
        if evidence is None or evidence.state not in _FINDING:
            return ()
        return (evidence.number, *([evidence.superseded_by] if evidence.superseded_by else []))

    def to_payload(self) -> dict[str, Any]:
        """Return JSON-ready values; what was not sent is left out. ``from_payload`` gives back an equal record."""
        payload: dict[str, Any] = {
            "organisation": self.key.organisation,
            "system": self.key.system,
            "local_id": self.key.local_id,
        }
        for name in TEXTS:
            if (value := getattr(self, name)) is not None:
                payload[name] = value
        if self.identifiers:
            payload["identifiers"] = [{"system": one.system, "value": one.value} for one in self.identifiers]
        if self.names:
            payload["names"] = [
                _sent(use=name.use, prefix=name.prefix, given=list(name.given), family=name.family)
                for name in self.names
            ]
        if self.addresses:
            payload["addresses"] = [
                _sent(use=one.use, lines=list(one.lines), city=one.city, postcode=one.postcode)
                for one in self.addresses
            ]
        if self.telecoms:
            payload["telecoms"] = [{"system": one.system, "value": one.value} for one in self.telecoms]
        if self.restricted is not None:
            payload["restricted"] = self.restricted
        if self.updated_at is not None:
            payload["updated_at"] = self.updated_at.isoformat()
        return payload

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> "SourceRecord":
        """Read what ``to_payload`` wrote, or JSON of the same shape.

        Raises:
            Invalid: ``field-unknown``, ``field-missing`` or ``field-type``, naming the field.
        """
        for name in payload:
            if name not in _FIELDS:
                # A name that came from outside may itself be personal data: only words like our own are repeated.
                raise Invalid(
                    "field-unknown", field=name if name.isidentifier() and len(name) <= 40 else None
                )
        texts = {name: _text(payload, name) for name in TEXTS}
        updated_at = _text(payload, "updated_at")
        return cls(
            key=RecordKey(*(_required(payload, name) for name in ("organisation", "system", "local_id"))),
            identifiers=tuple(
                Identifier(_required(one, "system", where), _required(one, "value", where))
                for where, one in _items(payload, "identifiers")
            ),
            names=tuple(
                HumanName(
                    use=_text(one, "use", where) or "usual",
                    prefix=_text(one, "prefix", where),
                    given=_texts(one, "given", where),
                    family=_text(one, "family", where),
                )
                for where, one in _items(payload, "names")
            ),
            addresses=tuple(
                Address(
                    use=_text(one, "use", where) or "home",
                    lines=_texts(one, "lines", where),
                    city=_text(one, "city", where),
                    postcode=_text(one, "postcode", where),
                )
                for where, one in _items(payload, "addresses")
            ),
            telecoms=tuple(
                Telecom(_required(one, "system", where), _required(one, "value", where))
                for where, one in _items(payload, "telecoms")
            ),
            restricted=_flag(payload, "restricted"),
            updated_at=parse_instant(updated_at) if updated_at else None,
            **texts,
        )


TEXTS = (
    "nhs_number",
    "nhs_number_status",
    "nhs_number_verified_by",
    "nhs_number_verified_at",
    "nhs_number_superseded_by",
    "nhs_number_withdrawn_at",
    "birth_date",
    "gender",
    "gp_practice",
    "mother_nhs_number",
    "birth_order",
    "death_date",
)
"""Items that are one text each, in the order in which a document has them."""

_FINDING = (NumberState.CLAIMED, NumberState.VERIFIED, NumberState.SUPERSEDED)
_FIELDS = frozenset(
    (*TEXTS, "organisation", "system", "local_id", "identifiers", "names", "addresses", "telecoms")
    + ("restricted", "updated_at")
)
_PARTS = {
    "identifiers": frozenset(("system", "value")),
    "names": frozenset(("use", "prefix", "given", "family")),
    "addresses": frozenset(("use", "lines", "city", "postcode")),
    "telecoms": frozenset(("system", "value")),
}


def _sent(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, [])}


def _text(payload: Mapping[str, Any], name: str, where: str = "") -> str | None:
    value = payload.get(name)
    if value is None or isinstance(value, str):
        return value
    if name == "birth_order" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Invalid("field-type", field=where + name)


def _required(payload: Mapping[str, Any], name: str, where: str = "") -> str:
    value = _text(payload, name, where)
    if not value:
        raise Invalid("field-missing", field=where + name)
    return value


def _texts(payload: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    values = payload.get(name) or ()
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise Invalid("field-type", field=where + name)
    return tuple(values)


def _items(payload: Mapping[str, Any], name: str) -> list[tuple[str, Mapping[str, Any]]]:
    values = payload.get(name) or ()
    if not isinstance(values, list | tuple):
        raise Invalid("field-type", field=name)
    items = []
    for place, value in enumerate(values):
        where = f"{name}.{place}."
        if not isinstance(value, Mapping):
            raise Invalid("field-type", field=f"{name}.{place}")
        if any(part not in _PARTS[name] for part in value):
            raise Invalid("field-unknown", field=f"{name}.{place}")
        items.append((where, value))
    return items


def _flag(payload: Mapping[str, Any], name: str) -> bool | None:
    value = payload.get(name)
    if value is not None and not isinstance(value, bool):
        raise Invalid("field-type", field=name)
    return value
