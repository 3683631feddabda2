"""The servers of a test run, when even their keeper is killed."""

import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.engines import Keeper, ask


def answers(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("engine", ["postgresql", "redis-long"])
def test_a_server_does_not_outlive_its_killed_keeper(engine: str):
    keeper = Keeper()
    port = int(ask(keeper.address, engine)["port"])
    assert answers(port)

    os.kill(keeper.pid, signal.SIGKILL)
    keeper.stop()

    until = time.monotonic() + 30
    while answers(port) and time.monotonic() < until:
        time.sleep(0.05)
    assert not answers(port)
    # Only a live keeper tidies up behind itself.
    shutil.rmtree(Path(keeper.address).parent, ignore_errors=True)
