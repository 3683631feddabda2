"""Imports run one way: the contracts in pyproject.toml hold, and each of them catches a fault that is planted in a copy."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
FAULTS = [
    ("house", "foundation/planted.py", "import mpi"),
    ("house", "foundation/planted.py", "import consent.facts"),
    ("house", "mpi/records/planted.py", "import consent"),
    ("composition", "foundation/planted.py", "import app"),
    ("composition", "consent/planted.py", "from tests import engines"),
    ("mpi-rooms", "mpi/records/planted.py", "import mpi.matching"),
    ("mpi-rooms", "mpi/matching/planted.py", "import mpi.store"),
    ("mpi-rooms", "mpi/store/planted.py", "import mpi.service"),
    ("mpi-rooms", "mpi/service/planted.py", "import mpi.web"),
    ("mpi-rooms", "mpi/tracing/planted.py", "import mpi.service"),
    ("mpi-rooms", "mpi/tracing/planted.py", "import mpi.training"),
    ("mpi-rooms", "mpi/feeds/planted.py", "import mpi.web"),
    ("mpi-rooms", "mpi/an_unlisted_room/__init__.py", ""),
    ("consent-rooms", "consent/facts/planted.py", "import consent.rules"),
    ("consent-rooms", "consent/rules/planted.py", "import consent.store"),
    ("consent-rooms", "consent/service/planted.py", "import consent.web"),
    ("enforcement", "consent/enforcement/planted.py", "import foundation"),
    ("enforcement", "consent/enforcement/planted.py", "import consent.facts"),
    ("enforcement", "consent/enforcement/planted.py", "import sqlalchemy.orm"),
    ("client", "mpi/client/planted.py", "import foundation"),
    ("client", "mpi/client/planted.py", "from mpi import records"),
    ("client", "mpi/client/planted.py", "import sqlalchemy"),
    ("mpi-rooms", "mpi/feeds/planted.py", "import mpi.client"),
    ("conformance", "consent/conformance/planted.py", "import consent.rules"),
    ("conformance", "consent/conformance/planted.py", "from foundation import clock"),
    ("core", "mpi/records/planted.py", "import logging"),
    ("core", "mpi/matching/planted.py", "def lazily():\n    import numpy"),
    ("core", "consent/facts/planted.py", "from sqlalchemy import text"),
    ("core", "consent/rules/planted.py", "from foundation import settings"),
    ("bulk-only", "mpi/service/planted.py", "def lazily():\n    import duckdb"),
    ("bulk-only", "mpi/training/planted.py", "import pyarrow"),
    ("bulk-callers", "mpi/service/planted.py", "import mpi.bulk"),
    ("bulk-callers", "mpi/feeds/planted.py", "def lazily():\n    import mpi.bulk"),
    ("spark-only", "mpi/bulk/planted.py", "import sqlglot"),
    ("spark-only", "mpi/training/planted.py", "def lazily():\n    import pyspark"),
    ("training-only", "mpi/service/planted.py", "def lazily():\n    import recordlinkage"),
    ("training-only", "consent/service/planted.py", "import pandas as pd"),
]
HEAVY = {
    "recordlinkage", "pandas", "sklearn", "scipy", "duckdb", "pyarrow", "numpy", "pyspark", "sqlglot", "pytest", "hypothesis",
}  # fmt: skip
SERVER = {
    "foundation",
    "mpi",
    "app",
    "sqlalchemy",
    "alembic",
    "psycopg",
    "redis",
    "marshmallow",
    "flask_smorest",
}


def lint(root: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    chosen = [word for contract in contracts for word in ("--contract", contract)]
    return subprocess.run([*command, *chosen], cwd=root, capture_output=True, text=True)


def plant(root: Path, path: str, source: str) -> None:
    """Write a module, and the packages above it where the house does not have them."""
    module = root / path
    module.parent.mkdir(parents=True, exist_ok=True)
    for package in [module.parent, *module.parent.parents]:
        if package == root:
            break
        (package / "__init__.py").touch()
    module.write_text(source)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """An empty house with the real contracts: the rooms exist, nothing is in them."""
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    plant(tmp_path, "foundation/__init__.py", "")
    for name in ("clock", "database", "settings"):
        plant(tmp_path, f"foundation/{name}.py", "")
    for room in ("records", "matching", "store", "bulk", "training", "service", "feeds", "web", "client"):
        plant(tmp_path, f"mpi/{room}/__init__.py", "")
    for room in ("facts", "rules", "store", "service", "web", "conformance", "enforcement"):
        plant(tmp_path, f"consent/{room}/__init__.py", "")
    return tmp_path


def modules_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_house_keeps_every_contract():
    result = lint(ROOT)

    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in result.stdout


def test_an_empty_house_keeps_every_contract(house: Path):
    """So that what is planted in one, and nothing else, breaks them."""
    result = lint(house)

    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in result.stdout


@pytest.mark.parametrize(("contract", "path", "source"), FAULTS)
def test_a_planted_fault_is_caught(contract: str, path: str, source: str, house: Path):
    plant(house, path, source)

    result = lint(house, contract)

    assert result.returncode == 1
    assert "0 kept, 1 broken" in result.stdout, result.stdout + result.stderr


def test_every_contract_has_a_planted_fault():
    assert {contract["id"] for contract in CONTRACTS} == {contract for contract, _, _ in FAULTS}


def test_training_may_import_pandas(house: Path):
    plant(house, "mpi/training/planted.py", "import pandas, recordlinkage")
    plant(house, "mpi/cli.py", "def train():\n    import mpi.training.planted")

    assert lint(house, "training-only").returncode == 0


def test_the_bulk_engine_may_import_its_packages(house: Path):
    plant(house, "mpi/bulk/planted.py", "import duckdb, pyarrow, scipy")
    plant(house, "mpi/cli.py", "def link():\n    import mpi.bulk.planted")

    assert lint(house, "bulk-only").returncode == 0
    assert lint(house, "bulk-callers").returncode == 0


def test_spark_may_be_imported_where_it_lives(house: Path):
    plant(house, "mpi/bulk/spark/planted.py", "import pyspark, sqlglot")

    assert lint(house, "spark-only").returncode == 0


def test_serving_loads_nothing_of_training_or_tests():
    assert not modules_after("import app") & HEAVY


def test_a_record_service_loads_nothing_of_the_server():
    loaded = modules_after("import consent.enforcement")

    assert "consent" in loaded
    assert not loaded & SERVER
