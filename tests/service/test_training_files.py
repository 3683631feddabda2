"""`mpi train FILE`: populations of several kinds learned from their files alone, and the files that nothing can be learned from."""

import csv
import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result

from mpi.cli import cli
from mpi.matching import load_model
from mpi.matching.model import Quorum
from mpi.training import evaluate, key_of, read_truth_file, train
from mpi.training.train import FEW_PAIRS
from tests.core.training_builders import (
    KEY,
    WORLDS,
    Row,
    names_and_birth_date,
    records_of,
    write_rows,
    write_world,
)

TRAIN_AS_A_PROCESS = "import sys; from mpi.cli import cli; cli(sys.argv[1:])"


def run(*words: object) -> Result:
    quicker = ("--random-pairs", "20000") if words[0] == "train" and "--random-pairs" not in words else ()
    return CliRunner().invoke(cli, [str(word) for word in (*words, *quicker)])


def said(answer: Result) -> dict[str, object]:
    found: dict[str, object] = json.loads(answer.stdout)
    return found


def test_a_population_is_learned_from_its_file_alone(tmp_path: Path) -> None:
    expect_that_a_population_is_learned("names and birth date", 0.5, 0.97, tmp_path)


def expect_that_a_population_is_learned(
    name: str, least_recall: float, least_f1: float, tmp_path: Path
) -> None:
    """Train on a file of a made-up population, and judge on fresh people of it. tests/long takes the others."""
    file, _ = write_world(WORLDS[name], 500, 5, tmp_path)
    out = tmp_path / "model.json"

    answer = run("train", file, "--out", out, "--seed", 1, "--json")

    assert answer.exit_code == 0, answer.stderr
    records, truth = records_of(WORLDS[name](500, 6))
    found = evaluate(records, truth, load_model(out))
    assert found.live.pairs.precision >= 0.998
    assert found.live.pairs.recall >= least_recall
    assert found.balanced.pairs.f1 >= least_f1
    assert said(answer)["revision"] == load_model(out).revision
    # The rule of the sole candidate brings pairs, and no wrong one.
    alone = evaluate(records, truth, replace(load_model(out), sole=None)).live.pairs
    assert found.live.pairs.wrong <= alone.wrong
    assert found.live.pairs.right >= alone.right


def test_a_learned_model_has_the_rule_of_the_sole_candidate_and_first_guesses_have_not() -> None:
    records, _ = records_of(WORLDS["patronymic"](150, 3))
    how: dict[str, Any] = {"name": "one", "population": None, "cross_check": False, "chance_pairs": 5_000}

    learned, guessed = train(records, **how), train(records[:12], **how)
    again = train(records[:12], base=learned.document, **how)

    rule = learned.model.sole
    assert rule is not None
    assert dict(zip(learned.model.rivals, rule.allowance, strict=True)) == {
        "stranger": 0, "relative": 1_000, "twin": 1_000, "namesake": 1_000, "neighbour": 1_000,
    }  # fmt: skip
    assert rule.answers == {"birth-date-missing", "family-names-differ", "placeholder-name"}
    assert guessed.report["pairs_of"]["person"] < FEW_PAIRS
    assert guessed.model.sole is None and again.model.sole is None
    assert learned.model.quorum == guessed.model.quorum == again.model.quorum == Quorum(12_000, 12_000)


def test_what_a_model_expects_of_itself_is_what_is_measured_on_fresh_records(tmp_path: Path) -> None:
    world = WORLDS["a card number"]
    file, _ = write_world(world, 1_500, 7, tmp_path)

    expected = said(run("train", file, "--out", tmp_path / "model.json", "--json"))["expected"]

    records, truth = records_of(world(1_500, 8))
    measured = dict(evaluate(records, truth, load_model(tmp_path / "model.json")).by_threshold)
    assert isinstance(expected, list)
    for one in expected:
        if one["linked"] >= 1_000 and one["weight"] in measured:
            assert measured[one["weight"]].precision == pytest.approx(one["precision"], abs=0.01)


