"""Laws of normalising, blocking, comparing, scoring and deciding."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import Unavailable
from mpi.matching import (
    FIELDS,
    LOCATION_RULES,
    Comparison,
    Grade,
    NormalisedRecord,
    block,
    build_model,
    compare,
    decide,
    explain,
    has_minimum_input,
    load_model,
    normalise,
    reasons,
    score,
    search_keys,
)
from mpi.matching.explain import NAMES, REASONS, RIVALS, WORDS
from mpi.matching.model import fingerprint
from mpi.records import SourceRecord
from tests.core.matching_builders import MODEL, ONE_NUMBER, a_normalised, a_source_record, source_records

NORMALISED = source_records().map(lambda record: normalise(record, MODEL))


@given(record=NORMALISED)
def test_a_normalised_record_comes_back_from_its_payload(record: NormalisedRecord) -> None:
    text = json.dumps(record.to_payload())

    assert NormalisedRecord.from_payload(text) == record
    assert NormalisedRecord.from_payload(json.loads(text)) == record


@given(record=source_records())
def test_normalising_hangs_on_nothing_but_the_record(record: SourceRecord) -> None:
    loud = replace(
        record,
        names=tuple(
            replace(
                name, given=tuple(part.upper() for part in name.given), family=(name.family or "").upper()
            )
            for name in record.names
        ),
    )

    assert normalise(loud, MODEL) == normalise(record, MODEL)


@given(one=NORMALISED, other=NORMALISED)
def test_a_pair_weighs_the_same_from_either_side(one: NormalisedRecord, other: NormalisedRecord) -> None:
    there, back = compare(one, other, MODEL), compare(other, one, MODEL)

    assert there == back
    assert score(there, MODEL) == score(back, MODEL)


@given(one=NORMALISED, other=NORMALISED)
def test_a_weight_is_the_sum_of_its_parts_and_its_explanation(
    one: NormalisedRecord, other: NormalisedRecord
) -> None:
    comparison = compare(one, other, MODEL)

    result = score(comparison, MODEL)

    assert result.weight == sum(part[2] for part in result.parts)
    assert result.weight == sum(reason.weight for reason in explain(result, MODEL))
    assert result.rival in MODEL.rivals
    assert set(reasons(comparison)) == set(FIELDS)
    assert set(reasons(comparison).values()) <= {"agree", "close", "differ", "missing"}


@given(one=NORMALISED, other=NORMALISED)
def test_every_level_that_a_comparison_can_give_is_in_the_model(
    one: NormalisedRecord, other: NormalisedRecord
) -> None:
    comparison = compare(one, other, MODEL)

    unknown = [
        (name, level)
        for name, level in zip(FIELDS, comparison.levels, strict=True)
        if level != "missing" and level not in MODEL.parts[name]
    ]

    assert unknown == []


BETTER = [
    ("nhs_number", "verified", "differ"),
    ("nhs_number", "claimed", "differ"),
    ("given", "exact", "nickname"),
    ("given", "nickname", "differ"),
    ("given", "typo", "differ"),
    ("given", "close", "differ"),
    ("middle", "exact", "differ"),
    ("family", "exact", "close"),
    ("family", "close", "differ"),
    ("birth_date", "exact", "part"),
    ("birth_date", "swapped", "year"),
    ("birth_date", "close", "year"),
    ("birth_date", "part", "differ"),
    ("birth_date", "exact", "january"),
    ("gender", "agree", "differ"),
    ("address", "same", "differ"),
    ("address", "postcode", "differ"),
    ("phone", "mobile", "differ"),
    ("email", "agree", "differ"),
    ("identifier", "agree", "differ"),
    ("practice", "agree", "differ"),
    ("mother", "agree", "differ"),
    ("birth_order", "agree", "differ"),
    ("death_date", "agree", "differ"),
]


@given(
    one=NORMALISED,
    other=NORMALISED,
    step=st.sampled_from(BETTER),
)
def test_more_agreement_never_weighs_less(
    one: NormalisedRecord, other: NormalisedRecord, step: tuple[str, str, str]
) -> None:
    name, better, worse = step
    levels = list(compare(one, other, MODEL).levels)
    place = FIELDS.index(name)

    weights = []
    for level in (better, worse):
        levels[place] = level
        weights.append(score(Comparison(tuple(levels)), MODEL).weight)

    assert weights[0] >= weights[1]


def test_missing_is_no_evidence() -> None:
    nothing = Comparison(("missing",) * len(FIELDS))

    result = score(nothing, MODEL)

    assert result.parts == (("prior", result.rival, result.weight),)


@given(record=NORMALISED)
def test_keys_are_distinct_signed_and_of_known_rules(record: NormalisedRecord) -> None:
    keys = block(record, MODEL)

    assert len({one.key for one in keys}) == len(keys)
    assert all(-(2**63) <= one.key < 2**63 and one.rule in MODEL.caps for one in keys)


@given(record=NORMALISED)
def test_location_keys_of_the_restricted_are_found_only_when_receiving(record: NormalisedRecord) -> None:
    hidden = replace(record, is_restricted=True)
    stored = {one for one in block(hidden, MODEL) if one.rule in LOCATION_RULES}

    asked = set(search_keys(replace(record, is_restricted=False), MODEL, receiving=False))
    receiving = set(search_keys(replace(record, is_restricted=False), MODEL, receiving=True))

    assert not stored & asked
    assert stored <= receiving


@given(record=NORMALISED)
def test_the_rules_of_location_are_those_that_ask_where_somebody_lives(record: NormalisedRecord) -> None:
    """`/match` finds protected people by the others alone."""
    plain = replace(record, is_restricted=False)

    without = set(search_keys(plain.without_location(), MODEL, receiving=False))

    assert without == {
        one for one in search_keys(plain, MODEL, receiving=False) if one.rule not in LOCATION_RULES
    }


def test_placeholders_make_no_keys() -> None:
    empty = normalise(
        a_source_record(
            given="Baby",
            family="Unknown",
            born_on="1900-01-01",
            line="No fixed abode",
            postcode="ZZ99 3VZ",
            phone="0000000000",
            email="none@example.org",
            nhs_number="9999999999",
            practice="V81999",
        ),
        MODEL,
    )

    assert block(empty, MODEL) == ()
    assert empty.is_placeholder


@pytest.mark.parametrize(
    ("one", "other", "rules"),
    (
        # The same person, and what brings the records together whatever else is wrong.
        ({"born_on": "1990-05-14", "phone": None}, {"postcode": "N1 9GU"}, {"names-birth-year-day"}),
        ({"born_on": "1990", "phone": None}, {"born_on": "1990", "postcode": "N1 9GU"}, {"names-birth-year-day"}),
        ({"given": "Amarra", "family": "Okafour", "born_on": None, "phone": None}, {}, {"postcode-names"}),
        ({"given": "Amarra", "postcode": "N1 9GU", "born_on": None}, {}, {"phone-initial"}),
        ({"given": "Ngozi", "family": "Bello", "postcode": None, "born_on": "1990-05-01"}, {}, {"phone-birth-year"}),
        # A household shares its telephone, and strangers a name and a year.
        ({"given": "Ngozi", "born_on": "1962-03-01", "family": "Bello"}, {}, set()),
        ({"born_on": "1990-05-15", "postcode": "N1 9GU", "phone": "07700 900555"}, {}, set()),
    ),
)  # fmt: skip
def test_who_meets_by_the_keys_of_the_shipped_model(one, other, rules) -> None:
    base = {"phone": "07700 900123"}
    found = [set(block(a_normalised(**{**base, **told}), MODEL)) for told in (one, other)]

    shared = {key.rule for key in found[0] & found[1]}

    assert shared == rules


def test_an_overfull_key_is_not_made() -> None:
    keys = block(a_normalised(nhs_number=ONE_NUMBER), MODEL)
    without = build_model({**MODEL.document, "overfull": [keys[0].key]})

    assert set(block(a_normalised(nhs_number=ONE_NUMBER), without)) == set(keys) - {keys[0]}


def test_a_shared_phone_is_missing_and_a_shared_address_is_worth_little() -> None:
    record = a_source_record(phone="020 7946 0018")
    plain = normalise(record, MODEL)
    place = plain.places[0]
    shared = [
        fingerprint("phone:02079460018"),
        fingerprint(f"place:{place.postcode}:{place.numbers}:{place.words}"),
    ]
    model = build_model({**MODEL.document, "shared": shared})

    normal = normalise(record, model)

    assert normal.phones == ()
    assert compare(normal, normal, model).level("address") == "shared"
    assert compare(plain, plain, MODEL).level("address") == "same"


def test_location_leaves_nothing_behind() -> None:
    record = a_normalised(phone="07700 900123", practice="G85001", email="a@example.org")

    stripped = record.without_location()

    assert (stripped.places, stripped.phones, stripped.practice) == ((), (), "")
    assert stripped.given == record.given


@given(weight=st.integers(-60_000, 60_000), complete=st.booleans())
def test_a_cut_search_is_never_certain(weight: int, complete: bool) -> None:
    comparison = compare(a_normalised(), a_normalised("2"), MODEL)
    scored = replace(score(comparison, MODEL), weight=weight)

    grading = decide(scored, comparison, MODEL, complete)

    assert grading.may_link == (grading.grade is Grade.CERTAIN)
    assert complete or grading.grade is not Grade.CERTAIN
    assert 0.0 <= scored.probability <= 1.0


def test_the_shipped_model_names_itself_by_its_content() -> None:
    other = build_model({**MODEL.document, "name": "another"})

    assert load_model() is MODEL
    assert len(MODEL.revision) == 16
    assert other.revision != MODEL.revision


def test_an_unreadable_model_is_an_outage(tmp_path) -> None:  # type: ignore[no-untyped-def]
    broken = tmp_path / "model.json"
    broken.write_text('{"format": 1}')

    for path in (broken, tmp_path / "none.json"):
        with pytest.raises(Unavailable, match="match-model-unreadable"):
            load_model(path)


def test_the_shipped_model_lists_no_rare_name() -> None:
    assert all(
        len(table["values"]) < 5_000 and all(isinstance(part, int) for part in table["values"].values())
        for table in MODEL.document["frequency"].values()
    )


@pytest.mark.parametrize(
    ("what", "enough"),
    [
        ({}, True),
        ({"given": ()}, False),
        ({"given": (), "nhs_number": ONE_NUMBER}, True),
        ({"family": None}, False),
        ({"born_on": "1990"}, False),
        ({"born_on": None, "nhs_number": ONE_NUMBER}, False),
    ],
)
def test_a_search_that_says_little_is_known_as_such(what: dict[str, object], enough: bool) -> None:
    assert has_minimum_input(a_normalised(**what)) is enough


@given(text=st.text(max_size=40), other=st.text(max_size=40))
def test_no_text_at_all_stops_the_pipeline(text: str, other: str) -> None:
    one, two = (
        normalise(
            a_source_record(
                given=(first, second),
                family=second,
                previous_family=first or None,
                line=first,
                postcode=second,
                phone=first,
                email=f"{second}@example.org",
                nhs_number=first,
                born_on=second,
                identifier=first,
            ),
            MODEL,
        )
        for first, second in ((text, other), (other, text))
    )

    keys = block(one, MODEL)
    result = score(compare(one, two, MODEL), MODEL)

    assert len(keys) < 200
    assert isinstance(result.weight, int)


def test_every_level_of_the_model_has_words_and_one_reason() -> None:
    levels = {level for names in MODEL.parts.values() for level in names}
    said = [level for listed in REASONS.values() for level in listed]

    assert levels <= set(WORDS)
    assert sorted(levels | {"missing"}) == sorted(set(said)) == sorted(said)
    assert set(NAMES) == {*FIELDS, "prior"}
    assert set(RIVALS) == set(MODEL.rivals)


def test_an_explanation_says_no_value() -> None:
    one, other = a_normalised(phone="07700 900123"), a_normalised("2", given="Amarah", phone="07700 900123")
    comparison = compare(one, other, MODEL)

    told = [reason.words for reason in explain(score(comparison, MODEL), MODEL)]

    assert told[0].startswith("Starting odds: against ")
    assert "Phone: shares a mobile number" in told
    assert not [words for words in told if "amara" in words.lower() or "900123" in words]
