"""Lines of JSON, where a line that is none costs itself and no other, and no type is guessed."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

LONGEST_LINE = 1_048_576


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield lines and their numbers, the first being 1; None for one that is too long to be a record."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield number, None
            continue
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _not_json(_: str) -> Any:
    raise ValueError("not a number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member twice: which is meant is not for a reader to guess")
    return found


_AS_WRITTEN = json.JSONDecoder(
    parse_int=str, parse_float=str, parse_constant=_not_json, object_pairs_hook=_once
)
_AS_MEANT = json.JSONDecoder(parse_constant=_not_json, object_pairs_hook=_once)
WORDS = {True: "true", False: "false"}


def object_of(line: bytes, *, as_written: bool = True) -> dict[str, Any] | None:
    """Read an object; None: this is none, or says something twice.

    Args:
        as_written: numbers as the digits that stand there, true and false of the object itself as words.
    """
    try:
        said = (_AS_WRITTEN if as_written else _AS_MEANT).decode(line.decode())
        if b"\\u" in line:
            # Half a character may be escaped, but cannot be kept.
            json.dumps(said, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    if not as_written:
        return said
    return {name: WORDS[value] if isinstance(value, bool) else value for name, value in said.items()}
