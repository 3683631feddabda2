"""Models that come into force and go: every step at which a run may end, and rolling back further than once."""

from pathlib import Path

import pytest

from foundation.errors import Conflict
from mpi.matching import load_model
from mpi.service.context import Mpi
from mpi.service.models import list_models, propose_roll_back
from tests.service import test_mpi_models as models
from tests.service.test_mpi_models import (
    ANNE,
    STEPS,
    TYPICAL,
    a_model,
    activated,
    approved,
    expect_that_a_run_that_ends_early_has_changed_nothing,
    rolled_back,
)

folder, sample, index = models.folder, models.sample, models.index


@pytest.mark.parametrize("step", [step for step in STEPS if step not in TYPICAL])
def test_a_run_that_ends_at_any_other_step_has_changed_neither_persons_nor_the_model(
    index: Mpi, tmp_path: Path, step: str
):
    expect_that_a_run_that_ends_early_has_changed_nothing(index, tmp_path, step)


def test_rolling_back_goes_one_step_further_each_time(index: Mpi, tmp_path: Path):
    shipped, second, third = load_model().revision, a_model(2_000), a_model(4_000)
    for place, model in enumerate((second, third)):
        approved(index, model)
        activated(index, model.revision, tmp_path / str(place))

    assert rolled_back(index, tmp_path / "back") == second.revision
    assert rolled_back(index, tmp_path / "further") == shipped
    with pytest.raises(Conflict, match="nothing-to-roll-back"):
        propose_roll_back(index, ANNE)

    states = {one.revision: one.state for one in list_models(index).models}
    assert states == {shipped: "in-force", second.revision: "past", third.revision: "past"}
