"""Matching as a caller meets it: grades, margins, cut searches, what is audited, and people whose location is protected."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import event

from foundation.auth.users import create_user
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Invalid
from mpi.cli import cli
from mpi.matching import Grade
from mpi.matching.explain import table_of
from mpi.records import RecordKey, SourceRecord
from mpi.service.gate import GateAnswer, GateRequest
from mpi.service.match import MatchAnswer, match_person
from mpi.service.people import explain_person, get_person, lookup_persons
from mpi.service.review import decide_task
from mpi.service.tell import lines_of, picture_of
from tests.service.mpi_world import (
    ONE_NUMBER,
    OTHER_NUMBER,
    READER,
    THIRD_NUMBER,
    World,
    a_doubtful_record,
    a_source_record,
)


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return World(db, clock)


def ask(world: World, **what: Any) -> MatchAnswer:
    query: SourceRecord = replace(a_source_record("q", **what), key=RecordKey("RRU", "query", "query"))
    return match_person(world.mpi, query, READER, reasons=True)


def without_ids(answer: MatchAnswer) -> list[tuple[Any, ...]]:
    return [
        (one.weight_millibits, one.grade, dict(one.reasons or {}), answer.search_complete)
        for one in answer.candidates
    ]


def test_a_full_description_finds_its_person_for_certain(world: World) -> None:
    sent = world.send(a_source_record("1", nhs_number=ONE_NUMBER))

    answer = ask(world, nhs_number=ONE_NUMBER)

    (candidate,) = answer.candidates
    assert (candidate.person_id, candidate.grade) == (sent.record_id, Grade.CERTAIN)
    assert candidate.probability > 0.999


def test_a_person_is_answered_once_however_many_records_it_has(world: World) -> None:
    sent = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER))

    answer = ask(world, nhs_number=ONE_NUMBER)

    assert [one.person_id for one in answer.candidates] == [sent.record_id]


def test_nobody_is_certain_when_two_fit_as_well(world: World) -> None:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"))
    world.send(a_source_record("2", organisation="RV5", nhs_number=OTHER_NUMBER, status="01"))

    answer = ask(world)

    assert len(answer.candidates) == 2
    assert all(one.grade is not Grade.CERTAIN for one in answer.candidates)


def test_a_cut_search_says_so_and_answers_nobody_as_certain(world: World) -> None:
    sent = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    caps = dict.fromkeys(world.mpi.model.caps, 1)
    world.send(a_source_record("2", given="Bola", organisation="RV5"))
    tight = World.__new__(World)
    tight.mpi = replace(world.mpi, model=replace(world.mpi.model, caps=caps))

    answer = ask(tight, nhs_number=ONE_NUMBER)

    assert not answer.search_complete
    (best, *_) = answer.candidates
    assert (best.person_id, best.grade) == (sent.record_id, Grade.PROBABLE)


def capped(world: World, cap: int) -> World:
    """Return the same index under a model each of whose rules reads so many records of a key."""
    tight = World.__new__(World)
    model = world.mpi.model
    tight.mpi = replace(world.mpi, model=replace(model, caps=dict.fromkeys(model.caps, cap)))
    return tight


def test_a_person_with_more_records_than_any_key_reads_is_found_and_the_search_is_marked_cut(
    world: World,
) -> None:
    sent = [
        world.send(a_source_record(f"{place}", organisation=organisation, nhs_number=ONE_NUMBER))
        for place, organisation in enumerate(("RRU", "RV5", "RRV", "RRU", "RV5"))
    ]

    answer = ask(capped(world, 2), nhs_number=ONE_NUMBER)

    assert not answer.search_complete
    assert [(one.person_id, one.grade) for one in answer.candidates] == [(sent[0].record_id, Grade.PROBABLE)]
    assert (
        answer.candidates[0].weight_millibits
        == ask(world, nhs_number=ONE_NUMBER).candidates[0].weight_millibits
    )


def test_of_a_cut_key_the_earliest_records_are_read_whatever_else_is_asked(world: World) -> None:
    """Four people of one name and birth date, whom a number, a home and a telephone tell apart."""
    homes = [f"{place} High Street" for place in range(4)]
    sent = [
        world.send(
            a_source_record(
                f"{place}",
                nhs_number=number,
                status="01" if number else None,
                line=homes[place],
                postcode=None,
                phone=f"0770090010{place}",
            )
        ).record_id
        for place, number in enumerate((ONE_NUMBER, OTHER_NUMBER, None, THIRD_NUMBER))
    ]
    tight = capped(world, 2)

    plain = ask(tight, line=None, postcode=None)
    other = ask(tight, line="12 Denmark Hill", postcode="SE5 8AZ")
    number = ask(tight, line=None, postcode=None, nhs_number=THIRD_NUMBER)

    assert (
        {one.person_id for one in plain.candidates}
        == {one.person_id for one in other.candidates}
        == set(sent[:2])
    )
    assert number.candidates[0].person_id == sent[3], "a key that is not cut is read to its end"
    assert not (plain.search_complete or other.search_complete or number.search_complete)


def test_an_unlinked_record_is_nobody_to_be_found(world: World) -> None:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER), link=False)

    assert ask(world, nhs_number=ONE_NUMBER).candidates == ()


def test_an_answer_is_audited_for_each_person_with_names_of_parameters_only(world: World) -> None:
    one = world.send(a_source_record("1"))
    other = world.send(a_doubtful_record("2"))

    answer = ask(world)
    ask(world, given="Kevin", family="Blackwood", born_on="1951-07-30", line=None, postcode=None)

    *rows, nobody = world.rows(
        "select person_id, reasons, detail from audit_event where kind = 'person-searched' order by event_id"
    )
    assert [row[0] for row in rows] == [candidate.person_id for candidate in answer.candidates]
    assert {row[0] for row in rows} == {one.record_id, other.record_id}
    assert "birth_date" in rows[0][2] and "Amara" not in rows[0][2] and "1990" not in rows[0][2]
    assert nobody[:2] == (None, '["nobody"]') and "Kevin" not in nobody[2]
    assert [set(json.loads(row[2])) for row in (*rows, nobody)] == [
        {"parameters", "asked"},
        {"parameters"},
        {"parameters", "asked"},
    ]


def test_the_limit_holds_and_has_bounds(world: World) -> None:
    world.send(a_source_record("1"))
    world.send(a_doubtful_record("2"))

    query = a_source_record("q")
    assert len(match_person(world.mpi, query, READER, limit=1).candidates) == 1
    for limit in (0, 51):
        with pytest.raises(Invalid):
            match_person(world.mpi, query, READER, limit=limit)


# Protected people ----------------------------------------------------------------------------------------------------


@pytest.fixture
def protected(world: World) -> World:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, phone="07700900111", restricted=True))
    return world


@pytest.mark.parametrize("number", [None, ONE_NUMBER])
def test_a_right_and_a_wrong_postcode_answer_alike(protected: World, number: str | None) -> None:
    right = ask(protected, nhs_number=number, line="12 Denmark Hill", postcode="SE5 8AZ", phone="07700900111")

    wrong = ask(protected, nhs_number=number, line="3 Essex Road", postcode="N1 9GU", phone="07700900999")
    none = ask(protected, nhs_number=number, line=None, postcode=None)

    assert without_ids(right) == without_ids(wrong) == without_ids(none)
    assert right.candidates


def test_a_right_postcode_does_not_find_a_protected_person_past_the_cap_of_every_other_key(
    world: World,
) -> None:
    """One of their records lies under its home's key for everyone; a namesake came first, and fills the keys that tell of no home."""
    namesake = world.send(
        a_source_record("0", nhs_number=OTHER_NUMBER, status="01", line="3 Essex Road", postcode="N1 9GU")
    )
    world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01", restricted=True))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, status="01"))
    tight = capped(world, 1)

    right = ask(tight, line="12 Denmark Hill", postcode="SE5 8AZ")
    wrong = ask(tight, line="5 Mill Lane", postcode="LS1 4AP")

    assert without_ids(right) == without_ids(wrong)
    assert [one.person_id for one in right.candidates] == [namesake.record_id]
    assert len(ask(world, line="5 Mill Lane", postcode="LS1 4AP").candidates) == 2, "uncut, both are found"


