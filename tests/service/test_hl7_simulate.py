"""Simulated senders: what they write is read back, in order, at a rate, and until it is answered; and a client that is not ours."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Unavailable
from mpi.cli import load_organisations
from mpi.feeds.delimited import read_rows
from mpi.feeds.hl7.mllp import Listener
from mpi.feeds.hl7.receive import Receiver
from mpi.feeds.hl7.send import Sending
from mpi.feeds.hl7.simulate import simulate
from mpi.feeds.hl7.write import registration
from mpi.records import RecordKey, SourceRecord
from mpi.sample import write_sample
from tests.service.hl7_world import a_feed, adt, listening
from tests.service.mpi_world import World
from tests.service.test_hl7_listener import mpi

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def to(listener: Listener) -> Callable[[], Sending]:
    return lambda: Sending("127.0.0.1", listener.port)


def numbered(count: int, patients: int) -> list[tuple[RecordKey, bytes]]:
    """Return messages of some patients in turn; each bears its number as control id."""
    keys = [RecordKey("RRV", "pas", str(one)) for one in range(patients)]
    return [(keys[one % patients], adt(str(one), str(one % patients))) for one in range(count)]


def accept(raw: bytes) -> list[bytes]:
    control_id = raw.split(b"|")[9]
    return [rb"MSH|^~\&|MPI|LCR|PAS|RRV|20261123080001||ACK|1|P|2.4" + b"\rMSA|AA|" + control_id + b"\r"]


def test_what_is_said_of_one_patient_goes_in_order_however_many_connections_there_are():
    came: list[bytes] = []
    told: list[tuple[str, str]] = []

    def answer(raw: bytes) -> list[bytes]:
        came.append(raw.split(b"|")[9])
        return accept(raw)

    with listening(answer) as listener:
        done = simulate(
            numbered(200, 12),
            to(listener),
            connections=5,
            answered=lambda key, _raw, given: told.append((key.local_id, given.control_id)),
        )

    assert (done.messages, done.answers, done.refused, done.again) == (200, {"AA": 200}, {}, 0)
    assert sorted(came, key=int) == [str(one).encode() for one in range(200)]
    for patient in range(12):
        assert [one for one in map(int, came) if one % 12 == patient] == list(range(patient, 200, 12))
    assert sorted(told) == sorted((str(one % 12), str(one)) for one in range(200))


def test_a_rate_is_kept_over_all_connections_together(monkeypatch: pytest.MonkeyPatch):
    waited: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", lambda _event, seconds=None: waited.append(seconds or 0.0))
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    from mpi.feeds.hl7.simulate import _Run

    run = _Run(lambda: pytest.fail("nothing is sent"), 50.0, 0.0, lambda *_: None)
    for _ in range(4):
        run._wait_for_turn()

    assert waited == pytest.approx([0.02, 0.04, 0.06, 0.08])


def test_a_message_without_an_answer_and_one_that_met_another_state_are_sent_again():
    turns = iter(["lost", "AE|207", "AE|206", "AA"])
    came: list[bytes] = []

    def answer(raw: bytes) -> list[bytes]:
        came.append(raw.split(b"|")[9])
        turn = next(turns, "AA")
        if turn == "lost":
            raise ConnectionError  # as when the listener dies before it answers
        if turn == "AA":
            return accept(raw)
        number = turn.encode().partition(b"|")[2]
        return [accept(raw)[0].replace(b"AA", b"AE") + b"ERR|^^^" + number + b"&Locked&HL70357\r"]

    with listening(answer) as listener:
        done = simulate(numbered(2, 1), to(listener), patience_seconds=30)

    assert (done.answers, done.again) == ({"AA": 2}, 3)
    assert came == [b"0"] * 4 + [b"1"]


def test_what_is_refused_for_good_is_counted_by_its_fault_and_not_sent_again():
    def answer(raw: bytes) -> list[bytes]:
        refused = accept(raw)[0].replace(b"MSA|AA|0", b"MSA|AE|0|hl7-data-type PID-7")
        return [refused.replace(b"|2.4", b"|2.5.1") + b"ERR||PID^1^7|102^Data type error^HL70357|E\r"]

    with listening(answer) as listener:
        done = simulate(numbered(1, 1), to(listener), patience_seconds=30)

    assert (done.answers, done.refused, done.again) == ({"AE": 1}, {"hl7-data-type PID-7": 1}, 0)


def test_whoever_has_no_patience_is_told_that_nobody_listens():
    with pytest.raises(Unavailable, match="listener-unreachable"):
        simulate(numbered(500, 10), lambda: Sending("127.0.0.1", 1), connections=2)


# A sample ------------------------------------------------------------------------------------------------------------


def a_sample(db: Database, folder: Path, count: int) -> tuple[Path, list[SourceRecord]]:
    made = write_sample(folder, count, 5)
    load_organisations(db, made.organisations_path)
    rows = read_rows(made.records_path, date(2026, 11, 23))
    return made.records_path, [row.record for row in rows if row.record is not None]


def test_a_sample_is_sent_by_the_command_and_kept_as_if_it_had_been_loaded(
    db: Database, engine_url: str, world: World, tmp_path: Path
):
    path, records = a_sample(db, tmp_path, 120)
    with listening(Receiver(world.mpi).answer) as listener:
        port = str(listener.port)
        stranger = mpi(engine_url, "feeds", "simulate", str(path), "--port", port, "--limit", "3", "--json")
        sent = mpi(engine_url, "feeds", "simulate", str(path), "--port", port, "--let-in", "--json")
        again = mpi(engine_url, "feeds", "simulate", str(path), "--port", port, "--rate", "1000")
        whose = mpi(
            engine_url, "feeds", "simulate", str(path), "--port", port, "--let-in", MPI_PRODUCTION="yes"
        )

    assert (stranger.returncode, json.loads(stranger.stdout)["refused"]) == (
        3,
        {"hl7-sender-unknown MSH-3": 3},
    )
    told = json.loads(sent.stdout)
    assert (sent.returncode, told["messages"], told["answers"]) == (0, 120, {"AA": 120, "AE": 0, "AR": 0})
    assert (told["connections"], told["sent_again"], told["rows_set_aside"]) == (4, 0, 0)
    assert again.stdout.splitlines()[1] == "AA 120, AE 0, AR 0"
    assert (whose.returncode, whose.stderr.startswith("mpi: feeds-in-production")) == (1, True)
    assert world.rows("select count(*), min(version), max(version) from source_record") == [(120, 1, 1)]
    assert world.rows("select count(*) from hl7_message") == [(120,)]
    kept = {
        replace(SourceRecord.from_payload(json.loads(payload)), updated_at=in_utc(source_at))
        for payload, source_at in world.rows("select payload, source_at from record_version")
    }
    assert kept == {as_a_message_can_say(one) for one in records}


def as_a_message_can_say(record: SourceRecord) -> SourceRecord:
    """Return a record without what a registration has no word for."""
    return replace(
        record,
        nhs_number_status=record.nhs_number_status if record.nhs_number else None,
        names=tuple(replace(one, use="usual") if one.use == "official" else one for one in record.names),
        gender={"male": "M", "female": "F", "other": "O", "unknown": "U"}.get(
            record.gender or "", record.gender
        ),
        addresses=tuple(one for one in record.addresses if one.use != "old"),
    )


def in_utc(at: datetime | str) -> datetime:
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


# A stranger ----------------------------------------------------------------------------------------------------------


def test_a_client_that_is_not_ours_feeds_a_thousand_messages_to_the_listener(
    db: Database, engine_url: str, world: World, tmp_path: Path
):
    a_feed(world, local_id_types=("MR",))
    records = [
        replace(one, key=RecordKey("RRV", "PAS", str(place)))
        for place, one in enumerate(a_sample(db, tmp_path, 1_000)[1])
    ]
    file = tmp_path / "adt.hl7"
    # Its client takes a file of frames as they go over the wire.
    file.write_bytes(b"".join(b"\x0b" + registration(one, NOW) + b"\x1c\r" for one in records))
    environment = {"DATABASE_URL": engine_url, "PATH": "/usr/bin:/bin", "MPI_HL7_PORT": "0"}
    command = [sys.executable, "-c", "import app; app.mpi_command()", "listen"]
    listener = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert listener.stdout is not None
        port = listener.stdout.readline().split("port ")[1].rstrip(".\n")
        client = shutil.which("mllp_send", path=Path(sys.executable).parent)
        assert client is not None
        sent = subprocess.run(
            [client, "--file", str(file), "--port", port, "127.0.0.1"], capture_output=True, timeout=300
        )
        listener.terminate()
        assert listener.wait(timeout=30) == 0
    finally:
        listener.kill()
        listener.wait()

    assert sent.returncode == 0, sent.stderr[-500:]
    assert sent.stdout.count(b"\rMSA|AA|") == 1_000
    assert world.rows("select count(*) from source_record where version = 1") == [(1_000,)]
    assert world.rows("select count(*) from hl7_message") == [(1_000,)]
