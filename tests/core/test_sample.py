"""The sample population: the same bytes for a seed, whole truth kept apart, plausible people and plausible errors."""

import csv
import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

from foundation.directory import SETTINGS
from mpi.feeds.delimited import read_rows
from mpi.records import parse_nhs_number, parse_postcode
from mpi.sample import (
    MOST_RECORDS,
    ORGANISATION_COLUMNS,
    RECORD_COLUMNS,
    TRUTH_COLUMNS,
    SampleSummary,
    describe,
    generate,
    organisations,
    story_organisations,
    write_sample,
)
from mpi.sample.clerk import misheard, misread, typo
from mpi.sample.names import communities, nicknames, plain
from mpi.sample.numbers import LOCAL_BITS, PEOPLE_IN_999, mix, near_number, nhs_number, scattered
from mpi.sample.people import TODAY, Households
from mpi.sample.places import Region

ROOT = Path(__file__).resolve().parents[2]
RECORDS, SEED = 12_000, 20261124
TODAY_IN_TESTS = date(2026, 11, 24)

Rows = list[tuple[dict[str, str], dict[str, str]]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return [(row.as_record(), row.as_truth()) for row in generate(RECORDS, SEED)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_sample(tmp_path_factory.mktemp("sample"), RECORDS, SEED)


@pytest.fixture(scope="module")
def people() -> list[list]:
    """Households of the region, each a list of people, as they are before anybody writes them down."""
    households = Households(Region(60_000, SEED))
    return [households.make(Random(mix(SEED, nth))) for nth in range(3000)]


def a_digest(summary: SampleSummary) -> str:
    paths = (summary.records_path, summary.truth_path, summary.organisations_path)
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


# -- the same bytes -----------------------------------------------------------------------------------------------


def test_a_seed_and_a_size_give_the_same_bytes_in_another_process_with_another_hash_seed(tmp_path: Path):
    here = a_digest(write_sample(tmp_path / "here", 1000, 7))
    program = "import sys; from pathlib import Path; from mpi.sample import write_sample; write_sample(Path(sys.argv[1]), 1000, 7)"

    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "there")],
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "4242", "LC_ALL": "C"},
    )

    names = ("records.csv", "truth.csv", "organisations.csv")
    there = b"".join((tmp_path / "there" / name).read_bytes() for name in names)
    assert hashlib.sha256(there).hexdigest() == here


def test_the_bytes_are_those_of_every_other_machine(tmp_path: Path):
    # A change of the generator changes this digest, and with it every figure that was measured on a sample: say so in CHANGELOG.md.
    assert a_digest(write_sample(tmp_path, 1000, 7)) == (
        "9a6b05cdf683a1e2c9ef8025229bb86e0623e56f16040f4e58aeac7d1f17fb2b"
    )


def test_another_seed_gives_other_people(tmp_path: Path):
    one, other = (write_sample(tmp_path / str(seed), 1000, seed) for seed in (1, 2))

    assert a_digest(one) != a_digest(other)
    numbers = [
        {row["nhs_number"] for row in csv.DictReader(summary.records_path.open(encoding="utf-8"))}
        for summary in (one, other)
    ]
    assert len(numbers[0] & numbers[1]) < 20


@settings(max_examples=25, deadline=None)
@given(records=integers(1, 300), seed=integers(0, 2**70))
def test_any_size_and_seed_gives_that_many_rows_with_keys_of_their_own(records: int, seed: int):
    rows = list(generate(records, seed))

    assert len(rows) == records
    assert len({row.record[:3] for row in rows}) == records
    assert all(row.record[:3] == row.truth[:3] for row in rows)


@pytest.mark.parametrize("records", [0, -1, MOST_RECORDS + 1])
def test_a_size_out_of_range_is_refused(records: int, tmp_path: Path):
    with pytest.raises(ValueError, match="1 to 10000000"):
        write_sample(tmp_path, records, 1)


def test_progress_is_told_up_to_the_last_record(tmp_path: Path):
    told: list[int] = []

    write_sample(tmp_path, 2500, 3, told.append)

    assert told == [1000, 2000, 2500]