@pytest.mark.parametrize(
    "what",
    [
        {"family": None, "born_on": None},
        {"born_on": None},
        {"given": (), "family": None},
        {"given": (), "family": None, "born_on": None, "phone": "07700900111"},
    ],
    ids=["given name and home", "names and home", "birth date and home", "phone and home"],
)
def test_with_less_than_the_minimum_a_protected_person_is_not_there(
    protected: World, what: dict[str, Any]
) -> None:
    try:
        answer = ask(protected, **what)
    except Invalid as refusal:
        assert refusal.code == "match-input-too-little"
        return

    assert answer.candidates == ()
    rows = protected.rows("select person_id, reasons from audit_event where kind = 'person-searched'")
    assert rows == [(None, '["nobody"]')]


def test_one_protected_record_protects_its_whole_person(world: World) -> None:
    world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, restricted=True))

    right, wrong = ask(world, postcode="SE5 8AZ"), ask(world, postcode="N1 9GU", line="3 Essex Road")

    assert without_ids(right) == without_ids(wrong)
    assert right.candidates


def test_receiving_still_links_a_protected_record_by_its_home(world: World) -> None:
    first = world.send(a_source_record("1", restricted=True))

    second = world.send(a_source_record("2", organisation="RV5", restricted=True))

    assert world.person_of(second) == first.record_id


