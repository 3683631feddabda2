"""The keys under which the index finds records, of many rows at once: those of ``mpi.matching.block``, and those of their identifiers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.digests import digests_of
from mpi.bulk.documents import flag_of
from mpi.bulk.keyed import TABLE, Keyed
from mpi.bulk.normalise import Cleaned
from mpi.bulk.records import Records, combined
from mpi.matching import Model, block
from mpi.matching.definition import LOCATION_RULES

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Part = tuple[Ints, Ints]
"""Rows in order, and a key of each."""

LookupKey = Callable[[str, str], int]
"""From an identifier's system and value to the key under which it is looked up."""

ROWS_AT_ONCE = 250_000


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of rows: those of row ``n`` are ``keys[starts[n]:starts[n + 1]]``, each once, in the order in which they are stored."""

    starts: Ints
    keys: Ints = field(repr=False)

    def taken(self, rows: Ints) -> "Keys":
        """Return the keys of some rows, in their order."""
        counts = np.diff(self.starts)[rows]
        starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        at = np.arange(int(starts[-1])) + np.repeat(self.starts[rows] - starts[:-1], counts)
        return Keys(starts, self.keys[at])


def match_keys(
    connection: duckdb.DuckDBPyConnection,
    cleaned: Cleaned,
    model: Model,
    lookup_key: LookupKey,
    number_system: str,
) -> Keys:
    """Return the keys of every row.

    Args:
        number_system: the system of NHS numbers that may be used; they are looked up too.
    """
    size = len(cleaned.is_sound)
    by_rule = [part for rule in _by_rule(connection, cleaned, model) for part in rule]
    looked_up = list(_of_identifiers(cleaned, lookup_key, number_system))
    may_repeat = _may_repeat(by_rule, looked_up, size) | _have_numbers(cleaned, number_system)
    if "number" not in model.rules or model.overfull:
        looked_up.append(_of_numbers(cleaned, lookup_key, number_system))
        may_repeat[looked_up[-1][0]] = True
    return _once(_gathered([*by_rule, *looked_up], size), may_repeat)


def _may_repeat(by_rule: list[Part], looked_up: list[Part], size: int) -> Flags:
    """Say which rows may have a key twice, from one rule or by two identifiers: keys of two rules differ, and so do those looked up."""
    counts = np.zeros(size, np.int64)
    for rows, _ in looked_up:
        counts += np.bincount(rows, minlength=size)
    found: Flags = counts > 1
    for rows, _ in by_rule:
        found[rows[1:][rows[1:] == rows[:-1]]] = True
    return found


def _have_numbers(cleaned: Cleaned, system: str) -> Flags:
    """Say which rows may have an NHS number among their identifiers: it is looked up under its rule's key."""
    found = np.zeros(len(cleaned.is_sound), np.bool_)
    found[list(cleaned.singly)] = True
    for name in cleaned.numbered("identifier_system"):
        column = cleaned.sent(name)
        found |= pc.equal(column.texts, system).to_numpy(zero_copy_only=False)[column.rows]
    return found


def _gathered(parts: list[Part], size: int) -> Keys:
    """Put the parts' keys side by side, row by row."""
    counts = np.zeros(size, np.int64)
    for rows, _ in parts:
        counts += np.bincount(rows, minlength=size)
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    keys = np.empty(int(starts[-1]), np.int64)
    free = starts[:-1].copy()
    for rows, found in parts:
        own = np.bincount(rows, minlength=size)
        before = np.cumsum(own) - own
        keys[free[rows] + np.arange(len(rows)) - before[rows]] = found
        free += own
    return Keys(starts, keys)


def _once(all_keys: Keys, may_repeat: Flags) -> Keys:
    """Leave out a key that its row has already.

    Args:
        may_repeat: rows that may have one twice.
    """
    starts, keys = all_keys.starts, all_keys.keys
    counts = np.diff(starts)
    asked = np.flatnonzero(np.repeat(may_repeat, counts))
    rows = np.repeat(np.flatnonzero(may_repeat), counts[may_repeat])
    order = np.argsort(keys[asked], kind="stable")
    sorted_keys, sorted_rows = keys[asked][order], rows[order]
    is_again = (sorted_keys[1:] == sorted_keys[:-1]) & (sorted_rows[1:] == sorted_rows[:-1])
    if not is_again.any():
        return all_keys
    is_first = np.ones(len(keys), np.bool_)
    is_first[asked[order[1:][is_again]]] = False
    again = np.bincount(sorted_rows[1:][is_again], minlength=len(counts))
    return Keys(np.concatenate((np.zeros(1, np.int64), np.cumsum(counts - again))), keys[is_first])


# Blocking ------------------------------------------------------------------------------------------------------------


