"""Rows of delimited text, where a lost quotation mark costs its own row and no other."""

import csv
import io
from collections import deque
from collections.abc import Collection, Iterator, Sequence


def delimiter_of(file: io.TextIOBase) -> str:
    """Take a tab, semicolon or bar where the header has one and no comma; the file is then at its beginning."""
    header = file.readline()
    file.seek(0)
    if "," in header:
        return ","
    return next((mark for mark in "\t;|" if mark in header), ",")


class Rows:
    """A file's header, and its rows one by one.

    Args:
        header: what was read of the file already, where its lines begin after that.

    Raises:
        StopIteration: the file is empty.
        csv.Error: the header cannot be read.
    """

    def __init__(self, file: Iterator[str], delimiter: str, header: Sequence[str] | None = None) -> None:
        self._lines = _Lines(file)
        self._reader = csv.reader(self._lines, strict=True, delimiter=delimiter)
        self.header: list[str] = next(self._reader) if header is None else list(header)

    @property
    def holds_lines(self) -> bool:
        """Whether lines that were taken from the file have been handed back and are still to be read."""
        return self._lines.holds_some

    def read(self, several_lines: Collection[int], number: int = 1) -> Iterator[tuple[int, list[str] | None]]:
        """Yield rows with their numbers, the header being 1; None for one that cannot be read.

        Args:
            several_lines: places whose values may be of several lines; in any other a line's end says that a quotation mark was lost.
            number: that of the row before the first.
        """
        while True:
            number += 1
            self._lines.begin_row()
            try:
                values = next(self._reader)
            except StopIteration:
                return
            except csv.Error:
                self._lines.hand_back()
                yield number, None
                continue
            if (
                self._lines.are_several
                and any(value.strip() for value in values)
                and not self._may_be_of_several_lines(values, several_lines)
            ):
                # The rows after this one are not its values.
                self._lines.hand_back()
                yield number, None
                continue
            yield number, values

    def _may_be_of_several_lines(self, values: Sequence[str], several_lines: Collection[int]) -> bool:
        return len(values) == len(self.header) and all(
            place in several_lines for place, value in enumerate(values) if "\n" in value or "\r" in value
        )


class _Lines:
    """The lines of a file. Those that a row took after its first can be handed back, to be read as rows of their own."""

    def __init__(self, file: Iterator[str]) -> None:
        self._file = file
        self._waiting: deque[str] = deque()
        self._taken: list[str] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        # csv stops for good at a NUL; as a control character it is refused in its own row.
        line = self._waiting.popleft() if self._waiting else next(self._file).replace("\x00", "\x01")
        self._taken.append(line)
        return line

    @property
    def holds_some(self) -> bool:
        return bool(self._waiting)

    @property
    def are_several(self) -> bool:
        return len(self._taken) > 1

    def begin_row(self) -> None:
        self._taken.clear()

    def hand_back(self) -> None:
        self._waiting.extendleft(reversed(self._taken[1:]))