def test_the_files_hold_what_is_generated(written: SampleSummary, rows: Rows):
    with written.records_path.open(encoding="utf-8", newline="") as file:
        records = list(csv.reader(file))
    with written.truth_path.open(encoding="utf-8", newline="") as file:
        truths = list(csv.reader(file))

    assert records[0] == list(RECORD_COLUMNS)
    assert truths[0] == list(TRUTH_COLUMNS)
    assert records[1:] == [list(record.values()) for record, _ in rows]
    assert truths[1:] == [list(truth.values()) for _, truth in rows]
    assert written.records == RECORDS
    assert written.persons == len({truth["true_person"] for _, truth in rows})


# -- what a loader must be able to take ---------------------------------------------------------------------------


def test_the_loader_takes_every_row(written: SampleSummary):
    refused = Counter(
        (fault.code, fault.field)
        for row in read_rows(written.records_path, TODAY_IN_TESTS)
        for fault in row.faults
    )

    assert refused == {}


def test_with_rejects_the_loader_refuses_the_damaged_rows_and_no_other(tmp_path: Path):
    summary = write_sample(tmp_path, 4000, 5, with_rejects=True)
    with summary.truth_path.open(encoding="utf-8", newline="") as file:
        damaged = [place for place, row in enumerate(csv.DictReader(file)) if "reject-" in row["errors"]]

    refused = [
        place for place, row in enumerate(read_rows(summary.records_path, TODAY_IN_TESTS)) if row.faults
    ]

    assert refused == damaged
    assert 5 <= len(damaged) <= 45


def test_every_nhs_number_passes_its_check_and_lies_in_the_range_for_tests(rows: Rows):
    numbers = [
        record[column]
        for record, _ in rows
        for column in ("nhs_number", "mother_nhs_number")
        if record[column]
    ]

    assert len(numbers) > RECORDS * 0.85
    assert all(parse_nhs_number(number).digits.startswith("999") for number in numbers)


def test_every_postcode_reads_as_one(rows: Rows):
    postcodes = {record["postcode"] for record, _ in rows if record["postcode"]}

    read = {parse_postcode(postcode).text for postcode in postcodes}

    assert len(read) > 300
    assert any(parse_postcode(postcode).is_pseudo for postcode in postcodes)


def test_nothing_is_later_than_the_day_of_the_sample(rows: Rows):
    last = date.fromordinal(TODAY).isoformat()

    assert all(record["updated_at"][:10] <= last for record, _ in rows)
    assert all(record["birth_date"] <= record["updated_at"][:10] for record, _ in rows)
    assert all(
        truth["born"] <= record["death_date"] <= last for record, truth in rows if record["death_date"]
    )


def test_phones_and_addresses_of_mail_are_nobodys(rows: Rows):
    phones = {
        record[column].replace(" ", "").replace("+44", "0")
        for record, _ in rows
        for column in ("phone", "phone_2")
        if record[column]
    }
    hosts = {record["email"].partition("@")[2] for record, _ in rows if record["email"]}

    # 070 is no mobile network's; London's local numbers begin with 3, 4, 7 or 8; no local number begins with 0.
    assert all(len(phone) == 11 for phone in phones)
    assert {phone[:3] for phone in phones if phone.startswith("07")} == {"070"}
    assert {phone[:4] for phone in phones if phone.startswith("020")} == {"0205", "0206"}
    assert {phone[:6] for phone in phones if phone.startswith("01")} <= {"019080"}
    assert hosts == {"example.com", "example.org", "example.net", "mail.example"}


# -- truth kept apart ---------------------------------------------------------------------------------------------


def test_every_record_has_its_truth(rows: Rows):
    assert all(truth["true_person"] and truth["household"] and truth["community"] for _, truth in rows)
    assert len({truth["community"] for _, truth in rows}) == len(communities())
    assert {"old-address", "number-missing", "nickname", "typo-family"} <= {
        kind for _, truth in rows for kind in truth["errors"].split()
    }


