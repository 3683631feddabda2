"""Marks of what was asked, by which questions that are alike in all but one kind of fact are known as alike, and nothing can be read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from mpi.matching.normalise import NormalisedRecord

_MARK_BYTES = 4
_encode = json.JSONEncoder(separators=(",", ":")).encode

NUMBER, NAME = "number", "name"
KINDS = (NUMBER, NAME, "birth", "place", "contact")
"""The kinds of fact that a question may vary."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question by its marks.

    Args:
        mark: of all that it says: the same for the same question.
        alike: of what may mean one person: for each kind of fact, all but that one; and under ``rest`` the numbers alone.
        by_name: of the names alone, which many may bear; None without any.
    """

    mark: str
    alike: Mapping[str, str] = field(default_factory=dict)
    by_name: str | None = None

    def to_detail(self) -> dict[str, Any]:
        alike = {"alike": dict(self.alike)} if self.alike else {}
        by_name = {"by_name": self.by_name} if self.by_name is not None else {}
        return {"mark": self.mark, **alike, **by_name}


def asked_of(form: NormalisedRecord, key: bytes, asker: Sequence[str]) -> Asked:
    """Return the marks of a question as it is compared, so that spelling a thing otherwise asks nothing else.

    Args:
        key: without it no mark can be made, nor a guess held against one.
        asker: who asks: marks of two askers are not alike.
    """
    told: dict[str, Any] = {}
    if form.number or form.identifiers:
        told[NUMBER] = (form.number, form.identifiers)
    if form.given or form.family or form.previous:
        told[NAME] = (form.given, form.middle, form.family, form.previous)
    if form.birth[0]:
        told["birth"] = form.birth
    if form.places or form.practice:
        told["place"] = (form.places, form.practice)
    if form.phones or form.emails:
        told["contact"] = (form.phones, form.emails)
    texts = {kind: _encode((kind, value)).encode() for kind, value in told.items()}
    rest = _encode((form.gender, form.mother, form.birth_order, form.death)).encode()
    begun = blake2b(_encode(asker).encode(), digest_size=_MARK_BYTES, key=key)

    def mark(but: str, *parts: bytes) -> str:
        made = begun.copy()
        # JSON has no such character unquoted: no two lists of parts give one text.
        made.update(b"\0".join((but.encode(), *parts)))
        return made.hexdigest()

    alike = {
        kind: mark(kind, *(text for other, text in texts.items() if other != kind))
        for kind in texts
        if len(texts) > 2 or (len(texts) == 2 and kind != NUMBER and NUMBER in texts)
    }
    if NUMBER in texts:
        alike["rest"] = mark("rest", texts[NUMBER])
    by_name = mark("by name", texts[NAME]) if NAME in texts else None
    return Asked(mark("", *texts.values(), rest), alike, by_name)
