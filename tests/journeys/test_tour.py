"""The README's tour and the how-to pages that follow it, run as a reader would: block by block in one shell, beside a service that was
just set up.

A ``sh`` block is run, and each line of the ``text`` block after it must be a line of what was printed, in that order; ``…`` stands for
anything.
"""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.journey import wait_until_ready

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"^=== printed by block \d+\n", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """One block of the tour, and the lines that the README promises of it."""

    commands: str
    promised: list[str]


def steps(text: str) -> list[Step]:
    found: list[Step] = []
    for kind, body in _BLOCK.findall(text):
        if kind == "sh":
            found.append(Step(body, []))
        else:
            found[-1].promised.extend(body.splitlines())
    return found


def missing(promised: list[str], printed: list[str]) -> list[str]:
    """Return the promised lines that were not printed, each looked for after the one before it."""
    at, absent = 0, []
    for line in promised:
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        place = next((n for n in range(at, len(printed)) if pattern.fullmatch(printed[n])), None)
        if place is None:
            absent.append(line)
        else:
            at = place + 1
    return absent


TOUR = (ROOT / "README.md").read_text().split("\n## A tour\n")[1].split("\n## ")[0]
FOLLOWING = (
    "load-a-file",
    "connect-a-system",
    "speak-fhir",
    "record-an-objection",
    "work-the-review-queue",
    "read-data-quality",
    "review-alerts",
    "tell-organisations",
    "trace-numbers",
    "withdraw-a-record",
    "feed-it-with-hl7",
)
PAGES = {"README": steps(TOUR)} | {
    name: steps((ROOT / "docs" / "how-to" / f"{name}.md").read_text()) for name in FOLLOWING
}
STEPS = [(page, step) for page, found in PAGES.items() for step in found]
NAMES = [f"{page}-{number}" for page, found in PAGES.items() for number in range(1, len(found) + 1)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a fresh clone: the files of this one, its environment, and nothing under var."""
    folder = tmp_path_factory.mktemp("clone")
    for path in ROOT.iterdir():
        if path.name not in {"var", ".venv", ".git"}:
            (folder / path.name).symlink_to(path)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module")
def environment(checkout: Path) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as line, socket.create_server(("127.0.0.1", 0)) as other:
        port, hl7_port = line.getsockname()[1], other.getsockname()[1]
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(checkout),
        "PYTHONPATH": str(ROOT),  # this code, wherever the environment was made
        "MPI_PORT": str(port),
        "MPI_HL7_PORT": str(hl7_port),
        "MPI_URL": f"http://127.0.0.1:{port}",
    }


@pytest.fixture(scope="module")
def service(checkout: Path, environment: dict[str, str]) -> Iterator[str]:
    """What ``make run`` starts, with a smaller sample."""
    process = subprocess.Popen(
        [".venv/bin/mpi", "run", "--records", "200"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_ready(f"{environment['MPI_URL']}/health/ready", process, seconds=600)
        yield environment["MPI_URL"]
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def printed(checkout: Path, environment: dict[str, str], service: str) -> list[list[str]]:
    """What each block printed."""
    script = "".join(f'echo "=== printed by block {n}"\n{step.commands}' for n, (_, step) in enumerate(STEPS))
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1_200,  # a busy machine; nothing is measured here
    )
    assert done.returncode == 0, done.stdout[-2_000:]
    return [part.splitlines() for part in _PRINTED.split(done.stdout)[1:]]


def test_every_page_has_its_blocks_and_every_block_promises_something():
    assert len(PAGES["README"]) >= 10
    assert {page: len(found) >= 2 for page, found in PAGES.items()} == dict.fromkeys(PAGES, True)
    assert all(step.promised for _, step in STEPS)


@pytest.mark.parametrize("number", range(len(STEPS)), ids=NAMES)
def test_a_block_prints_what_its_page_says(number: int, printed: list[list[str]]):
    absent = missing(STEPS[number][1].promised, printed[number])

    assert absent == [], "printed:\n" + "\n".join(line[:600] for line in printed[number])


def test_a_promise_that_is_not_kept_is_seen():
    printed = ['{"outcome":"PERMIT"}', "201"]

    assert missing(['{"outcome":"…"}', "201"], printed) == []
    assert missing(['{"outcome":"DENY"}'], printed) == ['{"outcome":"DENY"}']
    assert missing(["201", '{"outcome":"…"}'], printed) == ['{"outcome":"…"}']
