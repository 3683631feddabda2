"""`make bench` lists and runs what there is; figures are for readers, so nothing here measures."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "benchmarks" / "run.py"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_run", RUNNER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, RUNNER, *words], capture_output=True, text=True, cwd=ROOT)


def test_make_bench_runs_the_runner():
    recipe = (ROOT / "Makefile").read_text().split("\nbench:")[1].split("\n\n")[0]

    assert "benchmarks/run.py" in recipe


def test_every_script_of_the_folder_is_on_the_list(runner: ModuleType):
    found = {path.relative_to(RUNNER.parent).as_posix() for path in RUNNER.parent.rglob("*.py")}
    scripts = found - {"run.py", "watch.py"}

    assert {one.script for one in runner.BENCHMARKS.values()} == scripts


def test_the_list_has_a_line_for_each_and_runs_nothing(runner: ModuleType):
    done = call("--list")

    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(runner.BENCHMARKS)


def test_an_unknown_name_is_refused():
    done = call("teapot")

    assert done.returncode == 2
    assert "no benchmark is called teapot" in done.stderr


HELP_OF_ALL = """
import io, json, runpy, sys
from contextlib import redirect_stdout
said = {}
for script in json.loads(sys.argv[1]):
    sys.argv = [script, "--help"]
    with redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_path(script, run_name="__main__")
            ended = None
        except SystemExit as end:
            ended = end.code
    said[script] = [ended, out.getvalue()]
print(json.dumps(said))
"""
"""In one process, since most of what a script does before it says how it is called is to import the same packages."""


def test_every_script_says_how_it_is_called(runner: ModuleType):
    scripts = sorted({str(RUNNER.parent / one.script) for one in runner.BENCHMARKS.values()})

    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL, json.dumps(scripts)], capture_output=True, text=True, cwd=ROOT
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert list(said) == scripts
    assert [one for one, (status, told) in said.items() if status != 0 or "usage:" not in told] == []