# By id, by identifier, and why ---------------------------------------------------------------------------------------


def test_two_persons_under_one_number_are_both_told(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    other = world.send(
        a_source_record(
            "2",
            organisation="RV5",
            given="Kevin",
            family="Blackwood",
            born_on="1951-07-30",
            gender="male",
            line="4 Elm Court",
            postcode="E8 1EJ",
            nhs_number=ONE_NUMBER,
        )
    )

    found = lookup_persons(world.mpi, "https://fhir.nhs.uk/Id/nhs-number", ONE_NUMBER, READER)

    assert [person.person_id for person in found] == [one.record_id, other.record_id]


def test_an_identifier_that_a_record_no_longer_has_finds_nobody(world: World) -> None:
    world.send(a_source_record("1", identifier="A1"))
    assert lookup_persons(world.mpi, "card", "a1", READER)

    world.send(a_source_record("1", identifier="B2"))

    assert lookup_persons(world.mpi, "card", "A1", READER) == ()
    assert lookup_persons(world.mpi, "card", "B2", READER)


def test_a_held_update_shows_as_an_identity_warning(world: World) -> None:
    sent = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    world.send(
        a_source_record(
            "1",
            given="Kevin",
            family="Blackwood",
            born_on="1951-07-30",
            gender="male",
            line="4 Elm Court",
            postcode="E8 1EJ",
            nhs_number=OTHER_NUMBER,
        )
    )

    assert get_person(world.mpi, sent.record_id, READER).has_identity_warning


def test_why_one_person_is_a_path_of_edges(world: World) -> None:
    ids = [
        world.send(a_source_record(str(place), organisation=organisation, nhs_number=ONE_NUMBER)).record_id
        for place, organisation in enumerate(("RRV", "RV5", "RRU"))
    ]

    whole = explain_person(world.mpi, ids[0], READER)
    way = explain_person(world.mpi, ids[1], READER, other=ids[2])

    assert (whole.answer, len(whole.steps), whole.record_ids) == ("one-person", 2, tuple(ids))
    ends = [number for step in way.steps for number in (step.low_id, step.high_id)]
    assert {ids[1], ids[2]} <= set(ends)


@pytest.mark.parametrize(
    ("what", "because"),
    [
        ({}, "below-threshold"),
        ({"status": "01", "nhs_number": OTHER_NUMBER}, "verified-numbers-differ"),
        ({"given": "Kevin", "family": "Blackwood", "born_on": "1951-07-30", "postcode": "E8 1EJ"}, "no-edge"),
    ],
    ids=["doubt", "veto", "stranger"],
)
def test_why_not_is_the_missing_edge_or_the_veto(world: World, what: dict[str, Any], because: str) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"))
    is_doubtful = because == "below-threshold"
    other = world.send(
        a_doubtful_record("2") if is_doubtful else a_source_record("2", organisation="RV5", **what)
    )
    assert world.person_of(one) != world.person_of(other)

    answer = explain_person(world.mpi, one.record_id, READER, other=other.record_id)

    assert (answer.answer, answer.because) == ("two-persons", because)


def test_what_stands_between_two_persons_is_told_of_records_that_may_be_named_alone(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    hidden = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, status="01"))
    other = world.send(a_source_record("3", organisation="RRU", nhs_number=OTHER_NUMBER, status="01"))
    assert world.person_of(one) == world.person_of(hidden) != world.person_of(other)

    def because(*sources: str) -> str | None:
        def gate(_tx: Any, request: GateRequest) -> GateAnswer:
            return GateAnswer(frozenset(sources) & frozenset(request.sources))

        mpi = replace(world.mpi, release_gate=gate)
        return explain_person(mpi, one.record_id, READER, other=other.record_id).because

    assert because("RRV", "RV5", "RRU") == "verified-numbers-differ"
    assert because("RRV", "RRU") == "below-threshold"
    assert because("RRV", "RV5") is None
    assert because() is None


