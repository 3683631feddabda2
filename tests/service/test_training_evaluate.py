"""`mpi evaluate PERSONS --truth TRUTH`: figures that can be counted by hand, errors explained, and files that are at fault."""

import csv
import json
import re
from collections import Counter
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.clock import FixedClock
from foundation.database import Database
from foundation.settings import Settings
from mpi.cli import cli
from mpi.feeds.delimited import read_rows
from mpi.matching import load_model
from mpi.records import RecordKey
from mpi.training import evaluate_groups, read_truth_file
from mpi.training.intervals import by_cluster, wilson
from mpi.training.judge import Counts, Judged, judge, judge_subgroups
from mpi.training.labels import Key
from tests.core.pure_pipeline import Population, weighed_pairs
from tests.core.training_builders import Row, names_and_birth_date, write_world
from tests.service.mpi_world import World
from tests.service.test_mpi_load import Composed

PERSONS = ("organisation", "system", "local_id", "person_id")
TRUTH = ("organisation", "system", "local_id", "true_person")


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def a_file(path: Path, heads: tuple[str, ...], *rows: str) -> Path:
    """Write a CSV; a row is its values with spaces between, and "-" for an empty one."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows([[value if value != "-" else "" for value in row.split()] for row in rows])
    return path


def a_judgement(folder: Path, persons: str, truth: str, *words: object) -> dict[str, object]:
    """Judge records ``1``, ``2``, … whose persons and true persons are the letters of two texts."""
    files = [
        a_file(
            folder / name,
            heads,
            *(f"ORG pas {number} {letter}" for number, letter in enumerate(letters, start=1)),
        )
        for name, heads, letters in (("persons.csv", PERSONS, persons), ("truth.csv", TRUTH, truth))
    ]
    answer = run("evaluate", files[0], "--truth", files[1], "--json", *words)
    assert answer.exit_code == 0, answer.output
    found: dict[str, object] = json.loads(answer.stdout)
    return found


@pytest.mark.parametrize(
    ("persons", "truth", "pairs", "whole"),
    [
        # right, wrong, missed
        ("aaabbc", "xxxyyz", (4, 0, 0), (3, 0, 0)),
        ("abcdef", "xxxyyz", (0, 0, 4), (1, 5, 2)),
        ("aabbbc", "xxxyyz", (2, 2, 2), (1, 2, 2)),
        ("aaaaaa", "xxxyyz", (4, 11, 0), (0, 1, 3)),
    ],
)
def test_pairs_and_whole_persons_are_counted(
    persons: str, truth: str, pairs: tuple[int, int, int], whole: tuple[int, int, int], tmp_path: Path
) -> None:
    figures = a_judgement(tmp_path, persons, truth)["persons"]

    assert isinstance(figures, dict)
    assert tuple(figures["pairs"][name] for name in ("right", "wrong", "missed")) == pairs
    assert tuple(figures["persons"][name] for name in ("right", "wrong", "missed")) == whole


groupings = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from("mfx")), min_size=1, max_size=30
)


@settings(deadline=None)
@given(rows=groupings)
def test_counting_cells_gives_what_counting_groups_gives(rows: list[tuple[int, int, str]]) -> None:
    keys: list[Key] = [("ORG", "pas", f"{number:03}") for number in range(len(rows))]
    judged = Judged.of(
        {key: str(row[0]) for key, row in zip(keys, rows, strict=True)},
        {key: str(row[1]) for key, row in zip(keys, rows, strict=True)},
    )
    groups: dict[int, list[RecordKey]] = {}
    for key, row in zip(keys, rows, strict=True):
        groups.setdefault(row[0], []).append(RecordKey(*key))

    found = judge(judged, Counts.of(judged))

    expected = evaluate_groups(
        groups.values(), {RecordKey(*key): row[1] for key, row in zip(keys, rows, strict=True)}
    ).as_json()
    assert {**expected["pairs"]}.items() <= found["pairs"].items()
    assert (found["persons"], found["b_cubed"]) == (expected["persons"], expected["b_cubed"])
    assert (found["largest_group"], found["largest_mixed_group"]) == (
        expected["largest_group"],
        expected["largest_mixed_group"],
    )


@settings(deadline=None)
@given(rows=groupings)
def test_the_pairs_of_subgroups_add_up_to_all_pairs(rows: list[tuple[int, int, str]]) -> None:
    keys: list[Key] = [("ORG", "pas", f"{number:03}") for number in range(len(rows))]
    judged = Judged.of(
        {key: str(row[0]) for key, row in zip(keys, rows, strict=True)},
        {key: str(row[1]) for key, row in zip(keys, rows, strict=True)},
    )

    parts = judge_subgroups(judged, Counts.of(judged), {"sex": [row[2] for row in rows]})

    whole = judge(judged, Counts.of(judged))["pairs"]
    for name in ("right", "wrong", "missed"):
        assert sum(part["pairs"][name] for part in parts) == whole[name]
    assert sum(part["records"] for part in parts) == len(rows)


def test_columns_of_the_truth_file_give_subgroups_and_a_birth_date_only_its_decade(tmp_path: Path) -> None:
    persons = a_file(tmp_path / "p.csv", PERSONS, "A s 1 p", "A s 2 p", "B s 3 q", "B s 4 r")
    truth = a_file(
        tmp_path / "t.csv",
        (*TRUTH, "community", "born"),
        "A s 1 x welsh 1980-02-03", "A s 2 x welsh 1980-02-03", "B s 3 y tamil 1991-02-03", "B s 4 y tamil 1991-02-03",
    )  # fmt: skip

    answer = json.loads(run("evaluate", persons, "--truth", truth, "--json").stdout)

    rows = {(row["subgroup"], row["value"]): row["pairs"]["recall"] for row in answer["subgroups"]}
    assert rows[("true community", "welsh")] == 1.0 and rows[("true community", "tamil")] == 0.0
    assert rows[("true born", "1980s")] == 1.0 and rows[("source", "B s")] == 0.0
    assert "1991-02-03" not in json.dumps(answer)


# How sure a figure is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(0, 0, 0.0, 1.0), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611)],
)
def test_wilsons_interval_is_that_of_the_books(right: int, total: int, low: float, high: float) -> None:
    assert wilson(right, total) == pytest.approx((low, high), abs=5e-4)


def test_no_error_seen_is_no_certainty_and_counts_people_rather_than_pairs() -> None:
    low, high = by_cluster([(15, 15)] * 20)

    assert (low, high) == wilson(20, 20)
    assert low < wilson(300, 300)[0]


def test_errors_that_come_together_make_an_interval_wider() -> None:
    together = by_cluster([(0, 10)] * 10 + [(10, 10)] * 90)
    apart = by_cluster([(9, 10)] * 100 + [(10, 10), (0, 1)])

    assert together[1] - together[0] > 3 * (apart[1] - apart[0])
    assert together == by_cluster([(10, 10)] * 90 + [(0, 10)] * 10)


# Weights and errors --------------------------------------------------------------------------------------------------

EDGES = (
    "organisation_a",
    "system_a",
    "local_id_a",
    "organisation_b",
    "system_b",
    "local_id_b",
    "weight_millibits",
)


def test_weighed_pairs_give_thresholds_blocking_histogram_and_calibration(tmp_path: Path) -> None:
    edges = a_file(
        tmp_path / "edges.csv",
        EDGES,
        "ORG pas 1 ORG pas 2 9000",
        "ORG pas 4 ORG pas 3 500",
        "ORG pas 2 ORG pas 3 -500",
    )

    weights = a_judgement(tmp_path, "aabcd", "xxyyy", "--edges", edges)["weights"]

    assert isinstance(weights, dict)
    at = {step["weight"]: (step["right"], step["wrong"], step["missed"]) for step in weights["by_threshold"]}
    assert (at[-1000], at[0], at[1000], at[10_000]) == ((2, 1, 2), (2, 0, 2), (1, 0, 3), (0, 0, 4))
    assert weights["blocking"]["recall"] == 0.5
    bars = {bar["weight"]: (bar["right"], bar["wrong"]) for bar in weights["histogram"]}
    assert (bars[9000], bars[0], bars[-1000]) == ((1, 0), (1, 0), (0, 1))
    step = next(one for one in weights["calibration"] if one["from"] == 0)
    assert step["expected"] == pytest.approx(1 / (1 + 2**-0.5), abs=1e-6) and step["measured"] == 1.0


def test_a_pair_that_the_model_would_not_link_is_called_so(tmp_path: Path) -> None:
    edges = a_file(tmp_path / "edges.csv", (*EDGES, "links"), "ORG pas 1 ORG pas 2 9000 false")

    errors = a_judgement(tmp_path, "aa", "xy", "--edges", edges)["errors"]

    assert isinstance(errors, dict)
    assert errors["wrong"][0]["how"] == "direct, by a pair that is not linked unseen"


def test_a_wrong_pair_is_told_with_the_records_through_which_it_came_in(tmp_path: Path) -> None:
    edges = a_file(
        tmp_path / "edges.csv",
        EDGES,
        "ORG pas 1 ORG pas 2 9000",
        "ORG pas 2 ORG pas 3 8000",
        "ORG pas 4 ORG pas 5 3000",
    )

    errors = a_judgement(tmp_path, "aaabc", "xxyzz", "--edges", edges)["errors"]

    assert isinstance(errors, dict)
    direct, through = errors["wrong"]
    assert (direct["low"][2], direct["high"][2], direct["how"], direct["weight"]) == (
        "2",
        "3",
        "direct",
        8000,
    )
    assert (through["low"][2], through["high"][2], through["how"]) == ("1", "3", "through 1 other")
    assert [(step["low"][2], step["high"][2]) for step in through["path"]] == [("1", "2"), ("2", "3")]
    (missed,) = errors["missed"]
    assert (missed["weight"], missed["how"]) == (3000, "compared")


@pytest.fixture(scope="module")
def half_linked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A population in which every second person was put together with the next."""
    folder = tmp_path_factory.mktemp("half")
    records, truth = write_world(names_and_birth_date, 40, 9, folder)
    with truth.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    persons = [
        f"{row['organisation']} {row['system']} {row['local_id']} {int(row['true_person'][1:]) // 2}"
        for row in rows
    ]
    return {"records": records, "truth": truth, "persons": a_file(folder / "persons.csv", PERSONS, *persons)}