def _by_rule(connection: duckdb.DuckDBPyConnection, cleaned: Cleaned, model: Model) -> Iterable[list[Part]]:
    """Return the keys of each rule, and last those of rows whose letters the engine may see otherwise."""
    size = len(cleaned.is_sound)
    records = Records(cleaned.groups, size)
    is_odd = flag_of(cleaned, "is_odd")
    is_restricted = flag_of(cleaned, "is_restricted")
    keyed = Keyed(connection, records, model.rules, with_text=True)
    wanted = np.flatnonzero(cleaned.is_sound & ~is_odd)
    by_rule: dict[str, list[Part]] = {rule: [] for rule in model.rules}
    for start in range(0, len(wanted), ROWS_AT_ONCE):
        connection.register(TABLE, keyed.taken(pa.array(wanted[start : start + ROWS_AT_ONCE])))
        try:
            for rule, statement in keyed.statements.items():
                found = connection.sql(f"SELECT row, text FROM ({statement})").to_arrow_table()
                by_rule[rule].append(_hashed(rule, found, model, is_restricted))
        finally:
            connection.unregister(TABLE)
    odd = np.flatnonzero(cleaned.is_sound & is_odd)
    told = [
        (row, key.key)
        for row, form in zip(odd.tolist(), records.forms(odd), strict=True)
        for key in block(form, model)
    ]
    rows, keys = np.array(told, np.int64).reshape(-1, 2).T
    return [*by_rule.values(), [(rows, keys)]]


def _hashed(rule: str, found: pa.Table, model: Model, is_restricted: Flags) -> Part:
    rows: Ints = found.column("row").to_numpy().astype(np.int64)
    if not len(rows):
        return rows, np.empty(0, np.int64)
    texts = found.column("text").cast(pa.binary()).to_pylist()
    # Most texts are one row's alone: to look for those that are not would cost more than to hash them again.
    keys = _fingerprints(f"{rule}\x1f", texts)
    if rule in LOCATION_RULES and len(hidden := np.flatnonzero(is_restricted[rows])):
        # Their location keys lie in a space of their own.
        keys[hidden] = _fingerprints(f"restricted{rule}\x1f", [texts[at] for at in hidden.tolist()])
    if model.overfull:
        kept = ~np.isin(keys, np.array(sorted(model.overfull), np.int64))
        rows, keys = rows[kept], keys[kept]
    return rows, keys


def _fingerprints(start: str, texts: Iterable[bytes]) -> Ints:
    """Return ``mpi.matching.model.fingerprint`` of texts that begin alike."""
    digests = b"".join(digests_of(texts, 8, start.encode()))
    return np.frombuffer(digests, ">i8").astype(np.int64)


# Looking up ----------------------------------------------------------------------------------------------------------


def _of_identifiers(cleaned: Cleaned, lookup_key: LookupKey, number_system: str) -> Iterable[Part]:
    by_column = cleaned.is_sound.copy()
    by_column[list(cleaned.singly)] = False
    for name in cleaned.numbered("identifier"):
        value = cleaned.sent(name)
        system = cleaned.sent(name.replace("identifier", "identifier_system"))
        rows = np.flatnonzero(by_column & value.sent)
        first, at = combined((system.rows[rows], value.rows[rows]), (len(system.texts), len(value.texts)))
        some = rows[first]
        systems = system.texts.take(pa.array(system.rows[some])).to_pylist()
        values = value.texts.take(pa.array(value.rows[some])).to_pylist()
        keys = np.fromiter(map(lookup_key, systems, values), np.int64, len(some))
        yield rows, keys[at]
    told = []
    for row, record in sorted(cleaned.singly.items()):
        told += [(row, lookup_key(one.system, one.value)) for one in record.identifiers]
        if record.nhs_number_superseded_by:
            told += [(row, lookup_key(number_system, number)) for number in record.usable_numbers]
    rows, keys = np.array(told, np.int64).reshape(-1, 2).T
    yield rows, keys


def _of_numbers(cleaned: Cleaned, lookup_key: LookupKey, system: str) -> Part:
    records = Records(cleaned.groups, len(cleaned.is_sound))
    taken = records.taken(("number", "number_state"), np.flatnonzero(cleaned.is_sound))
    states, numbers = (taken[name].combine_chunks() for name in ("number_state", "number"))
    usable = pc.and_(pc.is_in(states, value_set=pa.array(["v", "c"])), pc.not_equal(numbers, ""))
    rows: Ints = np.flatnonzero(cleaned.is_sound)[usable.to_numpy(zero_copy_only=False)]
    encoded = numbers.filter(usable).dictionary_encode()
    known = [lookup_key(system, number) for number in encoded.dictionary.to_pylist()]
    keys: Ints = np.array(known, np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]
    return rows, keys