def test_records_name_neither_true_persons_nor_households(rows: Rows):
    words = {truth[column] for _, truth in rows for column in ("true_person", "household")}

    told = [value for record, _ in rows for value in record.values() if value in words]

    assert told == []
    assert set(TRUTH_COLUMNS) & set(RECORD_COLUMNS) == {
        "organisation",
        "system",
        "local_id",
        "nhs_number",
        "birth_order",
    }


def test_local_ids_and_the_order_of_rows_tell_nothing(rows: Rows):
    series: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for record, truth in rows:
        digits = "".join(sign for sign in record["local_id"] if sign.isdigit())
        series[record["organisation"], record["system"]].append((digits, truth["household"]))

    neighbours = matching = expected = 0.0
    for members in series.values():
        members.sort()
        size = len(members)
        neighbours += size - 1
        matching += sum(one[1] == other[1] for one, other in zip(members, members[1:], strict=False))
        # Of all pairs of the series, the share in one household; so of neighbours, if ids tell nothing.
        pairs = sum(count * (count - 1) for count in Counter(home for _, home in members).values())
        expected += pairs / size if size > 1 else 0
    together = sum(
        one[1]["true_person"] == other[1]["true_person"] for one, other in zip(rows, rows[1:], strict=False)
    )

    assert matching < expected + 4 * expected**0.5 + 4
    assert together < 20


def test_a_system_gives_no_local_id_of_one_length_to_some_people_only(rows: Rows):
    lengths: dict[tuple[str, str], set[int]] = defaultdict(set)
    for record, _ in rows:
        lengths[record["organisation"], record["system"]].add(len(record["local_id"]))

    assert {len(found) for found in lengths.values()} == {1}


@given(key=integers(0, 2**64 - 1), start=integers(0, 2**LOCAL_BITS - 400))
def test_scattered_numbers_are_one_to_one(key: int, start: int):
    found = [scattered(count, key) for count in range(start, start + 300)]

    assert len(set(found)) == 300
    assert all(0 <= one < 1 << LOCAL_BITS for one in found)


# -- NHS numbers --------------------------------------------------------------------------------------------------


@given(index=integers(0, PEOPLE_IN_999 - 1), seed=integers(0, 2**64))
def test_numbers_of_the_first_people_are_valid_and_start_with_999(index: int, seed: int):
    assert parse_nhs_number(nhs_number(index, seed)).digits.startswith("999")


@given(index=integers(PEOPLE_IN_999, 6_000_000), seed=integers(0, 2**64))
def test_numbers_of_later_people_are_valid_and_start_with_9(index: int, seed: int):
    digits = parse_nhs_number(nhs_number(index, seed)).digits

    assert digits.startswith("9")
    assert not digits.startswith("999")


@given(seed=integers(0, 2**64), start=integers(0, PEOPLE_IN_999 - 300))
def test_no_two_people_share_a_number(seed: int, start: int):
    assert len({nhs_number(index, seed) for index in range(start, start + 300)}) == 300


@given(index=integers(0, PEOPLE_IN_999 - 1), first=integers(3, 8), step=integers(1, 5), digit=integers(0, 9))
def test_a_mistyped_number_is_another_that_passes(index: int, first: int, step: int, digit: int):
    number = nhs_number(index, 1)

    wrong = near_number(number, first, 3 + (first - 3 + step) % 6, digit)

    assert parse_nhs_number(wrong).digits != number
    assert wrong[:3] == "999"
    assert sum(one != other for one, other in zip(wrong, number, strict=True)) <= 2


# -- people -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_smallest_sample_has_twins_of_both_kinds_and_a_namesake(seed: int):
    truths = [row.as_truth() for row in generate(1000, seed)]

    assert {"same-sex", "opposite-sex"} <= {truth["twin"] for truth in truths}
    assert "parent-child" in {truth["namesake"] for truth in truths}


