"""Staff files: an employer's list of its staff, loaded whole, kept as keyed digests, withdrawn whole with all that came of it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from consent.facts.staff import COMPARED, NEEDS, Marks, StaffFile
from consent.rules.watch import rank_of
from consent.service import trail
from consent.service.context import Consent
from consent.service.filed import Reject, read_whole_file
from consent.service.order import taken_again
from consent.store import alerts as alert_store
from consent.store import staff as store
from consent.store.staff import Member
from foundation.directory import find_organisation, parse_ods_code
from foundation.errors import Invalid, NotFound
from foundation.ids import new_id
from foundation.keyed import digest, get_key
from foundation.principal import Principal
from mpi.matching import Model, NormalisedRecord, normalise
from mpi.records import (
    Address,
    HumanName,
    RecordKey,
    SourceRecord,
    parse_nhs_number,
    parse_partial_date,
    parse_postcode,
)

KEY: Final = "staff"
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "surname": ("surname",),
    "birth_date": ("birth_date",),
    "address": ("address_line", "postcode"),
    "nhs_number": ("nhs_number",),
}
_LONGEST_USER = 128
_USER = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The file as it stands now; where a row was rejected, nothing was written and ``file`` is None."""

    file: StaffFile | None
    rejected: tuple[Reject, ...]


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A file that was taken away, and the alerts that went with it or lost what had come of it."""

    file: StaffFile
    removed: int
    reduced: int


def load_staff(
    consent: Consent,
    path: Path,
    by: Principal,
    *,
    organisation: str,
    legal_basis: str,
    compares: Collection[str],
    review_on: date,
) -> Loaded:
    """Load an employer's staff file in the place of the one before, all or none.

    Args:
        path: a CSV in UTF-8 with the column ``user_id`` and those of what is compared, and no others.
        compares: what the legal basis allows to be compared, of ``COMPARED``.
        review_on: when somebody has to ask again whether the file may be kept.

    Raises:
        Invalid: ``organisation-unknown``, ``legal-basis-missing``, ``compares-nothing``, ``compares-unknown``, ``review-date-past``; of the
            file as ``read_whole_file``.
    """
    basis = legal_basis.strip()
    if not 3 <= len(basis) <= 200 or not basis.isprintable():
        raise Invalid("legal-basis-missing", field="legal_basis")
    if not compares:
        raise Invalid("compares-nothing", field="compare")
    if not set(compares) <= set(COMPARED):
        raise Invalid("compares-unknown", field="compare")
    now = consent.clock.now()
    if review_on <= now.date():
        raise Invalid("review-date-past", field="review_on")
    code = parse_ods_code(organisation)
    allowed = tuple(one for one in COMPARED if one in compares)
    users: set[str] = set()

    def checked(told: Mapping[str, str]) -> Mapping[str, str]:
        _check(told)
        if told["user_id"] in users:
            raise Invalid("user-repeated", field="user_id")
        users.add(told["user_id"])
        return told

    columns = ("user_id", *(column for one in allowed for column in _COLUMNS[one]))
    rows, rejected = read_whole_file(
        path, columns, checked, not_allowed="It has a column that may not be compared."
    )
    if rejected:
        return Loaded(None, rejected)

    model = consent.mpi.present().model

    def take(tx: Connection) -> Loaded:
        if find_organisation(tx, code) is None:
            raise Invalid("organisation-unknown", field="organisation")
        key = get_key(tx, KEY, now)
        members = [
            Member(user_mark(key, code, told["user_id"]), _marks_of(told, key, code, model)) for told in rows
        ]
        alert_store.hold_mark(tx)  # nobody looks through the log meanwhile
        made = StaffFile(new_id(), code, basis, allowed, len(members), review_on, now, now, by.id)
        made = store.put_file(tx, made, members)
        detail = {"organisation": code, "members": len(members), "compares": list(allowed)}
        trail.append(
            tx, "staff-loaded", by, now, detail=detail | {"legal_basis": basis, "review_on": str(review_on)}
        )
        return Loaded(made, ())

    return taken_again(consent, take)


def list_staff_files(consent: Consent, by: Principal) -> list[StaffFile]:
    """Return the staff files of the officer's organisations: what they rest on, never whom they name."""
    with consent.db.read() as tx:
        return store.read_files(tx, theirs(by))


