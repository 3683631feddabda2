"""HL7 v2 ADT: what messages say, what of it is kept, and how senders are answered."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import Conflict, Invalid, Unavailable
from mpi.feeds.hl7.adt import Said, Sender, check_header, parse_stamp, placed, read_registration
from mpi.feeds.hl7.answer import ACCEPTED, answers, outcome_of
from mpi.feeds.hl7.message import Separators, parse, read_header, unescape
from mpi.records import Address, HumanName, Identifier, RecordKey, SourceRecord, Telecom, faults
from mpi.service.hl7_feeds import Reading

SENDER = Sender("RRV", "pas")
TWO_NAMES = (HumanName("usual", None, ("AMA",), "OKAFOR"), HumanName("maiden", None, (), "SMITH"))
NOW = datetime(2026, 6, 12, 12, 0, tzinfo=UTC)

PLACED_A28 = (
    r"MSH|^~\&|PAS|RRV|MPI|LCR|20260612093015||ADT^A28^ADT_A05|RRV0000001|P|2.4|||AL|NE"
    "\r"
    "EVN|A28|20260612093015\r"
    "PID|1||RRV-000451^^^RRV^MR~9000000009^^^NHS^NH||SMITH^JANE^MARIE^^MS^^L||20101022|F|||"
    "1 TREVELYAN SQUARE^BOAR LANE^LEEDS^WEST YORKSHIRE^LS1 6AE^GBR^H||^PRN^PH^^^01132555555||EN|||||||||N|||||||N|NSTS01\r"
    "PD1|||EXAMPLE SURGERY^^Y99999|G9991234^EXAMPLE^A^^^DR\r"
)
"""The first example of the fact sheet that the adapter was built from."""


def a_message(pid: str = "", event: str = "A31", msh: str = "", more: str = "") -> bytes:
    """Return a message of which PID-4 and on are given, as bytes."""
    head = rf"MSH|^~\&|PAS|RRV|MPI|LCR|20260612093015||ADT^{event}|RRV1|P|2.4{msh}"
    return f"{head}\rEVN|{event}|20260612093015\rPID|1||77^^^RRV^MR{pid}\r{more}".encode()


def a_pid(**fields: str) -> str:
    """Return PID from its fourth field on: ``a_pid(f7="1990")``."""
    numbers = {int(name[1:]): text for name, text in fields.items()}
    return "".join("|" + numbers.get(number, "") for number in range(4, max(numbers) + 1))


def said(pid: str = "", sender: Sender = SENDER, more: str = "") -> Said:
    return read_registration(parse(a_message(pid, more=more), "utf-8"), sender)


def test_the_example_of_an_a28_is_read_whole() -> None:
    message = parse(PLACED_A28.encode())

    check_header(message, SENDER)
    record = read_registration(message, SENDER).applied_to(None)

    assert record == SourceRecord(
        key=RecordKey("RRV", "pas", "RRV-000451"),
        nhs_number="9000000009",
        nhs_number_status="01",
        names=(HumanName("usual", "MS", ("JANE", "MARIE"), "SMITH"),),
        birth_date="2010-10-22",
        gender="F",
        addresses=(
            Address("home", ("1 TREVELYAN SQUARE", "BOAR LANE", "WEST YORKSHIRE"), "LEEDS", "LS1 6AE"),
        ),
        telecoms=(Telecom("phone", "01132555555"),),
        gp_practice="Y99999",
        updated_at=datetime(2026, 6, 12, 8, 30, 15, tzinfo=UTC),  # British Summer Time
    )
    assert list(faults(record, date(2026, 6, 12))) == []


@pytest.mark.parametrize(
    ("field", "text", "item", "value"),
    [
        ("f5", "OKAFOR^AMA^^^^^L~SMITH^^^^^^M", "names", TWO_NAMES),
        ("f5", "SMITH^^^^^^M~OKAFOR^AMA", "names", TWO_NAMES),
        ("f5", "VAN DER BERG&VAN DER&BERG^ANNA", "names", (HumanName("usual", None, ("ANNA",), "VAN DER BERG"),)),
        ("f5", '""', "names", ()),
        ("f7", "1990", "birth_date", "1990"),
        ("f7", "199002", "birth_date", "1990-02"),
        ("f7", "199002141530", "birth_date", "1990-02-14"),
        ("f7", '""', "birth_date", None),
        ("f8", "2", "gender", "2"),
        ("f11", "9 MILE END ROAD^^LONDON^^E1 4NS^^C", "addresses", (Address("temp", ("9 MILE END ROAD",), "LONDON", "E1 4NS"),)),
        ("f11", "A WARD^^^^^^BDL", "addresses", ()),
        ("f13", "^NET^^a@example.org~020 7946 0000", "telecoms", (Telecom("email", "a@example.org"), Telecom("phone", "020 7946 0000"))),
        ("f14", "^WPN^PH^^44^20^79460000", "telecoms", (Telecom("phone", "+44 2079460000"),)),
        ("f21", "9990000018^^^NHS^NH", "mother_nhs_number", "9990000018"),
        ("f29", "20260101", "death_date", "2026-01-01"),
        ("f29", '""', "death_date", None),
        ("f30", "N", "death_date", None),
    ],
)  # fmt: skip
def test_a_field_becomes_its_item(field: str, text: str, item: str, value: object) -> None:
    items = said(a_pid(**{field: text})).items

    assert items[item] == value


def test_an_empty_field_changes_nothing_and_quotes_delete() -> None:
    before = said(a_pid(f5="OKAFOR^AMA", f7="19900214", f29="20260101")).applied_to(None)

    silent = said().applied_to(before)
    alive = said(a_pid(f29='""')).applied_to(before)

    assert silent == before
    assert alive == replace(before, death_date=None)


@pytest.mark.parametrize(
    ("multiple", "order", "expected"),
    [("Y", "2", "2"), ("", "2", "2"), ("Y", "1", "1"), ("N", "1", None), ("N", "", None), ('""', '""', None)],
)
def test_a_birth_order_counts_unless_it_is_no_multiple_birth(
    multiple: str, order: str, expected: str | None
) -> None:
    assert said(a_pid(f24=multiple, f25=order)).items["birth_order"] == expected


@pytest.mark.parametrize(
    ("reliability", "expected"),
    [
        ("", "1990-02-14"),
        ("AL", "1990-02-14"),
        ("ED", "1990"),
        ("UD", "not said"),
        ("NSTS01~UD", "not said"),
    ],
)
def test_a_doubted_birth_date_counts_for_what_is_known(reliability: str, expected: str) -> None:
    assert said(a_pid(f7="19900214", f32=reliability)).items.get("birth_date", "not said") == expected


def test_a_person_who_is_not_known_is_nobody_to_link_with() -> None:
    baby = said(a_pid(f5="OKAFOR^BABY", f7="20260612", f8="F", f11="1 High St^^^^E1 4NS", f31="Y"))

    record = baby.applied_to(said(a_pid(f5="OKAFOR^AMA")).applied_to(None))

    assert record == SourceRecord(RecordKey("RRV", "pas", "77"), gender="F", updated_at=baby.at)


@pytest.mark.parametrize(
    ("identifiers", "number", "status", "others"),
    [
        ("~9990000018^^^NHS^NH", "9990000018", None, ()),
        ("~9990000018^^^NHS^NH{status:01}", "9990000018", "01", ()),
        ("~1234567890^^^CHI^CHI", None, None, (Identifier("CHI:CHI", "1234567890"),)),
        ("~5^^^RV5^MR", None, None, (Identifier("RV5:MR", "5"),)),
        ("~E1^^^^VN", None, None, ()),
    ],
)
def test_identifiers_go_by_authority_and_type(
    identifiers: str, number: str | None, status: str | None, others: tuple[Identifier, ...]
) -> None:
    record = said(identifiers).applied_to(None)

    assert (record.key.local_id, record.nhs_number, record.nhs_number_status) == ("77", number, status)
    assert record.identifiers == others


def test_what_was_known_of_a_number_is_not_known_of_the_next_one() -> None:
    first = "~9990000018^^^NHS^NH"
    before = replace(said(first + a_pid(f32="NSTS01")).applied_to(None), nhs_number_verified_by="PDS")

    again, other, gone = (
        said(text).applied_to(before) for text in (first, "~9990000026^^^NHS^NH", '~""^^^NHS^NH')
    )

    assert again == before
    assert (other.nhs_number, other.nhs_number_status, other.nhs_number_verified_by) == (
        "9990000026",
        None,
        None,
    )
    assert (gone.nhs_number, gone.nhs_number_status, gone.nhs_number_verified_by) == (None, None, None)


@pytest.mark.parametrize(
    ("is_used", "text", "expected"),
    [(True, "9990000018", "9990000018"), (True, "9990000019", None), (False, "9990000018", None)],
)
def test_an_old_field_bears_the_number_only_where_that_is_set_and_it_passes_its_check(
    is_used: bool, text: str, expected: str | None
) -> None:
    record = said(a_pid(f19=text), replace(SENDER, reading=Reading(number_in_pid19=is_used))).applied_to(None)

    assert record.nhs_number == expected


@pytest.mark.parametrize(
    ("more", "item", "value"),
    [
        ("NK1|1|OKAFOR^EVE|MTH" + "|" * 30 + "9990000018^^^NHS^NH\r", "mother_nhs_number", "9990000018"),
        ("PD1||||" + "|" * 8 + "Y\r", "restricted", True),
        ("PD1||||" + "|" * 8 + "N\r", "restricted", False),
        ("PV1|1|I" + "|" * 14 + "VIP\r", "restricted", True),
        ('PD1|||""\r', "gp_practice", None),
        ("ZU1|1|x\rZZZ|y\rPD1|||^^Y99999\r", "gp_practice", "Y99999"),
    ],
)
def test_other_segments_tell_what_they_tell(more: str, item: str, value: object) -> None:
    assert said(more=more).items[item] == value


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        (b"", "hl7-no-header", "MSH"),
        (b"EVN|A28\r" + PLACED_A28.encode(), "hl7-no-header", "MSH"),
        (PLACED_A28.replace(r"^~\&", "^^^^").encode(), "hl7-separators", "MSH-2"),
        (a_message(msh="||||||KLINGON"), "hl7-character-set-unknown", "MSH-18"),
        (
            a_message(a_pid(f5="x"), msh="||||||UNICODE UTF-8").replace(b"|x", b"|\xe9"),
            "hl7-characters",
            "MSH-18",
        ),
        (a_message(more="not a segment\r"), "hl7-segment", "MSH"),
        (a_message().replace(b"PID|", b"ZPD|"), "hl7-segment-missing", "PID"),
        (a_message(more="PID|2||78^^^RRV^MR\r"), "hl7-segment-sequence", "PID"),
        (a_message().replace(b"77^^^RRV^MR", b""), "hl7-required", "PID-3"),
        (a_message().replace(b"77^^^RRV^MR", b"77^^^RV5^MR"), "hl7-required", "PID-3"),
        (a_message("~78^^^RRV^MR"), "hl7-identifier-repeated", "PID-3"),
        (a_message("~9990000018^^^NHS^NH~9990000026^^^NHS^NH"), "hl7-identifier-repeated", "PID-3"),
        (a_message(a_pid(f7="14/02/1990")), "hl7-data-type", "PID-7"),
        (a_message(a_pid(f29="yesterday")), "hl7-data-type", "PID-29"),
        (a_message(a_pid(f33="20261340")), "hl7-data-type", "PID-33"),
        (a_message().replace(b"|RRV1|", b"||"), "hl7-required", "MSH-10"),
        (a_message().replace(b"ADT^", b"ORU^"), "hl7-type-unsupported", "MSH-9"),
        (a_message(event="A23"), "hl7-event-unsupported", "MSH-9"),
        (a_message().replace(b"|P|2.4", b"|T|2.4"), "hl7-processing-id", "MSH-11"),
        (a_message().replace(b"|P|2.4", b"|P|3.0"), "hl7-version", "MSH-12"),
    ],
)
def test_a_fault_names_its_place_and_no_value(raw: bytes, code: str, field: str) -> None:
    with pytest.raises(Invalid) as fault:
        message = parse(raw)
        check_header(message, SENDER)
        read_registration(message, SENDER)

    assert (fault.value.code, fault.value.field) == (code, field)


def test_a_fault_of_the_record_is_told_at_its_place_in_the_message() -> None:
    record = said(a_pid(f8="Q")).applied_to(None)

    (fault,) = faults(record, date(2026, 6, 12))

    assert (placed(fault).code, placed(fault).field) == ("gender-unknown-code", "PID-8")


@pytest.mark.parametrize(
    ("name", "charset", "default", "expected"),
    [
        ("", "cp1252", "cp1252", "O\u2019Néill"),
        ("", "utf-8", "utf-8", "O\u2019Néill"),
        ("UNICODE UTF-8", "utf-8", "cp1252", "O\u2019Néill"),
        ("8859/15", "iso8859-15", "utf-8", "Š\u20ac"),
    ],
)
def test_the_character_set_is_the_messages_own_before_the_senders(
    name: str, charset: str, default: str, expected: str
) -> None:
    raw = a_message(a_pid(f5="X"), msh=f"||||||{name}").replace(b"|X", b"|" + expected.encode(charset))

    assert read_registration(parse(raw, default), SENDER).items["names"][0].family == expected


def test_separators_are_read_and_not_assumed() -> None:
    text = PLACED_A28.replace("|", "#").replace("^", "!").replace("~", "$")

    record = read_registration(parse(text.encode()), SENDER).applied_to(None)

    assert record == read_registration(parse(PLACED_A28.encode()), SENDER).applied_to(None)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_segments_may_end_as_sloppy_senders_end_them(end: str) -> None:
    assert parse(PLACED_A28.replace("\r", end).encode()) == parse(PLACED_A28.encode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"A\T\E", "A&E"),
        (r"\F\\S\\R\\E\\T\ ".strip(), "|^~\\&"),
        (r"a\X41\b", "aAb"),
        (r"a\X0D\b", "a b"),
        (r"a\.br\b", "a b"),
        (r"\H\bold\N\ ".strip(), "bold"),
        (r"C:\odd", r"C:\odd"),
        (r"a\Zq\b\T\c", r"a\Zq\b&c"),
    ],
)
def test_escapes_are_read(text: str, expected: str) -> None:
    assert unescape(text, Separators()) == expected


@given(text=st.text(alphabet="ab|^~\\& é", max_size=40))
def test_what_is_escaped_reads_back(text: str) -> None:
    escaped = "".join(
        {"|": r"\F\\", "^": r"\S\\", "~": r"\R\\", "\\": r"\E\\", "&": r"\T\\"}.get(one, one)[:3]
        for one in text
    )

    assert unescape(escaped, Separators()) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260612093015", datetime(2026, 6, 12, 8, 30, 15, tzinfo=UTC)),
        ("20260112093015", datetime(2026, 1, 12, 9, 30, 15, tzinfo=UTC)),
        ("20260612093015.25+0000", datetime(2026, 6, 12, 9, 30, 15, 250_000, tzinfo=UTC)),
        ("202606120930-0530", datetime(2026, 6, 12, 15, 0, tzinfo=UTC)),
        ("20260112", datetime(2026, 1, 12, tzinfo=UTC)),
    ],
)
def test_a_time_without_offset_is_the_senders_own(text: str, expected: datetime) -> None:
    assert parse_stamp(text, "Europe/London", "EVN-2") == expected


@pytest.mark.parametrize(
    ("mode", "good", "bad"),
    [
        ("", ["AA"], ["AE"]),
        ("|||AL|NE", ["CA"], ["CE"]),
        ("|||AL|AL", ["CA", "AA"], ["CE"]),
        ("|||NE|AL", ["AA"], ["AE"]),
        ("|||ER|NE", [], ["CE"]),
        ("|||SU|NE", ["CA"], []),
        ("|||NE|ER", [], ["AE"]),
        ("|||NE|NE", [], []),
        ("|||ER|SU", ["AA"], ["CE"]),
    ],
)
def test_the_sender_is_answered_as_it_asks(mode: str, good: list[str], bad: list[str]) -> None:
    header = read_header(a_message(msh=mode))
    fault = outcome_of(Invalid("hl7-data-type", field="PID-7"))

    told = [
        [text.split("\r")[1].split("|")[1] for text in answers(header, outcome, NOW, lambda: "1")]
        for outcome in (ACCEPTED, fault)
    ]

    assert told == [good, bad]


def test_an_acceptance_reads_as_the_standard_has_it() -> None:
    header = read_header(a_message(event="A31^ADT_A05"))

    (text,) = answers(header, ACCEPTED, NOW, lambda: "LCR0000731")

    assert text == (
        r"MSH|^~\&|MPI|LCR|PAS|RRV|20260612120000+0000||ACK^A31^ACK|LCR0000731|P|2.4" "\rMSA|AA|RRV1\r"
    )


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.4", "ERR|PID^1^7^102&Data type error&HL70357"),
        ("2.5.1", "ERR||PID^1^7|102^Data type error^HL70357|E||||hl7-data-type PID-7"),
    ],
)
def test_a_fault_is_told_as_the_version_has_it(version: str, expected: str) -> None:
    header = read_header(a_message().replace(b"|2.4", b"|" + version.encode()))

    (text,) = answers(header, outcome_of(Invalid("hl7-data-type", field="PID-7")), NOW, lambda: "1")

    assert text.split("\r")[1:3] == ["MSA|AE|RRV1|hl7-data-type PID-7", expected]


@pytest.mark.parametrize(
    ("fault", "letter", "number"),
    [
        (Invalid("hl7-version", field="MSH-12"), "R", "203"),
        (Invalid("hl7-event-unsupported", field="MSH-9"), "R", "201"),
        (Invalid("hl7-required", field="PID-3"), "E", "101"),
        (Invalid("date-future", field="PID-7"), "E", "102"),
        (Conflict("hl7-control-id-reused", field="MSH-10"), "E", "205"),
        (Conflict("record-erased"), "E", "206"),
        (Unavailable("database-unreachable"), "E", "207"),
    ],
)
def test_a_refusal_has_its_code_of_table_0357(fault: Exception, letter: str, number: str) -> None:
    outcome = outcome_of(fault)  # type: ignore[arg-type]

    assert (outcome.letter, outcome.number) == (letter, number)


@given(
    raw=st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda at, junk: PLACED_A28.encode()[:at] + junk + PLACED_A28.encode()[at:],
            st.integers(0, len(PLACED_A28)),
            st.binary(min_size=1, max_size=12),
        ),
        st.builds(lambda at: PLACED_A28.encode()[:at], st.integers(0, len(PLACED_A28))),
    )
)
def test_whatever_arrives_is_read_or_refused_with_an_answer(raw: bytes) -> None:
    outcome = ACCEPTED
    try:
        message = parse(raw)
        check_header(message, SENDER)
        list(faults(read_registration(message, SENDER).applied_to(None), date(2026, 6, 12)))
    except Invalid as fault:
        outcome = outcome_of(fault)
        assert fault.field is not None

    told = answers(replace(read_header(raw), accept_when="", answer_when=""), outcome, NOW, lambda: "1")

    (text,) = told
    assert text.startswith("MSH") and text.count("\r") == (2 if outcome is ACCEPTED else 3)