def _report(files: dict[str, Path], folder: Path, *words: object) -> tuple[str, dict[str, object]]:
    model = Path("mpi/matching/models/default.json").resolve()
    page = folder / "report.html"
    answer = run(
        "evaluate",
        files["persons"],
        "--truth",
        files["truth"],
        "--records",
        files["records"],
        "--model",
        model,
        "--html",
        page,
        "--json",
        *words,
    )
    assert answer.exit_code == 0, answer.output
    return page.read_text(encoding="utf-8"), json.loads(answer.stdout)


def _values(files: dict[str, Path]) -> set[str]:
    with files["records"].open(encoding="utf-8") as file:
        return {row[name] for row in csv.DictReader(file) for name in ("given", "family", "birth_date")}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "svg":
            self.images.append(dict(attrs))


def test_the_report_stands_alone_and_has_the_figures_behind_every_chart(
    half_linked: dict[str, Path], tmp_path: Path
) -> None:
    page, _ = _report(half_linked, tmp_path)

    tags = _Tags()
    tags.feed(page)
    assert tags.counts["svg"] == tags.counts["figure"] == 4
    assert not tags.addresses and not tags.counts["script"] and "url(" not in page
    assert all(image.get("role") == "img" and image.get("aria-label") for image in tags.images)
    assert all("<table>" in figure for figure in re.findall(r"<figure>.*?</figure>", page, re.S))
    for words in (
        "Precision and recall",
        "Choosing a threshold",
        "Weights of right and wrong",
        "chance hold",
    ):
        assert words in page


