"""What use cases leave behind in their own transaction: audit rows, and events for those who follow the index."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from foundation.principal import Principal


def unknown_organisations(tx: Connection, organisations: Sequence[str]) -> list[str]:
    return []


def received(tx: Connection, mpi: Any, by: Principal, stored: Sequence[Any]) -> None: ...


def linked(
    tx: Connection,
    mpi: Any,
    by: Principal,
    cause: str,
    searched: Collection[int],
    moved: Sequence[tuple[int, int | None, int | None]],
    person_of: Mapping[int, int | None],
    epochs: Mapping[int, int],
) -> None: ...
