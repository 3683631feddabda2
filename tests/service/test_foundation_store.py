"""Directory, audit log, outbox, signing keys and accounts, on both databases."""

from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import delete, event, inspect, text, update
from sqlalchemy.exc import DBAPIError

from foundation import audit, outbox
from foundation.audit import (
    ERASING,
    AuditReceipt,
    entry_by,
    erase_rows,
    erasure_digest,
    events_about,
    read_event,
    verify_rows,
)
from foundation.auth import clients, keys, sessions, users
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import (
    Organisation,
    get_organisation,
    list_organisations,
    put_organisation,
    with_ancestors,
)
from foundation.errors import Conflict, Invalid, NotFound, Unauthenticated, Unavailable
from foundation.principal import SYSTEM_ITSELF, Principal
from tests.conftest import PASSWORD_METHOD

CLERK = Principal(kind="person", id="clerk.one", organisation="RRV", scopes=frozenset(), role="R8010")
PASSWORD = "a long enough one"


# -- directory --------------------------------------------------------------------------------------------------------


def test_an_organisation_reads_back_and_is_replaced(db: Database):
    first = Organisation(
        "RRV", "UCLH", "acute", opened_on=date(2000, 4, 1), settings={"membership_label": "N"}
    )
    with db.write() as tx:
        put_organisation(tx, Organisation("QMJ", "NCL", "other"))
        put_organisation(tx, first)
        put_organisation(
            tx, Organisation("RRV", "University College London Hospitals", "acute", parent="QMJ")
        )

    with db.read() as tx:
        kept = get_organisation(tx, "RRV")
        assert (kept.name, kept.parent, kept.opened_on, kept.settings) == (
            "University College London Hospitals",
            "QMJ",
            None,
            {},
        )
        assert with_ancestors(tx, "RRV") == ("RRV", "QMJ")
        assert [one.ods_code for one in list_organisations(tx)] == ["QMJ", "RRV"]
        assert [one.ods_code for one in list_organisations(tx, setting="acute", after="QMJ", limit=5)] == [
            "RRV"
        ]
        with pytest.raises(NotFound):
            get_organisation(tx, "RXX")


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        (Organisation("rrv", "UCLH", "acute"), "organisation-format", "ods_code"),
        (Organisation("RRV", "", "acute"), "name-format", "name"),
        (Organisation("RRV", "U\nCLH", "acute"), "name-format", "name"),
        (Organisation("RRV", "UCLH", "hospital"), "setting-unknown", "setting"),
        (Organisation("RRV", "UCLH", "acute", parent="RXX"), "organisation-unknown", "parent"),
        (Organisation("RRV", "UCLH", "acute", successor="RRV"), "successor-circular", "successor"),
        (Organisation("RAA", "A", "acute", parent="RBB"), "parent-circular", "parent"),
        (
            Organisation("RRV", "UCLH", "acute", opened_on=date(2001, 1, 1), closed_on=date(2000, 1, 1)),
            "closed-before-opened",
            "closed_on",
        ),
    ],
)
def test_a_faulty_organisation_is_refused(db: Database, given: Organisation, code: str, field: str):
    with db.write() as tx:
        put_organisation(tx, Organisation("RAA", "A", "acute"))
        put_organisation(tx, Organisation("RBB", "B", "acute", parent="RAA"))

    with db.write() as tx, pytest.raises(Invalid) as refused:
        put_organisation(tx, given)

    assert (refused.value.code, refused.value.field) == (code, field)


# -- audit ------------------------------------------------------------------------------------------------------------


def append(db: Database, at: datetime, person_id: int | None = 7, **more) -> AuditReceipt:
    with db.write() as tx:
        return audit.append(tx, entry_by(CLERK, at, "person-read", person_id=person_id, **more))


