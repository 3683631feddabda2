"""How the threads of a process share it: the collector of cycles, and how long one thread goes on while others wait."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TURN_SECONDS = 0.0005


def settle_down() -> None:
    """In a process that serves for long, let no thread hold up the others for long.

    Later collections leave alone what is there by now, look at little at a time, and at everything more seldom: a look at everything holds
    up all threads. What a process has when it begins stays until its end, and what a request leaves behind in a cycle is found while it
    is young. A thread that reckons for long gives way after half a millisecond rather than ten times that: one that asks the database
    twenty times waits for its turn as often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 10, 500)
    sys.setswitchinterval(_TURN_SECONDS)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for cycles a hundred times less often: a run over many rows makes objects by the million and few cycles, and looks visit all."""
    usual = gc.get_threshold()
    gc.set_threshold(100 * usual[0], *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
