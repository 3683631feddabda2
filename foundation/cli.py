"""What commands of both wings share: how they refuse, who acts, and how changes of what is in force read."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from foundation.auth.users import active_user
from foundation.changes import Change, Known
from foundation.database import Database
from foundation.errors import Invalid, ServiceError
from foundation.principal import Principal

FAILED = 1
WITH_REJECTS = 3

as_json = click.option("--json", "is_json", is_flag=True, help="Answer in JSON, for machines.")
whose = click.option("--by", "username", required=True, help="Whose act it is: the name of an account.")
why_so = click.option("--comment", help="Why, for whoever approves it.")


@contextmanager
def telling(command: str, is_json: bool) -> Iterator[None]:
    """Turn a refusal into one clear line and a failing exit."""
    try:
        yield
    except ServiceError as fault:
        fail(command, fault, is_json)


@contextmanager
def progress_bar(
    length: int | Callable[[], int], label: str, is_json: bool
) -> Iterator[Callable[[int], None]]:
    """Show a bar on the terminal's error stream; none for machines and logs.

    Args:
        length: how many steps there are; where that has to be counted first, what counts it, asked only if there is a bar.
    """
    if is_json or not sys.stderr.isatty():
        yield lambda _: None
        return
    steps = length() if callable(length) else length
    with click.progressbar(length=steps, label=label, file=sys.stderr) as bar:
        yield bar.update


def fail(command: str, fault: ServiceError, is_json: bool) -> NoReturn:
    if is_json:
        answer = {"error": fault.code, "field": fault.field, "row": fault.row, "detail": fault.detail}
        click.echo(json.dumps({name: value for name, value in answer.items() if value is not None}))
    else:
        click.echo(f"{command}: {fault}", err=True)
    sys.exit(FAILED)


def for_us_alone(path: str, flags: int) -> int:
    """Open a file that nobody else may read; for ``opener=``."""
    return os.open(path, flags, 0o600)


def person_of(db: Database, username: str) -> Principal:
    """Return the person whose account was named with --by.

    Raises:
        NotFound: ``user-unknown``.
    """
    with db.read() as tx:
        return active_user(tx, username, "by").principal()


def read_json(file: Path, field: str) -> Any:
    """Read a file of JSON.

    Raises:
        Invalid: ``json-unreadable``.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as fault:
        raise Invalid("json-unreadable", field=field) from fault


# Changes of what is in force -----------------------------------------------------------------------------------------


def known_line(one: Known, unchanged: str) -> str:
    """Tell a version in a line; ``unchanged`` says of one in force that no change has brought there how it came to be."""
    line = f"{one.revision}  {one.state:<9} {_named(one)}"
    if one.since is not None:
        line += f"  since {one.since:%Y-%m-%d %H:%M}, proposed by {one.proposed_by}, approved by {one.approved_by}"
    elif one.state == "in-force":
        line += f"  {unchanged}"
    return line + (f"  until {one.until:%Y-%m-%d %H:%M}" if one.until is not None else "")


def change_lines(one: Change, figures: Iterable[str]) -> list[str]:
    """Tell a change; ``figures`` are the lines that say what it was found to change."""
    lines = [
        f"{one.kind.capitalize()} of {_named(one)}, revision {one.revision}, from {one.from_revision}: {one.state}",
        f"Proposed by {one.proposed_by} at {one.proposed_at:%Y-%m-%d %H:%M}"
        + (f", approved by {one.approved_by} at {one.approved_at:%Y-%m-%d %H:%M}" if one.approved_at else ""),
    ]
    return [*lines, *([f"Comment: {one.comment}"] if one.comment else []), *figures]


def known_lines(known: Sequence[Known], unchanged: str, waiting: Iterable[list[str]]) -> list[str]:
    """Tell versions, and behind an empty line each change that waits."""
    lines = [known_line(one, unchanged) for one in known]
    return lines + [line for one in waiting for line in ("", *one)]


def _named(one: Known | Change) -> str:
    return one.name if one.version is None else f"{one.name} version {one.version}"
