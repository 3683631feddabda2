"""The description against the service, on both engines and with many more questions than `make test` has time for."""

import pytest
from schemathesis import GenerationMode

from foundation.database import Database
from tests.web.described import NAMES, QUESTIONS, describe, expect_answers_as_described

EXAMPLES = 25


@pytest.mark.parametrize(("method", "path", "mode"), QUESTIONS, ids=NAMES)
def test_every_operation_answers_many_questions_as_it_is_described(
    db: Database, method: str, path: str, mode: GenerationMode
):
    expect_answers_as_described(describe(db), method, path, mode, EXAMPLES)