def test_the_same_rows_in_any_order_and_process_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [row for row, _ in names_and_birth_date(150, 3)]
    rows += [
        {**row, "family": row["family"] + "x"} for row in rows[:5]
    ]  # a key that comes again, with other content
    written = []
    for number in (1, 2):
        random.Random(number).shuffle(rows)
        file, out = tmp_path / f"{number}.csv", tmp_path / f"model{number}.json"
        write_rows(file, rows)
        environment = {**os.environ, "PYTHONHASHSEED": str(number)}
        words = [
            "train",
            str(file),
            "--out",
            str(out),
            "--name",
            "one",
            "--seed",
            "4",
            "--random-pairs",
            "5000",
        ]
        subprocess.run([sys.executable, "-c", TRAIN_AS_A_PROCESS, *words], env=environment, check=True)
        written.append(out.read_bytes())

    assert written[0] == written[1]


@pytest.mark.parametrize("ending", ["parquet", "ndjson"])
def test_the_same_rows_in_another_form_of_file_give_the_same_bytes(ending: str, tmp_path: Path) -> None:
    file, _ = write_world(WORLDS["a card number"], 150, 3, tmp_path)
    other = tmp_path / f"records.{ending}"
    with duckdb.connect() as connection:
        form = {"parquet": "parquet", "ndjson": "json"}[ending]
        connection.execute(
            f"COPY (SELECT * FROM read_csv('{file}', all_varchar = true)) TO '{other}' (FORMAT {form})"
        ).fetchall()

    words = ("--name", "one", "--memory", "300MB", "--threads", 1)
    for path in (file, other):
        answer = run("train", path, "--out", tmp_path / f"{path.suffix}.json", *words)
        assert answer.exit_code == 0, answer.stderr

    assert (tmp_path / ".csv.json").read_bytes() == (tmp_path / f".{ending}.json").read_bytes()


def test_records_in_memory_and_their_file_give_the_same_model(tmp_path: Path) -> None:
    file, truth = write_world(WORLDS["patronymic"], 150, 3, tmp_path)
    known = read_truth_file(truth)
    some = {key: known[key] for key in sorted(known)[::3]}
    labels = tmp_path / "labels.csv"
    write_rows(
        labels, [dict(zip(KEY, key_of(key), strict=True)) | {"true_person": one} for key, one in some.items()]
    )

    run(
        "train",
        file,
        "--out",
        tmp_path / "m.json",
        "--name",
        "one",
        "--seed",
        2,
        "--population",
        5_000,
        "--labels",
        labels,
    )

    records, _ = records_of(WORLDS["patronymic"](150, 3))
    trained = train(records, name="one", seed=2, population=5_000, chance_pairs=20_000, labels=some)
    assert (
        0 < trained.document["training"]["labelled_pairs"] < trained.document["training"]["candidate_pairs"]
    )
    assert load_model(tmp_path / "m.json").revision == trained.model.revision


@pytest.mark.parametrize("memory", ["1MB", "much", "4 PB"])
def test_a_memory_that_cannot_be_is_refused(memory: str, tmp_path: Path) -> None:
    file, _ = write_world(names_and_birth_date, 20, 3, tmp_path)

    answer = run("train", file, "--out", tmp_path / "m.json", "--memory", memory)

    assert answer.exit_code == 2 and "--memory" in answer.stderr


def test_a_file_that_is_not_what_its_ending_says_is_refused_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "records.parquet").write_text(
        "organisation,system,local_id\nRRV,pas,Okafor\n", encoding="utf-8"
    )

    answer = run("train", tmp_path / "records.parquet", "--out", tmp_path / "m.json", "--json")

    assert (answer.exit_code, said(answer)["error"]) == (1, "file-format")
    assert "Okafor" not in answer.output


def test_another_seed_gives_other_random_pairs_and_says_so(tmp_path: Path) -> None:
    file, _ = write_world(names_and_birth_date, 100, 3, tmp_path)

    seeds = [
        said(run("train", file, "--out", tmp_path / "m.json", "--seed", seed, "--json"))["seed"]
        for seed in (1, 2)
    ]

    assert seeds == [1, 2]