def test_why_says_nothing_of_where_a_protected_person_lives(world: World) -> None:
    told = []
    for place, home in enumerate(({}, {"line": "3 Essex Road", "postcode": "N1 9GU"})):
        number, born_on = (ONE_NUMBER, OTHER_NUMBER)[place], f"1976-02-1{place}"
        one = world.send(a_source_record(f"1{place}", nhs_number=number, born_on=born_on, restricted=True))
        two = world.send(
            a_source_record(f"2{place}", organisation="RV5", nhs_number=number, born_on=born_on, **home)
        )
        assert world.person_of(one) == world.person_of(two)
        why = explain_person(world.mpi, one.record_id, READER)
        (step,) = why.steps
        picture = picture_of(why, is_way=False)
        for number in (one.record_id, two.record_id):
            picture = picture.replace(str(number), "a record")
        told.append((step.weight_millibits, step.reasons, step.waterfall, picture))

    assert told[0] == told[1]
    assert {reason.field for reason in told[0][1]}.isdisjoint({"address", "phone", "practice"})
    assert told[0][2] is not None and told[0][2].total == told[0][0]
    assert not {"Address", "Phone", "GP practice"} & set(told[0][3].split(">"))


def test_a_protected_persons_steps_stand_in_the_order_of_what_is_told(world: World) -> None:
    """Which of two pairs was the heavier, and so came first, may hang on where she lives."""
    at_home, elsewhere = {}, {"line": "3 Essex Road", "postcode": "N1 9GU"}
    for place, homes in enumerate(((at_home, elsewhere), (elsewhere, at_home))):
        what = {"nhs_number": (ONE_NUMBER, OTHER_NUMBER)[place], "born_on": f"1976-02-1{place}"}
        first = world.send(a_source_record(f"1{place}", restricted=True, **what))
        for code, home in zip(("RV5", "RRU"), homes, strict=True):
            world.send(a_source_record(f"2{place}", organisation=code, **what, **home))

        steps = explain_person(world.mpi, first.record_id, READER).steps

        told = [(-(step.weight_millibits or 0), step.low_id, step.high_id) for step in steps]
        assert len(told) == 2
        assert told == sorted(told)


def test_how_a_person_was_built_tells_decisions_first_and_then_the_heaviest_pairs(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    doubtful = world.send(a_doubtful_record("3", organisation="RRU"))
    (task,) = world.tasks("possible-match")
    decide_task(world.mpi, task.task_id, READER, verdict="same", reason="documents-seen")
    two = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER, gender=None))

    why = explain_person(world.mpi, one.record_id, READER)
    lines = lines_of(why, is_way=False)

    assert {world.person_of(received) for received in (two, doubtful)} == {world.person_of(one)}
    assert [step.rule for step in why.steps] == ["decision", "weight"]
    assert why.steps[0].waterfall is None and why.steps[0].decision_id is not None
    assert lines[0] == "How this person was built"
    assert lines[1].startswith("3 records and 2 steps between them may be told")
    fall = why.steps[1].waterfall
    assert fall is not None and fall.total == why.steps[1].weight_millibits
    assert lines[-len(table_of(fall)) :] == table_of(fall)
    for line in lines[2:]:
        assert line in picture_of(why, is_way=False) or not line


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({}, "No pair between them links by itself."),
        ({"status": "01", "nhs_number": OTHER_NUMBER}, "Their verified NHS numbers differ."),
        (
            {"given": "Kevin", "family": "Blackwood", "born_on": "1951-07-30", "postcode": "E8 1EJ"},
            "they share no key",
        ),
    ],
    ids=["doubt", "veto", "stranger"],
)
def test_why_not_is_told_in_words_and_as_a_picture(world: World, what: dict[str, Any], words: str) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER, status="01"))
    other = world.send(a_source_record("2", organisation="RV5", **what) if what else a_doubtful_record("2"))

    why = explain_person(world.mpi, one.record_id, READER, other=other.record_id)

    title, answer, *rest = lines_of(why, is_way=True)
    assert title == "Why these are two persons"
    assert words in answer
    assert answer in picture_of(why, is_way=True)
    assert bool(rest) == bool(why.steps)


