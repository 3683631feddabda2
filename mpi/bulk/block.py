"""Step 2 in bulk: candidate pairs of every rule, each pair once, in slices that fit a memory budget."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mpi.bulk.keyed import TABLE, Keyed
from mpi.bulk.records import Records
from mpi.bulk.sql import columns_asked, key_statement
from mpi.matching import Model
from mpi.matching.definition import KEY_RULES
from mpi.matching.model import OVER_CAP, fingerprint

Ints = NDArray[np.int64]

ROWS_AT_ONCE = 500_000
PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Dropped:
    """A key that is not used: listed by the model as overfull, or held by more records than four times its rule's cap."""

    rule: str
    key: int
    records: int
    is_listed: bool


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate pairs in slices by their lower row, kept in files; a pair is there as often as it shares a key."""

    folder: Path
    slices: int
    size: int
    by_rule: dict[str, int]
    dropped: tuple[Dropped, ...] = field(repr=False)
    left_out: tuple[str, ...] = ()
    """Rules that would bring more pairs than they may: none of their pairs are here."""

    def pairs(self, number: int) -> tuple[Ints, Ints]:
        """Return the pairs of a slice, each once, in order: lower rows and higher rows."""
        path = _slice_path(self.folder, number)
        if not path.exists():
            return np.empty(0, np.int64), np.empty(0, np.int64)
        codes = np.fromfile(path, np.int64)
        # Sort and compare neighbours: several times faster than np.unique.
        codes.sort()
        is_first = np.ones(len(codes), np.bool_)
        np.not_equal(codes[1:], codes[:-1], out=is_first[1:])
        low, high = np.divmod(codes[is_first], self.size)
        return low, high


def _slice_path(folder: Path, number: int) -> Path:
    return folder / f"pairs-{number:04}.bin"


def block_records(
    connection: duckdb.DuckDBPyConnection,
    records: Records,
    model: Model,
    folder: Path,
    slices: int,
    progress: Callable[[str], None] = lambda _: None,
    most: Mapping[str, int] | None = None,
) -> Candidates:
    """Write every pair of records that share a key which is in use.

    Overfull keys are taken out before pairs are made, so that a pair which shares another key too is not lost.

    Args:
        most: of some rules how many pairs they may bring; one that would bring more is left out whole.
    """
    for number in range(slices):
        _slice_path(folder, number).unlink(missing_ok=True)
    by_rule: dict[str, int] = {}
    dropped: list[Dropped] = []
    left_out: list[str] = []
    _write_keys(connection, records, model.rules, folder, progress)
    for rule in model.rules:
        rows, keys = _keys(folder, rule)
        starts = (
            np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
            if len(keys)
            else np.empty(0, np.int64)
        )
        sizes = np.diff(np.append(starts, len(keys)))
        out = _overfull(connection, records, model, rule, rows[starts], keys[starts], sizes)
        kept = sizes > 1
        kept[list(out)] = False
        starts, sizes = starts[kept], sizes[kept]
        brought = int((sizes * (sizes - 1) // 2).sum())
        if most and brought > most.get(rule, brought):
            left_out.append(rule)
            continue
        dropped.extend(out.values())
        by_rule[rule] = brought
        _write(folder, slices, records.size, _pairs(rows, starts, sizes))
    return Candidates(folder, slices, records.size, by_rule, tuple(dropped), tuple(left_out))


def _write_keys(
    connection: duckdb.DuckDBPyConnection,
    records: Records,
    rules: Sequence[str],
    folder: Path,
    progress: Callable[[str], None],
) -> None:
    """Write the keys of all rules, as hashes with their rows: some rows at a time, whose columns are fetched once for all rules."""
    keyed = Keyed(connection, records, rules, with_text=False)
    for rule in rules:
        for path in _key_paths(folder, rule):
            path.write_bytes(b"")
    for start in range(0, records.size, ROWS_AT_ONCE):
        some = np.arange(start, min(records.size, start + ROWS_AT_ONCE), dtype=np.int32)
        connection.register(TABLE, keyed.taken(pa.array(some)))
        try:
            for rule, statement in keyed.statements.items():
                progress(rule)
                found = connection.sql(statement).to_arrow_table()
                for name, path in zip(("row", "key"), _key_paths(folder, rule), strict=True):
                    with path.open("ab") as file:
                        found.column(name).to_numpy().tofile(file)
        finally:
            connection.unregister(TABLE)


def _key_paths(folder: Path, rule: str) -> tuple[Path, Path]:
    return folder / f"rows-{rule}.bin", folder / f"keys-{rule}.bin"


def _keys(folder: Path, rule: str) -> tuple[NDArray[np.int32], Ints]:
    """Return a rule's keys in order, with their rows; of one key the rows ascend, and none comes twice."""
    paths = _key_paths(folder, rule)
    row, key = np.fromfile(paths[0], np.int32), np.fromfile(paths[1], np.int64)
    for path in paths:
        path.unlink()
    order = np.lexsort((row, key)) if (row[1:] < row[:-1]).any() else _together(key)
    row, key = row[order], key[order]
    again = np.zeros(len(row), np.bool_)
    again[1:] = (key[1:] == key[:-1]) & (row[1:] == row[:-1])
    return (row[~again], key[~again]) if again.any() else (row, key)