def test_twins_share_mother_and_birth_date_and_differ_in_name_and_birth_order(people: list[list]):
    twins: dict[tuple[int, int], list] = defaultdict(list)
    for family in people:
        for one in family:
            if one.twin:
                twins[one.household, one.born].append(one)

    assert len(twins) > 10
    for pair in twins.values():
        one, other = pair
        assert one.mother is other.mother
        assert sorted((one.birth_order, other.birth_order)) == [1, 2]
        assert (one.given, one.middle) != (other.given, other.middle)
        assert (one.sex == other.sex) == (one.twin == "same-sex")
        assert one.number != other.number


def test_mothers_are_of_an_age_to_be_mothers_and_siblings_apart(people: list[list]):
    for family in people:
        children = sorted((one for one in family if one.is_child), key=lambda one: one.born)
        assert all(17 < (one.born - one.mother.born) / 365.25 < 46.5 for one in children)
        gaps = {later.born - sooner.born for sooner, later in zip(children, children[1:], strict=False)}
        assert all(gap == 0 or gap > 270 for gap in gaps)


def test_people_live_somewhere_at_all_times_and_do_not_outlive_themselves(people: list[list]):
    for family in people:
        for one in family:
            since = [home.since for home in one.homes]
            assert since == sorted(since)
            assert one.home_on(TODAY).since <= TODAY
            assert one.died == 0 or one.born <= one.died <= TODAY


def test_married_women_were_called_otherwise_before(people: list[list]):
    renamed = [one for family in people for one in family if len(one.family_names) > 1]
    women = [one for family in people for one in family if one.sex == "f" and not one.is_child]

    assert all(one.sex == "f" for one in renamed)
    assert 0.15 < len(renamed) / len(women) < 0.6
    for one in renamed:
        changed = one.family_names[-1][0]
        assert one.family_on(changed) == one.family_names[-1][1] != one.family_on(changed - 1)


RULES = [
    # community, what holds for everyone of it
    ("sikh", lambda one: {"f": "Kaur", "m": "Singh"}[one.sex] in (one.middle, one.family_names[0][1])),
    ("hispanic", lambda one: len(one.family_names[0][1].split(" ")) == 2),
    ("somali", lambda one: one.middle and one.family_names[0][1]),
    ("polish", lambda one: one.sex == "m" or not one.family_names[0][1].endswith(("ski", "cki"))),
]


@pytest.mark.parametrize(("code", "holds"), RULES, ids=[code for code, _ in RULES])
def test_names_follow_the_custom_of_their_community(code: str, holds, people: list[list]):
    # A child of two customs may take either's, so families of one are looked at.
    families = [family for family in people if {one.community.code for one in family} == {code}]
    found = [one for family in families for one in family]

    assert len(found) > 20
    assert all(holds(one) for one in found if one.mother is None or one.mother.community.code == code)


def test_somali_children_bear_their_fathers_and_grandfathers_names(people: list[list]):
    found = 0
    for family in people:
        fathers = [one for one in family if one.sex == "m" and not one.is_child]
        children = [one for one in family if one.is_child]
        if len(fathers) == 1 and fathers[0].community.rule == "three-names":
            for child in children:
                assert (child.middle, child.family_names[0][1]) == (fathers[0].given, fathers[0].middle)
                found += 1
    assert found > 5


def test_names_are_as_skewed_as_in_life(people: list[list]):
    families = Counter(
        one.family_names[0][1] for family in people for one in family[:1] if one.community.code == "english"
    )
    total = sum(families.values())

    assert 0.01 < families["Smith"] / total < 0.06
    assert sum(count == 1 for count in families.values()) / total > 0.25


# -- records and errors -------------------------------------------------------------------------------------------


def test_people_have_one_to_six_records(rows: Rows):
    counts = Counter(Counter(truth["true_person"] for _, truth in rows).values())

    assert set(counts) <= set(range(1, 7))
    assert {1, 2, 3, 4, 5} <= set(counts)
    assert 2.0 < RECORDS / sum(counts.values()) < 2.7