def test_of_nobody_that_may_be_told_nothing_is_said(world: World) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    other = world.send(a_doubtful_record("2"))
    mpi = replace(world.mpi, release_gate=lambda _tx, _request: GateAnswer(frozenset()))

    whole = lines_of(explain_person(mpi, one.record_id, READER), is_way=False)
    two = lines_of(explain_person(mpi, one.record_id, READER, other=other.record_id), is_way=True)

    assert whole == ["How this person was built", "0 records and 0 steps between them may be told: " + _ORDER]
    assert two == ["Why these are two persons", "Nothing may be told of one of them."]


_ORDER = "decisions of people first, then the heaviest pairs, then who was left over."


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_says_why_in_words_as_json_and_as_a_picture(world: World, tmp_path: Path) -> None:
    one = world.send(a_source_record("1", nhs_number=ONE_NUMBER))
    two = world.send(a_source_record("2", organisation="RV5", nhs_number=ONE_NUMBER))
    with world.mpi.db.write() as tx:
        create_user(tx, world.clock.now(), "anne", "a rather long pass phrase", "RRV", "R5110")
        create_user(tx, world.clock.now(), "sam", "a rather long pass phrase", "RRV", "R8015")
    composed = SimpleNamespace(mpi=world.mpi)
    picture = tmp_path / "why.svg"

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ("why", *words), obj=composed)

    spoken = run(str(one.record_id), str(two.record_id), "--by", "anne", "--svg", str(picture))
    told = json.loads(run(str(one.record_id), "--by", "anne", "--json").stdout)
    refused = run(str(one.record_id), "--by", "sam", "--json")
    strange = run("nobody", "--json")
    nowhere = run(str(one.record_id), "--by", "anne", "--svg", str(tmp_path / "no" / "why.svg"), "--json")

    assert spoken.exit_code == 0, spoken.output
    assert spoken.stdout.startswith("Why these two records are one person\n")
    assert spoken.stdout.endswith(
        f"\n\nWhat other organisations hold is told as far as sharing agreements and the role let it.\nWrote {picture}\n"
    )
    assert picture.read_text(encoding="utf-8").startswith("<svg ")
    (step,) = told["steps"]
    assert step["record_ids"] == [str(one.record_id), str(two.record_id)]
    fall = step["waterfall"]
    assert (
        sum(bar["weight_millibits"] for bar in fall["bars"])
        == fall["total_millibits"]
        == step["weight_millibits"]
    )
    assert [json.loads(one.stdout)["error"] for one in (refused, strange, nowhere)] == [
        "scope-missing",
        "id-format",
        "file-unwritable",
    ]


def test_an_operator_is_told_to_name_an_account(world: World) -> None:
    one = world.send(a_source_record("1"))
    mpi = replace(world.mpi, release_gate=lambda _tx, _request: GateAnswer(frozenset()))

    spoken = CliRunner().invoke(cli, ("why", str(one.record_id)), obj=SimpleNamespace(mpi=mpi))

    assert "name an account with --by" in spoken.stdout


def test_a_match_takes_few_statements_however_many_it_finds(world: World) -> None:
    for place in range(8):
        world.send(a_source_record(f"{place}", given="Ada" if place else "Adam", line=f"{place} High Street"))
    for _ in range(2):  # the first of a day makes the key of its marks, and a process reads it once
        ask(world)
    sent: list[str] = []
    event.listen(world.mpi.db.engine, "before_cursor_execute", lambda *told: sent.append(told[2]))

    answer = ask(world)

    assert answer.candidates
    statements = [one for one in sent if not one.startswith("BEGIN")]
    assert len(statements) <= (5 if world.mpi.db.is_sqlite else 3), statements
