"""How often each source errs: rates that are known beforehand are found again, and nobody is blamed for whom he is compared with."""

import csv
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from mpi.bulk.gather import Files
from mpi.feeds.delimited import columns_of, row_reader
from mpi.matching import FIELDS
from mpi.matching.definition import program_of
from mpi.sample import write_sample
from mpi.training import model_card, train
from mpi.training.estimate import Compared, Estimate, Patterns
from mpi.training.sources import ERRORS, error_rates
from mpi.training.train import _DIFFERENT, _SAME, _UNKNOWN, _chances
from tests.core.matching_builders import MODEL

WORDS = tuple(program_of(MODEL.specs).levels[name] for name in FIELDS)
NAMES = ("a poor ward", "a usual ward", "a careful practice", "never compared")
RATES = np.array([0.15, 0.04, 0.01, 0.5])


def patterns_of(*levels: str) -> Patterns:
    """Return patterns that show one level of the birth date each, and nothing else."""
    place = FIELDS.index("birth_date")
    rows = np.zeros((len(levels), len(FIELDS)), np.uint8)
    rows[:, place] = [WORDS[place].index(level) for level in levels]
    return Patterns(WORDS, rows, np.zeros(len(levels), np.bool_), np.zeros(len(levels), np.int64))


def found_rates(
    one: np.ndarray, other: np.ndarray, codes: np.ndarray, chance: np.ndarray
) -> dict[str, float]:
    """Let every record of a source be in one pair; return the rates of birth dates."""
    source = np.concatenate((one, other))
    low, high = np.arange(len(one)), np.arange(len(one)) + len(one)
    told = error_rates(NAMES, source, low, high, patterns_of("exact", "differ", "missing"), codes, chance)
    assert [row["records"] for row in told] == sorted((row["records"] for row in told), reverse=True)
    return {row["source"]: row["errors"]["birth_date"] for row in told if "birth_date" in row["errors"]}


def test_rates_that_are_known_are_found_again() -> None:
    dice = np.random.default_rng(11)
    one, other = dice.integers(0, 3, 60_000), dice.integers(0, 3, 60_000)
    wrong = dice.random(60_000) < RATES[one] + RATES[other]

    found = found_rates(one, other, wrong.astype(np.int64), np.ones(60_000))

    assert set(found) == set(NAMES[:3])
    for name, rate in zip(NAMES, RATES[:3], strict=False):
        assert found[name] == pytest.approx(rate, rel=0.12), name


def test_a_careful_source_is_not_blamed_for_the_poor_one_beside_it() -> None:
    """The practice is compared with the poor ward ten times as often as with anyone else; the ward shows elsewhere what it is."""
    dice = np.random.default_rng(12)
    one = np.repeat([2, 2, 0], [20_000, 2_000, 20_000])
    other = np.repeat([0, 1, 1], [20_000, 2_000, 20_000])
    wrong = dice.random(len(one)) < RATES[one] + RATES[other]

    found = found_rates(one, other, wrong.astype(np.int64), np.ones(len(one)))

    assert found["a careful practice"] < 0.03
    assert found["a poor ward"] > 0.12


def test_pairs_count_by_their_chance_and_what_is_missing_does_not() -> None:
    one, other = np.zeros(300, np.int64), np.ones(300, np.int64)
    codes = np.repeat([0, 1, 2], 100)  # exact, differ, missing
    believed, doubted = np.ones(300), np.where(codes == 1, 0.0, 1.0)

    assert sum(found_rates(one, other, codes, believed).values()) == pytest.approx(0.5, abs=0.01)
    assert sum(found_rates(one, other, codes, doubted).values()) == 0.0


def test_a_pair_with_a_label_has_the_chance_that_its_label_gives_and_another_the_estimated_one() -> None:
    """The estimate tells each pattern once for each verdict: the pattern "differ" is here labelled only, and so has none to lend."""
    patterns = patterns_of("exact", "differ", "missing")
    codes = np.array([0, 2, 0, 0, 1, 1])
    verdicts = np.array([_UNKNOWN, _UNKNOWN, _SAME, _DIFFERENT, _SAME, _DIFFERENT], np.int8)
    fitted = Estimate(
        {},
        {},
        1,
        patterns,
        pattern=np.array([0, 2, 0, 1, 0, 1]),
        counts=np.ones(6, np.int64),
        chances=np.array([0.75, 0.25, 1.0, 1.0, 0.0, 0.0]),
    )

    found = _chances(fitted, Compared(patterns, codes), verdicts)

    assert found.tolist() == [0.75, 0.25, 1.0, 0.0, 1.0, 0.0]


def test_a_model_tells_which_sources_of_a_region_err(tmp_path: Path) -> None:
    made = write_sample(tmp_path, 16_000, 77)
    today = date(2026, 7, 1)
    files = Files((made.records_path,), lambda head: columns_of(head, None), row_reader(today), today)
    trained = train(files, name="with sources", seed=1, chance_pairs=60_000, cross_check=False)
    kinds = {
        "given": {"typo-given", "misheard-given", "misread-given", "given-cut", "names-swapped"},
        "birth_date": {"birth-day", "birth-month", "birth-year", "day-month-swapped"},
    }
    records, wrong = Counter[str](), {name: Counter[str]() for name in kinds}
    with (tmp_path / "truth.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            source = f"{row['organisation']} {row['system']}"
            records[source] += 1
            for name, some in kinds.items():
                wrong[name][source] += bool(some.intersection(row["errors"].split()))

    told = trained.document["training"]["sources"]

    assert {row["source"]: row["records"] for row in told} == records
    for name in kinds:
        large = [row for row in told if row["records"] >= 200]
        found = [row["errors"][name] for row in large]
        real = [wrong[name][row["source"]] / row["records"] for row in large]
        assert len(large) > 10
        assert spearmanr(found, real).statistic > 0.7, name
        assert np.mean(found) == pytest.approx(np.mean(real), rel=0.4), name
    card = model_card(trained.document, trained.report)
    assert "## How often sources err" in card
    assert f"| {told[0]['source']} | {told[0]['records']:,} |" in card


def test_every_error_is_a_level_of_its_field() -> None:
    for name, levels in ERRORS.items():
        assert set(levels) < set(WORDS[FIELDS.index(name)]), name
