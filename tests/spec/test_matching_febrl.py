"""The shipped model on the public FEBRL sets, which it was not trained on: nothing is broken."""

import pytest

from mpi.matching import load_model
from mpi.training import evaluate, febrl_records


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_shipped_model_links_a_febrl_set(number: int) -> None:
    found = evaluate(*febrl_records(number), load_model())

    assert found.live.pairs.f1 >= 0.97
    assert found.live.pairs.precision >= 0.999
    assert found.balanced.pairs.f1 >= 0.98
