"""The folder in which lists and answers change hands with the transfer client: ``out`` for what goes, ``in`` for what came, ``done``."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from consent.service.context import Consent
from consent.service.opt_out import PreparedList, receive_answer, waiting_names
from foundation.errors import Conflict, Invalid, ServiceError
from foundation.principal import Principal

SUFFIX = ".dat"
SETTLED_SECONDS = 30
"""A file that was written to so lately may not be whole: one that ends too early would read as people who opted out."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file of the folder and what became of it: ``answered``, ``arriving``, or ``refused`` with a code and, it may be, a row."""

    file: str
    state: str
    list: str | None = None
    clear: int | None = None
    opted_out: int | None = None
    code: str | None = None
    row: int | None = None


def open_folder(folder: Path) -> None:
    """Make the folder ready, for its owner alone.

    Raises:
        Invalid: ``folder-unusable``.
    """
    try:
        for name in ("out", "in", "done"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Invalid("folder-unusable", field="folder") from error
    if not os.access(folder / "out", os.W_OK) or not os.access(folder / "done", os.W_OK):
        raise Invalid("folder-unusable", field="folder")


def put_lists(folder: Path, lists: Iterable[PreparedList]) -> list[Path]:
    """Write lists into ``out``, each whole or not at all, readable by their owner alone.

    Raises:
        Conflict: ``file-exists``.
    """
    written = []
    for one in lists:
        target, begun = folder / "out" / f"{one.name}{SUFFIX}", folder / "out" / f".{one.name}.part"
        if target.exists():
            raise Conflict("file-exists", ids={"list": one.name})
        handle = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii", newline="") as file:
            file.write(one.text)
            file.flush()
            os.fsync(file.fileno())
        begun.rename(target)
        written.append(target)
    return written


def receive_folder(
    consent: Consent,
    folder: Path,
    by: Principal,
    *,
    only: str | None = None,
    may_be_empty: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[ReceivedFile]:
    """Read each answer in ``in`` and move it to ``done``; one that is refused stays where it is, and stops no other.

    An answer belongs to the waiting list whose name stands in the file's own name, or in a control file of the same name beside it. What
    the transfer client calls the files that it receives is not known for sure, so where neither names exactly one list nothing is guessed.

    Args:
        only: the list that the one file there answers, where no name says so.
        progress: as of ``receive_answer``.
    """
    found = sorted((folder / "in").glob(f"*{SUFFIX}"))
    if only is not None and len(found) != 1:
        raise Invalid(
            "answer-not-alone", field="list", detail="With a list named, one answer alone may be there."
        )
    for path in found:
        if consent.clock.now().timestamp() - path.stat().st_mtime < SETTLED_SECONDS:
            yield ReceivedFile(path.name, "arriving")
            continue
        name = only
        try:
            name = only or _list_of(path, waiting_names(consent))
            closed = receive_answer(
                consent, name, _text(path), by, may_be_empty=may_be_empty, progress=progress
            )
        except ServiceError as fault:
            yield ReceivedFile(path.name, "refused", name, code=fault.code, row=fault.row)
            continue
        path.rename(_free(folder / "done" / path.name))
        yield ReceivedFile(path.name, "answered", name, closed.clear, closed.opted_out)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("ascii")
    except UnicodeDecodeError:
        raise Invalid("answer-format") from None


def _list_of(path: Path, waiting: list[str]) -> str:
    control = path.with_suffix(".ctl")
    said = path.stem + "\n" + (control.read_text("utf-8", "replace") if control.is_file() else "")
    named = [name for name in waiting if name in said]
    if len(named) != 1:
        raise Invalid(
            "answer-of-unknown-list", detail="Neither the file nor its control file names one waiting list."
        )
    return named[0]


def _free(path: Path) -> Path:
    place = 1
    free = path
    while free.exists():
        place += 1
        free = path.with_name(f"{path.stem}.{place}{path.suffix}")
    return free
