"""What blocking keys are made of, ready to be taken for many rows: each distinct value is cut to what rules ask for, once."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mpi.bulk.records import Group, Records
from mpi.bulk.sql import columns_asked, joined_lists, key_statement, place_parts
from mpi.matching.definition import KEY_RULES

TABLE = "bulk_records"


class Keyed:
    """Columns of a table of records for the statements of some blocking rules.

    Of an address only the parts that a key asks for are left, and lists that rules put together are put together here: both
    would else be done again for every row.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        records: Records,
        rules: Sequence[str],
        *,
        with_text: bool,
    ) -> None:
        chosen = [KEY_RULES[rule] for rule in rules]
        self._columns = list(
            dict.fromkeys(name for rule in chosen for name in columns_asked(rule, are_joined=True))
        )
        lists = {name: columns for rule in chosen for name, columns in joined_lists(rule).items()}
        groups = list(records.groups)
        if "places" in self._columns:
            place = records.group_of("places")
            groups[place] = _with_parts(groups[place], place_parts(chosen))
        for name, columns in lists.items():
            place = records.group_of(columns[0])
            groups[place] = _with_list(connection, groups[place], name, columns)
        self._records = Records(tuple(groups), records.size)
        self.statements = {
            rule: key_statement(rule, KEY_RULES[rule], TABLE, with_text=with_text, are_joined=True)
            for rule in rules
        }
        """The statement of each rule over ``TABLE``, made of what ``taken`` gives."""

    def taken(self, rows: pa.Array) -> pa.Table:
        """Return the columns of some rows, with their numbers."""
        return pa.table({"row": rows, **self._records.taken(self._columns, rows.to_numpy())})


def _with_parts(group: Group, parts: Iterable[str]) -> Group:
    """Return a group whose places have no parts but these."""
    wanted = list(parts)
    places = group.values.column("places").combine_chunks()
    whole = places.combine_chunks() if isinstance(places, pa.ChunkedArray) else places
    told = pa.StructArray.from_arrays([pc.struct_field(whole.values, part) for part in wanted], wanted)
    values = group.values.set_column(
        group.values.column_names.index("places"), "places", pa.ListArray.from_arrays(whole.offsets, told)
    )
    return replace(group, values=values)


def _with_list(
    connection: duckdb.DuckDBPyConnection, group: Group, name: str, columns: Sequence[str]
) -> Group:
    """Return a group that has lists put together as well, and their sounds."""
    wanted = []
    for ending in ("", "_sounds"):
        joined = f"{columns[0]}{ending}"
        for column in columns[1:]:
            joined = f"list_concat({joined}, {column}{ending})"
        wanted.append(f"{joined} AS {name}{ending}")
    connection.register(
        "bulk_values", group.values.append_column("place", pa.array(np.arange(group.values.num_rows)))
    )
    try:
        found = connection.sql(
            f"SELECT {', '.join(wanted)}, place FROM bulk_values ORDER BY place"
        ).to_arrow_table()
    finally:
        connection.unregister("bulk_values")
    values = group.values
    for column in (name, f"{name}_sounds"):
        values = values.append_column(column, found.column(column))
    return replace(group, values=values)