BANDS = [
    # kind of error, at least, at most, in percent of all records
    ("typo-family", 0.4, 1.6),
    ("typo-given", 0.4, 1.6),
    ("misheard-family", 0.2, 1.2),
    ("misread-given", 0.1, 0.7),
    ("day-month-swapped", 0.08, 0.5),
    ("birth-year", 0.1, 0.8),
    ("nickname", 0.7, 2.2),
    ("middle-name-first", 0.3, 1.3),
    ("initial-only", 0.15, 0.9),
    ("names-swapped", 0.1, 0.8),
    ("old-surname", 0.1, 0.9),
    ("old-address", 3.5, 9.0),
    ("name-convention", 2.0, 6.0),
    ("pseudo-postcode", 0.15, 1.0),
    ("number-missing", 2.0, 6.5),
    ("number-of-relative", 0.02, 0.3),
    ("number-of-other", 0.02, 0.3),
    ("number-second", 0.02, 0.5),
    ("unnamed-newborn", 0.8, 3.0),
    ("registered-twice", 0.3, 1.6),
]


@pytest.mark.parametrize(("kind", "least", "most"), BANDS, ids=[kind for kind, *_ in BANDS])
def test_an_error_is_about_as_frequent_as_meant(kind: str, least: float, most: float, rows: Rows):
    erring = sum(kind in truth["errors"].split() for _, truth in rows)

    assert least <= 100 * erring / RECORDS <= most


@pytest.mark.parametrize("system", ["gp", "pas", "epcr"])
def test_errors_come_together_in_one_clerks_record(system: str, rows: Rows):
    slips = ("typo-", "misheard-", "misread-", "birth-", "postcode-", "phone-", "gender-", "house-", "city-")
    counts = [
        sum(kind.startswith(slips) for kind in truth["errors"].split())
        for record, truth in rows
        if record["system"] == system
    ]

    erring = sum(count > 0 for count in counts)
    several = sum(count > 1 for count in counts)

    # Were slips independent, one more would be about as likely in a record with a slip as in any.
    assert several / erring > 1.25 * erring / len(counts)


def test_a_record_with_slips_more_often_lacks_its_number(rows: Rows):
    slips = ("typo-", "misheard-", "misread-", "birth-", "postcode-")
    lacking: dict[bool, list[bool]] = {True: [], False: []}
    for record, truth in rows:
        if record["system"] in ("pas", "ed", "cases"):
            spoilt = any(kind.startswith(slips) for kind in truth["errors"].split())
            lacking[spoilt].append(not record["nhs_number"])

    with_slips, without = (sum(found) / len(found) for found in (lacking[True], lacking[False]))

    assert with_slips > 1.15 * without


def test_organisations_differ_in_quality_and_settings_in_completeness(written: SampleSummary):
    profile = describe(written.records_path.parent)
    without = {
        setting: one.missing["nhs_number"] / one.records for setting, one in profile.by_setting.items()
    }
    rates = [one.erring / one.records for one in profile.by_organisation.values()]

    assert without["practice"] < 0.06
    assert without["practice"] < without["acute"] < without["ambulance"]
    assert 0.2 < without["ambulance"] < 0.55
    assert max(rates) > 2 * min(rates)
    verified = profile.by_setting["practice"].statuses
    assert verified["01"] / verified.total() > 0.88
    assert profile.records == RECORDS
    assert 0.04 < profile.as_json()["settings"]["acute"]["missing"]["nhs_number"] < 0.16
    assert "practice" in profile.as_text()


def test_a_record_without_error_tells_the_truth(rows: Rows):
    told = [(record, truth) for record, truth in rows if not truth["errors"]]

    assert len(told) > RECORDS * 0.6
    for record, truth in told:
        assert record["birth_date"] == truth["born"]
        assert record["nhs_number"].replace(" ", "") in ("", truth["nhs_number"])


def test_a_wrong_number_of_a_relative_is_a_relatives(rows: Rows):
    homes = defaultdict(set)
    for _, truth in rows:
        homes[truth["household"]].add(truth["nhs_number"])
    wrong = [(record, truth) for record, truth in rows if "number-of-relative" in truth["errors"].split()]

    assert wrong
    for record, truth in wrong:
        number = record["nhs_number"].replace(" ", "")
        assert number != truth["nhs_number"]
        # A relative of whom no record was drawn is not in the truth.
        assert number in homes[truth["household"]] or len(homes[truth["household"]]) < 5