def test_what_was_done_about_a_person_reads_back_in_order(db: Database, clock: FixedClock):
    first = append(
        db, clock.now(), purpose="TREAT", reasons=("relationship",), detail={"decision_id": "5", "n": [1]}
    )
    clock.advance(timedelta(minutes=1))
    second = append(db, clock.now())
    append(db, clock.now(), person_id=8)

    with db.read() as tx:
        found = events_about(tx, [7])
        later = events_about(tx, [7], since=clock.now())
        earlier = events_about(tx, [7], until=clock.now())
    assert [one.event_id for one in found] == [first.event_id, second.event_id]
    assert [one.leaf_hash for one in found] == [first.leaf_hash, second.leaf_hash]
    assert (found[0].actor_id, found[0].actor_role, found[0].purpose) == ("clerk.one", "R8010", "TREAT")
    assert (found[0].reasons, found[0].detail) == (("relationship",), {"decision_id": "5", "n": [1]})
    assert [one.event_id for one in later] == [second.event_id]
    assert [one.event_id for one in earlier] == [first.event_id]


def test_what_concerns_a_person_is_found_by_an_index_of_rows_that_concern_one(db: Database):
    asked = []
    with db.read() as tx:
        event.listen(tx, "before_cursor_execute", lambda *told: asked.append(told[2:4]))
        events_about(tx, [7, 8])
        ((statement, values),) = asked
        if not db.is_sqlite:
            # A small table is as well read whole, by whatever order; a bitmap is made only of an index that answers.
            for way in ("seqscan", "indexscan", "indexonlyscan"):
                tx.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        explain = "EXPLAIN QUERY PLAN" if db.is_sqlite else "EXPLAIN"
        plan = str(tx.exec_driver_sql(f"{explain} {statement}", values).all())
        indexes = {one["name"]: one for one in inspect(tx).get_indexes("audit_event")}

    assert "ix_audit_event_person_id" in plan
    options = indexes["ix_audit_event_person_id"]["dialect_options"]
    assert "person_id IS NOT NULL" in str(options[f"{db.url.get_backend_name()}_where"])


def test_an_audit_row_goes_with_the_transaction_that_wrote_it(db: Database, clock: FixedClock):
    with pytest.raises(RuntimeError), db.write() as tx:
        audit.append(tx, entry_by(CLERK, clock.now(), "person-read", person_id=7))
        raise RuntimeError

    with db.read() as tx:
        assert events_about(tx, [7]) == []


@pytest.mark.parametrize("as_owner", [False, True])
@pytest.mark.parametrize(
    "statement",
    [update(audit.audit_event).values(kind="other"), delete(audit.audit_event)],
    ids=["update", "delete"],
)
def test_an_audit_row_can_be_neither_changed_nor_removed(
    db: Database, migrator_url: str, clock: FixedClock, statement, as_owner: bool
):
    append(db, clock.now())
    owner = Database(migrator_url)

    with pytest.raises(DBAPIError), (owner if as_owner else db).write() as tx:
        tx.execute(statement)

    owner.close()
    with db.read() as tx:
        assert [one.kind for one in events_about(tx, [7])] == ["person-read"]


def without_triggers(migrator_url: str, statement: str) -> None:
    owner = Database(migrator_url)
    with owner.write() as tx:
        if owner.is_sqlite:
            tx.execute(text("DROP TRIGGER audit_event_no_update"))
        else:
            tx.execute(text("ALTER TABLE audit_event DISABLE TRIGGER USER"))
        tx.execute(text(statement))
    owner.close()


@pytest.mark.parametrize(
    "change",
    [
        "person_id = 8",
        "actor_id = 'clerk.two'",
        "outcome = 'denied'",
        "organisation = 'RV5'",
        'detail = \'{"decision_id":"6"}\'',
        "reasons = '[\"other\"]'",
        "client_id = 'x'",
        "actor_id = NULL, salt = NULL",
    ],
)
def test_a_row_that_was_changed_behind_our_back_no_longer_gives_its_leaf(
    db: Database, migrator_url: str, clock: FixedClock, change: str
):
    sound = append(db, clock.now(), detail={"decision_id": "5"})
    faulty = append(db, clock.now(), detail={"decision_id": "5"})
    with db.read() as tx:
        before = verify_rows(tx)

    without_triggers(migrator_url, f"UPDATE audit_event SET {change} WHERE event_id = {faulty.event_id}")

    with db.read() as tx:
        after = verify_rows(tx)
    assert (before.checked, before.faulty) == (2, ())
    assert after.faulty == (faulty.event_id,)
    assert sound.event_id not in after.faulty


