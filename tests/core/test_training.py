"""Training and evaluation: figures that can be checked by hand, and a model learned from a public set."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from foundation.errors import Invalid
from mpi.matching import build_model
from mpi.records import RecordKey, SourceRecord
from mpi.training import (
    Trained,
    evaluate,
    evaluate_groups,
    febrl_records,
    model_card,
    read_truth,
    train,
    write_febrl,
)
from mpi.training.pairs import components, random_pairs
from mpi.training.starting import (
    CHAINS,
    RIVALS,
    WIDE,
    even_out,
    keep_order,
    millibits,
    read_nicknames,
    starting_document,
)
from tests.core.matching_builders import MODEL, a_source_record, shuffled


def key(name: str) -> RecordKey:
    return RecordKey("RRV", "pas", name)


TRUTH = {key(name): name[0] for name in ("a1", "a2", "a3", "b1", "b2", "c1")}


@pytest.mark.parametrize(
    ("groups", "pairs", "persons", "b_precision", "b_recall"),
    [
        # right, wrong, missed pairs; right, wrong, missed persons
        (["a1 a2 a3", "b1 b2", "c1"], (4, 0, 0), (3, 0, 0), 1.0, 1.0),
        ([], (0, 0, 4), (1, 5, 2), 1.0, (3 * 1 / 3 + 2 * 1 / 2 + 1) / 6),
        (
            ["a1 a2", "a3 b1 b2"],
            (2, 2, 2),
            (1, 2, 2),
            (2 + 1 / 3 + 4 / 3 + 1) / 6,
            (4 / 3 + 1 / 3 + 2 + 1) / 6,
        ),
        (["a1 a2 a3 b1 b2 c1"], (4, 11, 0), (0, 1, 3), (9 + 4 + 1) / 6 / 6, 1.0),
    ],
)
def test_groups_are_judged_by_pairs_persons_and_records(
    groups: list[str],
    pairs: tuple[int, int, int],
    persons: tuple[int, int, int],
    b_precision: float,
    b_recall: float,
) -> None:
    found = evaluate_groups([[key(name) for name in group.split()] for group in groups], TRUTH)

    assert (found.pairs.right, found.pairs.wrong, found.pairs.missed) == pairs
    assert (found.persons.right, found.persons.wrong, found.persons.missed) == persons
    assert found.b_cubed_precision == pytest.approx(b_precision)
    assert found.b_cubed_recall == pytest.approx(b_recall)


def test_a_record_without_a_label_is_not_judged() -> None:
    found = evaluate_groups([[key("a1"), key("x9"), key("a2")]], TRUTH)

    assert (found.pairs.wrong, found.largest_group, found.records) == (0, 2, 6)


def test_a_model_is_judged_on_labelled_records() -> None:
    records = [
        a_source_record("1"),
        a_source_record("2", organisation="RV5"),
        a_source_record("3", given="Chidi"),
    ]
    truth = {record.key: "one" if record.key.local_id != "3" else "other" for record in records}

    found = evaluate([*records, a_source_record("4")], truth, MODEL)

    assert (found.records, found.live.pairs.right, found.live.pairs.wrong) == (3, 1, 0)
    assert found.blocking.recall == 1.0
    assert json.loads(json.dumps(found.as_json()))["live"]["pairs"]["f1"] == 1.0
    assert len(found.as_lines()) == 5


def test_connected_parts_hold_every_pair_once() -> None:
    assert components(6, [(0, 1), (1, 2), (4, 5)]) == [[0, 1, 2], [4, 5]]


def test_random_pairs_are_ordered_and_the_same_for_a_seed() -> None:
    low, high = random_pairs(10, 2_000, seed=7)

    assert (low >= 0).all() and (low < high).all() and (high < 10).all()
    assert len({*zip(low.tolist(), high.tolist(), strict=True)}) == 45
    again, other = random_pairs(10, 2_000, seed=7), random_pairs(10, 2_000, seed=8)
    assert (low == again[0]).all() and (high == again[1]).all()
    assert (low != other[0]).any()


def test_one_record_makes_no_random_pair() -> None:
    assert [len(side) for side in random_pairs(1, 50, seed=7)] == [0, 0]


@pytest.fixture(scope="module")
def febrl() -> tuple[list[SourceRecord], dict[RecordKey, str]]:
    records, truth = febrl_records(1)
    return records, truth


@pytest.fixture(scope="module")
def learned(febrl: tuple[list[SourceRecord], dict[RecordKey, str]]) -> Trained:
    return train(febrl[0], name="from FEBRL 1", seed=1, population=1_000, chance_pairs=30_000)


def test_the_same_records_and_seed_give_the_same_model(
    febrl: tuple[list[SourceRecord], dict[RecordKey, str]], learned: Trained
) -> None:
    again = train(
        shuffled(febrl[0], 3),
        name="from FEBRL 1",
        seed=1,
        population=1_000,
        chance_pairs=30_000,  # type: ignore[arg-type]
    )

    assert again.model.revision == learned.model.revision


def test_a_model_learned_without_labels_finds_the_pairs(
    febrl: tuple[list[SourceRecord], dict[RecordKey, str]], learned: Trained
) -> None:
    found = evaluate(*febrl, learned.model)

    assert found.balanced.pairs.f1 >= 0.98
    assert learned.report["pairs_of"]["person"] == pytest.approx(500, rel=0.03)
    assert learned.report["cross_check"]["given"]["recordlinkage_m"] > 0.6


def test_a_learned_model_keeps_the_order_of_its_levels(learned: Trained) -> None:
    fields = learned.document["fields"]

    upside_down = [
        (name, better, worse, rival)
        for name, chains in CHAINS.items()
        for chain in chains
        for better, worse in zip(chain, chain[1:], strict=False)
        for rival in RIVALS
        if _part(fields, name, worse, rival) > _part(fields, name, better, rival)
    ]

    assert upside_down == []


def _part(fields: dict[str, dict[str, dict[str, int]]], name: str, level: str, rival: str) -> int:
    return fields[name][level]["person"] - fields[name][level][rival]


def test_a_small_index_has_the_wide_keys_and_a_large_one_has_none(
    febrl: tuple[list[SourceRecord], dict[RecordKey, str]], learned: Trained
) -> None:
    large = train(
        febrl[0], name="large", seed=1, population=1_000_000, chance_pairs=30_000, cross_check=False
    )

    assert learned.document["blocking"].keys() >= WIDE.keys()
    assert not large.document["blocking"].keys() & WIDE.keys()
    assert large.report["candidate_pairs"] < learned.report["candidate_pairs"]


def test_where_no_relatives_are_found_a_wrong_birth_date_is_no_namesake(
    febrl: tuple[list[SourceRecord], dict[RecordKey, str]],
) -> None:
    records = [replace(record, identifiers=()) for record in febrl[0]]

    without = train(records, name="without", seed=1, population=1_000, cross_check=False)

    found = without.report["pairs_of"]
    assert found["namesake"] <= 1
    assert evaluate(records, febrl[1], without.model).balanced.pairs.f1 >= 0.985


def test_a_lesser_agreement_that_would_weigh_more_is_counted_with_the_greater() -> None:
    fields = starting_document()["fields"]
    before = {level: _part(fields, "given", level, "stranger") for level in ("exact", "initial")}
    fields["given"]["typo"] |= {"person": millibits(0.006), "stranger": millibits(0.004)}
    fields["given"]["close"] |= {"person": millibits(0.1), "stranger": millibits(0.01)}

    even_out(fields, apart=[("given", "initial")])

    both = millibits((0.006 + 0.1) / (0.004 + 0.01))
    assert _part(fields, "given", "typo", "stranger") == pytest.approx(both, abs=2)
    assert _part(fields, "given", "close", "stranger") == pytest.approx(both, abs=2)
    assert {level: _part(fields, "given", level, "stranger") for level in before} == before


def test_what_only_some_pairs_can_reach_is_not_counted_together_and_yet_kept_in_order() -> None:
    fields = starting_document()["fields"]
    fields["given"]["initial"] |= {"person": millibits(0.9), "stranger": millibits(0.0001)}
    exact = dict(fields["given"]["exact"])

    even_out(fields, apart=[("given", "initial")])
    keep_order(fields)

    assert fields["given"]["exact"] == exact
    assert _part(fields, "given", "initial", "stranger") <= _part(fields, "given", "exact", "stranger")


def test_no_name_seen_less_than_twenty_times_is_listed(
    febrl: tuple[list[SourceRecord], dict[RecordKey, str]], learned: Trained
) -> None:
    sent = [given.lower() for record in febrl[0] for name in record.names for given in name.given]

    listed = learned.document["frequency"]["given"]["values"]

    assert listed
    assert all(sent.count(value.partition("|")[0]) >= 20 for value in listed)


def test_a_model_file_is_read_back_as_it_was_written(learned: Trained, tmp_path: Path) -> None:
    learned.write(tmp_path / "model.json")

    document = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))

    assert build_model(document).revision == learned.model.revision


def test_the_starting_values_are_a_model() -> None:
    assert sorted(build_model(starting_document()).rivals) == sorted(RIVALS)


def test_a_nickname_may_stand_for_several_names() -> None:
    table = read_nicknames()

    assert {"alexander", "alexandra"} <= set(table["alex"])
    assert "william" in table["bill"]


@pytest.mark.parametrize("number", [1, 4])
def test_a_febrl_set_is_written_as_a_load_file_and_a_truth_file(number: int, tmp_path: Path) -> None:
    count = write_febrl(number, tmp_path / "load.csv", tmp_path / "truth.csv")

    rows = list(csv.DictReader((tmp_path / "load.csv").open(encoding="utf-8")))
    truth = list(csv.DictReader((tmp_path / "truth.csv").open(encoding="utf-8")))
    assert count == len(rows) == len(truth) == {1: 1000, 4: 10000}[number]
    assert len({row["true_person"] for row in truth}) == {1: 500, 4: 5000}[number]
    assert {row["identifier_system"] for row in rows} == {"soc-sec"}
    assert not any(row["birth_date"].startswith("0") for row in rows)


def test_a_truth_file_is_read_and_its_gaps_are_named() -> None:
    row = {"organisation": "RRV", "system": "pas", "local_id": "a1", "true_person": "a"}

    assert read_truth([row]) == {key("a1"): "a"}
    with pytest.raises(Invalid) as refusal:
        read_truth([row, {**row, "true_person": ""}])
    assert (refusal.value.code, refusal.value.field, refusal.value.row) == ("field-missing", "true_person", 3)
    with pytest.raises(Invalid, match="column-missing"):
        read_truth([{"organisation": "RRV"}])


def test_there_are_four_febrl_sets(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 to 4"):
        write_febrl(5, tmp_path / "load.csv", tmp_path / "truth.csv")


def test_a_model_card_tells_levels_and_counts_but_no_names(learned: Trained) -> None:
    card = model_card(learned.document, learned.report)

    names = list(learned.document["frequency"]["family"]["values"])
    assert learned.model.revision in card
    assert "two strangers" in card
    assert "against relatives of one name 1.0" in card and "two strangers 0.0" in card
    assert "no rule of the sole candidate" in model_card({**learned.document, "sole": None})
    assert "different, verified on both sides" in card
    assert names
    assert not [name for name in names if f" {name} " in card]
