"""The collector of cycles, in a process that serves for long."""

import gc


def settle_down() -> None:
    """Let later collections leave alone what is there by now, and look at everything more seldom.

    Every look at everything holds up all threads. What a process has when it begins stays until its end, and what a request leaves behind
    in a cycle is found while it is young.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 100)