def test_a_lawful_erasure_leaves_the_leaf(db: Database, clock: FixedClock):
    receipt = append(db, clock.now(), detail={"decision_id": "5"})

    with db.write() as tx:
        act = erase_rows(tx, entry_by(CLERK, clock.now(), ERASING), [receipt.event_id])

    with db.read() as tx:
        found = verify_rows(tx)
        row = tx.execute(text("SELECT * FROM audit_event WHERE event_id = 1")).one()
        told = read_event(tx, act.event_id)
    assert (found.checked, found.faulty, found.erased) == (2, (), 1)
    assert (row.actor_id, row.person_id, row.detail, row.salt) == (None, None, None, None)
    assert bytes(row.leaf_hash).hex() == receipt.leaf_hash
    assert told.detail == {"rows": 1, "rows_digest": erasure_digest([receipt.event_id])}


def test_an_erasure_of_no_rows_is_no_act(db: Database, clock: FixedClock):
    with db.write() as tx:
        assert erase_rows(tx, entry_by(CLERK, clock.now(), ERASING), []) is None
        assert tx.scalar(text("SELECT count(*) FROM audit_event")) == 0


def test_a_row_that_is_not_there_cannot_be_erased(db: Database, clock: FixedClock):
    with pytest.raises(Unavailable, match="audit-unavailable"), db.write() as tx:
        erase_rows(tx, entry_by(CLERK, clock.now(), ERASING), [99])

    with db.read() as tx:
        assert tx.scalar(text("SELECT count(*) FROM audit_event")) == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_event SET actor_id = NULL, person_id = NULL, detail = NULL, salt = NULL WHERE event_id = 2",
        "UPDATE audit_event SET kind = 'other' WHERE event_id = 1",
        "UPDATE audit_event SET actor_id = 'x' WHERE event_id = 1",
        "UPDATE audit_event SET leaf_hash = personal_digest WHERE event_id = 1",
        "DELETE FROM audit_event WHERE event_id = 1",
        "DELETE FROM audit_erasure",
        "UPDATE audit_erasure SET act_event_id = 1",
    ],
)
def test_nobody_changes_more_than_an_act_erases(
    db: Database, migrator_url: str, clock: FixedClock, change: str
):
    """Not even the owner of the tables, nor a row that was erased."""
    receipt = append(db, clock.now(), detail={"decision_id": "5"})
    append(db, clock.now(), detail={"decision_id": "6"})
    with db.write() as tx:
        erase_rows(tx, entry_by(CLERK, clock.now(), ERASING), [receipt.event_id])
    owner = Database(migrator_url)

    with pytest.raises(DBAPIError, match="append-only"), owner.write() as tx:
        tx.execute(text(change))

    owner.close()


def test_what_verifies_may_go_on_writing(db: Database, clock: FixedClock):
    """Reading rows in parts is that statement's alone: PostgreSQL cannot fetch what a later one writes in parts."""
    append(db, clock.now(), detail={"decision_id": "5"})

    with db.write() as tx:
        verify_rows(tx)
        tx.execute(text("CREATE TEMPORARY TABLE told (number INTEGER)"))
        tx.execute(text("INSERT INTO told VALUES (1)"))

        assert tx.scalar(text("SELECT count(*) FROM told")) == 1


def test_equal_acts_have_unlike_leaves(db: Database, clock: FixedClock):
    assert append(db, clock.now()).leaf_hash != append(db, clock.now()).leaf_hash


def test_a_row_that_cannot_be_written_stops_the_act(db: Database, clock: FixedClock):
    with pytest.raises(Unavailable) as refused, db.write() as tx:
        put_organisation(tx, Organisation("RRV", "UCLH", "acute"))
        audit.append(tx, entry_by(CLERK, clock.now(), "person-read", outcome="perhaps"))

    assert refused.value.code == "audit-unavailable"
    with db.read() as tx, pytest.raises(NotFound):
        get_organisation(tx, "RRV")


def test_postgresql_notes_the_transaction_for_the_sealer(db: Database, clock: FixedClock):
    append(db, clock.now())

    with db.read() as tx:
        noted = tx.execute(text("SELECT txid IS NOT NULL FROM audit_event")).scalar_one()
    assert bool(noted) is not db.is_sqlite


