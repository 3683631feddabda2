"""What a look at a person says of who looked: signals from marks that agree, and how soon a privacy officer should see them."""

from collections.abc import Collection, Iterable

from consent.facts.staff import Marks

RANKS = {
    "deceased-without-relationship": 0,
    "emergency-renewed": 1,
    "celebrity": 1,
    "rule-failed": 1,
    "emergency-opened": 2,
    "ticket-replayed": 2,
    "bound-too-widely": 2,
    "repeated-probing": 2,
    "own-record": 3,
    "same-address": 3,
    "unusual-volume": 3,
    "facts-unreadable": 3,
    "self-claim": 4,
    "colleague": 4,
    "same-surname": 5,
    "out-of-hours": 5,
}
"""Signals of alerts, the worst first. Each further signal that agrees raises an alert by one, and so does an earlier confirmed one."""

_LAST = 5

OUT_OF_HOURS = "out-of-hours"
"""The signal of a look at a time when nobody of that role works at that organisation."""

UNUSUAL_VOLUME = "unusual-volume"
"""The signal of a user's day with many more people than usual."""

PROBING = "repeated-probing"
"""The signal of many different searches that seem to be about one person."""

CELEBRITY = "celebrity"
"""The signal of a look at somebody on the celebrity list. It is an alert of its own, which privacy officers alone are shown."""

HOME = "same-address"
"""The signal that says where somebody lives."""

EXPLAINABLE = frozenset({"self-claim", "same-address", "colleague", "same-surname", OUT_OF_HOURS, CELEBRITY})
"""Signals that care of that person by that organisation around that time explains. It explains nobody's look at their own record, and no
emergency access."""


def is_same(one: Marks, other: Marks) -> bool:
    """Whether both are taken for one person: the same NHS number, or the same surname and birth date unless their numbers differ."""
    if one.numbers and other.numbers:
        return not one.numbers.isdisjoint(other.numbers)
    return not one.persons.isdisjoint(other.persons)


def signals_of(user: Marks, patient: Marks, colleagues: Iterable[Marks]) -> tuple[str, ...]:
    """Return what a user's look at a patient raises, in order of rank.

    Args:
        patient: without addresses where the location is protected: what is not there agrees with nothing.
        colleagues: other staff of the same employer who may be the patient.
    """
    if is_same(user, patient):
        return ("own-record",)  # which has its own surname and address
    found = {
        "same-address": not user.addresses.isdisjoint(patient.addresses),
        "colleague": any(is_same(one, patient) for one in colleagues),
        "same-surname": not user.surnames.isdisjoint(patient.surnames),
    }
    return tuple(signal for signal, is_found in found.items() if is_found)


def in_order(signals: Collection[str]) -> tuple[str, ...]:
    """Sort signals, the worst first."""
    return tuple(sorted(set(signals), key=lambda one: (RANKS.get(one, _LAST), one)))


def rank_of(signals: Collection[str], *, was_confirmed: bool = False) -> int:
    """Return the rank of an alert; 0 is the worst.

    Args:
        was_confirmed: an earlier alert about the same user was confirmed.
    """
    worst = min((RANKS.get(one, _LAST) for one in signals), default=_LAST)
    return max(0, worst - (len(set(signals)) - 1) - was_confirmed)


def is_explainable(signals: Collection[str]) -> bool:
    return bool(signals) and EXPLAINABLE.issuperset(signals)