def test_a_card_is_written_beside_the_model_without_a_name_or_a_date_of_birth(tmp_path: Path) -> None:
    file, truth = write_world(WORLDS["patronymic"], 300, 5, tmp_path)

    run("train", file, "--out", tmp_path / "model.json", "--labels", truth)

    card = (tmp_path / "model.md").read_text(encoding="utf-8")
    words = set(card.replace("|", " ").split())
    people = {
        row[name]
        for row, _ in WORLDS["patronymic"](300, 5)
        for name in ("given", "family", "birth_date", "postcode")
    }
    assert load_model(tmp_path / "model.json").revision in card
    assert "expected precision" in card and "| source | ORG0 register |" in card and "recordlinkage" in card
    assert not words & people


def test_labels_settle_what_the_labelled_pairs_are(tmp_path: Path) -> None:
    file, truth = write_world(WORLDS["patronymic"], 300, 5, tmp_path)

    free = said(run("train", file, "--out", tmp_path / "free.json", "--json"))
    told = said(run("train", file, "--out", tmp_path / "told.json", "--labels", truth, "--json"))

    true_pairs = sum(count * (count - 1) // 2 for count in Counter(read_truth_file(truth).values()).values())
    assert told["labelled_pairs"] == told["candidate_pairs"] and free["labelled_pairs"] == 0
    # Of the true pairs those that blocking brings together, not one more or less.
    assert told["pairs_of"]["person"] == int(told["pairs_of"]["person"]) <= true_pairs  # type: ignore[index]
    assert told["pairs_of"]["person"] != free["pairs_of"]["person"]  # type: ignore[index]


def _only(*names: str) -> list[Row]:
    return [
        {name: row.get(name, "") for name in ("organisation", "system", "local_id", *names)}
        for row, _ in WORLDS["patronymic"](60, 5)
    ]


@pytest.mark.parametrize(
    ("rows", "code", "field"),
    [
        ([], "records-missing", None),
        (_only("given", "family", "birth_date")[:1], "record-alone", None),
        (_only("birth_date", "postcode"), "names-missing", "family"),
        (_only("given", "family", "postcode"), "birth-dates-missing", "birth_date"),
        ([{**row, "given": "Kim"} for row in _only("family", "birth_date")], "column-constant", "given"),
        (
            [{**row, "birth_date": "1970-05-05"} for row in _only("given", "family")],
            "column-constant",
            "birth_date",
        ),
        (
            [
                {
                    "organisation": "ORG",
                    "system": "s",
                    "local_id": "1",
                    "given": "Ann",
                    "family": "Bell",
                    "birth_date": "1950-01-02",
                },
                {
                    "organisation": "ORG",
                    "system": "s",
                    "local_id": "2",
                    "given": "Zoe",
                    "family": "Moore",
                    "birth_date": "1990-11-12",
                },
            ],
            "pairs-missing",
            None,
        ),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused_in_one_clear_line(
    rows: list[Row], code: str, field: str | None, tmp_path: Path
) -> None:
    write_rows(tmp_path / "records.csv", rows or [], columns=("organisation", "system", "local_id", "given"))

    answer = run("train", tmp_path / "records.csv", "--out", tmp_path / "model.json", "--json")

    assert (answer.exit_code, said(answer)["error"], said(answer).get("field")) == (1, code, field)
    assert not (tmp_path / "model.json").exists()


def test_a_column_that_says_one_thing_throughout_is_named_and_stops_nothing(tmp_path: Path) -> None:
    rows = [{**row, "gender": "female"} for row, _ in names_and_birth_date(150, 3)]
    write_rows(tmp_path / "records.csv", rows)

    answer = run("train", tmp_path / "records.csv", "--out", tmp_path / "model.json")

    assert answer.exit_code == 0
    assert "The field gender has one value throughout and tells nothing." in answer.stdout


def test_bad_rows_are_counted_and_listed_with_their_file_and_without_their_values(tmp_path: Path) -> None:
    rows = [row for row, _ in names_and_birth_date(150, 3)]
    rows[3] = {**rows[3], "birth_date": "1990-13-45"}
    write_rows(tmp_path / "one.csv", rows[:200])
    write_rows(tmp_path / "two.csv", [*rows[200:], {**rows[0], "local_id": ""}])

    answer = run(
        "train", tmp_path / "one.csv", tmp_path / "two.csv", "--out", tmp_path / "model.json", "--json"
    )

    listed = list(csv.reader((tmp_path / "model.json.rejects.csv").open(encoding="utf-8")))
    assert (answer.exit_code, said(answer)["rejected"]) == (3, 2)
    assert [row[:3] for row in listed] == [
        ["file", "row", "field"],
        ["one.csv", "5", "birth_date"],
        ["two.csv", str(len(rows) - 200 + 2), "local_id"],
    ]
    assert "1990-13" not in str(listed)
    assert said(answer)["records"] == len(rows) - 1


def test_a_label_file_at_fault_is_refused_with_row_and_field(tmp_path: Path) -> None:
    file, truth = write_world(names_and_birth_date, 60, 3, tmp_path)
    lines = truth.read_text(encoding="utf-8").splitlines()
    truth.write_text("\n".join([*lines, lines[1]]) + "\n", encoding="utf-8")

    answer = run("train", file, "--out", tmp_path / "model.json", "--labels", truth, "--json")

    refusal = said(answer)
    assert (refusal["error"], refusal["field"], refusal["row"]) == (
        "key-repeated",
        "local_id",
        len(lines) + 1,
    )


def test_a_model_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    file, _ = write_world(names_and_birth_date, 20, 3, tmp_path)

    answer = run("train", file, "--out", tmp_path / "nowhere" / "model.json", "--json")

    assert (answer.exit_code, said(answer)["error"]) == (1, "file-unwritable")


def test_a_file_is_trained_on_linked_and_judged_by_commands_without_a_database(tmp_path: Path) -> None:
    world = WORLDS["a card number"]
    learned, _ = write_world(world, 300, 5, tmp_path / "learned")
    fresh, truth = write_world(world, 300, 6, tmp_path / "fresh")
    model, linked = tmp_path / "model.json", tmp_path / "linked"

    answers = [
        run("train", learned, "--out", model),
        run("link", fresh, "--out", linked, "--model", model, "--threads", 1),
        run("evaluate", linked / "persons.csv", "--truth", truth, "--edges", linked / "edges.csv", "--json"),
    ]

    assert [one.exit_code for one in answers] == [0, 0, 0], [one.output for one in answers]
    records, labels = records_of(world(300, 6))
    in_memory = evaluate(records, labels, load_model(model)).live.pairs
    judged = said(answers[2])
    assert in_memory.right > 0
    assert in_memory.as_json().items() <= judged["persons"]["pairs"].items()  # type: ignore[index]
    assert judged["weights"]["blocking"]["recall"] > 0.99  # type: ignore[index]
    assert not judged["errors"]["wrong"]  # type: ignore[index]


def test_pairs_of_one_person_among_the_random_ones_make_no_birth_date_common(tmp_path: Path) -> None:
    file, _ = write_world(names_and_birth_date, 400, 5, tmp_path)

    run("train", file, "--out", tmp_path / "model.json", "--random-pairs", "300000")

    # Births are spread over 32,000 days; in a file this small one random pair in a thousand is one person.
    document = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    u = 2.0 ** (document["fields"]["birth_date"]["exact"]["stranger"] / 1000)
    assert u == pytest.approx(1 / 32_000, rel=0.5)


def test_a_postcode_of_a_whole_district_tells_little(tmp_path: Path) -> None:
    dice = random.Random(3)
    district = {person: f"{dice.randrange(2000, 2030)}" for _, person in names_and_birth_date(300, 5)}
    rows = [{**row, "postcode": district[person]} for row, person in names_and_birth_date(300, 5)]
    write_rows(tmp_path / "records.csv", rows)

    run("train", tmp_path / "records.csv", "--out", tmp_path / "model.json")

    document = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    level = document["fields"]["address"]["postcode"]
    assert 2.0 ** (level["stranger"] / 1000) == pytest.approx(1 / 30, rel=0.2)
