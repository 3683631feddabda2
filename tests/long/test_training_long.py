"""Other populations than `make test` learns from."""

from pathlib import Path

import pytest

from tests.service.test_training_files import expect_that_a_population_is_learned


@pytest.mark.parametrize(
    ("name", "least_recall", "least_f1"),
    [
        ("a card number", 0.97, 0.99),
        (
            "patronymic",
            0.4,
            0.9,
        ),  # brothers of one name, home and phone: only the date of birth tells them apart
        ("one source with duplicates", 0.5, 0.95),
    ],
)
def test_another_population_is_learned_from_its_file_alone(
    name: str, least_recall: float, least_f1: float, tmp_path: Path
) -> None:
    expect_that_a_population_is_learned(name, least_recall, least_f1, tmp_path)
