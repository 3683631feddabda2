"""What a sender is answered: which code, and the field at fault; never a value, and never more than the mode asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from foundation.errors import Conflict, Forbidden, NotFound, ServiceError, Unavailable
from mpi.feeds.hl7.message import Header

_TEXTS = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}
"""HL7 table 0357."""

_CODES = {
    "hl7-no-header": ("R", "100"),
    "hl7-separators": ("R", "102"),
    "hl7-too-long": ("R", "102"),
    "hl7-character-set-unknown": ("R", "103"),
    "hl7-type-unsupported": ("R", "200"),
    "hl7-event-unsupported": ("R", "201"),
    "hl7-processing-id": ("R", "202"),
    "hl7-version": ("R", "203"),
    "hl7-sender-unknown": ("R", "204"),
    "hl7-sender-stopped": ("R", "204"),
    "hl7-segment": ("E", "100"),
    "hl7-segment-missing": ("E", "100"),
    "hl7-segment-sequence": ("E", "100"),
    "hl7-required": ("E", "101"),
    "hl7-table-value": ("E", "103"),
    "gender-unknown-code": ("E", "103"),
    "nhs-number-status-unknown": ("E", "103"),
    "hl7-identifier-repeated": ("E", "205"),
    "hl7-control-id-reused": ("E", "205"),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message. ``letter`` is A, E (mend it, or send it again) or R (it will not be taken as it is)."""

    letter: str
    number: str = "0"
    code: str = ""
    field: str | None = None


ACCEPTED = Outcome("A")


def outcome_of(fault: ServiceError) -> Outcome:
    """Say how a refusal is told: by its code, else by its family."""
    if fault.code in _CODES:
        letter, number = _CODES[fault.code]
    elif isinstance(fault, Unavailable):
        letter, number = "E", "207"
    elif isinstance(fault, NotFound):
        letter, number = "E", "204"
    elif isinstance(fault, Conflict):
        letter, number = "E", "206"
    elif isinstance(fault, Forbidden):
        letter, number = "R", "204"
    else:
        letter, number = "E", "102"
    return Outcome(letter, number, fault.code, fault.field)


INTERNAL = Outcome("E", "207", "internal")


def answers(header: Header, outcome: Outcome, now: datetime, new_control_id: Callable[[], str]) -> list[str]:
    """Return the answers to a message, in order: one; in enhanced mode none, one or two, as "kept" is told apart from "accepted".

    Args:
        new_control_id: gives an id for each answer.

    Source: HL7 v2.5, 2.9; conditions from table 0155.
    """
    if not header.is_enhanced:
        return [_answer(header, "A" + outcome.letter, outcome, now, new_control_id())]
    is_good = outcome.letter == "A"
    told = []
    if _is_asked(header.accept_when, is_good):
        told.append("C" + outcome.letter)
    if _is_asked(header.answer_when, is_good) and (is_good or not told):
        told.append("A" + outcome.letter)
    return [_answer(header, code, outcome, now, new_control_id()) for code in told]


def _is_asked(when: str, is_good: bool) -> bool:
    """Whether a condition of table 0155 is met; one that is not of it is taken for "always": nobody waits in vain."""
    return when not in ("", "NE", "ER" if is_good else "SU")


def _answer(header: Header, code: str, outcome: Outcome, now: datetime, control_id: str) -> str:
    separators = header.separators
    bar, dot = separators.field, separators.component
    ours = header.to_application if header.to_application not in ("", "ROUTE") else "MPI"
    kind = dot.join(["ACK", *([header.event, "ACK"] if header.event else [])])
    stamp = now.strftime("%Y%m%d%H%M%S+0000")
    msh = [
        "MSH" + bar + separators.encoding, ours, header.to_facility, header.application, header.facility, stamp, "", kind,
        control_id, header.processing_id or "P", header.version or "2.4",
    ]  # fmt: skip
    if header.character_set:
        msh += [""] * 5 + [header.character_set]
    words = f"{outcome.code} {outcome.field or ''}".strip()
    lines = [bar.join(msh), bar.join(["MSA", code, header.control_id, *([words] if words else [])])]
    if outcome.letter != "A":
        lines.append(_error(header, outcome, words))
    return "".join(line + "\r" for line in lines)


def _error(header: Header, outcome: Outcome, words: str) -> str:
    """Write ERR: where and what. Up to v2.4 in its first field, from v2.5 on in fields of their own."""
    separators = header.separators
    bar, dot, below = separators.field, separators.component, separators.subcomponent
    segment, _, number = (outcome.field or "").partition("-")
    where = [segment, "1", number] if number else [segment] if segment else []
    coded = [outcome.number, _TEXTS[outcome.number], "HL70357"]
    if header.version >= "2.5":
        return bar.join(["ERR", "", dot.join(where), dot.join(coded), "E", "", "", "", words])
    if not below:
        return bar.join(["ERR", dot.join([*(where + ["", "", ""])[:3], outcome.number])])
    return bar.join(["ERR", dot.join([*(where + ["", "", ""])[:3], below.join(coded)])])
