"""The listener: real sockets, frames in any cut, order on a connection, TLS, its caps, and its end."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Invalid
from foundation.settings import Settings
from mpi.feeds.hl7.mllp import Frames, FrameTooLong, tls_context
from mpi.feeds.hl7.receive import Receiver
from mpi.service.link import link_waiting
from tests.service.hl7_world import Sender, a_feed, adt, code_of, listening
from tests.service.mpi_world import World


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


@pytest.fixture
def receiver(world: World) -> Receiver:
    a_feed(world)
    return Receiver(world.mpi)


def echo(raw: bytes) -> list[bytes]:
    return [raw]


# Frames --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_frames_are_found_however_they_are_cut(size: int):
    sent = b"noise\x0bone\x1c\r\r\n\x0btwo\x1c still two\x1c\r\x0bcut off\x0bthree\x1c\r\x0bunended"
    frames = Frames()

    found = [one for at in range(0, len(sent), size) for one in frames.take(sent[at : at + size])]

    assert found == [b"one", b"two\x1c still two", b"three"]
    assert not frames.is_empty


def test_a_frame_without_end_is_not_gathered_for_ever():
    frames = Frames(most_bytes=100)

    with pytest.raises(FrameTooLong):
        list(frames.take(b"\x0b" + b"x" * 200))
    assert list(Frames(100).take(b"x" * 1_000)) == []


# Talking -------------------------------------------------------------------------------------------------------------


def test_connections_are_answered_in_order_and_all_at_once(world: World, receiver: Receiver):
    answers: dict[int, list[str]] = {}

    def send(number: int, port: int) -> None:
        sender = Sender(port)
        for place in range(5):
            sender.put(adt(f"C{number}-{place}", str(number), at=f"202611230801{place:02}"))
        answers[number] = [sender.next().decode().split("\r")[1] for _ in range(5)]
        sender.close()

    with listening(receiver.answer) as listener:
        threads = [threading.Thread(target=send, args=(number, listener.port)) for number in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    link_waiting(world.mpi)

    assert answers == {number: [f"MSA|AA|C{number}-{place}" for place in range(5)] for number in range(4)}
    assert world.rows("select count(*) from source_record where person_id is not null") == [(4,)]


def test_a_reply_is_there_only_when_the_record_is(world: World, receiver: Receiver):
    with listening(receiver.answer) as listener:
        sender = Sender(listener.port)
        for number in range(3):
            assert sender.send(adt(f"M{number}", str(number))) == "AA"
            assert world.rows("select count(*) from source_record") == [(number + 1,)]
        sender.close()


def test_enhanced_mode_is_answered_twice_where_both_are_asked_for(receiver: Receiver):
    with listening(receiver.answer) as listener:
        sender = Sender(listener.port)
        sender.put(adt(mode="|||AL|AL"))
        codes = [code_of(sender.next()), code_of(sender.next())]
        sender.close()

    assert codes == ["CA", "AA"]


def test_a_connection_too_many_is_closed_and_the_next_one_finds_room():
    with listening(echo, most_connections=1) as listener:
        first = Sender(listener.port)
        first.put(b"x")
        assert first.next() == b"x"
        second = Sender(listener.port)
        with pytest.raises((ConnectionError, OSError)):
            second.put(b"x")
            second.next()
        first.close()
        for _ in range(100):
            third = Sender(listener.port)
            try:
                third.put(b"y")
                assert third.next() == b"y"
                break
            except OSError:
                time.sleep(0.05)
        else:
            pytest.fail("no room again")
        third.close()


def test_nothing_is_read_while_there_is_no_room():
    room = threading.Event()
    with listening(echo, may_read=room.is_set) as listener:
        sender = Sender(listener.port)
        sender.put(b"x")
        sender.socket.settimeout(1.2)
        with pytest.raises(TimeoutError):
            sender.next()
        sender.socket.settimeout(30)
        room.set()
        assert sender.next() == b"x"
        sender.close()


def test_an_idle_connection_is_closed():
    with listening(echo, idle_seconds=0.1) as listener:
        sender = Sender(listener.port)
        with pytest.raises(ConnectionError):
            sender.next()


def test_told_to_stop_a_listener_finishes_the_message_in_hand():
    begun, may_end = threading.Event(), threading.Event()

    def slow(raw: bytes) -> list[bytes]:
        begun.set()
        assert may_end.wait(30)
        return [raw]

    with listening(slow) as listener:
        sender = Sender(listener.port)
        sender.put(b"x")
        assert begun.wait(30)
        threading.Timer(0.2, may_end.set).start()
    assert sender.next() == b"x"
    sender.close()


# TLS -----------------------------------------------------------------------------------------------------------------


def a_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def test_over_tls_only_clients_with_a_known_certificate_are_let_in(tmp_path: Path):
    server, client, other = (a_certificate(tmp_path, name) for name in ("server", "client", "other"))
    context = tls_context(*server, client_authorities=client[0])

    def speak(port: int, own: tuple[Path, Path] | None) -> bytes:
        trusted = ssl.create_default_context(cafile=str(server[0]))
        if own is not None:
            trusted.load_cert_chain(*own)
        sender = Sender(port, trusted)
        try:
            sender.put(b"x")
            return sender.next()
        finally:
            sender.close()

    with listening(echo, tls=context) as listener:
        assert speak(listener.port, client) == b"x"
        for unknown in (None, other):
            with pytest.raises(OSError):
                speak(listener.port, unknown)
        with pytest.raises(OSError):
            plain = Sender(listener.port)
            plain.put(b"x")
            plain.next()
        assert speak(listener.port, client) == b"x"


# The command ---------------------------------------------------------------------------------------------------------


def mpi(url: str, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"DATABASE_URL": url, "PATH": "/usr/bin:/bin", **settings}
    command = [sys.executable, "-c", "import app; app.mpi_command()", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_the_command_listens_and_ends_cleanly(engine_url: str, world: World, tmp_path: Path):
    added = mpi(engine_url, "feeds", "add", "PAS", "RRV", "RRV", "pas", "--processing-id", "P")
    environment = {
        "DATABASE_URL": engine_url,
        "PATH": "/usr/bin:/bin",
        "MPI_HL7_PORT": "0",
        "MPI_HL7_DEAD_LETTERS": str(tmp_path / "letters"),
    }
    command = [sys.executable, "-c", "import app; app.mpi_command()", "listen"]
    listener = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert listener.stdout is not None
        port = int(listener.stdout.readline().split("port ")[1].rstrip(".\n"))
        sender = Sender(port)
        codes = [sender.send(one) for one in (adt(), adt(), adt("M2", "2", born_on="x"))]
        listener.send_signal(signal.SIGTERM)
        assert listener.wait(timeout=30) == 0
    finally:
        listener.kill()
        listener.wait()
    (letters,) = (tmp_path / "letters").iterdir()
    again = mpi(engine_url, "feeds", "replay", str(letters))

    assert added.returncode == 0, added.stderr
    assert codes == ["AA", "AA", "AE"]
    assert world.rows("select local_id, version from source_record") == [("1", 1)]
    assert (again.returncode, again.stdout) == (3, "0 messages kept.\n1 refused: hl7-data-type\n")


def test_operators_add_change_stop_and_start_feeds_at_the_command_line(engine_url: str, world: World):
    added = json.loads(mpi(engine_url, "feeds", "add", "PAS", "RRV", "RRV", "pas", "--json").stdout)
    feed_id = added["feed_id"]

    changed = mpi(
        engine_url, "feeds", "change", feed_id, "--character-set", "utf-8", "--number-in-pid19", "--json"
    )
    stopped = mpi(engine_url, "feeds", "stop", feed_id)
    again = mpi(engine_url, "feeds", "stop", feed_id)
    mpi(engine_url, "feeds", "start", feed_id)
    shown = json.loads(mpi(engine_url, "feeds", "show", feed_id, "--json").stdout)
    listed = json.loads(mpi(engine_url, "feeds", "list", "--json").stdout)
    unknown = mpi(engine_url, "feeds", "add", "PAS", "X", "ZZZ99", "pas")

    expected = added["reading"] | {"character_set": "utf-8", "number_in_pid19": True}
    assert json.loads(changed.stdout)["reading"] == shown["reading"] == expected
    assert "stopped" in stopped.stdout
    assert (again.returncode, again.stderr.startswith("mpi: feed-state")) == (1, True)
    assert listed["feeds"] == [shown] and shown["state"] == "active"
    assert (unknown.returncode, "organisation-unknown" in unknown.stderr) == (1, True)


def test_a_senders_file_is_sent_and_its_answers_told(receiver: Receiver, tmp_path: Path):
    file = tmp_path / "adt.txt"
    file.write_bytes(adt().replace(b"\r", b"\n") + b"\n" + adt("M2", born_on="x").replace(b"\r", b"\r\n"))

    with listening(receiver.answer) as listener:
        sent = mpi("", "feeds", "send", str(file), "--port", str(listener.port))
        silent = mpi("", "feeds", "send", str(file), "--port", "1")

    assert (sent.returncode, sent.stdout.splitlines()) == (3, ["AA M1", "AE M2 hl7-data-type PID-7"])
    assert (silent.returncode, silent.stderr.startswith("mpi: listener-unreachable")) == (1, True)


def test_an_address_in_use_is_told_in_a_line(engine_url: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = mpi(engine_url, "listen", MPI_HL7_PORT=str(taken.getsockname()[1]))

    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith("mpi: address-unusable · field MPI_HL7_PORT")


@pytest.mark.parametrize(
    ("name", "text"),
    [("MPI_HL7_PORT", "x"), ("MPI_HL7_CONNECTIONS", "0"), ("MPI_HL7_TLS_CERT", "only-one.pem")],
)
def test_a_setting_that_cannot_be_read_is_named(name: str, text: str):
    with pytest.raises(Invalid, match=name):
        Settings.from_environment({name: text})
