"""A sample of a million records: streamed in bounded memory, whole, and as plausible as a small one."""

import csv
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from mpi.records import parse_nhs_number
from mpi.sample import describe
from mpi.sample.numbers import PEOPLE_IN_999, nhs_number

ROOT = Path(__file__).resolve().parents[2]
RECORDS = 1_000_000
MOST_MEMORY_KB = 160_000

PROGRAM = """
import json, sys
from pathlib import Path
from mpi.sample import write_sample

told = []
summary = write_sample(Path(sys.argv[1]), int(sys.argv[2]), 11, told.append)
# Of this program: ru_maxrss would be that of the process that forked it, if it was larger.
most = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
print(json.dumps({"persons": summary.persons, "told": told[-1], "memory_kb": most}))
"""


def test_a_million_records_are_streamed_and_every_one_is_somebodys(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(RECORDS)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    said = json.loads(done.stdout)
    assert said["told"] == RECORDS
    assert said["memory_kb"] < MOST_MEMORY_KB

    keys: set[int] = set()
    people: dict[str, str] = {}
    with (
        (tmp_path / "records.csv").open(encoding="utf-8", newline="") as records_file,
        (tmp_path / "truth.csv").open(encoding="utf-8", newline="") as truth_file,
    ):
        for record, truth in zip(csv.reader(records_file), csv.reader(truth_file), strict=True):
            assert record[:3] == truth[:3]
            keys.add(hash(tuple(record[:3])))
            if truth[8] and truth[8] != "nhs_number":
                people[truth[8]] = truth[3]
    assert len(keys) == RECORDS + 1  # with the header
    assert len(set(people.values())) == len(people) > said["persons"] * 0.95
    assert all(parse_nhs_number(number).digits.startswith("999") for number in people)

    profile = describe(tmp_path)
    assert profile.records == RECORDS
    assert profile.persons == said["persons"]
    assert 2.1 < profile.records / profile.persons < 2.6
    assert 0.15 < profile.erring / profile.records < 0.32
    assert 0.004 < profile.twins / profile.persons < 0.02
    assert set(profile.records_per_person) == {1, 2, 3, 4, 5, 6}
    assert len(profile.by_setting) == 8
    assert all(one.records for one in profile.by_setting.values())
    falling = [profile.communities[code] for code in ("english", "west_african", "gujarati", "welsh")]
    assert all(more > less for more, less in pairwise(falling))


def test_no_two_of_the_first_people_share_a_number_and_none_has_ten_nines():
    numbers = {nhs_number(index, 11) for index in range(PEOPLE_IN_999)}

    assert len(numbers) == PEOPLE_IN_999
    # Ten nines pass the check and stand for "several people".
    assert "9999999999" not in numbers
