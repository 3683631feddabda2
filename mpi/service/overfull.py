"""Blocking keys that have grown past what may be read in full, and their retirement by a model revision that lists them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foundation.auth.users import User
from foundation.errors import Conflict
from mpi.matching.definition import LOCATION_RULES
from mpi.matching.model import OVER_CAP, fingerprint, revision_of
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.store import records as record_store


@dataclass(frozen=True, slots=True)
class Overfull:
    """A blocking key that more records hold than may be. ``keys`` are its fingerprints, one of them that of protected people."""

    rule: str
    cap: int
    records: int
    keys: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Retirement:
    """A model that lists overfull keys: its document, and what it retires by rule."""

    document: Mapping[str, Any] = field(repr=False)
    revision: str
    from_revision: str
    rules: Mapping[str, int]


def find_overfull(mpi: Mpi) -> tuple[Overfull, ...]:
    """Return the keys of the index past their rule's limit that the model does not list, the fullest first. Nothing tells a value.

    Raises:
        Unavailable: ``match-model-unreadable``.
    """
    mpi = mpi.present()
    model = mpi.model
    # Halved: what protected people hold lies beside the others', and counts with it.
    least = min(model.caps.values()) * OVER_CAP // 2
    with mpi.db.read() as tx:
        large = record_store.large_keys(tx, least)
        rows = record_store.read_records(tx, set(large.values()))
        spaces: dict[tuple[int, ...], str] = {}
        for key, record_id in large.items():
            for rule, value in model.blocker(mpi.forms.of(rows[record_id])):
                names = ("", "restricted") if rule in LOCATION_RULES else ("",)
                keys = tuple(fingerprint(f"{name}{rule}\x1f{value}") for name in names)
                if key in keys:
                    spaces[keys] = rule
        counts = record_store.count_holders(tx, {key for keys in spaces for key in keys})
    found = [
        Overfull(rule, model.caps[rule], sum(counts.get(key, 0) for key in keys), keys)
        for keys, rule in spaces.items()
        if not model.overfull.issuperset(keys)
    ]
    kept = [one for one in found if one.records > OVER_CAP * one.cap]
    return tuple(sorted(kept, key=lambda one: (-one.records, one.rule, one.keys)))


def retire_keys(
    mpi: Mpi,
    found: Sequence[Overfull],
    by: User,
    approved_by: User,
    keep: Callable[[Mapping[str, Any]], None],
) -> Retirement:
    """Make a model revision that lists these keys, so that nobody is found by them; the acts of both people are audited.

    The model in force stays as it is: the index is to be linked again by the new one.

    Args:
        keep: keeps the new model's document; what it raises leaves no trace.

    Raises:
        Conflict: ``keys-not-overfull`` where there is nothing to retire, ``second-person-same``.
    """
    if not found:
        raise Conflict("keys-not-overfull", detail="No key of the index is past four times its rule's cap.")
    if by.user_id == approved_by.user_id:
        raise Conflict("second-person-same", field="approved_by")
    mpi = mpi.present()
    listed = {*mpi.model.overfull, *(key for one in found for key in one.keys)}
    document = {**mpi.model.document, "overfull": sorted(listed), "retired_from": mpi.model.revision}
    rules = dict(sorted(Counter(one.rule for one in found).items()))
    retirement = Retirement(document, revision_of(document), mpi.model.revision, rules)
    detail = {"from_revision": retirement.from_revision, "model_revision": retirement.revision, "keys": rules}
    now = mpi.clock.now()
    with mpi.db.write() as tx:
        trail.note(tx, by.principal(), now, "keys-retired", detail=detail)
        trail.note(tx, approved_by.principal(), now, "keys-retirement-approved", detail=detail)
        keep(document)
    return retirement
