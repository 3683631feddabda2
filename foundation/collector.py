"""The collector of cycles: in a process that serves for long, and in one that makes objects by the million."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def settle_down() -> None:
    """Let later collections leave alone what is there by now, and look at everything more seldom.

    Every look at everything holds up all threads. What a process has when it begins stays until its end, and what a request leaves behind
    in a cycle is found while it is young.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 100)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for cycles a hundred times less often: a run over many rows makes objects by the million and few cycles, and looks visit all."""
    usual = gc.get_threshold()
    gc.set_threshold(100 * usual[0], *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