def theirs(by: Principal) -> set[str] | None:
    """The organisations whose matters are somebody's to see; None: all."""
    return None if by.may_act_for("*") else {by.organisation, *by.organisations}


def withdraw_staff(consent: Consent, organisation: str, reason: str, by: Principal) -> Withdrawn:
    """Take an employer's staff file away, and everything that was computed from it: marks, alerts, and what it added to other alerts.

    Raises:
        NotFound: ``staff-file-unknown``. Invalid: ``reason-missing``.
    """
    words = reason.strip()
    if not words or len(words) > 500:
        raise Invalid("reason-missing", field="reason")
    code = parse_ods_code(organisation)

    def take(tx: Connection) -> Withdrawn:
        alert_store.hold_mark(tx)  # nobody raises anything from it meanwhile
        file = store.remove_file(tx, code)
        if file is None:
            raise NotFound("staff-file-unknown")
        gone, reduced = [], 0
        for one in alert_store.read_resting_on(tx, code):
            left = tuple(signal for signal in one.signals if signal not in NEEDS)
            if not left:
                gone.append(one.alert_id)
            elif left != one.signals:
                first = one.code if one.code in left else left[0]
                alert_store.change_alert(
                    tx, one.alert_id, signals=left, code=first, rank=rank_of(left), staff_of=None
                )
                reduced += 1
        alert_store.delete_alerts(tx, gone)
        detail = {"organisation": code, "alerts_removed": len(gone), "alerts_reduced": reduced}
        trail.append(tx, "staff-withdrawn", by, consent.clock.now(), detail=detail | {"reason": words})
        return Withdrawn(file, len(gone), reduced)

    return taken_again(consent, take)


# Marks ---------------------------------------------------------------------------------------------------------------


def user_mark(key: bytes, organisation: str, user_id: str) -> bytes:
    return digest(key, [organisation, "user", user_id])


def marks_of(
    form: NormalisedRecord, key: bytes, organisation: str, *, with_addresses: bool, halves: bool = True
) -> Marks:
    """Return marks of a record, which are those of one employer: no two employers' can be compared.

    An address is its postcode with the numbers in its first lines, or with its words where it has no number. One that many share (a
    hostel, a care home) has no mark.

    Args:
        with_addresses: False for a person whose location is protected.
    """

    def marked(kind: str, *parts: str) -> bytes:
        return digest(key, [organisation, kind, *parts])

    families = {*form.family, *form.previous}
    is_born = all(form.birth)
    birth = "-".join(map(str, form.birth))
    return Marks(
        numbers=frozenset({marked("number", form.number)} if form.number_state in ("v", "c") else ()),
        surnames=frozenset(
            marked("surname", name) for name in (families.union(form.halves) if halves else families)
        ),
        persons=frozenset(marked("person", name, birth) for name in families if is_born),
        addresses=frozenset(
            marked("address", place.postcode, place.numbers or place.words)
            for place in (form.places if with_addresses else ())
            if place.postcode and (place.numbers or place.words) and not place.is_shared
        ),
    )


def _marks_of(told: Mapping[str, str], key: bytes, organisation: str, model: Model) -> Marks:
    """Return the marks of one member of staff, made by the same reading as a patient's record."""
    has_address = bool(told.get("postcode") and told.get("address_line"))
    form = normalise(
        SourceRecord(
            key=RecordKey(organisation, "staff", "-"),
            nhs_number=told.get("nhs_number") or None,
            names=(HumanName("usual", None, (), told["surname"]),) if told.get("surname") else (),
            birth_date=told.get("birth_date") or None,
            addresses=(Address("home", (told["address_line"],), None, told["postcode"]),)
            if has_address
            else (),
        ),
        model,
    )
    return marks_of(form, key, organisation, with_addresses=True, halves=False)


# The file ------------------------------------------------------------------------------------------------------------


def _check(told: Mapping[str, str]) -> None:
    user = told["user_id"]
    if not _USER.fullmatch(user) or len(user) > _LONGEST_USER:
        raise Invalid("user-format", field="user_id")
    if told.get("nhs_number"):
        parse_nhs_number(told["nhs_number"])
    if told.get("postcode"):
        parse_postcode(told["postcode"])
    if told.get("birth_date"):
        read = parse_partial_date(told["birth_date"])
        if read.month is None or read.day is None:
            raise Invalid("date-format", field="birth_date")