# -- outbox -----------------------------------------------------------------------------------------------------------


def test_events_go_in_order_once_they_are_committed_and_are_marked(db: Database, clock: FixedClock):
    seen: list[tuple[str, int | None, object]] = []

    def sink(events) -> bool:
        seen.extend((one.topic, one.subject_id, one.payload["n"]) for one in events)
        return True

    with db.write() as tx:
        outbox.emit(tx, "person.changed", 7, {"n": 1})
        outbox.emit_all(
            tx,
            [
                outbox.NewEvent("person.changed", 8, {"n": 2}),
                outbox.NewEvent("person.changed", 7, {"n": 3}),
            ],
        )
    with pytest.raises(RuntimeError), db.write() as tx:
        outbox.emit(tx, "person.changed", 7, {"n": 4})
        raise RuntimeError

    first, second = outbox.relay(db, clock, [sink], limit=2), outbox.relay(db, clock, [sink])

    assert (first, second, outbox.relay(db, clock, [sink])) == (2, 1, 0)
    assert seen == [("person.changed", 7, 1), ("person.changed", 8, 2), ("person.changed", 7, 3)]


def test_events_that_could_not_be_handed_on_wait_and_come_again(db: Database, clock: FixedClock):
    with db.write() as tx:
        outbox.emit(tx, "person.changed", 7, {})
    seen: list[int] = []

    def broken(_events) -> bool:
        raise RuntimeError

    refused = outbox.relay(db, clock, [lambda _: False])
    with pytest.raises(RuntimeError):
        outbox.relay(db, clock, [broken])
    relayed = outbox.relay(db, clock, [lambda events: bool(seen.append(len(events))) or True])

    assert (refused, relayed, seen) == (0, 1, [1])


def test_a_sink_may_write(db: Database, clock: FixedClock):
    with db.write() as tx:
        outbox.emit(tx, "encounter", 7, {})

    def sink(_events) -> bool:
        with db.write() as tx:
            put_organisation(tx, Organisation("RRV", "UCLH", "acute"))
        return True

    assert outbox.relay(db, clock, [sink]) == 1
    with db.read() as tx:
        assert outbox.waiting_count(tx) == 0
        assert get_organisation(tx, "RRV").name == "UCLH"


def test_relayed_events_are_removed_when_they_are_old(db: Database, clock: FixedClock):
    with db.write() as tx:
        outbox.emit(tx, "a", 1, {})
    outbox.relay(db, clock, [])
    with db.write() as tx:
        outbox.emit(tx, "b", 1, {})
        clock.advance(timedelta(days=1))
        removed = outbox.purge_relayed(tx, clock.now())

    with db.read() as tx:
        assert (removed, outbox.waiting_count(tx)) == (1, 1)


# -- keys -------------------------------------------------------------------------------------------------------------


def sign(db: Database, clock: FixedClock, **claims) -> str:
    exp = int((clock.now() + timedelta(minutes=5)).timestamp())
    with db.write() as tx:
        return keys.sign(tx, clock.now(), {"sub": "x", "exp": exp} | claims, "at+jwt")


def read(db: Database, clock: FixedClock, token: str, token_type: str = "at+jwt") -> dict:
    with db.read() as tx:
        return keys.read_signed(tx, clock.now(), token, token_type)


def test_what_we_signed_is_believed_until_it_expires(db: Database, clock: FixedClock):
    token = sign(db, clock)

    assert read(db, clock, token)["sub"] == "x"
    clock.advance(timedelta(minutes=5))
    with pytest.raises(Unauthenticated) as refused:
        read(db, clock, token)
    assert refused.value.code == "token-expired"


def test_a_rotated_key_is_believed_for_a_while_and_a_distrusted_one_is_not(db: Database, clock: FixedClock):
    old = sign(db, clock)
    with db.write() as tx:
        keys.rotate_keys(tx, clock.now())
    new = sign(db, clock)
    with db.read() as tx:
        published = [key["kid"] for key in keys.public_jwks(tx, clock.now())["keys"]]

    assert len(published) == 2
    assert read(db, clock, old) and read(db, clock, new)
    with db.write() as tx:
        keys.rotate_keys(tx, clock.now(), distrust_old=True)
    for token in (old, new):
        with pytest.raises(Unauthenticated):
            read(db, clock, token)
    with db.read() as tx:
        assert len(keys.public_jwks(tx, clock.now())["keys"]) == 1