def _together(key: Ints) -> Ints:
    """Return the places of keys in an order in which equal ones stand together, and of those the first comes first.

    The beginning of a key and its place in one number: a plain sort of those costs a fraction of one that moves places along.
    """
    bits = np.uint64(len(key).bit_length())
    beside = key.view(np.uint64) >> bits << bits
    beside |= np.arange(len(key), dtype=np.uint64)
    beside.sort()
    order: Ints = (beside & ((np.uint64(1) << bits) - np.uint64(1))).view(np.int64)
    beside >>= bits
    ordered = key[order]
    alternate = (beside[1:] == beside[:-1]) & (ordered[1:] != ordered[:-1])
    # Of two keys that begin alike each may come between the other's: those are sorted by the whole key.
    for begins in np.unique(beside[1:][alternate]):
        some = slice(*np.searchsorted(beside, (begins, begins + np.uint64(1))))
        order[some] = order[some][np.argsort(ordered[some], kind="stable")]
    return order


def _asked(
    connection: duckdb.DuckDBPyConnection,
    records: Records,
    rule: str,
    rows: NDArray[np.int32],
    statement: str,
) -> pa.Table:
    columns = records.taken(columns_asked(KEY_RULES[rule]), rows)
    connection.register("bulk_records", pa.table({"row": pa.array(rows), **columns}))
    try:
        return connection.sql(statement).to_arrow_table()
    finally:
        connection.unregister("bulk_records")


def _overfull(
    connection: duckdb.DuckDBPyConnection,
    records: Records,
    model: Model,
    rule: str,
    holders: NDArray[np.int32],
    keys: Ints,
    sizes: Ints,
) -> dict[int, Dropped]:
    """Return the keys that are not used, by place: too large here, or listed by the model.

    The index's own fingerprint is of a key's text; it is worked out for the large ones, and for all only where the model lists any.

    Args:
        holders: of each key one record that has it.
    """
    large = sizes > OVER_CAP * model.caps[rule]
    asked = np.flatnonzero((sizes > 1) if model.overfull else large)
    if not len(asked):
        return {}
    rows = np.unique(holders[asked])
    found = _asked(
        connection, records, rule, rows, key_statement(rule, KEY_RULES[rule], "bulk_records", with_text=True)
    )
    hashes = found.column("key").to_numpy().view(np.int64)
    texts = dict(zip(hashes.tolist(), found.column("text").to_pylist(), strict=True))
    dropped = {}
    for place in asked.tolist():
        print_of_key = fingerprint(f"{rule}\x1f{texts[int(keys[place])]}")
        is_listed = print_of_key in model.overfull
        if is_listed or large[place]:
            dropped[place] = Dropped(rule, print_of_key, int(sizes[place]), is_listed)
    return dropped


def _pairs(
    rows: NDArray[np.int32], starts: Ints, sizes: Ints
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Yield all pairs of the holders of each key: first neighbours, then those two apart, and so on."""
    if not len(starts):
        return
    ends = np.repeat(starts + sizes, sizes)
    entries = np.arange(len(ends)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(starts, sizes)
    apart = 1
    while True:
        left = entries + apart < ends
        if not left.all():
            entries, ends = entries[left], ends[left]
        if not len(entries):
            return
        yield rows[entries], rows[entries + apart]
        apart += 1


def _write(
    folder: Path, slices: int, size: int, pairs: Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]
) -> None:
    waiting: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
    held = 0
    for pair in pairs:
        waiting.append(pair)
        held += len(pair[0])
        if held >= PAIRS_AT_ONCE:
            _append(folder, slices, size, waiting)
            waiting, held = [], 0
    if held:
        _append(folder, slices, size, waiting)


def _append(
    folder: Path, slices: int, size: int, pairs: list[tuple[NDArray[np.int32], NDArray[np.int32]]]
) -> None:
    low = np.concatenate([one for one, _ in pairs]).astype(np.int64)
    high = np.concatenate([one for _, one in pairs])
    codes = low * size + high
    place = low * slices // size
    codes = codes[np.argsort(place.astype(np.uint16), kind="stable")]
    ends = np.cumsum(np.bincount(place, minlength=slices))
    for number, here in enumerate(np.split(codes, ends[:-1])):
        if len(here):
            with _slice_path(folder, number).open("ab") as file:
                here.tofile(file)
