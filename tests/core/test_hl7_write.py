"""Records written as HL7 v2 messages, and read back."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mpi.feeds.hl7.adt import Sender, check_header, read_registration
from mpi.feeds.hl7.message import parse, read_header
from mpi.feeds.hl7.write import registration
from mpi.records import Address, HumanName, Identifier, RecordKey, SourceRecord, Telecom

SENDER = Sender("RRV", "pas")
NOW = datetime(2026, 6, 12, 12, 0, tzinfo=UTC)

_WORDS = (
    st.text(st.sampled_from("AbÉł'- |^~&\\\"0."), min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda text: text not in ("", '""'))
)
_TOKENS = _WORDS.map(lambda text: text.replace(" ", "-"))
_DAYS = st.sampled_from(["1990", "1990-02", "1990-02-14"])


def _lists(one: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(one, max_size=3, unique=True).map(tuple)


_USES = st.sampled_from(["usual", "nickname", "maiden", "old", "anonymous"])
RECORDS = st.builds(
    SourceRecord,
    key=st.builds(RecordKey, st.just("RRV"), st.just("pas"), _TOKENS),
    nhs_number=st.sampled_from([None, "9990000018", "999 000 0018"]),
    identifiers=st.just(()) | st.just((Identifier("urn:oid:2.16.840", "A|1"),)),
    names=_lists(
        st.builds(HumanName, _USES, st.none() | _WORDS, st.lists(_TOKENS, max_size=3).map(tuple), _WORDS)
    ).map(lambda names: tuple(sorted(names, key=lambda one: one.use != "usual"))),  # type: ignore[attr-defined]
    birth_date=st.none() | _DAYS,
    gender=st.sampled_from([None, "M", "F", "O", "U"]),
    addresses=_lists(
        st.builds(
            Address,
            st.sampled_from(["home", "temp", "work", "billing"]),
            st.lists(_WORDS, max_size=3).map(tuple),
            st.none() | _WORDS,
            st.just("SE5 8AZ"),
        )
    ),
    telecoms=_lists(
        st.builds(Telecom, st.just("phone"), st.just("020 7946 0000"))
        | st.builds(Telecom, st.just("email"), _TOKENS)
    ),
    gp_practice=st.none() | _TOKENS,
    mother_nhs_number=st.sampled_from([None, "9990000026"]),
    birth_order=st.sampled_from([None, "2"]),
    death_date=st.none() | _DAYS,
    restricted=st.sampled_from([None, True, False]),
    updated_at=st.sampled_from([NOW, NOW.replace(microsecond=123_400)]),
)


@given(RECORDS)
def test_a_record_that_is_written_as_a_message_is_read_back_as_it_was(record: SourceRecord) -> None:
    message = parse(registration(record, NOW))

    check_header(message, SENDER)
    said = read_registration(message, SENDER)
    assert said.key == record.key
    assert said.applied_to(None) == record


def test_what_is_said_again_bears_the_same_control_id_and_anything_else_another() -> None:
    record = SourceRecord(RecordKey("RRV", "pas", "1"), names=(HumanName(family="OKAFOR"),), updated_at=NOW)
    others = (
        replace(record, birth_date="1990"),
        replace(record, key=replace(record.key, system="ed")),
        replace(record, updated_at=None),
    )

    ids = {read_header(registration(one, NOW)).control_id for one in (record, *others)}

    assert read_header(registration(record, NOW.replace(hour=13))).control_id in ids
    assert len(ids) == 4 and all(len(one) == 20 for one in ids)


def test_a_status_uses_and_genders_are_written_in_the_messages_own_codes() -> None:
    record = SourceRecord(
        RecordKey("RRV", "pas", "1"),
        nhs_number="9990000018",
        nhs_number_status="03",
        names=(HumanName("official", family="OKAFOR"),),
        gender="female",
        addresses=(Address("old", ("3 Essex Road",)),),
    )

    message = parse(registration(record, NOW, event="A08", processing_id="T"))
    found = read_registration(message, SENDER).applied_to(None)

    assert (message.header.event, message.header.processing_id, message.header.version) == (
        "A08",
        "T",
        "2.5.1",
    )
    assert (found.nhs_number_status, found.gender, found.names[0].use) == ("03", "F", "usual")
    assert found.addresses == () and found.updated_at == NOW