def test_public_keys_hold_no_private_part(db: Database, clock: FixedClock):
    sign(db, clock)

    with db.read() as tx:
        (key,) = keys.public_jwks(tx, clock.now())["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"),
        lambda token: "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + token.split(".")[1] + ".",
        lambda token: token.split(".")[0] + ".e30." + token.split(".")[2],
        lambda token: "x",
        lambda token: "",
        lambda token: "a.b.c",
        lambda token: "ä.ö.ü",
    ],
)
def test_a_token_that_was_touched_is_not_believed(db: Database, clock: FixedClock, spoil):
    token = sign(db, clock)

    with pytest.raises(Unauthenticated) as refused:
        read(db, clock, spoil(token))
    assert refused.value.code == "token-invalid"


def test_a_token_of_one_type_is_no_token_of_another(db: Database, clock: FixedClock):
    token = sign(db, clock)

    with pytest.raises(Unauthenticated):
        read(db, clock, token, "release+jwt")


# -- clients ----------------------------------------------------------------------------------------------------------


def test_an_assertion_is_used_once_by_each_client(db: Database, clock: FixedClock):
    until = clock.now() + timedelta(minutes=5)
    with db.write() as tx:
        assert clients.use_assertion(tx, "a", "jti-1", until)
        assert not clients.use_assertion(tx, "a", "jti-1", until)
        assert clients.use_assertion(tx, "b", "jti-1", until)
    with db.write() as tx:
        assert not clients.use_assertion(tx, "a", "jti-1", until)
        assert clients.purge_assertions(tx, until) == 0
        assert clients.purge_assertions(tx, until + timedelta(seconds=1)) == 2


def test_a_client_is_registered_once_and_with_known_scopes(db: Database, clock: FixedClock):
    with db.write() as tx:
        made = clients.create_client(tx, clock.now(), "portal", "Portal", "RRV", frozenset({"match"}))
        with pytest.raises(Conflict):
            clients.create_client(tx, clock.now(), "portal", "Portal", "RRV", frozenset({"match"}))
        with pytest.raises(Invalid):
            clients.create_client(tx, clock.now(), "other", "Other", "RRV", frozenset({"everything"}))
        with pytest.raises(Invalid):
            clients.create_client(
                tx, clock.now(), "other", "Other", "RRV", frozenset(), jwks_url="http://example.nhs.uk/jwks"
            )

    with db.read() as tx:
        assert clients.list_clients(tx) == [made]
        assert clients.organisations_of(tx, "portal") == {"RRV"}
        assert clients.organisations_of(tx, "other") is None


# -- people -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def doctor(db: Database, clock: FixedClock) -> users.User:
    with db.write() as tx:
        return users.create_user(tx, clock.now(), "doctor", PASSWORD, "RRV", "S8000:G8000:R8000")


def reasons(db: Database) -> list[tuple[str, tuple[str, ...]]]:
    with db.read() as tx:
        rows = tx.execute(audit.audit_event.select().order_by(audit.audit_event.c.event_id))
        return [(row.outcome, tuple(row.reasons)) for row in rows]


def test_the_right_password_signs_in_and_every_attempt_is_recorded(
    db: Database, clock: FixedClock, doctor: users.User
):
    with pytest.raises(Unauthenticated):
        users.check_password(db, clock, "doctor", "something else")
    with pytest.raises(Unauthenticated):
        users.check_password(db, clock, "nobody", PASSWORD)

    assert users.check_password(db, clock, "doctor", PASSWORD) == doctor
    assert reasons(db) == [("denied", ("password-wrong",)), ("denied", ("user-unknown",)), ("success", ())]


