"""The locks: every package pinned and hashed, no index address anywhere, each a cut of one choice, nothing undeclared."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = {
    "runtime": PROJECT["dependencies"],
    "training": PROJECT["dependencies"] + EXTRAS["training"] + EXTRAS["bulk"],
    "test": PROJECT["dependencies"] + EXTRAS["training"] + EXTRAS["bulk"] + EXTRAS["test"],
    "development": PROJECT["dependencies"]
    + [line for name, extra in EXTRAS.items() for line in extra if name != "spark"],
    "spark": PROJECT["dependencies"] + [line for extra in EXTRAS.values() for line in extra],
}
REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9]+(?:-[a-z0-9]+)*)==(?P<version>[0-9][0-9A-Za-z.+!-]*)(?: ; [^\\\n]+)?"
    r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+"
)


def faults_of(lock: str) -> list[str]:
    """Return the lines that are no part of a pinned and hashed requirement."""
    rest = REQUIREMENT.sub("", lock)
    return [line for line in rest.splitlines() if line.strip(" \\")]


def pins_of(lock: str) -> dict[str, str]:
    return {found["name"]: found["version"] for found in REQUIREMENT.finditer(lock)}


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_is_nothing_but_pinned_and_hashed_requirements(path: Path):
    assert faults_of(path.read_text()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "--index-url https://pypi.example/simple",
        "--extra-index-url https://pypi.example/simple",
        "--find-links /opt/wheels",
        "flask==3.1.3",
        "flask>=3.1 \\\n    --hash=sha256:" + "a" * 64,
        "flask==3.1.3 \\\n    --hash=md5:" + "a" * 32,
        "flask @ https://files.example/flask.whl \\\n    --hash=sha256:" + "a" * 64,
        "-e .",
        "    # via https://pypi.example",
    ],
)
def test_a_planted_fault_in_a_lock_is_seen(planted: str):
    sound = (ROOT / "requirements" / "runtime.txt").read_text()

    assert faults_of(sound + planted + "\n") != []


def test_the_locks_are_those_that_make_installs():
    assert {path.stem for path in LOCKS} == set(DECLARED)


@pytest.mark.parametrize("lock", DECLARED)
def test_a_lock_holds_what_the_project_declares(lock: str):
    pins = pins_of((ROOT / "requirements" / f"{lock}.txt").read_text())

    assert {name_of(line) for line in DECLARED[lock]} - set(pins) == set()


def test_the_locks_agree():
    whole = pins_of((ROOT / "requirements" / "spark.txt").read_text())

    for path in LOCKS:
        assert pins_of(path.read_text()).items() <= whole.items(), path.name


def test_the_runtime_needs_nothing_of_training_or_tests():
    runtime = pins_of((ROOT / "requirements" / "runtime.txt").read_text())

    assert not runtime.keys() & {
        "recordlinkage",
        "pandas",
        "numpy",
        "scipy",
        "duckdb",
        "pyarrow",
        "pyspark",
        "sqlglot",
        "pytest",
        "hypothesis",
        "mypy",
        "ruff",
    }


def test_spark_is_installed_for_the_long_tests_alone():
    development = pins_of((ROOT / "requirements" / "development.txt").read_text())
    makefile = (ROOT / "Makefile").read_text()

    assert "pyspark" not in development
    assert [line.split(":")[0] for line in makefile.splitlines() if "$(VENV)/.spark ##" in line] == [
        "test-long"
    ]


def test_each_dependency_says_why_it_is_there():
    text = (ROOT / "pyproject.toml").read_text()
    lines = [
        line
        for line in text.splitlines()
        if any(f'"{requirement}"' in line for requirement in DECLARED["spark"])
    ]

    assert len(lines) == len(DECLARED["spark"])
    assert [line for line in lines if not re.search(r'",\s+# \w', line)] == []
