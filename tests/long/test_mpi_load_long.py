"""A greater FEBRL set than `make test` has time for, through the same command."""

from tests.service.test_mpi_load import expect_that_febrl_is_evaluated


def test_febrl_with_errors_is_loaded_linked_and_evaluated_by_one_command() -> None:
    expect_that_febrl_is_evaluated(2)
