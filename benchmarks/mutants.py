"""Does a test fail for every small change to the evaluator of consent? Mutation testing of its pure core, by mutmut.

    python benchmarks/mutants.py
    python benchmarks/mutants.py --only "consent.rules.fold.*"

A copy of the checkout is changed in one place at a time, and the core tests that reach the place are run until one fails. mutmut is no
dependency of the project: it is installed beside it for the run. Generated examples are the same each time, and are not made smaller where
one fails. Left over are the changes that no test noticed, each printed: some change nothing that could be seen, and a reader has to tell
which.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.watch import machine, versions  # noqa: E402

MUTMUT = "mutmut==3.8.1"
CHANGED = ("consent/rules/evaluate.py", "consent/rules/fold.py", "consent/rules/attributes.py")
TESTS = (
    "tests/core/test_consent_decisions.py",
    "tests/spec/test_consent_hard_cases.py",
    "tests/core/test_hours.py",
    "tests/core/test_what_if.py::test_a_judgement_says_what_the_decision_says",
)
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "var", "node_modules", "*_cache", "__pycache__", "*.egg-info"
)
_PROFILE = """

from hypothesis import Phase

settings.register_profile(
    "mutants", phases=[Phase.explicit, Phase.generate], database=None, deadline=None, derandomize=True
)
settings.load_profile("mutants")
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument(
        "--only", nargs="*", default=[], help="mutants by name, * for anything; all if not given"
    )
    options.add_argument("--processes", type=int, default=2)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = installed(folder)
        copy = folder / "copy"
        shutil.copytree(ROOT, copy, ignore=_LEFT_OUT)
        prepare(copy)
        began = time.perf_counter()
        run = [command, "run", "--max-children", str(chosen.processes), *chosen.only]
        done = subprocess.run(run, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit(done.stdout[-4_000:])
        found = counted(copy, command)
        took = time.perf_counter() - began
        left = names_left(copy, command)
        print(f"{machine()}; {MUTMUT}, {versions('hypothesis', 'pytest')}; {took / 60:.0f} minutes")
        tried = sum(found[name] for name in ("killed", "timeout", "survived", "no_tests"))
        print(
            f"{tried} of {found['total']} changes: {found['killed']} noticed, {found['timeout']} noticed by never ending, "
            f"{found['survived']} not noticed, {found['no_tests']} in code that these tests do not reach"
        )
        for one in left:
            shown = subprocess.run([command, "show", one], cwd=copy, capture_output=True, text=True).stdout
            print("\n".join([one, *(line for line in shown.splitlines() if is_changed(line))]))


def installed(folder: Path) -> str:
    """Install mutmut beside what the project has, and return its command."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", MUTMUT], check=True)
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    (Path(own.stdout.strip()) / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return str(folder / "venv" / "bin" / "mutmut")


def prepare(copy: Path) -> None:
    also = sorted(
        path.name for path in copy.iterdir() if path.name not in ("consent", "pyproject.toml", "setup.cfg")
    )
    # In a server of its own, tests that cannot be run at all are told apart from tests that fail.
    lines = ["[mutmut]", "process_isolation=forkserver", "source_paths=", "    consent/"]
    for name, values in (
        ("only_mutate", CHANGED),
        ("pytest_add_cli_args_test_selection", TESTS),
        ("also_copy", also),
    ):
        lines += [f"{name}=", *(f"    {value}" for value in values)]
    (copy / "setup.cfg").write_text("\n".join(lines) + "\n")
    with (copy / "tests" / "conftest.py").open("a") as file:
        file.write(_PROFILE)


def counted(copy: Path, command: str) -> dict[str, Any]:
    subprocess.run([command, "export-cicd-stats"], cwd=copy, check=True, capture_output=True)
    found: dict[str, Any] = json.loads((copy / "mutants" / "mutmut-cicd-stats.json").read_text())
    return found


def names_left(copy: Path, command: str) -> list[str]:
    told = subprocess.run([command, "results"], cwd=copy, capture_output=True, text=True, check=True).stdout
    pairs = (line.strip().split(": ") for line in told.splitlines() if ": " in line)
    return [name for name, state in pairs if state in ("survived", "no tests")]


def is_changed(line: str) -> bool:
    return line[:1] in "+-" and line[:3] not in ("+++", "---")


if __name__ == "__main__":
    os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    main()