def test_errors_show_keys_levels_and_weights_and_never_values_unless_asked(
    half_linked: dict[str, Path], tmp_path: Path
) -> None:
    page, answer = _report(half_linked, tmp_path)
    shown, told = _report(half_linked, tmp_path, "--show-values")

    errors = answer["errors"]
    assert isinstance(errors, dict) and len(errors["wrong"]) == 50
    assert {part["field"] for part in errors["wrong"][0]["parts"]} >= {
        "prior",
        "given",
        "family",
        "birth_date",
    }
    assert all(sum(part["weight"] for part in one["parts"]) == one["weight"] for one in errors["wrong"])
    plain = set(re.split(r"[^\w-]+", page + json.dumps(answer)))
    assert not plain & _values(half_linked)
    assert set(re.split(r"[^\w-]+", shown)) & _values(half_linked)
    assert "This page shows names" in shown and "This page shows names" not in page
    assert told["persons"] == answer["persons"]


@pytest.mark.parametrize("ending", ["parquet", "ndjson"])
def test_records_of_any_form_of_file_give_the_same_judgement(
    ending: str, half_linked: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / f"records.{ending}"
    with duckdb.connect() as connection:
        form = {"parquet": "parquet", "ndjson": "json"}[ending]
        connection.execute(
            f"COPY (SELECT * FROM read_csv('{half_linked['records']}', all_varchar = true)) TO '{other}' (FORMAT {form})"
        ).fetchall()

    _, expected = _report(half_linked, tmp_path, "--show-values")
    _, found = _report({**half_linked, "records": other}, tmp_path, "--show-values", "--threads", 1)

    assert found == expected
    assert len(expected["errors"]["wrong"]) == 50 and expected["errors"]["wrong"][0]["values"]  # type: ignore[index]


def test_the_weights_of_records_are_those_of_one_pair_after_another(
    half_linked: dict[str, Path], tmp_path: Path
) -> None:
    _, found = _report(half_linked, tmp_path)

    model = load_model()
    records = [row.record for row in read_rows(half_linked["records"], date(2026, 7, 1)) if row.record]
    people = Population.of(records, model)
    truth = read_truth_file(half_linked["truth"])
    pairs = [
        (weight, truth[people.keys[low]] == truth[people.keys[high]])
        for (low, high), weight, _ in weighed_pairs(people, model)
    ]
    weights = found["weights"]
    assert isinstance(weights, dict) and weights["pairs"] == len(pairs) > 20
    for step in weights["by_threshold"]:
        kept = [right for weight, right in pairs if weight >= step["weight"]]
        assert (step["right"], step["wrong"]) == (sum(kept), len(kept) - sum(kept))


def test_a_bad_row_of_the_records_is_listed_and_left_out(
    half_linked: dict[str, Path], tmp_path: Path
) -> None:
    lines = half_linked["records"].read_text(encoding="utf-8").splitlines()
    records = tmp_path / "records.csv"
    records.write_text(
        "\n".join([*lines[:3], lines[3].replace("ORG", "o r g"), *lines[4:]]) + "\n", encoding="utf-8"
    )

    answer = run(
        "evaluate", half_linked["persons"], "--truth", half_linked["truth"], "--records", records,
        "--rejects", tmp_path / "bad.csv", "--json",
    )  # fmt: skip

    told = json.loads(answer.stdout)
    assert (answer.exit_code, told["rejected"]) == (3, 1)
    listed = list(csv.reader((tmp_path / "bad.csv").open(encoding="utf-8")))[1:]
    assert listed == [["records.csv", "4", "organisation", "organisation-format"]]
    rows = {(row["subgroup"], row["value"]): row["records"] for row in told["subgroups"]}
    assert rows["sex", "no record"] == 1


# Files at fault ------------------------------------------------------------------------------------------------------

GOOD_PERSONS, GOOD_TRUTH = ("A s 1 p", "A s 2 p", "A s 3 q"), ("A s 1 x", "A s 2 x", "A s 3 x")


@pytest.mark.parametrize(
    ("persons", "truth", "listed"),
    [
        ((*GOOD_PERSONS, "A s 1 q"), GOOD_TRUTH, ["persons.csv", "5", "local_id", "key-repeated"]),
        (GOOD_PERSONS, (*GOOD_TRUTH, "A s 2 z"), ["truth.csv", "5", "local_id", "key-repeated"]),
        ((*GOOD_PERSONS, "A s 4 -"), GOOD_TRUTH, ["persons.csv", "5", "person_id", "field-missing"]),
        (GOOD_PERSONS, (*GOOD_TRUTH, "- s 4 z"), ["truth.csv", "5", "organisation", "field-missing"]),
        ((*GOOD_PERSONS, "A s 4"), GOOD_TRUTH, ["persons.csv", "5", "", "column-count"]),
    ],
)
def test_a_bad_row_is_named_by_file_row_and_field_and_left_out(
    persons: tuple[str, ...], truth: tuple[str, ...], listed: list[str], tmp_path: Path
) -> None:
    files = a_file(tmp_path / "persons.csv", PERSONS, *persons), a_file(tmp_path / "truth.csv", TRUTH, *truth)

    answer = run("evaluate", files[0], "--truth", files[1], "--json")

    told = json.loads(answer.stdout)
    assert (answer.exit_code, told["rejected"], told["persons"]["records"]) == (3, 1, 3)
    assert list(csv.reader(Path(told["rejects"]).open(encoding="utf-8")))[1:] == [listed]
    assert (told["persons"]["pairs"]["right"], told["persons"]["pairs"]["missed"]) == (1, 2)


def test_labels_of_unknown_records_and_records_without_a_label_are_counted(tmp_path: Path) -> None:
    persons = a_file(tmp_path / "p.csv", PERSONS, *GOOD_PERSONS, "A s 9 p")
    truth = a_file(tmp_path / "t.csv", TRUTH, *GOOD_TRUTH, "A s 8 x")

    answer = run("evaluate", persons, "--truth", truth)

    assert answer.exit_code == 0
    assert "1 records have no label and are left out" in answer.stdout
    assert "1 labels are of records that no person holds" in answer.stdout
    assert "1 right, 0 wrong, 5 missed" in answer.stdout


@pytest.mark.parametrize(
    ("heads", "rows", "code", "field"),
    [
        (PERSONS[:3], ("A s 1",), "column-missing", "person_id"),
        (("organisation", "system", "person_id"), ("A s p",), "column-missing", "local_id"),
        (PERSONS, (), "file-empty", "person_id"),
        (PERSONS, ("B t 7 p",), "labels-missing", "local_id"),
        ((*PERSONS, "person_id"), ("A s 1 p p",), "column-repeated", "person_id"),
    ],
)
def test_a_file_that_cannot_be_judged_is_refused_in_one_line(
    heads: tuple[str, ...], rows: tuple[str, ...], code: str, field: str, tmp_path: Path
) -> None:
    persons, truth = a_file(tmp_path / "p.csv", heads, *rows), a_file(tmp_path / "t.csv", TRUTH, *GOOD_TRUTH)

    machine, plain = (
        run("evaluate", persons, "--truth", truth, "--json"),
        run("evaluate", persons, "--truth", truth),
    )

    told = json.loads(machine.stdout)
    assert (machine.exit_code, told["error"], told["field"]) == (1, code, field)
    assert plain.stderr.startswith(f"mpi: {code} · field {field}") and plain.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"\n\n", "organisation,sÿ".encode("latin-1")])