def test_newborns_are_written_under_their_mothers_number(rows: Rows):
    newborns = [record for record, truth in rows if "unnamed-newborn" in truth["errors"].split()]
    labels = Counter(record["given"].upper().split(" ")[0] for record in newborns)

    assert labels["BABY"] > labels["TWIN"] > 0
    assert sum(bool(record["mother_nhs_number"]) for record in newborns) / len(newborns) > 0.7
    assert all(record["updated_at"][:10] >= record["birth_date"] for record in newborns)
    assert {record["birth_order"] for record in newborns} >= {"", "1", "2"}


def test_unrelated_people_share_hostels_and_care_homes(rows: Rows):
    shared = defaultdict(set)
    for record, truth in rows:
        if truth["residence"] in ("hostel", "care-home"):
            shared[record["address"].upper(), record["postcode"].replace(" ", "")].add(truth["household"])

    assert max(len(households) for households in shared.values()) >= 4


@given(seed=integers(0, 2**32), spoil=sampled_from([typo, misread, misheard]))
def test_a_slip_changes_little(seed: int, spoil):
    rng = Random(seed)
    community = communities()[seed % len(communities())]
    name = community.draw_family(rng)

    wrong = spoil(rng, name)

    assert wrong
    assert abs(len(wrong) - len(name)) <= 3
    assert wrong.isprintable()


@given(seed=integers(0, 2**32))
def test_names_without_diacritics_are_ascii(seed: int):
    rng = Random(seed)
    community = communities()[seed % len(communities())]

    name = plain(community.draw_given(rng, "mf"[seed % 2], 1920 + seed % 100) + community.draw_family(rng))

    assert name.isascii()


def test_nicknames_are_other_names_than_those_they_stand_for():
    assert all(name not in forms for name, forms in nicknames().items())


# -- organisations ------------------------------------------------------------------------------------------------


def test_organisations_of_every_setting_with_codes_that_the_directory_takes(written: SampleSummary):
    with written.organisations_path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    codes = {row["ods_code"] for row in found}

    assert list(found[0]) == list(ORGANISATION_COLUMNS)
    assert len(codes) == len(found)
    assert {row["setting"] for row in found} <= set(SETTINGS)
    assert {"acute", "mental-health", "ambulance", "practice", "care-home", "borough", "neighbour"} <= {
        row["setting"] for row in found
    }
    assert {row["parent"] for row in found} <= codes | {""}
    assert all(code.isalnum() and code == code.upper() and 3 <= len(code) <= 10 for code in codes)
    assert all(
        row["ods_code"].startswith("Y9")
        for row in found
        if row["setting"] in ("practice", "care-home", "borough")
    )


def test_every_organisation_of_a_record_is_listed(written: SampleSummary, rows: Rows):
    listed = {one.ods_code for one in organisations(RECORDS, SEED)}
    sending = {record["organisation"] for record, _ in rows}
    practices = {record["gp_practice"] for record, _ in rows} - {"", "V81999"}

    assert sending <= listed
    assert practices <= listed
    assert {"RRV", "RV5", "RRU", "RD8"} <= sending


def test_the_largest_region_has_codes_of_their_own_for_all():
    codes = [one.ods_code for one in organisations(MOST_RECORDS, 1)]

    assert len(codes) == len(set(codes)) > 700


def test_the_organisations_of_the_story_agree_with_every_sample():
    listed = {one.ods_code: one for one in organisations(1000, 1)}
    story = {one.ods_code: one for one in story_organisations()}

    assert {"acute", "mental-health", "ambulance", "practice", "care-home", "borough", "neighbour"} <= {
        one.setting for one in story.values()
    }
    assert {one.parent for one in story.values()} <= story.keys() | {""}
    # Those of both are the same; the practice and the care home are the story's own.
    assert all(story[code] == listed[code] for code in story.keys() & listed.keys())
    assert story.keys() - listed.keys() == {"Y99001", "Y9C901"}
