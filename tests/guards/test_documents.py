"""What readers are shown: scripts that start, and pictures and pages that say what the code says."""

import re
import sys
import tomllib
from pathlib import Path

from foundation import metrics
from foundation.auth.roles import SCOPES
from foundation.sealing.verify import FAULTS
from foundation.settings import Settings
from foundation.topics import TOPICS
from mpi.feeds.mapping import NUMBERED, SINGLE
from mpi.matching.questions import Kind
from mpi.service.review import REASONS

ROOT = Path(__file__).resolve().parents[2]
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def test_no_script_hides_a_module_of_the_standard_library():
    # `python examples/demo.py` puts examples/ first on the path: a token.py there would be imported for the standard one.
    scripts = {path.stem for folder in ("examples", "benchmarks") for path in (ROOT / folder).glob("*.py")}

    assert {"demo", "load"} <= scripts
    assert scripts & set(sys.stdlib_module_names) == set()


# -- links and names --------------------------------------------------------------------------------------------------


def pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def broken_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", _FENCED.sub("", text))
    return [link for link in links if not re.match(r"[a-z]+:", link) and not (page.parent / link).exists()]


def test_every_link_of_a_page_leads_somewhere():
    found = {str(page.relative_to(ROOT)): broken_links(page, page.read_text()) for page in pages()}

    assert len(found) > 20
    assert {page: links for page, links in found.items() if links} == {}


def test_a_planted_broken_link_is_seen():
    text = "[a](docs/README.md) [b](docs/nowhere.md#x) [c](https://example.org/)\n```\n[d](not-a-link)\n```\n"

    assert broken_links(ROOT / "README.md", text) == ["docs/nowhere.md"]


def test_every_page_is_on_the_list_of_pages():
    index = (ROOT / "docs" / "README.md").read_text()
    here = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"README.md"}

    assert {page for page in here if f"]({page})" not in index} == set()


def named_tests(text: str) -> set[tuple[str, str]]:
    """Return the test files, and the tests in them, that a page names in code."""
    return set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text))


def missing_tests(text: str) -> set[tuple[str, str]]:
    return {
        (path, name)
        for path, name in named_tests(text)
        if not (ROOT / path).is_file() or (name and f"def {name}(" not in (ROOT / path).read_text())
    }


def test_every_test_that_a_page_names_exists():
    named = {str(page.relative_to(ROOT)): missing_tests(page.read_text()) for page in pages()}

    assert len(named_tests((ROOT / "docs" / "safety.md").read_text())) > 40
    assert {page: names for page, names in named.items() if names} == {}


def test_a_planted_test_that_does_not_exist_is_seen():
    text = "`tests/guards/test_documents.py`, `tests/guards/test_documents.py::test_nothing`, `tests/no.py`"

    assert missing_tests(text) == {("tests/guards/test_documents.py", "test_nothing"), ("tests/no.py", "")}


# -- tables that repeat what the code says ----------------------------------------------------------------------------


def table_of(page: str, heading: str) -> dict[str, str]:
    """Return the table under a heading: the code of each row's first cell, and its second cell."""
    part = (ROOT / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.*?) \|", part, re.MULTILINE))


def test_the_settings_page_lists_the_variables_that_are_read():
    source = (ROOT / "foundation" / "settings.py").read_text()
    read = set(re.findall(r'"((?:MPI_|MIGRATOR_)?[A-Z][A-Z0-9_]+)"', source)) - {"INFO"}

    assert table_of("docs/operations.md", "Settings").keys() == read


def test_the_settings_page_tells_the_defaults():
    told = table_of("docs/operations.md", "Settings")
    chosen = Settings.from_environment({})

    assert told["MPI_HOST"] == f"`{chosen.host}`"
    assert told["MPI_PORT"] == f"`{chosen.port}`"
    assert told["MPI_WEB_PROCESSES"] == f"`{chosen.web_processes}`"
    assert told["MPI_WEB_THREADS"] == f"`{chosen.web_threads}`"
    assert told["MPI_MAX_BODY_BYTES"] == f"`{chosen.max_body_bytes}`"
    assert told["MPI_LOG_LEVEL"] == f"`{chosen.log_level}`"
    assert told["MPI_LOCAL_SIGN_IN"] == ("`yes`" if chosen.local_sign_in else "`no`")
    assert told["MPI_PRODUCTION"] == ("`yes`" if chosen.is_production else "`no`")
    assert told["MPI_EVENTS_KEPT_DAYS"] == f"`{chosen.events_kept_days}`"
    assert told["MPI_WEBHOOK_NETWORKS"] == told["MPI_WEBHOOK_CA"] == "none"
    assert (chosen.webhook_networks, chosen.webhook_ca) == ((), None)
    assert told["MPI_HOME"] == f"`{chosen.home.name}`"
    assert chosen.redis_url is None
    assert told["REDIS_URL"] == "none"


