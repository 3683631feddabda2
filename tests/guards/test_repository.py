"""The repository itself: made-up NHS numbers only, tests that assert and never skip, documents that name real targets."""

import ast
import fnmatch
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Ten digits that could be an NHS number of a living person but are something else; each says what it is.
INNOCENT = {"0123456789": "the digits themselves"}

_NOT_OURS = {".git", ".venv", ".hypothesis", "__pycache__", "build", "dist", "htmlcov", "node_modules", "var"}
_TEN_DIGITS = re.compile(r"(?<![\w.+-])(\d{3})([ -]?)(\d{3})\2(\d{4})(?![\w-])")
_MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
_SKIPS = re.compile(
    r"pytest\.(skip|importorskip|xfail)\b|mark\.(skip|skipif|xfail)\b|\bSkipTest\b|skip_module|skipTest"
)


def files(pattern: str = "*") -> list[Path]:
    """Return the repository's files of that name, without what .gitignore names: also where there is no git."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name for name in folders if name not in _NOT_OURS and not name.endswith(("_cache", ".egg-info"))
        ]
        found += [Path(folder, name) for name in fnmatch.filter(names, pattern)]
    return sorted(found)


# -- people -----------------------------------------------------------------------------------------------------------


def living_numbers(text: str) -> list[str]:
    """Return what reads like a valid NHS number outside the ranges for tests (9…), repeated digits aside."""
    # Another script's digits say the same number: "٩" is a nine.
    found = (
        "".join(str(int(digit)) for digit in "".join(match.group(1, 3, 4)))
        for match in _TEN_DIGITS.finditer(text)
    )
    return [ten for ten in found if ten[0] != "9" and len(set(ten)) > 1 and _passes_modulus_11(ten)]


def _passes_modulus_11(ten: str) -> bool:
    rest = 11 - sum(int(digit) * weight for digit, weight in zip(ten, range(10, 1, -1), strict=False)) % 11
    return rest != 10 and rest % 11 == int(ten[9])


def test_no_file_holds_an_nhs_number_that_could_be_somebodys():
    found: dict[str, int] = {}
    for path in files():
        if path.parent.name == "requirements":
            continue
        try:
            numbers = set(living_numbers(path.read_text())) - INNOCENT.keys()
        except UnicodeDecodeError:
            continue
        if numbers:
            found[str(path.relative_to(ROOT))] = len(numbers)

    # The count only: a failed guard must not print the number.
    assert found == {}


@pytest.mark.parametrize("start", ["401023213", "400000000", "720000000"])
@pytest.mark.parametrize("shape", ["{}{}{}", "{} {} {}", "{}-{}-{}"])
def test_a_planted_number_is_seen(start: str, shape: str):
    tens = [start + last for last in "0123456789"]
    text = "\n".join("number: " + shape.format(ten[:3], ten[3:6], ten[6:]) + ", " for ten in tens)

    assert len(living_numbers(text)) == 1


def test_numbers_for_tests_and_other_digits_are_let_through():
    assert living_numbers("999 000 0018, 9000000009, 0000000000, 07700900123, sha 1a40102" + "32137") == []


# -- tests ------------------------------------------------------------------------------------------------------------


def silent_tests(source: str) -> list[str]:
    """Return the test functions of a module that neither assert nor expect an error, by themselves or by a helper of the module."""
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    asserting = {name for name, node in functions.items() if any(map(_is_assertion, ast.walk(node)))}
    while True:
        more = {name for name, node in functions.items() if _called(node) & asserting} - asserting
        if not more:
            break
        asserting |= more
    return [name for name in functions if name.startswith("test_") and name not in asserting]


def _is_assertion(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return True
    if not isinstance(node, ast.Call):
        return False
    name = _name(node.func)
    return name in {"raises", "warns", "fail"} or name.startswith(("assert_", "expect", "validate_response"))


def _called(node: ast.AST) -> set[str]:
    return {_name(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_every_test_asserts_something():
    silent = {
        str(path.relative_to(ROOT)): names
        for path in files("test_*.py")
        if (names := silent_tests(path.read_text()))
    }

    assert silent == {}


def test_a_planted_test_without_an_assertion_is_seen():
    planted = (
        "def helper():\n    assert 1\n"
        "def test_a():\n    print('looks fine')\n"
        "def test_b():\n    helper()\n"
        "def test_c():\n    with pytest.raises(ValueError):\n        int('x')\n"
        "class TestD:\n    def test_d(self):\n        self.client.get('/')\n"
    )

    assert silent_tests(planted) == ["test_a", "test_d"]


def test_no_test_is_skipped_or_expected_to_fail():
    here = Path(__file__)
    skipping = [
        str(path.relative_to(ROOT))
        for path in files("*.py")
        if path != here and _SKIPS.search(path.read_text())
    ]

    assert skipping == []


@pytest.mark.parametrize(
    "planted",
    [
        "@pytest.mark.skipif(not REDIS, reason='')",
        "pytest.skip('no PostgreSQL')",
        "pytest.importorskip('redis')",
    ],
)
def test_a_planted_skip_is_seen(planted: str):
    assert _SKIPS.search(planted)


# -- documents --------------------------------------------------------------------------------------------------------


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


def unknown_targets(text: str) -> set[str]:
    """Return the make targets that a document's code names and that the Makefile does not have."""
    code = re.findall(r"`[^`\n]+`|^```.*?^```", text, re.MULTILINE | re.DOTALL)
    return {target for piece in code for target in _MAKE.findall(piece)} - targets()


def test_the_promised_commands_exist():
    promised = {"run", "test", "test-long", "check", "install", "demo", "bench", "clean", "lock", "help"}

    assert promised <= targets()


def test_documents_name_targets_that_exist():
    assert (ROOT / "README.md").is_file()
    wrong = {
        str(path.relative_to(ROOT)): names
        for path in files("*.md")
        if (names := unknown_targets(path.read_text()))
    }

    assert wrong == {}


def test_a_planted_target_is_seen():
    assert unknown_targets("Say `make tea`, then\n```\nmake run\nmake coffee\n```\nand make sense.") == {
        "tea",
        "coffee",
    }


def test_ci_runs_the_three_commands():
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & 0o111
    assert _MAKE.findall(script.read_text()) == ["check", "test", "test-long"]