def test_a_password_is_kept_as_a_hash_that_takes_its_time(
    db: Database, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
):
    assert PASSWORD_METHOD == "scrypt:32768:8:1"
    monkeypatch.setattr(users, "_METHOD", PASSWORD_METHOD)

    with db.write() as tx:
        made = users.create_user(tx, clock.now(), "doctor", PASSWORD, "RRV", "R8000")
        kept = tx.execute(users.user_account.select()).one().password_hash

    assert kept.startswith(f"{PASSWORD_METHOD}$") and PASSWORD not in kept
    assert users.check_password(db, clock, "doctor", PASSWORD) == made


def test_five_failures_lock_the_account_for_a_quarter_of_an_hour(
    db: Database, clock: FixedClock, doctor: users.User
):
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            users.check_password(db, clock, "doctor", "something else")

    with pytest.raises(Unauthenticated) as refused:
        users.check_password(db, clock, "doctor", PASSWORD)
    clock.advance(users.LOCKED_FOR)
    after = users.check_password(db, clock, "doctor", PASSWORD)

    assert refused.value.code == "sign-in-refused"
    assert reasons(db)[5] == ("denied", ("account-locked",))
    assert after == doctor


def test_a_success_forgets_failures(db: Database, clock: FixedClock, doctor: users.User):
    for _ in range(2):
        for _ in range(4):
            with pytest.raises(Unauthenticated):
                users.check_password(db, clock, "doctor", "something else")
        assert users.check_password(db, clock, "doctor", PASSWORD) == doctor


def test_a_closed_account_is_refused_like_a_wrong_password(
    db: Database, clock: FixedClock, doctor: users.User
):
    with db.write() as tx:
        token, _ = sessions.open_session(tx, clock.now(), doctor)
        users.set_user_active(tx, "doctor", is_active=False)

    with pytest.raises(Unauthenticated) as refused:
        users.check_password(db, clock, "doctor", PASSWORD)
    assert refused.value.code == "sign-in-refused"
    with db.read() as tx:
        assert sessions.find_session(tx, clock.now(), token) is None


@pytest.mark.parametrize(
    ("username", "password", "role", "field"),
    [
        ("Doctor", PASSWORD, "R8000", "username"),
        ("doctor two", PASSWORD, "R8000", "username"),
        ("doctor", "short", "R8000", "password"),
        ("doctor", "my doctor password", "R8000", "password"),
        ("doctor", PASSWORD, "R9999", "role"),
    ],
)
def test_a_faulty_account_is_refused(
    db: Database, clock: FixedClock, username: str, password: str, role: str, field: str
):
    with db.write() as tx, pytest.raises(Invalid) as refused:
        users.create_user(tx, clock.now(), username, password, "RRV", role)

    assert refused.value.field == field


def test_a_session_ends_by_age_by_idleness_and_by_signing_out(
    db: Database, clock: FixedClock, doctor: users.User
):
    def is_open(token: str) -> bool:
        with db.read() as tx:
            return sessions.find_session(tx, clock.now(), token) is not None

    with db.write() as tx:
        left, _ = sessions.open_session(tx, clock.now(), doctor)
        idle, _ = sessions.open_session(tx, clock.now(), doctor)
        busy, _ = sessions.open_session(tx, clock.now(), doctor)
        sessions.close_session(tx, left)

    assert (is_open(left), is_open(idle), is_open(busy), is_open("guess")) == (False, True, True, False)
    for _ in range(20):
        clock.advance(timedelta(minutes=29))
        with db.write() as tx:
            sessions.note_session(tx, clock.now(), busy)
    assert (is_open(idle), is_open(busy)) == (False, True)
    clock.advance(timedelta(minutes=20))
    assert not is_open(busy)
    with db.write() as tx:
        assert sessions.purge_sessions(tx, clock.now()) == 2


def test_the_token_of_a_session_is_kept_nowhere(db: Database, clock: FixedClock, doctor: users.User):
    with db.write() as tx:
        token, _ = sessions.open_session(tx, clock.now(), doctor)
        row = tx.execute(sessions.session.select()).one()

    assert token.encode() not in bytes(row.token_hash)
    assert token not in str(row)


def test_the_system_itself_may_be_an_actor(db: Database, clock: FixedClock):
    with db.write() as tx:
        receipt = audit.append(tx, entry_by(SYSTEM_ITSELF, clock.now(), "sealed"))

    assert receipt.event_id > 0