def test_the_counters_page_lists_every_counter():
    part = (ROOT / "docs" / "operations.md").read_text().split("\n## Counters\n")[1].split("\n## ")[0]
    told = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in part.splitlines() if "| `" in line))
    )
    there = {
        family.name + ("_total" if family.type == "counter" else "") for family in metrics.REGISTRY.collect()
    }

    assert told == there


def test_the_page_on_proofs_lists_every_fault_in_the_words_of_the_code():
    page = (ROOT / "docs" / "how-to" / "prove-what-the-log-says.md").read_text()

    assert dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", page, re.MULTILINE)) == FAULTS


def test_the_page_on_systems_lists_every_scope_in_the_words_of_the_code():
    told = table_of("docs/how-to/connect-a-system.md", "Scopes")

    assert told == {scope: words[0].lower() + words[1:] for scope, words in SCOPES.items()}


def test_the_page_on_events_lists_every_topic_in_the_words_of_the_code():
    page = (ROOT / "docs" / "how-to" / "follow-the-index.md").read_text()
    rows = re.findall(r"^\| `([a-z.-]+)` \| (.+) \| (.+) \| `([a-z:]+)` \|$", page, re.MULTILINE)

    assert {
        name: (tells, tuple(re.findall(r"`(\w+)`", members)), scope) for name, tells, members, scope in rows
    } == {name: (topic.tells, topic.members, topic.scope) for name, topic in TOPICS.items()}


def test_the_page_on_the_queue_lists_every_kind_in_order_and_every_reason():
    page = (ROOT / "docs" / "how-to" / "work-the-review-queue.md").read_text()
    kinds = re.findall(r"^\| `([a-z-]+)` \|", page.split("\n## ")[0], re.MULTILINE)

    assert kinds == [kind.value for kind in Kind]
    assert "Reasons: " + ", ".join(f"`{reason}`" for reason in REASONS) in page


def test_the_page_on_files_lists_every_column():
    part = (
        (ROOT / "docs" / "how-to" / "load-a-file.md")
        .read_text()
        .split("\n## The file\n")[1]
        .split("\n## ")[0]
    )
    told = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in part.splitlines() if "| `" in line))
    )

    assert told == {*SINGLE, *(name for names in NUMBERED.values() for name in names)}


def test_the_page_on_reports_lists_every_report_in_its_own_words():
    page = (ROOT / "docs" / "how-to" / "run-a-report.md").read_text()
    reports = sorted((ROOT / "sql" / "reports").glob("*.sql"))

    assert reports
    for path in reports:
        words = path.read_text().splitlines()[0].removeprefix("-- ")
        assert f"| [{path.name}](../../sql/reports/{path.name}) | {words} |" in page


# -- the picture of the house -----------------------------------------------------------------------------------------


def rooms_in_the_picture() -> dict[str, float]:
    """Return how far down each room stands."""
    picture = (ROOT / "docs" / "house.svg").read_text()
    return {
        name: float(y) for y, name in re.findall(r'<text [^>]*y="([\d.]+)"[^>]*data-room="([^"]+)"', picture)
    }


def test_the_picture_shows_the_rooms_that_there_are():
    there = {
        f"{wing}/{path.stem}"
        for wing in ("mpi", "consent")
        for path in (ROOT / wing).iterdir()
        if (path / "__init__.py").is_file() or path.name == "cli.py"
    }

    assert rooms_in_the_picture().keys() == there


def test_the_picture_stacks_rooms_as_imports_run():
    rooms = rooms_in_the_picture()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for wing in ("mpi", "consent"):
        layers = next(one["layers"] for one in contracts if one["id"] == f"{wing}-rooms")
        names = [re.findall(r"\w+", layer) for layer in layers]
        heights = [
            {rooms[f"{wing}/{name}"] for name in layer if f"{wing}/{name}" in rooms} for layer in names
        ]
        shown = [height for height in heights if height]

        assert all(len(height) == 1 for height in shown), wing
        assert shown == sorted(shown, key=min), wing