def test_an_empty_or_unreadable_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(content)

    answer = run(
        "evaluate", tmp_path / "p.csv", "--truth", a_file(tmp_path / "t.csv", TRUTH, *GOOD_TRUTH), "--json"
    )

    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["error"] == ("file-encoding" if content.strip() else "file-empty")


@pytest.mark.parametrize("words", [("--model", "default.json"), ("--show-values",)])
def test_what_cannot_be_done_without_records_says_what_is_needed(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    persons, truth = (
        a_file(tmp_path / "p.csv", PERSONS, *GOOD_PERSONS),
        a_file(tmp_path / "t.csv", TRUTH, *GOOD_TRUTH),
    )
    given = [str(Path("mpi/matching/models") / word) if word.endswith(".json") else word for word in words]

    answer = run("evaluate", persons, "--truth", truth, *given)

    assert answer.exit_code == 2 and "--records" in answer.stderr


# The index -----------------------------------------------------------------------------------------------------------


def test_the_persons_of_the_index_are_judged_with_the_same_figures_and_report(
    db: Database, clock: FixedClock, tmp_path: Path
) -> None:
    composed = Composed(Settings.from_environment({}), World(db, clock).mpi)

    def command(*words: object) -> Result:
        return CliRunner().invoke(cli, [str(word) for word in words], obj=composed)

    command("sample", 60, "--to", tmp_path, "--seed", 3)
    command("organisation", "load", tmp_path / "organisations.csv")
    command("load", tmp_path / "records.csv")
    answer = command("evaluate", tmp_path / "truth.csv", "--html", tmp_path / "report.html", "--json")

    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert told["index"]["pairs"].items() <= told["report"]["persons"]["pairs"].items()
    assert "Does the model" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_index_is_still_trained_from(db: Database, clock: FixedClock, tmp_path: Path) -> None:
    composed = Composed(Settings.from_environment({}), World(db, clock).mpi)
    words: list[Row | str] = ["sample", "300", "--to", str(tmp_path), "--seed", "3"]
    for line in (
        words,
        ["organisation", "load", str(tmp_path / "organisations.csv")],
        ["load", str(tmp_path / "records.csv"), "--no-link"],
    ):
        CliRunner().invoke(cli, line, obj=composed)  # type: ignore[arg-type]

    out = tmp_path / "model.json"
    answer = CliRunner().invoke(
        cli,
        ["train", "--name", "from the index", "--to", str(out), "--random-pairs", "20000", "--json"],
        obj=composed,
    )

    told = json.loads(answer.stdout)
    assert (answer.exit_code, told["records"], told["population"]) == (0, 300, 1_000_000)
    assert out.exists() and out.with_suffix(".md").exists()
