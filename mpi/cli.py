"""The ``mpi`` command: load, link, train, evaluate, match and look; ``app.py`` composes the index that it works on."""

import csv
import json
import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

import click

from foundation.auth.users import active_user
from foundation.cli import (
    FAILED,
    WITH_REJECTS,
    as_json,
    change_lines,
    for_us_alone,
    known_lines,
    person_of,
    progress_bar,
    read_json,
    telling,
    whose,
    why_so,
)
from foundation.clock import SystemClock
from foundation.database import Database, metadata
from foundation.directory import Organisation, list_organisations, parse_ods_code, put_organisation
from foundation.errors import Conflict, Forbidden, Invalid, Unavailable
from foundation.ids import format_id, parse_id
from foundation.logs import configure_logs
from foundation.principal import Principal
from foundation.settings import Settings
from mpi.feeds.delimited import (
    LARGEST_FIELD,
    File,
    Row,
    check_encoding,
    columns_of,
    read_rows,
    row_reader,
    table_reader,
)
from mpi.feeds.fhir import Systems
from mpi.feeds.json_lines import count_lines, read_json_lines
from mpi.feeds.mapping import FileMap, read_map
from mpi.feeds.written import CsvWriter, JsonLinesWriter, Open, TextWriter, html_of, markdown_of, written
from mpi.matching import Model, load_model
from mpi.matching.explain import Waterfall
from mpi.matching.harm import TEAMS
from mpi.matching.model import OVER_CAP
from mpi.records import Address, HumanName, RecordKey, SourceRecord, parse_nhs_number
from mpi.service import queue, withdraw
from mpi.service.bulk_review import preview_answer
from mpi.service.by_hand import ask_whether_one, ask_whether_two, withdraw_question
from mpi.service.census import count_index, current_records, index_groups, scan_forms, verify_index
from mpi.service.context import ModelInForce, Mpi
from mpi.service.export import COLUMNS as EXPORTED
from mpi.service.export import What, export_index
from mpi.service.figures import DAYS, MOST_DAYS, Figures, Share, Waiting, read_figures
from mpi.service.golden import GoldenThen, GoldenView, ToldValue, get_golden, get_golden_then
from mpi.service.history import Entry, PersonThen, get_person_then, read_history
from mpi.service.hl7_feeds import (
    Hl7Feed,
    Reading,
    Room,
    add_feed,
    change_feed,
    get_hl7_feed,
    list_hl7_feeds,
    switch_feed,
)
from mpi.service.labels import decided_pairs
from mpi.service.link import link_waiting
from mpi.service.load import LoadReport, Reject, load_records
from mpi.service.local_ids import STATES as CHANGE_STATES
from mpi.service.local_ids import (
    LocalChange,
    get_change,
    list_changes,
    merge_local,
    renumber_local,
    undo_local,
)
from mpi.service.match import MOST_CANDIDATES, match_person
from mpi.service.models import (
    ModelChange,
    approve_model,
    list_models,
    propose_model,
    propose_roll_back,
    read_model,
    withdraw_model,
)
from mpi.service.overfull import find_overfull, retire_keys
from mpi.service.people import Why, explain_person, get_person, lookup_persons
from mpi.service.purge import (
    LEGAL_BASES,
    REASONS,
    STATES,
    Purge,
    confirm_purge,
    get_purge,
    list_purges,
    propose_purge,
    withdraw_purge,
)
from mpi.service.quality import SourceQuality, csv_of, measure_now, read_quality
from mpi.service.renew import renew_index
from mpi.service.review import REASONS as DECISION_REASONS
from mpi.service.review import (
    VERDICTS,
    Task,
    TaskOutcome,
    Verdict,
    begins_with,
    claim_task,
    comment_task,
    decide_task,
    get_task,
    list_tasks,
    release_task,
    undo_decision,
)
from mpi.service.samples import MOST_AT_ONCE, draw_links
from mpi.service.tell import lines_of, picture_of
from mpi.service.trace import Traced, count_traced, trace_waiting
from mpi.store.tasks import VIEWS
from mpi.tracing import Tracer

if TYPE_CHECKING:
    from mpi.bulk.gather import Files
    from mpi.bulk.read import Reject as BulkReject
    from mpi.service.forecast import Forecast

OPERATOR = Principal(
    kind="system",
    id="mpi-cli",
    organisation="MPI",
    scopes=frozenset(
        {"match", "match:reasons", "persons:read", "tasks:read", "tasks:manage", "quality:read"}
    ),
    organisations=frozenset({"*"}),
    client_id="mpi-cli",
)
"""Who works at the command line: an operator with the database in hand. The release gate still stands before members."""


class Composition(Protocol):
    """What ``app.py`` gives the command: settings, and the index made of them."""

    @property
    def settings(self) -> Settings: ...
    @property
    def mpi(self) -> Mpi: ...
    @property
    def tracer(self) -> Tracer: ...


needs_index = click.pass_obj
how_much = click.option(
    "--memory", default="4GB", show_default=True, help="How much to use, such as 900MB or 4GB."
)
how_many = click.option(
    "--threads", type=click.IntRange(1, 256), help="How many to use; all cores if not given."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Who is this? Load source records, link them, and ask the index."""


_telling = partial(telling, "mpi")


FORMS = ("csv", "ndjson", "parquet")
_ENDINGS = {"ndjson": (".ndjson", ".jsonl"), "parquet": (".parquet", ".pq")}
_NO_SYSTEMS = Systems("urn:none")
"""For files without FHIR Patients, or whose records a map names."""

_BULK_MISSING = "This needs more packages: pip install 'mpi-consent[bulk]'."


def _say(answer: Mapping[str, Any], is_json: bool, lines: Iterator[str] | list[str]) -> None:
    if is_json:
        click.echo(json.dumps(answer))
    else:
        for line in lines:
            click.echo(line)


# Files ---------------------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--map",
    "map_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the file calls things, in JSON or TOML: headings, constants, forms of dates, lists of codes.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="What FILE is; by its ending if not given: .ndjson and .jsonl, .parquet and .pq, else CSV.",
)
@click.option("--rejects", type=click.Path(dir_okay=False, path_type=Path), help="Where bad rows are listed.")
@click.option("--dry-run", is_flag=True, help="Check every row and store nothing.")
@click.option("--no-link", is_flag=True, help="Keep the records; a worker or `mpi link` links them.")
@as_json
@needs_index
def load(
    composition: Composition,
    file: Path,
    map_file: Path | None,
    form: str | None,
    rejects: Path | None,
    dry_run: bool,
    no_link: bool,
    is_json: bool,
) -> None:
    """Load FILE and link its records. Exit status 3 says that rows were set aside, 1 that the file could not be read, or not to its end.

    FILE is a CSV in UTF-8, lines of JSON (FHIR Patients, records as the API takes them, or rows), or Parquet. Columns come in any order. A
    bad row stops nothing: it is listed with row, field and reason, never with its values.
    """
    with _telling(is_json):
        report = load_file(
            composition.mpi,
            file,
            map_file,
            rejects,
            form=form,
            systems=Systems(composition.settings.public_url),
            dry_run=dry_run,
            link=not no_link,
            is_json=is_json,
        )
    where = rejects or _rejects_of(file)
    answer: dict[str, Any] = {**report.as_json(), "dry_run": dry_run}
    if report.rejected:
        answer["rejects"] = str(where)
    verb = "Checked" if dry_run else "Loaded"
    lines = [f"{verb} {report.rows} rows: " + ", ".join(_counts(report))]
    if report.rejected:
        lines.append(f"Set aside {report.rejected} rows; see {where}")
    if report.broken is not None:
        answer |= {"error": report.broken.code, "row": report.broken.row}
    _say(answer, is_json, lines)
    if report.broken is not None:
        if not is_json:
            click.echo(f"mpi: {report.broken}", err=True)
        sys.exit(FAILED)
    if report.rejected:
        sys.exit(WITH_REJECTS)


def _counts(report: LoadReport) -> list[str]:
    counts = report.as_json()
    return [f"{counts[name]} {name}" for name in counts if name not in ("rows", "rejected")]


def _rejects_of(file: Path) -> Path:
    return file.with_name(file.name + ".rejects.csv")


def load_file(
    mpi: Mpi,
    file: Path,
    map_file: Path | None = None,
    rejects: Path | None = None,
    *,
    form: str | None = None,
    systems: Systems = _NO_SYSTEMS,
    dry_run: bool = False,
    link: bool = True,
    is_json: bool = True,
) -> LoadReport:
    """Load a file and list its bad rows beside it; the list is there only if there is one.

    Args:
        form: what the file is; its ending says so if not given.
        systems: by which FHIR Patients name the record that they are.
    """
    mapping = read_map(map_file) if map_file else FileMap()
    size, rows = open_rows(file, form, mapping, mpi.today(), systems)
    where = rejects or _rejects_of(file)
    if any(where.exists() and where.samefile(read) for read in (file, map_file) if read is not None):
        raise Invalid("rejects-over-input", detail="--rejects names a file that is to be read.")
    with _Rejects(where) as listed, progress_bar(max(1, size), "Loading", is_json) as progress:
        return load_records(mpi, rows, reject=listed.add, progress=progress, dry_run=dry_run, link=link)


def _form_of(file: Path, form: str | None) -> str:
    return form or next((name for name, ends in _ENDINGS.items() if file.suffix.lower() in ends), "csv")


def open_rows(
    file: Path, form: str | None, mapping: FileMap, today: date, systems: Systems = _NO_SYSTEMS
) -> tuple[int, Iterable[Row]]:
    """Return how many rows a file has, about, and the rows.

    Raises:
        Invalid: about the file's form.
        Unavailable: ``bulk-not-installed``, for Parquet.
    """
    form = _form_of(file, form)
    if form == "ndjson":
        return count_lines(file), read_json_lines(file, today, mapping, systems)
    if form == "csv":
        return check_encoding(file) - 1, read_rows(file, today, mapping)
    try:
        from mpi.bulk.parquet import open_parquet  # an extra: only where it is asked for
    except ModuleNotFoundError as fault:
        raise Unavailable("bulk-not-installed", detail=_BULK_MISSING) from fault
    found = open_parquet(file)
    read = table_reader(today, mapping)
    rows = (read(number, found.headings, values) for number, values in found)
    return found.size, (row for row in rows if row is not None)


class _Rejects:
    """The list of rows that were set aside, written line by line; an older list of the same name goes first.

    Raises:
        Unavailable: ``rejects-unwritable``, before the load where it can be known, else at the row that could not be listed.
    """

    def __init__(self, path: Path, heads: tuple[str, ...] = ("row", "field", "code")) -> None:
        self._path = path
        self._heads = heads
        self._file: TextIO | None = None
        self.count = 0

    def __enter__(self) -> "_Rejects":
        try:
            if self._path.is_file():  # never a device
                self._path.unlink()
        except OSError as fault:
            raise _unwritable(fault) from fault
        if not os.access(self._path if self._path.exists() else self._path.parent, os.W_OK):
            raise _unwritable()
        return self

    def add(self, reject: Reject) -> None:
        self.write(reject.row, reject.field or "", reject.code)

    def write(self, *values: object) -> None:
        try:
            if self._file is None:
                self._file = open(
                    self._path, "w", encoding="utf-8", newline="", buffering=1, opener=for_us_alone
                )
                self._file.write(",".join(self._heads) + "\n")
            csv.writer(self._file, lineterminator="\n").writerow(values)
        except OSError as fault:
            raise _unwritable(fault) from fault

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # what was not written has been told
                self._file.close()


def _unwritable(fault: OSError | None = None) -> Unavailable:
    why = f" ({fault.strerror})" if fault is not None and fault.strerror else ""
    return Unavailable("rejects-unwritable", detail=f"The list of rows set aside cannot be written{why}.")


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--organisation", required=True, help="Whose file it is: rows of others are faults.")
@click.option(
    "--map",
    "map_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="As for `mpi load`.",
)
@click.option("--format", "form", type=click.Choice(FORMS), help="What FILE is; by its ending if not given.")
@click.option(
    "--minutes",
    multiple=True,
    metavar="TYPE=MINUTES",
    help="How long a reader needs for a task of a type, such as possible-match=4; may come again.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report there too: .html, .json, else Markdown.",
)
@how_much
@how_many
@as_json
@needs_index
def onboard(
    composition: Composition,
    file: Path,
    organisation: str,
    map_file: Path | None,
    form: str | None,
    minutes: tuple[str, ...],
    out: Path | None,
    memory: str,
    threads: int | None,
    is_json: bool,
) -> None:
    """Say what FILE of a new organisation would come to, before any of it is kept: faults, duplicates, links, and hours for the queue.

    Its records are linked beside the index by the model in force. Nothing is stored. The report holds counts alone.
    """
    with _telling(is_json):
        try:
            from mpi.service.onboard import notes_of, sections_of, try_onboarding
            from mpi.service.switch import working_folder
        except ModuleNotFoundError as fault:
            raise Unavailable("bulk-not-installed", detail=_BULK_MISSING) from fault
        mpi = composition.mpi
        each = dict(map(_minutes, minutes))
        code = parse_ods_code(organisation)
        mapping = read_map(map_file) if map_file else FileMap()
        _, rows = open_rows(file, form, mapping, mpi.today(), Systems(composition.settings.public_url))
        with working_folder(composition.settings.home) as folder:
            found = try_onboarding(
                mpi,
                folder,
                rows,
                code,
                minutes=each,
                memory=_bytes(memory),
                threads=threads or os.cpu_count() or 1,
                say=_stages(is_json),
            )
        sections, notes = sections_of(found), notes_of(found)
        if out is not None:
            ending = out.suffix.lower()
            text = (
                json.dumps(found.as_json(), indent=2) + "\n"
                if ending == ".json"
                else html_of(sections, notes)
                if ending == ".html"
                else markdown_of(sections, notes)
            )
            with written(out, TextWriter, {}) as whole:
                whole.write([[text]])
                whole.finish()
    _say(found.as_json(), is_json, markdown_of(sections, notes).splitlines())


def _minutes(said: str) -> tuple[str, float]:
    kind, _, number = said.partition("=")
    try:
        minutes = float(number)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes <= 1_440:
        raise click.BadParameter("must be such as possible-match=4", param_hint="--minutes")
    return kind, minutes


@cli.command("export")
@click.argument("what", type=click.Choice(tuple(EXPORTED)))
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    required=True,
    help="The file; one of that name is replaced once the new one is whole.",
)
@click.option("--organisation", help="What is of this organisation's own records; of all if not given.")
@click.option(
    "--format", "form", type=click.Choice(FORMS), help="What to write; by the ending of --to if not given."
)
@as_json
@needs_index
def export_command(
    composition: Composition,
    what: What,
    to: Path,
    organisation: str | None,
    form: str | None,
    is_json: bool,
) -> None:
    """Write the crosswalk (local id to person), the links inside persons, or the persons to a file, as of one moment. It is audited.

    The file is for its owner alone. Without --organisation people whose location is protected are left out, and so they are of links.
    """
    with _telling(is_json):
        with (
            written(to, _writer_of(_form_of(to, form)), EXPORTED[what]) as whole,
            progress_bar(lambda: count_index(composition.mpi)["records"], "Exporting", is_json) as progress,
        ):
            code = None if organisation is None else parse_ods_code(organisation)
            done = export_index(composition.mpi, what, whole, OPERATOR, organisation=code, progress=progress)
    _say(
        {**done.as_json(), "file": str(to)},
        is_json,
        [f"Wrote {done.rows} rows to {to}, SHA-256 {done.sha256}"],
    )


def _writer_of(form: str) -> Open:
    """Return what writes a form.

    Raises:
        Unavailable: ``bulk-not-installed``, for Parquet.
    """
    if form != "parquet":
        return CsvWriter if form == "csv" else JsonLinesWriter
    try:
        from mpi.bulk.parquet import ParquetWriter  # an extra: only where it is asked for
    except ModuleNotFoundError as fault:
        raise Unavailable("bulk-not-installed", detail=_BULK_MISSING) from fault
    return ParquetWriter


@cli.command()
@click.argument("records", type=click.IntRange(1, 10_000_000))
@click.option(
    "--to", type=click.Path(file_okay=False, path_type=Path), required=True, help="A folder for the files."
)
@click.option("--seed", default=1, show_default=True, help="The same seed and size give the same bytes.")
@click.option("--with-rejects", is_flag=True, help="Damage some rows so that a loader must refuse them.")
@as_json
def sample(records: int, to: Path, seed: int, with_rejects: bool, is_json: bool) -> None:
    """Make up RECORDS source records of a region like London: records.csv, organisations.csv, and truth.csv apart."""
    from mpi.sample import write_sample

    with _telling(is_json), progress_bar(records, "Making up", is_json) as progress:
        written = 0

        def told(so_far: int) -> None:
            nonlocal written
            progress(so_far - written)
            written = so_far

        made = write_sample(to, records, seed, told, with_rejects=with_rejects)
    answer = {
        "records": made.records,
        "persons": made.persons,
        "households": made.households,
        "organisations": made.organisations,
        "seed": made.seed,
        "folder": str(to),
    }
    lines = [
        f"Wrote {made.records} records of {made.persons} persons at {made.organisations} organisations to {to}"
    ]
    _say(answer, is_json, lines)


@cli.group()
def organisation() -> None:
    """The directory of organisations; records of others are refused."""


@organisation.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@needs_index
def organisation_load(composition: Composition, file: Path, is_json: bool) -> None:
    """Put the organisations of FILE into the directory: a CSV of ods_code, name, setting and, if there is one, parent."""
    with _telling(is_json):
        count = load_organisations(composition.mpi.db, file)
    _say({"organisations": count}, is_json, [f"{count} organisations are in the directory"])


@organisation.command("list")
@as_json
@needs_index
def organisation_list(composition: Composition, is_json: bool) -> None:
    """List the directory."""
    with composition.mpi.db.read() as tx:
        found = list_organisations(tx)
    rows = [
        {"ods_code": one.ods_code, "name": one.name, "setting": one.setting, "parent": one.parent}
        for one in found
    ]
    lines = (f"{one.ods_code:<10} {one.setting:<14} {one.name}" for one in found)
    _say({"organisations": rows}, is_json, lines)


def load_organisations(database: Database, file: Path) -> int:
    """Read a file of organisations into the directory, all or none; return how many.

    Raises:
        Invalid: ``column-missing``, ``field-missing``, ``parent-circular``, a fault of the file or of an organisation, naming the row.
    """
    found = {
        row["ods_code"]: (
            number,
            Organisation(row["ods_code"], row["name"], row["setting"], parent=row.get("parent") or None),
        )
        for number, row in _table(file, ("ods_code", "name", "setting"))
    }
    put_organisations(database, dict(found.values()))
    return len(found)


def put_organisations(database: Database, rows: Mapping[int, Organisation]) -> None:
    """Put organisations, by the numbers of their rows, into the directory: all or none, parents before those who name them.

    Raises:
        Invalid: ``parent-circular``, or a fault of an organisation, naming the row.
    """
    waiting = {one.ods_code: (number, one) for number, one in rows.items()}
    with database.write() as tx:
        while waiting:
            ready = [code for code, (_, one) in waiting.items() if one.parent not in waiting]
            if not ready:
                raise Invalid("parent-circular", field="parent")
            for code in ready:
                number, one = waiting.pop(code)
                try:
                    put_organisation(tx, one)
                except Invalid as fault:
                    raise Invalid(fault.code, field=fault.field, row=number) from fault


def _table(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV with their numbers; none of these columns may be missing, or empty in a row.

    Raises:
        Invalid: ``column-missing``, ``field-missing``, ``row-unreadable``, or a fault of the file, naming the row.
    """
    check_encoding(file)
    csv.field_size_limit(LARGEST_FIELD)
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text)
        number = 1
        try:
            for name in columns:
                if name not in (reader.fieldnames or ()):
                    raise Invalid("column-missing", field=name, row=1)
            for number, row in enumerate(reader, start=2):
                for name in columns:
                    if not row.get(name):
                        raise Invalid("field-missing", field=name, row=number)
                yield number, row
        except csv.Error as fault:
            raise Invalid("row-unreadable", row=number + 1) from fault


@cli.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1_000_000_000,
    show_default="all",
    help="Without FILES: at most this many records.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="The folder for the answers.")
@click.option(
    "--store",
    "is_store",
    is_flag=True,
    help="Link the records of the index instead of FILES; write --out only.",
)
@click.option(
    "--into-index",
    "into_index",
    is_flag=True,
    help="Bring FILES (CSV) into the index, linked, by one switch.",
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --into-index: where bad rows are listed; beside the first of FILES if not given.",
)
@click.option(
    "--model",
    "model_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Another model.",
)
@click.option(
    "--cut",
    type=click.Choice(("live", "balanced")),
    default="live",
    show_default=True,
    help="Link what goes live, or at even odds and without the safety rules of pairs.",
)
@click.option(
    "--map",
    "map_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Other headings, as JSON: {"Their heading": "our_column", "Not wanted": null}.',
)
@how_much
@how_many
@click.option("--engine", type=click.Choice(("duckdb", "spark")), default="duckdb", show_default=True)
@click.option(
    "--master",
    help="With --engine spark: where it runs, such as local[4], local-cluster[2,1,1024] or spark://host:7077.",
)
@click.option("--format", "form", type=click.Choice(("csv", "parquet")), default="csv", show_default=True)
@as_json
@needs_index
def link(
    composition: Composition,
    files: tuple[Path, ...],
    limit: int,
    out: Path | None,
    is_store: bool,
    into_index: bool,
    rejects: Path | None,
    model_file: Path | None,
    cut: Literal["live", "balanced"],
    map_file: Path | None,
    memory: str,
    threads: int | None,
    engine: Literal["duckdb", "spark"],
    master: str | None,
    form: Literal["csv", "parquet"],
    is_json: bool,
) -> None:
    """Link records that were left waiting, by a crash or by `mpi load --no-link`; with FILES, link those by themselves.

    FILES are CSV, Parquet (.parquet) or lines of JSON (.ndjson), under the headings that `mpi load` knows; a line of JSON may also be a
    record as the API takes it. No database is read or written: --out gets persons, edges, tasks, rejects.csv and report.json. A run
    that was killed goes on where it ended when it is started again. Exit status 3 says that rows were set aside. On Spark, the master and
    its settings say how much to use.

    With --store the records of the index are linked by themselves, people's decisions aside, as if they had come in a file. With
    --into-index FILES are brought into the index: linked with what is there and put in its place at once, or not at all.
    """
    _check_link_options(files, out, is_store=is_store, into_index=into_index)
    if (is_store or into_index) and (engine == "spark" or master is not None):
        raise click.UsageError("--store and --into-index run on one machine, without Spark.")
    if into_index:
        if model_file is not None or cut != "live":
            raise click.UsageError("--into-index links by the model of the index (MPI_MODEL), live.")
        _link_into_index(composition, files, map_file, rejects, _bytes(memory), threads, is_json=is_json)
        return
    if is_store:
        assert out is not None
        with _telling(is_json):
            mpi = composition.mpi
            report = link_store(
                replace(mpi, model=load_model(model_file)) if model_file else mpi,
                out,
                cut,
                _bytes(memory),
                threads or os.cpu_count() or 1,
                form,
                is_json=is_json,
            )
        _say(report, is_json, _link_lines(report, out))
        return
    if files:
        if out is None:
            raise click.UsageError("FILES need --out, a folder for the answers.")
        if (engine == "spark") != (master is not None):
            raise click.UsageError("--engine spark and --master go together.")
        with _telling(is_json):
            model = load_model(model_file or composition.settings.model_path)
            report = link_plain_files(
                files,
                out,
                model,
                cut,
                map_file,
                _bytes(memory),
                threads or os.cpu_count() or 1,
                form,
                master,
                is_json=is_json,
            )
        _say(report, is_json, _link_lines(report, out))
        if report["rejected"]:
            sys.exit(WITH_REJECTS)
        return
    with _telling(is_json):
        waiting = count_index(composition.mpi)["waiting"]
        with progress_bar(min(limit, waiting), "Linking", is_json) as progress:
            taken = link_waiting(composition.mpi, limit, progress=progress)
        counts = count_index(composition.mpi)
    _say({"linked": taken, **counts}, is_json, [f"Linked {taken} records; {counts['persons']} persons"])


def _check_link_options(
    files: tuple[Path, ...], out: Path | None, *, is_store: bool, into_index: bool
) -> None:
    if is_store and (files or into_index):
        raise click.UsageError("--store reads the index: it goes with neither FILES nor --into-index.")
    if is_store and out is None:
        raise click.UsageError("--store needs --out, a folder for the answers.")
    if into_index and not files:
        raise click.UsageError("--into-index needs FILES; `mpi relink` links the index again.")
    if into_index and out is not None:
        raise click.UsageError("--into-index answers in the index: it takes no --out.")


def link_store(
    mpi: Mpi,
    out: Path,
    cut: Literal["live", "balanced"] = "live",
    memory: int = 4 << 30,
    threads: int = 2,
    form: Literal["csv", "parquet"] = "csv",
    *,
    is_json: bool = True,
) -> dict[str, Any]:
    """Link the records in force by themselves; the index is read, and nothing in it changes.

    Raises:
        Unavailable: ``bulk-not-installed``.
    """
    try:
        from mpi.bulk.run import Job, link_forms_at_hand  # heavy, and an extra: only where it is asked for
    except ModuleNotFoundError as fault:
        raise Unavailable("bulk-not-installed", detail=_BULK_MISSING) from fault
    if isinstance(mpi.model, ModelInForce):
        mpi = mpi.present()  # another model may be given, to try it
    forms = (([one.row.key for one in some], [one.form for one in some]) for some in scan_forms(mpi))
    return link_forms_at_hand(Job((), out, mpi.model, cut, form, memory, threads), forms, _stages(is_json))


def _stages(is_json: bool) -> Callable[[str, int, int], None]:
    """Tell on the terminal's error stream what a bulk run is at; nothing for machines and logs."""

    def say(what: str, done: int, whole: int) -> None:
        if not is_json and sys.stderr.isatty():
            click.echo(f"{what} {done + 1}/{whole}" if whole else f"{what} {done}", err=True)

    return say


def _link_into_index(
    composition: Composition,
    files: tuple[Path, ...],
    map_file: Path | None,
    rejects: Path | None,
    memory: int,
    threads: int | None,
    *,
    is_json: bool,
) -> None:
    where = rejects or _rejects_of(files[0])
    with _telling(is_json):
        answer = link_files_into_index(
            composition.mpi,
            composition.settings.home,
            files,
            map_file,
            where,
            memory,
            threads or os.cpu_count() or 1,
            is_json=is_json,
        )
    counts = answer["load"]
    lines = [
        f"Read {counts['rows']} rows: "
        + ", ".join(f"{counts[name]} {name}" for name in counts if name not in ("rows", "rejected")),
        *_switch_lines(answer),
    ]
    if counts["rejected"]:
        answer["rejects"] = str(where)
        lines.append(f"Set aside {counts['rejected']} rows; see {where}")
    _say(answer, is_json, lines)
    if counts["rejected"]:
        sys.exit(WITH_REJECTS)


def link_files_into_index(
    mpi: Mpi,
    home: Path,
    files: tuple[Path, ...],
    map_file: Path | None = None,
    rejects: Path | None = None,
    memory: int = 4 << 30,
    threads: int = 2,
    *,
    is_json: bool = True,
    at_step: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Bring files into the index by one switch, and return what that came to.

    Raises:
        Unavailable: ``bulk-not-installed``, ``bulk-running``, ``keys-overfull``.
        Invalid: about the files' form or headings; nothing has happened then.
    """
    try:
        from mpi.service.switch import load_index, working_folder
    except ModuleNotFoundError as fault:
        raise Unavailable("bulk-not-installed", detail=_BULK_MISSING) from fault
    mapping = read_map(map_file).headings_only() if map_file else None
    for file in files:
        check_encoding(file)
    # A heading that is not known is told before any work.
    readers = [File(file, mpi.today(), mapping) for file in files]
    where = rejects or _rejects_of(files[0])
    if any(where.exists() and where.samefile(read) for read in (*files, map_file) if read is not None):
        raise Invalid("rejects-over-input", detail="--rejects names a file that is to be read.")
    with _Rejects(where, ("file", "row", "field", "code")) as listed, working_folder(home) as folder:
        report, switched = load_index(
            mpi,
            folder,
            readers,
            reject=lambda number, one: listed.write(files[number].name, one.row, one.field or "", one.code),
            memory=memory,
            threads=threads,
            say=_stages(is_json),
            at_step=at_step,
        )
    return {"load": report.as_json(), **switched.as_json(), **_left(mpi)}


def _left(mpi: Mpi) -> dict[str, int]:
    return {"waiting": count_index(mpi)["waiting"]}


def _switch_lines(answer: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{answer['records']} records, {answer['new']} of them new: {answer['persons']} persons, {answer['persons_before']} before; "
        f"{answer['moved']} records moved, {answer['joined']} persons joined others, {answer['parted']} were parted",
        f"{answer['pairs']} pairs weighed, {answer['edges']} edges; {answer['tasks_opened']} tasks opened, "
        f"{answer['tasks_closed']} closed",
    ]
    if answer["renewed"]:
        lines.append(f"{answer['renewed']} records were read again by the model")
    if answer["waiting"]:
        lines.append(f"{answer['waiting']} records wait for linking")
    return lines


@cli.command()
@click.option(
    "--model",
    "model_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Under this model, where none was ever activated; set MPI_MODEL to it for the services that go on.",
)
@click.option("--memory", default="4GB", show_default=True, help="How much to use, such as 900MB or 4GB.")
@click.option("--threads", type=click.IntRange(1, 256), help="How many to use; all cores if not given.")
@as_json
@needs_index
def relink(
    composition: Composition, model_file: Path | None, memory: str, threads: int | None, is_json: bool
) -> None:
    """Link the whole index again, and put the answer in the place of what stands by one switch.

    Decisions of people stand. Matches are answered meanwhile, records are kept, and what came is linked when the switch is done. A run
    that ends early has changed nothing.
    """
    with _telling(is_json):
        try:
            from mpi.service.switch import relink_index, working_folder
        except ModuleNotFoundError as fault:
            raise Unavailable("bulk-not-installed", detail=_BULK_MISSING) from fault
        mpi = composition.mpi
        if model_file is not None:
            if composition.settings.is_production:
                raise Conflict(
                    "model-not-approved",
                    detail="This index is marked production: propose the model, and let a second person approve it.",
                )
            mpi = replace(mpi, model=load_model(model_file))
        mpi = mpi.present()
        with working_folder(composition.settings.home) as folder:
            switched = relink_index(
                mpi,
                folder,
                OPERATOR,
                memory=_bytes(memory),
                threads=threads or os.cpu_count() or 1,
                say=_stages(is_json),
            )
        answer = {
            "model": {"name": mpi.model.name, "revision": mpi.model.revision},
            **switched.as_json(),
            **_left(mpi),
        }
    _say(answer, is_json, _switch_lines(answer))


@cli.command()
@click.argument("model_file", metavar="MODEL", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--most",
    type=click.IntRange(0, 10_000),
    default=50,
    show_default=True,
    help="How many of the most changed people to tell.",
)
@how_much
@how_many
@as_json
@needs_index
def forecast(
    composition: Composition,
    model_file: Path,
    most: int,
    memory: str,
    threads: int | None,
    is_json: bool,
) -> None:
    """Say what the index would become under another model: persons joined and parted, links gained and lost, tasks, by subgroup.

    Nothing is changed, and everything goes on meanwhile. `mpi model propose MODEL --forecast FILE` takes what --json prints.
    """
    with _telling(is_json):
        try:
            from mpi.service.forecast import forecast_model
            from mpi.service.switch import working_folder
        except ModuleNotFoundError as fault:
            raise Unavailable("bulk-not-installed", detail=_BULK_MISSING) from fault
        mpi = replace(composition.mpi, model=load_model(model_file))
        with working_folder(composition.settings.home) as folder:
            found = forecast_model(
                mpi,
                folder,
                memory=_bytes(memory),
                threads=threads or os.cpu_count() or 1,
                most=most,
                say=_stages(is_json),
            )
    _say(found.as_json(), is_json, _forecast_lines(found))


def _forecast_lines(found: "Forecast") -> list[str]:
    present = ", ".join(f"{count} under {revision}" for revision, count in found.present.items())
    lines = [
        f"Model {found.name}, revision {found.revision}; records now stand: {present or 'none'}",
        f"Records: {found.records}"
        + (f", and {found.waiting} that wait for linking" if found.waiting else ""),
        f"Persons: {found.persons_before} now, {found.persons_after} then: "
        f"{found.persons_joined} joined of several, {found.persons_parted} taken apart",
        f"Links (pairs of records in one person): {found.links_before} now, {found.links_gained} gained, {found.links_lost} lost; "
        f"{found.records_touched} records touched",
        "Tasks opened: " + _counted(found.tasks_opened),
        "Tasks closed: " + _counted(found.tasks_closed),
    ]
    if found.links_gained or found.links_lost:
        lines += ["", f"{'by':14}{'':22}{'records':>9}{'touched':>9}{'gained':>9}{'lost':>9}"]
        lines += [
            f"{one.group:14}{one.value:22}{one.records:>9}{one.touched:>9}{one.links_gained:>9}{one.links_lost:>9}"
            for one in found.subgroups
            if one.touched
        ]
        lines += ["", "Most changed people, as they stand -> as they would"]
        lines += [
            f"{' '.join(one.before)} -> {' '.join(one.after)}: {one.records} records, {one.links_gained} gained, {one.links_lost} lost"
            for one in found.most_changed
        ]
    return lines


def _counted(tasks: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in tasks.items()) or "none"


def link_plain_files(
    files: tuple[Path, ...],
    out: Path,
    model: Model,
    cut: Literal["live", "balanced"] = "live",
    map_file: Path | None = None,
    memory: int = 4 << 30,
    threads: int = 2,
    form: Literal["csv", "parquet"] = "csv",
    master: str | None = None,
    *,
    is_json: bool = True,
) -> dict[str, Any]:
    """Link files without any index, here or on Spark's ``master``, and return the report.

    Raises:
        Unavailable: ``bulk-not-installed``, ``spark-not-installed``, or what Spark cannot do.
        Invalid: about the files' form or headings.
    """
    try:
        from mpi.bulk.run import Job, link_files  # heavy, and an extra: only where it is asked for
    except ModuleNotFoundError as fault:
        raise Unavailable("bulk-not-installed", detail=_BULK_MISSING) from fault
    mapping = read_map(map_file).headings_only() if map_file else None
    _check_texts(files)
    today = SystemClock().now().date()
    job = Job(files, out, model, cut, form, memory, threads)
    how = (lambda header: columns_of(header, mapping), row_reader(today), today, _stages(is_json))
    if master is None:
        return link_files(job, *how)
    try:
        from mpi.bulk.spark.run import link_files as link_on_spark
    except ModuleNotFoundError as fault:
        raise Unavailable(
            "spark-not-installed",
            detail="Linking on Spark needs more packages: pip install 'mpi-consent[bulk,spark]'.",
        ) from fault
    return link_on_spark(job, master, *how)


def _check_texts(files: tuple[Path, ...]) -> None:
    """Check the encoding of those files that are CSV.

    Raises:
        Invalid: as ``check_encoding``.
    """
    from mpi.bulk.read import JSON_LINES, PARQUET

    for file in files:
        if file.suffix.lower() not in (*PARQUET, *JSON_LINES):
            check_encoding(file)


_UNITS = {"MB": 1 << 20, "GB": 1 << 30}
_LEAST_MEMORY = 256 << 20


def _bytes(text: str) -> int:
    number, unit = text.strip().upper()[:-2].strip(), text.strip().upper()[-2:]
    if unit not in _UNITS or not number.isdigit() or int(number) * _UNITS[unit] < _LEAST_MEMORY:
        raise click.BadParameter("must be such as 900MB or 4GB, and at least 256MB", param_hint="--memory")
    return int(number) * _UNITS[unit]


def _link_lines(report: Mapping[str, Any], out: Path) -> list[str]:
    tasks = sum(report["tasks"].values())
    lines = [
        f"Linked {report['records']} records to {report['persons']} persons: {report['pairs']} pairs weighed, "
        f"{report['links']} links, {tasks} tasks; see {out}",
    ]
    if report["keys_dropped"]:
        lines.append(
            f"{len(report['keys_dropped'])} blocking keys were overfull and not used; see report.json"
        )
    if report["rejected"]:
        lines.append(f"Set aside {report['rejected']} rows; see {out / 'rejects.csv'}")
    return lines


@cli.command()
@as_json
@needs_index
def renew(composition: Composition, is_json: bool) -> None:
    """After a change of model (MPI_MODEL), normalise and link every record anew. Run it with writers at rest."""
    with _telling(is_json):
        total = count_index(composition.mpi)["records"]
        with progress_bar(total, "Renewing", is_json) as progress:
            renewed = renew_index(composition.mpi, progress)
        counts = count_index(composition.mpi)
    _say({"renewed": renewed, **counts}, is_json, [f"Renewed {renewed} records; {counts['persons']} persons"])


# Models --------------------------------------------------------------------------------------------------------------


@cli.group("model")
def model_group() -> None:
    """The match model in force, and how another takes its place: proposed, approved by a second person, activated, rolled back."""


@model_group.command("list")
@as_json
@needs_index
def model_list(composition: Composition, is_json: bool) -> None:
    """List the models that were ever proposed or in force, and what waits for approval."""
    with _telling(is_json):
        found = list_models(composition.mpi)
    answer = {
        "in_force": found.in_force,
        "models": [one.as_json() for one in found.models],
        "changes": [one.as_json() for one in found.changes],
    }
    waiting = [_change_lines(one) for one in found.changes if one.is_open]
    _say(answer, is_json, known_lines(found.models, _BY_SETTINGS, waiting))


_BY_SETTINGS = "by settings; nobody has approved it"


def _change_lines(one: ModelChange) -> list[str]:
    return change_lines(one, _figures_lines(one))


def _figures_lines(one: ModelChange) -> Iterator[str]:
    if one.forecast is None or one.forecast_at is None:
        yield "No forecast was made of what it would change"
        return
    of = one.forecast
    yield (
        f"Forecast of {one.forecast_at:%Y-%m-%d %H:%M}: {of['persons_before']} persons then, {of['persons_after']} with it; "
        f"{of['links_gained']} links gained, {of['links_lost']} lost; tasks opened: {_counted(of['tasks_opened'])}; "
        f"closed: {_counted(of['tasks_closed'])}"
    )
    if one.staleness is not None:
        since = f"{one.staleness.changed} of {one.staleness.records} records and {one.staleness.decisions} decisions came or changed since"
        stale = _STALE.get(one.staleness.because or "")
        yield f"STALE FORECAST ({stale}): {since}" if stale else f"{since[0].upper()}{since[1:]}"


_STALE = {
    "model-moved": "another model came into force",
    "index-changed": "the index has changed",
    "old": "it was made more than 30 days ago",
}


@model_group.command("propose")
@click.argument("model_file", metavar="MODEL", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--forecast",
    "forecast_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What `mpi forecast MODEL --json` printed.",
)
@whose
@why_so
@as_json
@needs_index
def model_propose(
    composition: Composition,
    model_file: Path,
    forecast_file: Path | None,
    username: str,
    comment: str | None,
    is_json: bool,
) -> None:
    """Keep MODEL, and ask a second person to approve that it comes into force. Nothing else changes."""
    with _telling(is_json):
        model = read_model(read_json(model_file, "model"))
        told = None if forecast_file is None else read_json(forecast_file, "forecast")
        by = person_of(composition.mpi.db, username)
        change = propose_model(composition.mpi, model, by, forecast=told, comment=comment)
    _say_change(change, is_json, f"Next: `mpi model approve {change.revision} --by ANOTHER`")


@model_group.command("roll-back")
@whose
@why_so
@as_json
@needs_index
def model_roll_back(composition: Composition, username: str, comment: str | None, is_json: bool) -> None:
    """Ask a second person to approve that the model before the one in force comes back. Nothing else changes."""
    with _telling(is_json):
        by = person_of(composition.mpi.db, username)
        change = propose_roll_back(composition.mpi, by, comment=comment)
    _say_change(change, is_json, f"Next: `mpi model approve {change.revision} --by ANOTHER`")


@model_group.command("approve")
@click.argument("revision")
@whose
@as_json
@needs_index
def model_approve(composition: Composition, revision: str, username: str, is_json: bool) -> None:
    """Approve what another person proposed: the revision that is to come into force. Nothing else changes."""
    with _telling(is_json):
        change = approve_model(composition.mpi, revision, person_of(composition.mpi.db, username))
    _say_change(change, is_json, f"Next: `mpi model activate {change.revision}`")


@model_group.command("withdraw")
@click.argument("revision")
@whose
@as_json
@needs_index
def model_withdraw(composition: Composition, revision: str, username: str, is_json: bool) -> None:
    """Take back what was proposed, approved or not; one person is enough to say no."""
    with _telling(is_json):
        change = withdraw_model(composition.mpi, revision, person_of(composition.mpi.db, username))
    _say_change(change, is_json, None)


@model_group.command("activate")
@click.argument("revision")
@how_much
@how_many
@as_json
@needs_index
def model_activate(
    composition: Composition, revision: str, memory: str, threads: int | None, is_json: bool
) -> None:
    """Do what was approved: link the whole index by the model of this REVISION, and bring it into force by the same switch.

    Decisions of people stand. Services that run go on by the new model from that moment; none has to be started again. A run that
    ends early has changed nothing.
    """
    mpi = composition.mpi
    with _telling(is_json):
        try:
            from mpi.service.activate import activate_model
            from mpi.service.switch import working_folder
        except ModuleNotFoundError as fault:
            raise Unavailable("bulk-not-installed", detail=_BULK_MISSING) from fault
        with working_folder(composition.settings.home) as folder:
            switched = activate_model(
                mpi,
                revision,
                folder,
                OPERATOR,
                memory=_bytes(memory),
                threads=threads or os.cpu_count() or 1,
                say=_stages(is_json),
            )
        model = mpi.present().model
        answer = {
            "model": {"name": model.name, "revision": model.revision},
            **switched.as_json(),
            **_left(mpi),
        }
    lines = [f"In force: model {model.name}, revision {model.revision}", *_switch_lines(answer)]
    _say(answer, is_json, lines)


def _say_change(change: ModelChange, is_json: bool, then: str | None) -> None:
    _say(change.as_json(), is_json, [*_change_lines(change), *([then] if then else [])])


@model_group.command("overfull")
@as_json
@needs_index
def model_overfull(composition: Composition, is_json: bool) -> None:
    """List the blocking keys that more than four times their rule's cap of records hold, by rule, without a value.

    Linking reads such a key in full; a bulk run refuses where they are too many.
    """
    with _telling(is_json):
        mpi = composition.mpi.present()
        found, model = find_overfull(mpi), mpi.model
    by_rule: dict[str, list[int]] = {}
    for one in found:
        by_rule.setdefault(one.rule, []).append(one.records)
    rules = [
        {
            "rule": rule,
            "cap": model.caps[rule],
            "keys": len(sizes),
            "largest": max(sizes),
            "pairs": sum(size * (size - 1) // 2 for size in sizes),
        }
        for rule, sizes in sorted(by_rule.items())
    ]
    lines = [
        f"{row['rule']}: {row['keys']} keys past {OVER_CAP} x {row['cap']} records; the fullest has {row['largest']}; {row['pairs']} pairs"
        for row in rules
    ] or ["No key is overfull"]
    _say({"model_revision": model.revision, "listed": len(model.overfull), "rules": rules}, is_json, lines)


@model_group.command("retire")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The new model's file."
)
@whose
@click.option("--approved-by", required=True, help="A second person's account.")
@as_json
@needs_index
def model_retire(composition: Composition, out: Path, username: str, approved_by: str, is_json: bool) -> None:
    """Write a model revision that lists the overfull keys of the index, so that nobody is found by them any more.

    Weights and thresholds stay. Nothing changes until services run with the new model and the index is linked again by it.
    """
    mpi = composition.mpi
    with _telling(is_json):
        if out.exists():
            raise Conflict("file-exists", field="out", detail="A model that was written is not written over.")
        with mpi.db.read() as tx:
            people = active_user(tx, username, "by"), active_user(tx, approved_by, "approved_by")

        def keep(document: Mapping[str, Any]) -> None:
            part = out.with_name(out.name + ".part")
            text = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True)
            try:
                part.write_text(text + "\n", encoding="utf-8")
                os.link(part, out)  # whole or not at all, and over nothing that has come meanwhile
            except OSError as fault:
                raise Unavailable("file-not-writable", field="out") from fault
            finally:
                part.unlink(missing_ok=True)

        retirement = retire_keys(mpi, find_overfull(mpi), *people, keep)
        records = count_index(mpi)["records"]
    answer = {
        "model": str(out),
        "model_revision": retirement.revision,
        "from_revision": retirement.from_revision,
        "retired": dict(retirement.rules),
        "records": records,
    }
    retired = ", ".join(f"{count} of {rule}" for rule, count in retirement.rules.items())
    lines = [
        f"Wrote {out}, revision {retirement.revision}, which retires keys: {retired}",
        f"Next: `mpi model propose {out}`, and let it be approved and activated: all {records} records are linked again. Where no model "
        f"was ever activated, you may set MPI_MODEL={out} for every process, and run `mpi relink`",
    ]
    _say(answer, is_json, lines)


# Lawful erasure ------------------------------------------------------------------------------------------------------


@cli.group("purge")
def purge_group() -> None:
    """Erase a source record by the act of two people, for good; what is left is a tombstone."""


def _by(mpi: Mpi, username: str) -> Principal:
    """Return the person whose account this is; with the database in hand they act for any organisation."""
    return replace(person_of(mpi.db, username), organisations=frozenset({"*"}))


a_purge = click.argument("number", metavar="PURGE_ID")


def _codes(of: Mapping[str, Iterable[str]]) -> str:
    return "A code: " + "; ".join(f"to {act}, {', '.join(codes)}" for act, codes in of.items()) + "."


def _which_record(organisation: str | None, system: str | None, number: str | None) -> RecordKey | int:
    """Return the record that a command names, by its id or by its key.

    Raises:
        Invalid: ``record-or-key``.
    """
    if number is not None and organisation is None:
        return parse_id(number, "record")
    if number is None and organisation is not None and system is not None:
        return RecordKey(organisation, system, _local_id())
    raise Invalid("record-or-key", detail="Give ORGANISATION and SYSTEM, or --record, and not both.")


def _of_record(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command name a record."""
    by_id = click.option("--record", "number", help="The record's id, instead of its key.")
    system = click.argument("system", required=False)
    return click.argument("organisation", required=False)(system(by_id(command)))


@purge_group.command("propose")
@_of_record
@click.option("--lift", is_flag=True, help="Lift the tombstone of a record, so that it may come again.")
@click.option("--reason", required=True, help=_codes(REASONS))
@click.option("--legal-basis", required=True, help=_codes(LEGAL_BASES))
@whose
@as_json
@needs_index
def purge_propose(
    composition: Composition,
    organisation: str | None,
    system: str | None,
    number: str | None,
    lift: bool,
    reason: str,
    legal_basis: str,
    username: str,
    is_json: bool,
) -> None:
    """Propose to erase a record of ORGANISATION's SYSTEM, or the one with an id, and see what would change.

    The local id is asked for, or read from standard input: on a command line others could read it.
    """
    mpi = composition.mpi
    with _telling(is_json):
        found = propose_purge(
            mpi,
            "lift" if lift else "erase",
            _which_record(organisation, system, number),
            _by(mpi, username),
            reason=reason,
            legal_basis=legal_basis,
        )
    _say_purge(found, is_json)


def _local_id(what: str = "Local id") -> str:
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True))
    return sys.stdin.readline().rstrip("\r\n")


@purge_group.command("show")
@a_purge
@whose
@as_json
@needs_index
def purge_show(composition: Composition, number: str, username: str, is_json: bool) -> None:
    """Show a proposal, and what it would change now."""
    with _telling(is_json):
        found = get_purge(composition.mpi, parse_id(number, "purge_id"), _by(composition.mpi, username))
    _say_purge(found, is_json)


@purge_group.command("confirm")
@a_purge
@click.option(
    "--seen", type=int, help="The mark that `mpi purge show` ends with; that of the proposal if not given."
)
@whose
@as_json
@needs_index
def purge_confirm(
    composition: Composition, number: str, seen: int | None, username: str, is_json: bool
) -> None:
    """Do what another person proposed. It cannot be undone."""
    mpi = composition.mpi
    with _telling(is_json):
        found = confirm_purge(mpi, parse_id(number, "purge_id"), _by(mpi, username), if_match=seen)
    _say_purge(found, is_json)


@purge_group.command("withdraw")
@a_purge
@whose
@as_json
@needs_index
def purge_withdraw(composition: Composition, number: str, username: str, is_json: bool) -> None:
    """Take a proposal back."""
    mpi = composition.mpi
    with _telling(is_json):
        found = withdraw_purge(mpi, parse_id(number, "purge_id"), _by(mpi, username))
    _say_purge(found, is_json)


@purge_group.command("list")
@click.option("--state", type=click.Choice(STATES))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@as_json
@needs_index
def purge_list(composition: Composition, state: str | None, limit: int, is_json: bool) -> None:
    """List proposals and what became of them, the newest first."""
    with _telling(is_json):
        found = list_purges(composition.mpi, OPERATOR, state=state, limit=limit)
    answer = {"purges": [_purge_as_json(one) for one in found]}
    lines = [
        f"{one.purge_id}  {one.proposed_at:%Y-%m-%d}  {one.act:<5}  {one.state:<9}  {one.reason:<18}  record {one.record_id}"
        for one in found
    ]
    _say(answer, is_json, lines or ["Nothing was ever proposed."])


def _purge_as_json(found: Purge) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "purge_id": format_id(found.purge_id),
        "act": found.act,
        "record_id": format_id(found.record_id),
        "organisation": found.organisation,
        "state": found.state,
        "reason": found.reason,
        "legal_basis": found.legal_basis,
        "proposed_by": found.proposed_by,
        "proposed_at": found.proposed_at.isoformat(),
        "closed_by": found.closed_by,
        "closed_at": None if found.closed_at is None else found.closed_at.isoformat(),
        "refused": found.refused,
        "preview": None,
        "mark": found.mark,
    }
    if found.preview is not None:
        person = found.preview.person_id
        answer["preview"] = {
            "person_id": None if person is None else format_id(person),
            "persons": [format_id(one) for one in found.preview.persons],
            "records_left": found.preview.records_left,
            "counts": dict(found.preview.counts),
        }
    return answer


def _say_purge(found: Purge, is_json: bool) -> None:
    lines = [
        f"{found.purge_id}: {found.act} record {found.record_id}, {found.reason}, {found.legal_basis}: {found.state}"
    ]
    if found.refused is not None:
        lines.append(f"It cannot be done as things stand: {found.refused}")
    if (preview := found.preview) is not None:
        of = "nobody's" if preview.person_id is None else f"person {preview.person_id}'s"
        lines.append(
            f"This will change: the record is {of}, of whom {preview.records_left} other records are left"
        )
        if len(preview.persons) > 1:
            lines.append(f"  they fall apart into {len(preview.persons)} persons")
        lines += [f"  {count:>6} {name.replace('_', ' ')}" for name, count in preview.counts.items() if count]
        lines.append(
            f"Another person confirms it: mpi purge confirm {found.purge_id} --by USER --seen {found.mark}"
        )
    _say(_purge_as_json(found), is_json, lines)


an_input = click.Path(exists=True, dir_okay=False, path_type=Path)
an_output = click.Path(dir_okay=False, path_type=Path)


@cli.command()
@click.argument("files", nargs=-1, type=an_input)
@click.option(
    "--out",
    "--to",
    "out",
    type=an_output,
    required=True,
    help="Where to write it; its card goes beside it as .md.",
)
@click.option("--name", help="What the model is called; the name of OUT if not given.")
@click.option("--map", "map_file", type=an_input, help="Other headings, as JSON, as for `mpi load`.")
@click.option(
    "--labels",
    type=an_input,
    help="What is known: organisation, system, local_id, true_person of some of the records.",
)
@click.option(
    "--labels-from-review",
    "is_from_review",
    is_flag=True,
    help="Take what people decided in the review queue of the index as labels, of the records of FILES or of the index.",
)
@click.option("--seed", default=0, show_default=True, help="The same records and seed give the same bytes.")
@click.option(
    "--population",
    type=click.IntRange(2),
    help="How many records the index is to hold: as many as in FILES, or a million without FILES, if not given.",
)
@click.option(
    "--random-pairs",
    type=click.IntRange(1_000),
    default=600_000,
    show_default=True,
    help="How many pairs drawn by chance tell how often strangers agree; fewer is faster and coarser.",
)
@how_much
@how_many
@click.option("--rejects", type=an_output, help="Where bad rows are listed; beside OUT if not given.")
@as_json
@needs_index
def train(
    composition: Composition,
    files: tuple[Path, ...],
    out: Path,
    name: str | None,
    map_file: Path | None,
    labels: Path | None,
    is_from_review: bool,
    seed: int,
    population: int | None,
    random_pairs: int,
    memory: str,
    threads: int | None,
    rejects: Path | None,
    is_json: bool,
) -> None:
    """Learn a match model from the records of FILES, or of the index, without labels or with some; set MPI_MODEL to use it.

    FILES are CSV, Parquet (.parquet) or lines of JSON (.ndjson) as for `mpi link`; no database is needed, and organisations need not be
    known. What is kept on disk meanwhile goes to the system's temporary folder (TMPDIR). Exit status 3 says that rows were set aside.
    """
    from mpi.training import model_card, read_truth_file  # heavy: only where it is asked for
    from mpi.training import train as train_model

    where = rejects or out.with_name(out.name + ".rejects.csv")
    card = out.with_suffix(".md")
    with _telling(is_json):
        _check_writable(out)
        _check_writable(card)
    with _telling(is_json), _Rejects(where, ("file", "row", "field", "code")) as listed:
        records: Files | Iterator[SourceRecord]
        if files:
            records = the_files(files, map_file, listed, _bytes(memory), threads)
        else:
            records = current_records(composition.mpi)
            population = population or 1_000_000
        known = read_truth_file(labels) if labels else None
        review = decided_pairs(composition.mpi) if is_from_review else None
        trained = train_model(
            records,
            name=name or out.stem,
            seed=seed,
            population=population,
            chance_pairs=random_pairs,
            labels=known,
            decided=review.same if review else None,
            tell=_steps(is_json),
        )
        trained.write(out)
        card.write_text(
            model_card(trained.document, trained.report, SystemClock().now().date()), encoding="utf-8"
        )
    answer: dict[str, Any] = {
        "revision": trained.model.revision,
        "file": str(out),
        "card": str(card),
        "rejected": listed.count,
        **trained.report,
        **({"review_decisions": review.decisions, "review_pairs": len(review.same)} if review else {}),
    }
    found = trained.report["pairs_of"]["person"]
    live = trained.report["thresholds"]["live"] / 1000
    lines = [
        f"Learned from {trained.report['records']} records, {trained.report['candidate_pairs']} candidate pairs: "
        f"about {found:.0f} of one person",
        *(
            [
                f"{review.decisions} decisions of the review queue said something of {len(review.same)} pairs; "
                f"{trained.report['reviewed_pairs']} of them are candidate pairs of these records"
            ]
            if review
            else []
        ),
        f"live at {live:.1f} bits: expected precision {trained.report['expected_precision']:.5f}",
        *(f"Note: {warning}" for warning in trained.report["warnings"]),
        f"Wrote {out}: model {name or out.stem}, revision {trained.model.revision}; and {card}",
    ]
    if listed.count:
        answer["rejects"] = str(where)
        lines.append(f"Set aside {listed.count} rows; see {where}")
    _say(answer, is_json, lines)
    if listed.count:
        sys.exit(WITH_REJECTS)


def _check_writable(path: Path) -> None:
    """Find out before long work whether its result can be written.

    Raises:
        Unavailable: ``file-unwritable``.
    """
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise Unavailable(
            "file-unwritable", detail=f"{path.name} cannot be written: is the folder missing, or not yours?"
        )


def the_files(
    files: tuple[Path, ...],
    map_file: Path | None,
    listed: "_Rejects",
    memory: int = 4 << 30,
    threads: int | None = None,
) -> "Files":
    """Say which files to read records of, and how; bad rows will be listed with file, row, field and code.

    Raises:
        Invalid: about a file as a whole, as ``check_encoding``.
    """
    from mpi.bulk.gather import Files  # heavy, and an extra: only where it is asked for

    mapping = read_map(map_file).headings_only() if map_file else None
    _check_texts(files)
    today = SystemClock().now().date()

    def set_aside(rejects: Sequence["BulkReject"]) -> None:
        for one in rejects:
            listed.write(files[one.file].name, one.row, one.field or "", one.code)
        listed.count += len({(one.file, one.row) for one in rejects})

    return Files(
        files,
        lambda header: columns_of(header, mapping),
        row_reader(today),
        today,
        set_aside,
        memory,
        threads or os.cpu_count() or 1,
    )


def _steps(is_json: bool) -> Callable[[str], None]:
    """Say on the terminal's error stream what is being done; nothing for machines and logs."""
    if is_json or not sys.stderr.isatty():
        return lambda step: None
    return lambda step: click.echo(f"{step.capitalize()} …", err=True)


@cli.command()
@click.argument("file", type=an_input)
@click.option(
    "--truth", type=an_input, help="Labels; FILE is then a file of persons, and no database is needed."
)
@click.option(
    "--records",
    "record_files",
    type=an_input,
    multiple=True,
    help="The records, for subgroups: CSV, Parquet or lines of JSON; again for further files.",
)
@click.option(
    "--map", "map_file", type=an_input, help="Other headings of the records, as JSON, as for `mpi load`."
)
@click.option(
    "--edges",
    type=an_input,
    help="Weighed pairs, as `mpi link --out` writes them: organisation_a … local_id_b, weight_millibits.",
)
@click.option(
    "--model",
    "model_file",
    type=an_input,
    help="Weigh the records with this model, in memory (with --records).",
)
@click.option("--no-model", is_flag=True, help="Of the index: do not judge the model by itself.")
@click.option("--html", type=an_output, help="Write a report with charts, one file.")
@click.option(
    "--show-values",
    is_flag=True,
    help="Show the names, dates and addresses behind errors in the report and in JSON. Without it there are keys and levels only.",
)
@how_much
@how_many
@click.option("--rejects", type=an_output, help="Where bad rows are listed; beside FILE if not given.")
@as_json
@needs_index
def evaluate(
    composition: Composition,
    file: Path,
    truth: Path | None,
    record_files: tuple[Path, ...],
    map_file: Path | None,
    edges: Path | None,
    model_file: Path | None,
    no_model: bool,
    html: Path | None,
    show_values: bool,
    memory: str,
    threads: int | None,
    rejects: Path | None,
    is_json: bool,
) -> None:
    """Compare persons with labels.

    With --truth, FILE is a CSV of organisation, system, local_id and person_id. Without it FILE holds the labels, and the persons of
    the index are judged. Labels are organisation, system, local_id and true_person; further columns that our samples have (community,
    sex, born, residence) give subgroups. Exit status 3 says that rows were set aside.
    """
    if html:
        with _telling(is_json):
            _check_writable(html)
    if truth is None:
        if record_files or edges or model_file:
            raise click.UsageError("--records, --edges and --model need a file of persons and --truth.")
        with _telling(is_json):
            answer = evaluation(
                composition.mpi,
                read_truth(file),
                with_model=not no_model,
                full=html is not None,
                show_values=show_values,
            )
            if html:
                _write_report(html, answer["report"], show_values)
        _say(answer, is_json, _evaluation_lines(answer) + ([f"Wrote {html}"] if html else []))
        return
    if model_file and not record_files:
        raise click.UsageError("--model needs --records.")
    if show_values and not (model_file and record_files):
        raise click.UsageError("--show-values needs --records and --model.")
    where = rejects or _rejects_of(file)
    with _telling(is_json), _Rejects(where, ("file", "row", "field", "code")) as listed:
        answer = judge_files(
            file,
            truth,
            records=the_files(record_files, map_file, listed, _bytes(memory), threads)
            if record_files
            else None,
            edges=edges,
            model=load_model(model_file) if model_file else None,
            show_values=show_values,
            listed=listed,
            tell=_steps(is_json),
        )
        if html:
            _write_report(html, answer, show_values)
    answer["rejected"] = listed.count
    lines = [*_judgement_lines(answer), *([f"Wrote {html}"] if html else [])]
    if listed.count:
        answer["rejects"] = str(where)
        lines.append(f"Set aside {listed.count} rows; see {where}")
    _say(answer, is_json, lines)
    if listed.count:
        sys.exit(WITH_REJECTS)


def _write_report(path: Path, answer: Mapping[str, Any], show_values: bool) -> None:
    from mpi.training import html_report

    path.write_text(html_report(answer, has_values=show_values), encoding="utf-8")


def judge_files(
    persons: Path,
    truth: Path,
    *,
    records: "Files | None",
    edges: Path | None,
    model: Model | None,
    show_values: bool,
    listed: "_Rejects",
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Judge a file of persons; bad rows of any file are listed and left out.

    Raises:
        Invalid: about a file as a whole, as ``read_labels``.
    """
    from mpi.training import TRUTH_SUBGROUPS, judgement, read_edges, read_labels

    tell("reading")
    found = read_labels(persons, "person_id")
    told = read_labels(truth, "true_person", keep=TRUTH_SUBGROUPS)
    weighed = read_edges(edges) if edges else None
    for path, faults, count in (
        (persons, found.faults, found.faulty_rows),
        (truth, told.faults, told.faulty_rows),
        *(((edges, weighed.faults, weighed.faulty_rows),) if edges and weighed else ()),
    ):
        listed.count += count
        for fault in faults:
            listed.write(path.name, fault.row, fault.field or "", fault.code)
    return judgement(
        found.values,
        told.values,
        extra=told.extra,
        records=records,
        edges=weighed.pairs if weighed else None,
        model=model,
        show_values=show_values,
        tell=tell,
    )


def _judgement_lines(answer: Mapping[str, Any]) -> list[str]:
    figures = answer["persons"]
    lines = [f"{figures['records']} labelled records; largest person {figures['largest_group']}"]
    for name, words in (("pairs", "Pairs"), ("persons", "Whole persons"), ("b_cubed", "Records (B-cubed)")):
        one = figures[name]
        counts = (
            f"; {one['right']} right, {one['wrong']} wrong, {one['missed']} missed" if "right" in one else ""
        )
        lines.append(
            f"{words}: precision {one['precision']:.6f}, recall {one['recall']:.5f}, F1 {one['f1']:.5f}{counts}"
        )
    low, high = figures["pairs"]["precision_interval"]
    less, more = figures["pairs"]["recall_interval"]
    lines.append(f"95 % by person: precision {low:.6f} to {high:.6f}, recall {less:.5f} to {more:.5f}")
    if figures["unlabelled_records"]:
        lines.append(f"{figures['unlabelled_records']} records have no label and are left out")
    if figures["labels_without_a_person"]:
        lines.append(f"{figures['labels_without_a_person']} labels are of records that no person holds")
    if "weights" in answer:
        blocking = answer["weights"]["blocking"]
        lines.append(f"Candidate pairs hold {blocking['recall']:.5f} of the true pairs")
    rows = answer["subgroups"]
    several = Counter(row["subgroup"] for row in rows)
    for row in (row for row in rows if several[row["subgroup"]] > 1):
        pairs = row["pairs"]
        lines.append(
            f"  {row['subgroup'] + ': ' + row['value']:<40} {row['records']:>9} records  precision {pairs['precision']:.5f}  "
            f"recall {pairs['recall']:.5f}"
        )
    return lines


def read_truth(path: Path) -> dict[RecordKey, str]:
    """Read labels for the index.

    Raises:
        Invalid: ``column-missing``, or the first row at fault.
    """
    from mpi.training import read_truth_file

    return read_truth_file(path)


def evaluation(
    mpi: Mpi,
    truth: Mapping[RecordKey, str],
    *,
    with_model: bool,
    full: bool = False,
    show_values: bool = False,
) -> dict[str, Any]:
    """Judge the index's persons, and if wanted the model on the same records in memory; ``full`` adds what a report shows."""
    from mpi.training import evaluate as evaluate_model
    from mpi.training import evaluate_groups, judgement, key_of

    mpi = mpi.present()
    groups = index_groups(mpi)
    present = {key for group in groups for key in group}
    labelled = {key: person for key, person in truth.items() if key in present}
    if not labelled:
        raise Invalid("labels-of-nobody", detail="No label is of a record in the index.")
    answer: dict[str, Any] = {
        "model": {"name": mpi.model.name, "revision": mpi.model.revision},
        "labels": len(truth),
        "index": evaluate_groups(groups, labelled).as_json(),
    }
    if with_model:
        judged = evaluate_model(current_records(mpi), labelled, mpi.model)
        answer["live"] = judged.live.as_json()
        answer["balanced"] = judged.balanced.as_json()
        answer["blocking"] = judged.blocking.as_json()
    if full:
        answer["report"] = judgement(
            {key_of(key): str(number) for number, group in enumerate(groups) for key in group},
            {key_of(key): person for key, person in truth.items()},
            records=list(current_records(mpi)),
            model=mpi.model,
            show_values=show_values,
        )
    return answer


def _evaluation_lines(answer: Mapping[str, Any]) -> list[str]:
    lines = [f"Model {answer['model']['name']}, revision {answer['model']['revision']}"]
    for name, words in (
        ("index", "Index as linked"),
        ("live", "Model at the live threshold"),
        ("balanced", "Model at even odds"),
    ):
        if name in answer:
            pairs, persons = answer[name]["pairs"], answer[name]["persons"]
            lines.append(
                f"{words}: pairs precision {pairs['precision']:.4f}, recall {pairs['recall']:.4f}, "
                f"F1 {pairs['f1']:.4f}; whole persons F1 {persons['f1']:.4f}"
            )
    if "blocking" in answer:
        lines.append(f"Blocking finds {answer['blocking']['recall']:.4f} of the true pairs")
    return lines


@cli.command()
@click.argument("number", type=click.IntRange(1, 4))
@click.option("--model", "model_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@click.pass_context
def febrl(context: click.Context, number: int, model_file: Path | None, is_json: bool) -> None:
    """Load, link and evaluate FEBRL set NUMBER (1 to 4) in a database of its own, which is thrown away."""
    from mpi.training import write_febrl

    chosen: Model | None = load_model(model_file) if model_file else None
    if chosen is None and context.obj is not None:
        chosen = load_model(context.obj.settings.model_path)
    with _telling(is_json), tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_febrl(number, home / "load.csv", home / "truth.csv")
        with scratch_index(home, chosen or load_model(), ["FEBRL"]) as mpi:
            report = load_file(mpi, home / "load.csv", is_json=is_json)
            answer = evaluation(mpi, read_truth(home / "truth.csv"), with_model=True)
    answer = {"set": number, "load": report.as_json(), **answer}
    lines = [f"FEBRL {number}: " + ", ".join(_counts(report)), *_evaluation_lines(answer)]
    _say(answer, is_json, lines)


@contextmanager
def scratch_index(home: Path, model: Model, organisations: list[str]) -> Iterator[Mpi]:
    """Give an index in a SQLite file of its own, with these organisations in its directory."""
    database = Database(f"sqlite:///{home / 'scratch.sqlite3'}", pool_size=2)
    try:
        with database.write() as tx:
            metadata.create_all(tx)
            for code in organisations:
                put_organisation(tx, Organisation(code, code, "other"))
        yield Mpi(database, SystemClock(), model)
    finally:
        database.close()


# Withdrawal ----------------------------------------------------------------------------------------------------------


@cli.group("withdraw")
def withdraw_group() -> None:
    """Take source records out of the index, one by one or a whole feed, and bring them back."""


def _withdrawer(mpi: Mpi, username: str) -> Principal:
    return replace(_reader(mpi, username, withdraw.SCOPE), organisations=frozenset({"*"}))


_HELP_OF_REASONS = (
    "A code: " + "; ".join(f"{code}, {words}" for code, words in withdraw.REASONS.items()) + "."
)
why_withdrawn = click.option("--reason", required=True, help=_HELP_OF_REASONS)


@withdraw_group.command("record")
@_of_record
@why_withdrawn
@click.option("--comment", help="In your own words; needed where the reason is other.")
@whose
@as_json
@needs_index
def withdraw_a_record(
    composition: Composition,
    organisation: str | None,
    system: str | None,
    number: str | None,
    reason: str,
    comment: str | None,
    username: str,
    is_json: bool,
) -> None:
    """Take a record of ORGANISATION's SYSTEM, or the one with an id, out of the index.

    The local id is asked for, or read from standard input: on a command line others could read it.
    """
    mpi = composition.mpi
    with _telling(is_json):
        by = _withdrawer(mpi, username)
        which = _which_record(organisation, system, number)
        out = withdraw.withdraw_record(mpi, which, by, reason=reason, comment=comment)
    (one,) = out.withdrawals
    lines = [f"{one.withdrawal_id}: record {one.record_id} is withdrawn, {one.reason}", *_out_lines(out)]
    lines.append(f"To bring it back: mpi withdraw restore --record {one.record_id} --by USER")
    _say({**_out_as_json(out), "withdrawal": _withdrawal_as_json(one)}, is_json, lines)


@withdraw_group.command("preview")
@_of_record
@whose
@as_json
@needs_index
def withdraw_preview(
    composition: Composition,
    organisation: str | None,
    system: str | None,
    number: str | None,
    username: str,
    is_json: bool,
) -> None:
    """Say what withdrawing a record would change, and change nothing. The record is named as for `mpi withdraw record`."""
    mpi = composition.mpi
    with _telling(is_json):
        by = _withdrawer(mpi, username)
        out = withdraw.preview_withdrawal(mpi, _which_record(organisation, system, number), by)
    _say(_out_as_json(out), is_json, ["This would change:", *_out_lines(out)])


@withdraw_group.command("restore")
@_of_record
@whose
@as_json
@needs_index
def withdraw_restore(
    composition: Composition,
    organisation: str | None,
    system: str | None,
    number: str | None,
    username: str,
    is_json: bool,
) -> None:
    """Bring a record back, with all that was sent of it meanwhile. It is named as for `mpi withdraw record`."""
    mpi = composition.mpi
    with _telling(is_json):
        by = _withdrawer(mpi, username)
        found = withdraw.restore_record(mpi, _which_record(organisation, system, number), by)
    person = None if found.person_id is None else format_id(found.person_id)
    answer = {"record_id": format_id(found.record_id), "person_id": person}
    of = "waits for linking" if person is None else f"is person {person}'s"
    _say(answer, is_json, [f"Record {found.record_id} is in force again, and {of}"])


@withdraw_group.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@as_json
@needs_index
def withdraw_list(composition: Composition, limit: int, is_json: bool) -> None:
    """List the withdrawals of records that stand, the newest first."""
    with _telling(is_json):
        found = withdraw.list_withdrawals(composition.mpi, OPERATOR, limit=limit)
    lines = [
        f"{one.withdrawal_id}  {one.withdrawn_at:%Y-%m-%d}  {one.organisation:<6}  {one.system:<10}  {one.reason:<19}  "
        f"record {one.record_id}" + ("" if one.feed_id is None else f", with feed {one.feed_id}")
        for one in found
    ]
    answer = {"withdrawals": [_withdrawal_as_json(one) for one in found]}
    _say(answer, is_json, lines or ["No record is withdrawn."])


@withdraw_group.command("preview-feed")
@click.argument("organisation")
@click.argument("system", required=False)
@whose
@as_json
@needs_index
def withdraw_preview_feed(
    composition: Composition, organisation: str, system: str | None, username: str, is_json: bool
) -> None:
    """Count what withdrawing all of ORGANISATION's records, or those of its SYSTEM, would take out."""
    mpi = composition.mpi
    with _telling(is_json):
        found = withdraw.preview_feed(mpi, organisation, system, _withdrawer(mpi, username))
    _say(asdict(found), is_json, [_feed_preview_line(found)])


@withdraw_group.command("feed")
@click.argument("organisation")
@click.argument("system", required=False)
@why_withdrawn
@click.option("--comment", required=True, help="Why, for whoever asks later.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.option("--no-wait", is_flag=True, help="Leave the records to a worker.")
@whose
@as_json
@needs_index
def withdraw_a_feed(
    composition: Composition,
    organisation: str,
    system: str | None,
    reason: str,
    comment: str,
    yes: bool,
    no_wait: bool,
    username: str,
    is_json: bool,
) -> None:
    """Withdraw all that ORGANISATION sent, or one SYSTEM of it, until the feed is restored.

    What it sends meanwhile is kept, and comes back with the rest. Records made of patients' forms stay.
    """
    mpi = composition.mpi
    with _telling(is_json):
        by = _withdrawer(mpi, username)
        preview = withdraw.preview_feed(mpi, organisation, system, by)
        if not yes:
            click.echo(_feed_preview_line(preview), err=True)
            click.confirm("Withdraw them?", abort=True, err=True)
        feed = withdraw.withdraw_feed(mpi, organisation, system, by, reason=reason, comment=comment)
        if not no_wait:
            feed = _followed(mpi, feed, "Withdrawing", is_json)
    _say_feed(feed, is_json)


@withdraw_group.command("restore-feed")
@click.argument("number", metavar="FEED_ID")
@click.option("--no-wait", is_flag=True, help="Leave the records to a worker.")
@whose
@as_json
@needs_index
def withdraw_restore_feed(
    composition: Composition, number: str, no_wait: bool, username: str, is_json: bool
) -> None:
    """Take the withdrawal of a feed back. Records that were withdrawn for themselves stay so; a worker links the others."""
    mpi = composition.mpi
    with _telling(is_json):
        by = _withdrawer(mpi, username)
        feed = withdraw.restore_feed(mpi, parse_id(number, "feed_id"), by)
        if not no_wait:
            feed = _followed(mpi, feed, "Restoring", is_json)
    _say_feed(feed, is_json)


@withdraw_group.command("feeds")
@as_json
@needs_index
def withdraw_feeds(composition: Composition, is_json: bool) -> None:
    """List the feeds that were ever withdrawn, the newest first."""
    with _telling(is_json):
        found = withdraw.list_feeds(composition.mpi, OPERATOR)
    answer = {"feeds": [_feed_as_json(one) for one in found]}
    _say(answer, is_json, [_feed_line(one) for one in found] or ["No feed was ever withdrawn."])


def _followed(mpi: Mpi, feed: withdraw.Feed, label: str, is_json: bool) -> withdraw.Feed:
    """Let the records of a feed follow it, and those of other feeds; return it as it then is."""
    with progress_bar(feed.records_left, label, is_json) as told:
        while withdraw.follow_feeds(mpi, progress=told):
            pass
    return next(one for one in withdraw.list_feeds(mpi, OPERATOR) if one.feed_id == feed.feed_id)


def _feed_preview_line(found: withdraw.FeedPreview) -> str:
    return f"{found.records} records in force, of {found.persons} persons"


def _feed_line(one: withdraw.Feed) -> str:
    state = "withdrawn" if one.restored_at is None else "restored"
    left = f", {one.records_left} records have yet to follow" if one.records_left else ""
    systems = one.system or "all systems"
    return f"{one.feed_id}: {one.organisation}, {systems}, {one.reason}: {state}{left}"


def _say_feed(one: withdraw.Feed, is_json: bool) -> None:
    _say(_feed_as_json(one), is_json, [_feed_line(one)])


def _feed_as_json(one: withdraw.Feed) -> dict[str, Any]:
    return {
        **asdict(one),
        "feed_id": format_id(one.feed_id),
        "withdrawn_at": one.withdrawn_at.isoformat(),
        "restored_at": None if one.restored_at is None else one.restored_at.isoformat(),
    }


def _out_as_json(out: withdraw.Out) -> dict[str, Any]:
    return {
        "person_ids": [format_id(one) for one in out.person_ids],
        "persons": [format_id(one) for one in out.persons],
        "tasks_opened": out.tasks_opened,
        "tasks_closed": out.tasks_closed,
        "handed": dict(out.handed),
    }


def _out_lines(out: withdraw.Out) -> Iterator[str]:
    was = ", ".join(f"person {one}" for one in out.person_ids) or "nobody"
    left = ", ".join(f"person {one}" for one in out.persons) or "nobody"
    yield f"  it was of {was}; of its other records {left} is left"
    yield f"  {out.tasks_opened} tasks open, {out.tasks_closed} close"
    yield from (
        f"  handed on: {count} {name.replace('_', ' ')}" for name, count in out.handed.items() if count
    )


def _withdrawal_as_json(one: withdraw.Withdrawal) -> dict[str, Any]:
    def told(number: int | None) -> str | None:
        return None if number is None else format_id(number)

    return {
        **asdict(one),
        "withdrawal_id": format_id(one.withdrawal_id),
        "record_id": format_id(one.record_id),
        "withdrawn_at": one.withdrawn_at.isoformat(),
        "feed_id": told(one.feed_id),
        "into_record_id": told(one.into_record_id),
    }


# Local ids -----------------------------------------------------------------------------------------------------------


@cli.group("local-id")
def local_id_group() -> None:
    """What a source says of its own local ids: that one record is another's, or has another id from now on."""


a_change = click.argument("number", metavar="CHANGE_ID")


@local_id_group.command("merge")
@click.argument("organisation")
@click.argument("system")
@as_json
@needs_index
def local_id_merge(composition: Composition, organisation: str, system: str, is_json: bool) -> None:
    """Let a record of ORGANISATION's SYSTEM stand for another one of it. Exit status 3 says that it waits for an answer.

    The local id of the record that goes, and of the one that stays, are asked for, or read from two lines of standard input.
    """
    with _telling(is_json):
        gone, stays = _local_id("Local id that goes"), _local_id("Local id that stays")
        change = merge_local(composition.mpi, RecordKey(organisation, system, gone), stays, OPERATOR)
    _say_local_change(change, is_json)


@local_id_group.command("renumber")
@click.argument("organisation")
@click.argument("system")
@as_json
@needs_index
def local_id_renumber(composition: Composition, organisation: str, system: str, is_json: bool) -> None:
    """Give a record of ORGANISATION's SYSTEM another local id. Exit status 3 says that it waits for an answer.

    The old local id and the new one are asked for, or read from two lines of standard input.
    """
    with _telling(is_json):
        old, new = _local_id("Old local id"), _local_id("New local id")
        change = renumber_local(composition.mpi, RecordKey(organisation, system, old), new, OPERATOR)
    _say_local_change(change, is_json)


@local_id_group.command("undo")
@a_change
@as_json
@needs_index
def local_id_undo(composition: Composition, number: str, is_json: bool) -> None:
    """Take a merge or a renumbering back."""
    with _telling(is_json):
        change = undo_local(composition.mpi, parse_id(number, "change_id"), OPERATOR)
    _say_local_change(change, is_json)


@local_id_group.command("show")
@a_change
@as_json
@needs_index
def local_id_show(composition: Composition, number: str, is_json: bool) -> None:
    """Show a merge or a renumbering, and what came of it."""
    with _telling(is_json):
        change = get_change(composition.mpi, parse_id(number, "change_id"), OPERATOR)
    _say_local_change(change, is_json)


@local_id_group.command("list")
@click.option("--state", type=click.Choice(CHANGE_STATES))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@as_json
@needs_index
def local_id_list(composition: Composition, state: str | None, limit: int, is_json: bool) -> None:
    """List merges and renumberings, the newest first."""
    with _telling(is_json):
        found = list_changes(composition.mpi, OPERATOR, state=state, limit=limit)
    answer = {"changes": [_local_change_as_json(one) for one in found]}
    lines = [
        f"{one.change_id}  {one.requested_at:%Y-%m-%d}  {one.act:<8}  {one.state:<8}  {one.organisation}  record {one.record_id}"
        for one in found
    ]
    _say(answer, is_json, lines or ["No source merged or renumbered anything."])


def _local_change_as_json(one: LocalChange) -> dict[str, Any]:
    def told(number: int | None) -> str | None:
        return None if number is None else format_id(number)

    return {
        "change_id": format_id(one.change_id),
        "act": one.act,
        "state": one.state,
        "organisation": one.organisation,
        "system": one.system,
        "record_id": format_id(one.record_id),
        "into_record_id": told(one.into_record_id),
        "task_id": told(one.task_id),
        "requested_by": one.requested_by,
        "requested_at": one.requested_at.isoformat(),
        "changed_by": one.changed_by,
        "changed_at": one.changed_at.isoformat(),
    }


def _say_local_change(one: LocalChange, is_json: bool) -> None:
    into = "" if one.into_record_id is None else f" into record {one.into_record_id}"
    lines = [f"{one.change_id}: {one.act} record {one.record_id}{into}: {one.state}"]
    if one.task_id is not None and one.state == "held":
        lines.append(f"Two readers answer task {one.task_id}; a worker does what they say.")
    elif one.state == "held":
        lines.append("It waits for the answer about an update that is held; a worker does what follows.")
    _say(_local_change_as_json(one), is_json, lines)
    if one.state == "held":
        sys.exit(WITH_REJECTS)


# HL7 v2 --------------------------------------------------------------------------------------------------------------


def _reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of how a sender's messages are read; one that is not given is None."""
    for option in reversed(
        (
            click.option("--character-set", help="Of messages that name none, such as cp1252 or utf-8."),
            click.option("--time-zone", help="Of times without an offset, such as Europe/London."),
            click.option("--local-id-type", "local_id_types", multiple=True, help="Of PID-3: MR or PI; the preferred first."),
            click.option("--authority", "authorities", multiple=True, help="Assigning authority of the local id in PID-3."),
            click.option("--number-in-pid2/--no-number-in-pid2", default=None, help="PID-2 may hold the NHS number."),
            click.option("--number-in-pid19/--no-number-in-pid19", default=None, help="PID-19 may hold the NHS number."),
            click.option(
                "--processing-id", "processing_ids", multiple=True, type=click.Choice(["P", "T", "D"]),
                help="Of MSH-11, which are taken: P, unless told otherwise.",
            ),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def _given(reading: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reading.items() if value not in (None, ())}


@cli.group("feeds")
def feeds_group() -> None:
    """Senders of HL7 v2 messages: who may send, and how it is read."""


@feeds_group.command("add")
@click.argument("application")
@click.argument("facility")
@click.argument("organisation")
@click.argument("system")
@_reading_options
@as_json
@needs_index
def feeds_add(
    composition: Composition,
    /,
    application: str,
    facility: str,
    organisation: str,
    system: str,
    is_json: bool,
    **reading: Any,
) -> None:
    """Let a sender in: APPLICATION and FACILITY as in MSH-3 and MSH-4, for ORGANISATION's SYSTEM."""
    with _telling(is_json):
        feed = add_feed(
            composition.mpi, OPERATOR, application, facility, organisation, system, Reading(**_given(reading)),
            is_production=composition.settings.is_production,
        )  # fmt: skip
    _say_hl7_feed(feed, is_json)


@feeds_group.command("change")
@click.argument("number", metavar="FEED_ID")
@_reading_options
@as_json
@needs_index
def feeds_change(composition: Composition, /, number: str, is_json: bool, **reading: Any) -> None:
    """Read a sender's messages otherwise from now on; what is not named stays."""
    with _telling(is_json):
        feed = change_feed(
            composition.mpi, OPERATOR, parse_id(number, "feed_id"),
            is_production=composition.settings.is_production, **_given(reading),
        )  # fmt: skip
    _say_hl7_feed(feed, is_json)


@feeds_group.command("show")
@click.argument("number", metavar="FEED_ID")
@as_json
@needs_index
def feeds_show(composition: Composition, number: str, is_json: bool) -> None:
    """Show a sender, and how its messages are read."""
    with _telling(is_json):
        feed = get_hl7_feed(composition.mpi, parse_id(number, "feed_id"))
    _say_hl7_feed(feed, is_json)


@feeds_group.command("list")
@as_json
@needs_index
def feeds_list(composition: Composition, is_json: bool) -> None:
    """List who may send."""
    with _telling(is_json):
        found = list_hl7_feeds(composition.mpi)
    answer = {"feeds": [_hl7_feed_as_json(one) for one in found]}
    _say(answer, is_json, [_hl7_feed_line(one) for one in found] or ["Nobody may send."])


@feeds_group.command("stop")
@click.argument("number", metavar="FEED_ID")
@as_json
@needs_index
def feeds_stop(composition: Composition, number: str, is_json: bool) -> None:
    """Take a sender's messages no more: they are refused, and it keeps them."""
    with _telling(is_json):
        feed = switch_feed(composition.mpi, OPERATOR, parse_id(number, "feed_id"), is_on=False)
    _say_hl7_feed(feed, is_json)


@feeds_group.command("start")
@click.argument("number", metavar="FEED_ID")
@as_json
@needs_index
def feeds_start(composition: Composition, number: str, is_json: bool) -> None:
    """Take the messages of a sender that was stopped again."""
    with _telling(is_json):
        feed = switch_feed(composition.mpi, OPERATOR, parse_id(number, "feed_id"), is_on=True)
    _say_hl7_feed(feed, is_json)


@feeds_group.command("send")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=2575, show_default=True, type=click.IntRange(1, 65_535))
@click.option(
    "--ca",
    "authorities",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="By TLS; the listener's certificate is known by these.",
)
@as_json
def feeds_send(file: Path, host: str, port: int, authorities: Path | None, is_json: bool) -> None:
    """Send the messages of a text file to a listener, for trials. Exit status 3 says that some were refused.

    Each message begins with a line of MSH; its segments follow, a line each.
    """
    from mpi.feeds.hl7.send import Answer, Sending, read_messages

    answers: list[Answer] = []
    with _telling(is_json):
        messages = read_messages(file)
        with (
            Sending(host, port, authorities) as sending,
            progress_bar(len(messages), "Sending", is_json) as progress,
        ):
            for message in messages:
                answers += sending.send(message)
                progress(1)
    told = [str(one) for one in answers]
    _say({"sent": len(messages), "answers": told}, is_json, told)
    if not all(one.is_kept for one in answers):
        sys.exit(WITH_REJECTS)


@feeds_group.command("simulate")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=2575, show_default=True, type=click.IntRange(1, 65_535))
@click.option(
    "--ca",
    "authorities",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="By TLS; the listener's certificate is known by these.",
)
@click.option("--connections", default=4, show_default=True, type=click.IntRange(1, 1_000))
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Messages a second; unless told, as they go."
)
@click.option("--limit", type=click.IntRange(1), help="Send so many of the file's records, its first.")
@click.option(
    "--patience",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds for which a message without an answer is sent again.",
)
@click.option(
    "--let-in",
    "is_let_in",
    is_flag=True,
    help="First add the feeds that the file needs to this index; none where it is marked production.",
)
@as_json
@needs_index
def feeds_simulate(
    composition: Composition,
    /,
    file: Path,
    host: str,
    port: int,
    authorities: Path | None,
    connections: int,
    rate: float | None,
    limit: int | None,
    patience: float,
    is_let_in: bool,
    is_json: bool,
) -> None:
    """Send the records of FILE, such as a sample's, to a listener as ADT messages. Exit status 3 says that some were refused.

    Each organisation's system is a sender: MSH-3 is the system, MSH-4 the organisation. What is said of one patient goes over one
    connection, in its order. Rows that `mpi load` would set aside are left out and counted.
    """
    from mpi.feeds.hl7.send import Answer, Sending
    from mpi.feeds.hl7.simulate import simulate
    from mpi.feeds.hl7.write import registration

    faulty = 0

    def sound(rows: Iterable[Row]) -> Iterator[SourceRecord]:
        nonlocal faulty
        for row in islice(rows, limit):
            if row.record is None:
                faulty += 1
            else:
                yield row.record

    with _telling(is_json):
        today = SystemClock().now().date()
        if is_let_in:
            senders = {one.key for one in sound(open_rows(file, None, FileMap(), today)[1])}
            _let_in(composition, {(key.organisation, key.system) for key in senders})
            faulty = 0
        size, rows = open_rows(file, None, FileMap(), today)
        with progress_bar(min(size, limit or size), "Sending", is_json) as progress:
            held = threading.Lock()

            def answered(_key: RecordKey, _raw: bytes, _answer: Answer) -> None:
                with held:
                    progress(1)

            done = simulate(
                ((one.key, registration(one, SystemClock().now())) for one in sound(rows)),
                lambda: Sending(host, port, authorities),
                connections=connections, a_second=rate, patience_seconds=patience, answered=answered,
            )  # fmt: skip
    a_second = round(done.messages / done.seconds, 1) if done.messages else 0.0
    codes = {"AA": 0, "AE": 0, "AR": 0} | done.answers
    answer = {
        "messages": done.messages, "connections": connections, "seconds": round(done.seconds, 3), "a_second": a_second,
        "answers": codes, "refused": done.refused, "sent_again": done.again,
        "rows_set_aside": faulty,
    }  # fmt: skip
    lines = [
        f"{done.messages} messages over {connections} connections: {done.seconds:.1f} s, {a_second} a second",
        ", ".join(f"{code} {count}" for code, count in codes.items()),
        *(f"{count} refused: {words}" for words, count in done.refused.items()),
        *([f"{done.again} times one was sent again"] if done.again else []),
        *([f"{faulty} rows set aside"] if faulty else []),
    ]
    _say(answer, is_json, lines)
    if done.refused or faulty:
        sys.exit(WITH_REJECTS)


def _let_in(composition: Composition, senders: Iterable[tuple[str, str]]) -> None:
    """Add a feed for each organisation's system that has none by this name.

    Raises:
        Conflict: ``feeds-in-production``.
    """
    if composition.settings.is_production:
        raise Conflict("feeds-in-production", detail="Made-up people are not for an index of real ones.")
    for organisation, system in sorted(senders):
        with suppress(Conflict):
            add_feed(composition.mpi, OPERATOR, system, organisation, organisation, system, Reading())


@feeds_group.command("replay")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@needs_index
def feeds_replay(composition: Composition, file: Path, is_json: bool) -> None:
    """Take the messages of a file of dead letters again. Exit status 3 says that some were refused again.

    What has been kept since is known by its control id, and changes nothing.
    """
    from mpi.feeds.hl7.letters import read_letters
    from mpi.feeds.hl7.receive import Receiver

    answered: Counter[str] = Counter()
    with _telling(is_json):
        receiver = Receiver(composition.mpi, is_production=composition.settings.is_production)
        with progress_bar(lambda: sum(1 for _ in read_letters(file)), "Replaying", is_json) as progress:
            for raw in read_letters(file):
                answered[receiver.take(raw).code or "kept"] += 1
                progress(1)
    kept, refused = answered.pop("kept", 0), dict(sorted(answered.items()))
    lines = [f"{kept} messages kept.", *(f"{count} refused: {code}" for code, count in refused.items())]
    _say({"kept": kept, "refused": refused}, is_json, lines)
    if refused:
        sys.exit(WITH_REJECTS)


def _hl7_feed_as_json(feed: Hl7Feed) -> dict[str, Any]:
    return {
        "feed_id": format_id(feed.feed_id),
        "application": feed.application,
        "facility": feed.facility,
        "organisation": feed.organisation,
        "system": feed.system,
        "state": feed.state,
        "reading": asdict(feed.reading),
        "changed_by": feed.changed_by,
        "changed_at": feed.changed_at.isoformat(),
    }


def _hl7_feed_line(feed: Hl7Feed) -> str:
    return (
        f"{feed.feed_id}  {feed.state:<7}  {feed.application} at {feed.facility}: "
        f"{feed.organisation}, system {feed.system}"
    )


def _say_hl7_feed(feed: Hl7Feed, is_json: bool) -> None:
    lines = [_hl7_feed_line(feed)]
    for name, value in asdict(feed.reading).items():
        told = ", ".join(value) if isinstance(value, tuple) else {True: "yes", False: "no"}.get(value, value)
        lines.append(f"  {name.replace('_', ' '):<16} {told or '-'}")
    _say(_hl7_feed_as_json(feed), is_json, lines)


@cli.command("listen")
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65_535),
    help="Serve figures here, on this machine's own address.",
)
@needs_index
def listen(composition: Composition, metrics_port: int | None) -> None:
    """Take HL7 v2 messages over MLLP until told to stop; a message is acknowledged when it is kept, and a worker links it."""
    from prometheus_client import start_http_server

    from foundation.metrics import REGISTRY
    from mpi.feeds.hl7.letters import DeadLetters
    from mpi.feeds.hl7.mllp import Listener, tls_context
    from mpi.feeds.hl7.receive import Receiver

    settings = composition.settings
    configure_logs(settings.log_level)
    with _telling(False):
        mpi, ours = composition.mpi, settings.hl7
        how: dict[str, Any] = {}
        try:
            if ours.certificate is not None and ours.key is not None:
                how["tls"] = tls_context(ours.certificate, ours.key, ours.client_ca)
        except OSError as fault:
            raise Invalid(
                "setting-format", field="MPI_HL7_TLS_CERT", detail="Certificate or key cannot be read."
            ) from fault
        keep: dict[str, Any] = {}
        try:
            if ours.dead_letters is not None:
                keep["keep_letter"] = DeadLetters(ours.dead_letters, mpi.clock).keep
        except OSError as fault:
            raise Unavailable("dead-letters-unwritable", field="MPI_HL7_DEAD_LETTERS") from fault
        receiver = Receiver(mpi, is_production=settings.is_production, **keep)
        try:
            listener = Listener(
                ours.host, ours.port, receiver.answer, most_connections=ours.connections,
                at_once=settings.web_threads, may_read=Room(mpi, ours.backlog), **how,
            )  # fmt: skip
        except OSError as fault:
            raise Unavailable("address-unusable", field="MPI_HL7_PORT", detail=fault.strerror) from fault
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if metrics_port is not None:
        start_http_server(metrics_port, "127.0.0.1", registry=REGISTRY)
    click.echo(f"Listening for HL7 v2 on {ours.host}, port {listener.port}{', with TLS' if how else ''}.")
    sys.stdout.flush()
    listener.serve(stop)


# Questions -----------------------------------------------------------------------------------------------------------


@cli.command()
@click.option("--family", help="Family name.")
@click.option("--given", multiple=True, help="Given name; again for further ones.")
@click.option("--birth-date", help="Such as 1990-02-14, 1990-02 or 1990.")
@click.option("--gender")
@click.option("--nhs-number")
@click.option("--address", multiple=True, help="A line of the address; again for further ones.")
@click.option("--postcode")
@click.option("--limit", type=click.IntRange(1, MOST_CANDIDATES), default=10, show_default=True)
@click.option("--reasons", is_flag=True, help="Say for each field whether it agrees.")
@as_json
@needs_index
def match(
    composition: Composition,
    family: str | None,
    given: tuple[str, ...],
    birth_date: str | None,
    gender: str | None,
    nhs_number: str | None,
    address: tuple[str, ...],
    postcode: str | None,
    limit: int,
    reasons: bool,
    is_json: bool,
) -> None:
    """Ask who a description may mean. What is typed stays in the shell's history: use made-up people to try it."""
    names = (HumanName(use="usual", given=given, family=family),) if family or given else ()
    addresses = (Address(use="home", lines=address, postcode=postcode),) if address or postcode else ()
    query = SourceRecord(
        key=RecordKey("MPI", "query", "query"),
        names=names,
        birth_date=birth_date,
        gender=gender,
        nhs_number=nhs_number,
        addresses=addresses,
    )
    with _telling(is_json):
        found = match_person(composition.mpi, query, OPERATOR, limit=limit, reasons=reasons)
    answer = {
        "search_complete": found.search_complete,
        "candidates": [
            {
                "person_id": format_id(one.person_id),
                "weight_millibits": one.weight_millibits,
                "probability": round(one.probability, 6),
                "grade": one.grade.value,
                **({"reasons": dict(one.reasons)} if one.reasons else {}),
            }
            for one in found.candidates
        ],
    }
    lines = [
        f"{one.person_id}  {one.grade.value:<9} {one.weight_millibits / 1000:8.3f} bits  {one.probability:.4f}"
        for one in found.candidates
    ]
    if not found.search_complete:
        lines.append("The search was cut short: nobody is certain.")
    _say(answer, is_json, lines or ["Nobody."])


_who_asks = click.option(
    "--by", "username", help="Who asks: the name of an account, by whose role it is decided what may be told."
)
_for_what = click.option("--purpose", help="The purpose of use, if another than that of the role.")


def _who(mpi: Mpi, username: str | None) -> Principal:
    """Return who asks about a person: the operator, or someone whose role lets them read persons."""
    by = OPERATOR if username is None else person_of(mpi.db, username)
    if "persons:read" not in by.scopes:
        raise Forbidden("scope-missing", ids={"scope": "persons:read"})
    return by


@cli.command()
@click.argument("number", required=False)
@click.option("--identifier", nargs=2, metavar="SYSTEM VALUE", help="Look up by identifier instead.")
@click.option(
    "--as-at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]),
    help="An instant with its zone: which person the id stood for then.",
)
@click.option("--golden", "is_golden", is_flag=True, help="Say what its records say at their best.")
@_who_asks
@_for_what
@as_json
@needs_index
def person(
    composition: Composition,
    number: str | None,
    identifier: tuple[str, str] | None,
    as_at: datetime | None,
    is_golden: bool,
    username: str | None,
    purpose: str | None,
    is_json: bool,
) -> None:
    """Say which person an id, or an identifier, stands for now; an id also at an instant of the past.

    With --golden: the value of each field that survived, whose it is, why, and how many records say otherwise; with --as-at, at an
    instant. What may be told is what the release gate lets leave: name an account of yours with --by.
    """
    if (number is None) == (identifier is None):
        raise click.UsageError("Give an id or --identifier.")
    if is_golden:
        if number is None:
            raise click.UsageError("--golden needs an id.")
        if as_at is not None:
            _say_golden_then(composition.mpi, number, as_at, username, purpose, is_json)
        else:
            _say_golden(composition.mpi, number, username, purpose, is_json)
        return
    if username is not None or purpose is not None:
        raise click.UsageError("--by and --purpose are for --golden.")
    if as_at is not None:
        if number is None:
            raise click.UsageError("--as-at needs an id.")
        _say_person_then(composition.mpi, number, as_at, is_json)
        return
    with _telling(is_json):
        if identifier:
            found = lookup_persons(composition.mpi, *identifier, OPERATOR)
        else:
            found = (get_person(composition.mpi, parse_id(number or ""), OPERATOR),)
    answer = {
        "persons": [
            {
                "person_id": format_id(one.person_id),
                "epoch": one.epoch,
                "identity_warning": one.has_identity_warning,
            }
            for one in found
        ]
    }
    lines = [
        f"{one.person_id}  epoch {one.epoch}"
        + ("  identity warning: an update is held" if one.has_identity_warning else "")
        for one in found
    ]
    _say(answer, is_json, lines or ["Nobody."])


def _say_golden(mpi: Mpi, number: str, username: str | None, purpose: str | None, is_json: bool) -> None:
    with _telling(is_json):
        found = get_golden(mpi, parse_id(number), _who(mpi, username), purpose=purpose)
    answer = {"person_id": format_id(found.person_id), "epoch": found.epoch, **_golden_as_json(found)}
    head = f"{answer['person_id']}  epoch {found.epoch}"
    if found.has_identity_warning:
        head += "  identity warning: an update is held"
    _say(answer, is_json, [head, *_golden_in_lines(found, username)])


def _say_golden_then(
    mpi: Mpi, number: str, as_at: datetime, username: str | None, purpose: str | None, is_json: bool
) -> None:
    with _telling(is_json):
        found = get_golden_then(mpi, parse_id(number), as_at, _who(mpi, username), purpose=purpose)
    answer, head = _then(found)
    _say({**answer, **_golden_as_json(found)}, is_json, [head, *_golden_in_lines(found, username)])


def _golden_as_json(found: GoldenView | GoldenThen) -> dict[str, Any]:
    return {
        "identity_warning": found.has_identity_warning,
        "restricted": found.is_restricted,
        "rules_version": found.rules_version,
        "nhs_number_state": found.number_state,
        "values": [_value_as_json(one) for one in found.values],
    }


def _golden_in_lines(found: GoldenView | GoldenThen, username: str | None) -> list[str]:
    lines = []
    if found.number_state is not None:
        lines.append(f"  NHS number: {found.number_state}")
    for one in found.values:
        whose = "a source that may not be named"
        if one.origin is not None:
            whose = f"{one.origin.organisation} {one.origin.system} ({format_id(one.origin.record_id)})"
        others = f"{one.agree} agree, {one.differ} differ"
        lines.append(f"  {one.name:<12} {_in_a_line(one)}")
        lines.append(f"  {'':<12} {whose}; {one.because}; {others}")
    if not found.values:
        lines.append("  Nothing may be told.")
        if username is None:
            lines.append("  Nothing may be told to an operator as such: name an account with --by.")
    return lines


def _in_a_line(one: ToldValue) -> str:
    if one.name == "nhs_number":
        return parse_nhs_number(one.value).spaced()
    if not isinstance(one.value, Mapping):
        return str(one.value)
    # A name is read in one go, an address item by item.
    between = " " if one.name == "name" else ", "
    parts = (part if isinstance(part, str) else between.join(part) for part in one.value.values())
    return between.join(parts)


def _value_as_json(one: ToldValue) -> dict[str, Any]:
    origin = one.origin
    return {
        "field": one.name,
        "value": one.value,
        "verified": one.is_verified,
        "because": one.because,
        "agree": one.agree,
        "differ": one.differ,
        "replaced": one.is_replaced,
        "origin": None
        if origin is None
        else {
            "record_id": format_id(origin.record_id),
            "organisation": origin.organisation,
            "system": origin.system,
            "version": origin.version,
            "source_at": None if origin.source_at is None else origin.source_at.isoformat(),
        },
    }


def _say_person_then(mpi: Mpi, number: str, as_at: datetime, is_json: bool) -> None:
    with _telling(is_json):
        found = get_person_then(mpi, parse_id(number), as_at, OPERATOR)
    answer, head = _then(found)
    _say(answer, is_json, [head])


def _then(found: PersonThen | GoldenThen) -> tuple[dict[str, Any], str]:
    """Return what is told of whom an id stood for at an instant: as JSON, and in a line."""
    answer = {
        "as_at": found.as_at.isoformat(),
        "person_id": None if found.person_id is None else format_id(found.person_id),
        "identity_warning": found.has_identity_warning,
        "erased_records": found.has_erased_records,
    }
    line = f"{answer['person_id'] or 'an id that may not be told'}  as at {answer['as_at']}"
    if found.has_identity_warning:
        line += "  identity warning: an update was held"
    if found.has_erased_records:
        line += "  records that it had then were erased since"
    return answer, line


@cli.command()
@click.argument("number")
@_who_asks
@_for_what
@as_json
@needs_index
def history(
    composition: Composition, number: str, username: str | None, purpose: str | None, is_json: bool
) -> None:
    """Say what befell the person of NUMBER, the oldest first.

    What may be told is what the release gate lets leave: name an account of yours with --by.
    """
    with _telling(is_json):
        by = _who(composition.mpi, username)
        found = read_history(composition.mpi, parse_id(number), by, purpose=purpose)
    lines = [f"{one.at.isoformat()}  {one.says}" for one in found]
    if username is None and not found:
        lines = ["Nothing may be told to an operator as such: name an account with --by."]
    _say({"history": [_entry_as_json(one) for one in found]}, is_json, lines or ["Nothing may be told."])


def _entry_as_json(one: Entry) -> dict[str, Any]:
    def id_of(number: int | None) -> str | None:
        return None if number is None else format_id(number)

    return {
        "what": one.what,
        "at": one.at.isoformat(),
        "cause": one.cause,
        "record_ids": [format_id(number) for number in one.record_ids],
        "from_person_id": id_of(one.from_person_id),
        "person_id": id_of(one.person_id),
        "version": one.version,
        "decision_id": id_of(one.decision_id),
        "verdict": one.verdict,
        "reason": one.reason,
        "role": one.role,
        "readers": one.readers,
        "organisations": list(one.organisations),
        "says": one.says,
    }


@cli.command()
@click.argument("number")
@click.argument("other", required=False)
@_who_asks
@_for_what
@click.option(
    "--svg", type=click.Path(dir_okay=False, path_type=Path), help="Draw it into this file as well."
)
@as_json
@needs_index
def why(
    composition: Composition,
    number: str,
    other: str | None,
    username: str | None,
    purpose: str | None,
    svg: Path | None,
    is_json: bool,
) -> None:
    """Say how the person of NUMBER was built; with OTHER, why two records or persons are one, or why they are two.

    NUMBER and OTHER are ids of records or persons. Each pair's weight is told as a waterfall, in bits, from the starting odds to what it
    comes to. What may be told is what the release gate lets leave: name an account of yours with --by.
    """
    mpi = composition.mpi
    with _telling(is_json):
        if svg is not None:
            _check_writable(svg)
        by = _who(mpi, username)
        beside = parse_id(other, "other") if other is not None else None
        found = explain_person(mpi, parse_id(number), by, other=beside, purpose=purpose)
        if svg is not None:
            svg.write_text(picture_of(found, is_way=other is not None), encoding="utf-8")
    lines = lines_of(found, is_way=other is not None)
    if username is None and not found.record_ids:
        lines += ["", "Nothing may be told to an operator as such: name an account with --by."]
    elif username is not None:
        # Always, so that it tells nothing of whether there is more.
        lines += [
            "",
            "What other organisations hold is told as far as sharing agreements and the role let it.",
        ]
    _say(_why_as_json(found), is_json, [*lines, *([f"Wrote {svg}"] if svg is not None else [])])


def _why_as_json(found: Why) -> dict[str, Any]:
    return {
        "answer": found.answer,
        "because": found.because,
        "record_ids": [format_id(one) for one in found.record_ids],
        "steps": [
            {
                "record_ids": [format_id(step.low_id), format_id(step.high_id)],
                "rule": step.rule,
                "decision_id": None if step.decision_id is None else format_id(step.decision_id),
                "weight_millibits": step.weight_millibits,
                "waterfall": None if step.waterfall is None else _waterfall_as_json(step.waterfall),
            }
            for step in found.steps
        ],
    }


def _waterfall_as_json(of: Waterfall) -> dict[str, Any]:
    return {
        "bars": [
            {
                "field": bar.field,
                "reason": bar.reason,
                "rival": bar.rival,
                "weight_millibits": bar.weight,
                "from_millibits": bar.start,
                "to_millibits": bar.end,
            }
            for bar in of.bars
        ],
        "total_millibits": of.total,
        "live_millibits": of.live,
    }


class _ListsByDefault(click.Group):
    """A group that lists where no command of its own is named: ``mpi tasks``, and ``mpi tasks NUMBER``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["list", *args]
        return super().parse_args(ctx, args)


@cli.group("tasks", cls=_ListsByDefault)
def tasks_group() -> None:
    """The review queue: list it, work it, draw samples of links, and see its figures. By itself it lists."""


_a_task = click.argument("number", metavar="TASK_ID")
_of_kind = click.option("--kind", help="Only tasks of this kind.")
_for_whom = click.option(
    "--for", "for_whom", help="Only tasks for this organisation (its ODS code) or team; own, or * for all."
)
_a_comment = click.option("--comment", help="In words; it stays with the task.")


def _task_json(one: Task) -> dict[str, Any]:
    return {
        "task_id": format_id(one.task_id),
        "kind": one.kind,
        "state": one.state,
        "version": one.version,
        "reason": one.reason,
        "weight_millibits": one.weight_millibits,
        "opened_at": one.opened_at.isoformat(),
        "claimed_by": one.claimed_by,
        "expected_harm": one.expected_harm,
        "routed_to": one.routed_to,
        "escalated_to": one.escalated_to,
        "deferred_until": None if one.deferred_until is None else one.deferred_until.isoformat(),
        "sides": [[format_id(record) for record in side] for side in one.sides],
    }


def _task_line(one: Task) -> str:
    records = " | ".join(f"{len(side)} records" for side in one.sides)
    held = f"  held by {one.claimed_by}" if one.claimed_by else ""
    put_off = f"  until {one.deferred_until:%Y-%m-%d}" if one.deferred_until else ""
    return (
        f"{one.task_id}  {one.kind:<22} {one.state:<8} {one.reason:<22} {one.expected_harm:>6}  {one.routed_to or '-':<16} "
        f"{records}{held}{put_off}"
    )


def _say_task(one: Task, is_json: bool, said: str = "") -> None:
    _say({"task": _task_json(one)}, is_json, [*([said] if said else []), _task_line(one)])


@tasks_group.command("list")
@click.argument("number", required=False)
@_of_kind
@_for_whom
@click.option(
    "--state",
    type=click.Choice(VIEWS),
    default="open",
    show_default=True,
    help="open leaves out what is put off.",
)
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True)
@click.option("--by", "username", help="Who asks, if not an operator as such: the name of an account.")
@click.option(
    "--restricted",
    is_flag=True,
    help="Only tasks about restricted people; needs an account whose role sees them.",
)
@as_json
@needs_index
def tasks_list(
    composition: Composition,
    number: str | None,
    kind: str | None,
    for_whom: str | None,
    state: str,
    limit: int,
    username: str | None,
    restricted: bool,
    is_json: bool,
) -> None:
    """List the queue: worst kind first, then by expected harm, then the oldest; with NUMBER, show one task.

    Tasks about restricted people are there only for accounts whose role sees them: name one with --by.
    """
    with _telling(is_json):
        by = OPERATOR if username is None else _reader(composition.mpi, username, "tasks:read")
        if number is None:
            page = list_tasks(
                composition.mpi,
                by,
                limit=limit,
                kind=kind,
                view=state,
                for_whom=for_whom,
                only_protected=restricted,
            )
            found = page.tasks
        else:
            found = (get_task(composition.mpi, parse_id(number), by).task,)
    answer = {"tasks": [_task_json(one) for one in found]}
    _say(answer, is_json, [_task_line(one) for one in found] or ["Nothing to do."])


@tasks_group.command("groups")
@_of_kind
@_for_whom
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@as_json
@needs_index
def tasks_groups(
    composition: Composition, kind: str | None, for_whom: str | None, limit: int, is_json: bool
) -> None:
    """List the queue by person: open tasks that share a person together."""
    with _telling(is_json):
        found = queue.list_groups(composition.mpi, OPERATOR, limit=limit, kind=kind, for_whom=for_whom).groups
    answer = {
        "groups": [
            {
                "group_id": format_id(one.group_id),
                "worst_kind": one.worst_kind,
                "count": one.count,
                "expected_harm": one.expected_harm,
                "person_ids": [format_id(person) for person in one.person_ids],
                "tasks": [_task_json(task) for task in one.tasks],
            }
            for one in found
        ]
    }
    lines = []
    for one in found:
        about = f"{one.count} tasks about {len(one.person_ids)} persons"
        lines.append(f"{one.worst_kind:<22} {about}, expected harm {one.expected_harm}")
        lines += [f"  {_task_line(task)}" for task in one.tasks]
    _say(answer, is_json, lines or ["Nothing to do."])


@tasks_group.command("next")
@_of_kind
@_for_whom
@whose
@as_json
@needs_index
def tasks_next(
    composition: Composition, kind: str | None, for_whom: str | None, username: str, is_json: bool
) -> None:
    """Claim the worst task that is free."""
    with _telling(is_json):
        reader = _reader(composition.mpi, username)
        whose = for_whom or begins_with(reader)
        found = queue.next_task(composition.mpi, reader, kind=kind, for_whom=whose)
    if found is None:
        _say({"task": None}, is_json, ["Nothing to do."])
    else:
        _say_task(found, is_json)


@tasks_group.command("claim")
@_a_task
@click.option("--group", is_flag=True, help="And the open tasks that share a person with it.")
@whose
@as_json
@needs_index
def tasks_claim(composition: Composition, number: str, group: bool, username: str, is_json: bool) -> None:
    """Take a task for half an hour, or renew the half hour."""
    with _telling(is_json):
        reader = _reader(composition.mpi, username)
        if not group:
            _say_task(claim_task(composition.mpi, parse_id(number), reader), is_json)
            return
        found = queue.claim_group(composition.mpi, parse_id(number), reader)
    answer = {
        "tasks": [_task_json(one) for one in found.tasks],
        "held_by_others": [format_id(one) for one in found.held_by_others],
    }
    lines = [_task_line(one) for one in found.tasks]
    _say(answer, is_json, [*lines, *(f"{one}  is held by another" for one in found.held_by_others)])


@tasks_group.command("release")
@_a_task
@whose
@as_json
@needs_index
def tasks_release(composition: Composition, number: str, username: str, is_json: bool) -> None:
    """Give a claimed task back."""
    with _telling(is_json):
        reader = _reader(composition.mpi, username)
        _say_task(release_task(composition.mpi, parse_id(number), reader), is_json)


@tasks_group.command("decide")
@_a_task
@click.argument("verdict", type=click.Choice(VERDICTS))
@click.option("--reason", required=True, help=f"One of {', '.join(DECISION_REASONS)}.")
@_a_comment
@whose
@as_json
@needs_index
def tasks_decide(
    composition: Composition,
    number: str,
    verdict: Verdict,
    reason: str,
    comment: str | None,
    username: str,
    is_json: bool,
) -> None:
    """Answer a task: same, different, or not-enough to say."""
    with _telling(is_json):
        mpi = composition.mpi
        reader = _reader(mpi, username)
        outcome = decide_task(mpi, parse_id(number), reader, verdict=verdict, reason=reason, comment=comment)
    _say_outcome(outcome, is_json)


@tasks_group.command("undo")
@_a_task
@_a_comment
@whose
@as_json
@needs_index
def tasks_undo(
    composition: Composition, number: str, comment: str | None, username: str, is_json: bool
) -> None:
    """Take back the decision on a task."""
    with _telling(is_json):
        reader = _reader(composition.mpi, username)
        outcome = undo_decision(composition.mpi, parse_id(number), reader, comment=comment)
    _say_outcome(outcome, is_json)


def _say_outcome(outcome: TaskOutcome, is_json: bool) -> None:
    answer = {
        "outcome": outcome.outcome,
        "decision_id": format_id(outcome.decision_id),
        "task": _task_json(outcome.task),
    }
    _say(answer, is_json, [f"{outcome.outcome}: decision {outcome.decision_id}", _task_line(outcome.task)])


@tasks_group.command("preview")
@_a_task
@click.argument("verdict", type=click.Choice(VERDICTS))
@whose
@as_json
@needs_index
def tasks_preview(
    composition: Composition, number: str, verdict: Verdict, username: str, is_json: bool
) -> None:
    """Say what an answer to a task would change. Nothing is changed yet."""
    with _telling(is_json):
        mpi = composition.mpi
        effect = preview_answer(mpi, parse_id(number), _reader(mpi, username), verdict=verdict)
    answer = {
        "merged": [[format_id(person) for person in group] for group in effect.merged],
        "split": [format_id(person) for person in effect.split],
        "touched": effect.touched,
        "needs_second_reader": effect.needs_second_reader,
    }
    lines = [f"Would become one: {', '.join(map(format_id, group))}" for group in effect.merged]
    lines += [f"Would become several: {format_id(person)}" for person in effect.split]
    lines = lines or ["No person would change."]
    if effect.needs_second_reader:
        lines.append("It stands once a second reader gives it too.")
    _say(answer, is_json, lines)


@tasks_group.command("whether-one")
@click.argument("one", metavar="PERSON")
@click.argument("other", metavar="PERSON")
@click.option("--comment", required=True, help="Why; those who answer read it.")
@whose
@as_json
@needs_index
def tasks_whether_one(
    composition: Composition, one: str, other: str, comment: str, username: str, is_json: bool
) -> None:
    """Ask whether two persons are one, which the index does not ask. Until it is answered an objection of either binds both."""
    with _telling(is_json):
        mpi = composition.mpi
        reader = _reader(mpi, username)
        task = ask_whether_one(mpi, parse_id(one), parse_id(other), reader, comment=comment)
    _say_task(task, is_json)


@tasks_group.command("whether-two")
@click.argument("person", metavar="PERSON")
@click.argument("records", metavar="RECORD...", nargs=-1, required=True)
@click.option("--comment", required=True, help="Why; those who answer read it.")
@whose
@as_json
@needs_index
def tasks_whether_two(
    composition: Composition,
    person: str,
    records: tuple[str, ...],
    comment: str,
    username: str,
    is_json: bool,
) -> None:
    """Ask whether some records of a person are somebody else's. Nothing changes until it is answered."""
    with _telling(is_json):
        mpi = composition.mpi
        reader = _reader(mpi, username)
        task = ask_whether_two(mpi, parse_id(person), [*map(parse_id, records)], reader, comment=comment)
    _say_task(task, is_json)


@tasks_group.command("withdraw")
@_a_task
@whose
@as_json
@needs_index
def tasks_withdraw(composition: Composition, number: str, username: str, is_json: bool) -> None:
    """Take back a question that was asked by hand and that nobody has begun to answer."""
    with _telling(is_json):
        task = withdraw_question(composition.mpi, parse_id(number), _reader(composition.mpi, username))
    _say_task(task, is_json)


@tasks_group.command("comment")
@_a_task
@click.argument("words")
@whose
@as_json
@needs_index
def tasks_comment(composition: Composition, number: str, words: str, username: str, is_json: bool) -> None:
    """Leave a comment on a task."""
    with _telling(is_json):
        comment_task(composition.mpi, parse_id(number), _reader(composition.mpi, username), words)
    _say({"task_id": number}, is_json, ["Kept."])


@tasks_group.command("defer")
@_a_task
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]),
    required=True,
    help="A day, or an instant.",
)
@click.option("--reason", type=click.Choice(queue.DEFERRAL_REASONS), required=True)
@_a_comment
@whose
@as_json
@needs_index
def tasks_defer(
    composition: Composition,
    number: str,
    until: datetime,
    reason: str,
    comment: str | None,
    username: str,
    is_json: bool,
) -> None:
    """Put a task off until later; new evidence brings it back sooner."""
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    with _telling(is_json):
        mpi = composition.mpi
        reader = _reader(mpi, username)
        found = queue.defer_task(mpi, parse_id(number), reader, until=until, reason=reason, comment=comment)
    _say_task(found, is_json)


@tasks_group.command("resume")
@_a_task
@whose
@as_json
@needs_index
def tasks_resume(composition: Composition, number: str, username: str, is_json: bool) -> None:
    """Take a deferral back."""
    with _telling(is_json):
        reader = _reader(composition.mpi, username)
        _say_task(queue.resume_task(composition.mpi, parse_id(number), reader), is_json)


@tasks_group.command("escalate")
@_a_task
@click.option("--to", type=click.Choice(TEAMS), required=True)
@click.option("--reason", type=click.Choice(queue.ESCALATION_REASONS), required=True)
@_a_comment
@whose
@as_json
@needs_index
def tasks_escalate(
    composition: Composition,
    number: str,
    to: str,
    reason: str,
    comment: str | None,
    username: str,
    is_json: bool,
) -> None:
    """Hand a task on to the regional team or a privacy officer."""
    with _telling(is_json):
        mpi = composition.mpi
        reader = _reader(mpi, username)
        found = queue.escalate_task(mpi, parse_id(number), reader, to=to, reason=reason, comment=comment)
    _say_task(found, is_json)


@tasks_group.command("give-back")
@_a_task
@_a_comment
@whose
@as_json
@needs_index
def tasks_give_back(
    composition: Composition, number: str, comment: str | None, username: str, is_json: bool
) -> None:
    """Take an escalation back."""
    with _telling(is_json):
        reader = _reader(composition.mpi, username)
        _say_task(queue.give_back_task(composition.mpi, parse_id(number), reader, comment=comment), is_json)


@tasks_group.command("sample")
@click.option("--count", type=click.IntRange(1, MOST_AT_ONCE), help="How many links.")
@click.option("--rate", type=click.FloatRange(0, 1, min_open=True), help="Or which share of all links.")
@click.option("--seed", type=int, required=True, help="The same one draws the same links of the same index.")
@whose
@as_json
@needs_index
def tasks_sample(
    composition: Composition, count: int | None, rate: float | None, seed: int, username: str, is_json: bool
) -> None:
    """Put links that the index made by itself into the queue, drawn by lot; their readers are not told that they are linked."""
    with _telling(is_json):
        mpi = composition.mpi
        reader = _reader(mpi, username, "tasks:manage")
        drawn = draw_links(mpi, reader, count=count, rate=rate, seed=seed)
    answer = {"links": drawn.links, "drawn": drawn.drawn, "strata": dict(drawn.strata)}
    lines = [f"{drawn.drawn} of {drawn.links} links are in the queue"]
    _say(answer, is_json, [*lines, *(f"  {count:>5}  {name}" for name, count in drawn.strata.items())])


def _reader(mpi: Mpi, username: str, scope: str = "tasks:work") -> Principal:
    """Return the person whose account this is, if they may.

    Raises:
        Forbidden: ``scope-missing``.
    """
    reader = person_of(mpi.db, username)
    if scope not in reader.scopes and not (scope == "tasks:work" and "tasks:advise" in reader.scopes):
        raise Forbidden("scope-missing", field="by", detail=f"Needs the scope {scope}.")
    return reader


@tasks_group.command("metrics")
@click.option(
    "--days", type=click.IntRange(1, MOST_DAYS), default=DAYS, show_default=True, help="How far to look back."
)
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what waits, as CSV, to this file.",
)
@as_json
@needs_index
def tasks_metrics(composition: Composition, days: int, csv_path: Path | None, is_json: bool) -> None:
    """Say what waits and how long, what was done by whom, what it changed, and how well readers agree."""
    with _telling(is_json):
        found = read_figures(composition.mpi, OPERATOR, days=days)
    if csv_path is not None:
        names = [one.name for one in fields(Waiting)]
        with csv_path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows([getattr(one, name) for name in names] for one in found.waiting)
    answer = json.loads(json.dumps(asdict(found), default=lambda value: value.isoformat()))
    _say(answer, is_json, list(_metrics_lines(found)))


def _metrics_lines(of: Figures) -> Iterator[str]:
    yield f"{'kind':<22} {'for':<20} {'open':>6} {'put off':>8} {'handed on':>10} {'median h':>9} {'90% h':>9} {'oldest h':>9}"
    for one in of.waiting:
        yield (
            f"{one.kind:<22} {one.routed_to:<20} {one.count:>6} {one.deferred:>8} {one.escalated:>10} "
            f"{one.median_hours:>9} {one.p90_hours:>9} {one.oldest_hours:>9}"
        )
    yield (
        f"Since {of.since:%Y-%m-%d %H:%M}: {of.decided} decided, {of.undone} taken back, {of.deferred} put off, "
        + (f"{of.escalated} handed on, {of.leases_expired} leases ran out")
    )
    yield f"Second readers agreed: {_share_words(of.agreed)}"
    for day in of.done:
        yield f"  {day.day}  {day.reader:<24} {day.decided}"
    if of.quality is None:
        return
    yield f"Changed something: {_share_words(of.quality.changed)}"
    for reader in of.quality.readers:
        sure = "" if reader.kappa is None else f", kappa {reader.kappa:.2f}"
        yield f"Known pairs, {reader.reader}: right {_share_words(reader.right)}{sure}"
    for band in of.quality.blind:
        yield (
            f"Blind, {band.stratum}: one person {_share_words(band.precision)}; {band.not_enough} could not be said, "
            f"{band.confirmed_wrong} taken apart"
        )


def _share_words(of: Share) -> str:
    if of.share is None:
        return "none yet"
    return f"{of.count} of {of.of} ({of.share:.1%}, 95 %: {of.low:.1%} to {of.high:.1%})"


@cli.command()
@click.option("--organisation", help="Its ODS code; all organisations if not given.")
@click.option(
    "--now", is_flag=True, help="Measure that organisation first, in the place of what is kept of today."
)
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First day of the series.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last day of the series.")
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the figures, a row each, as CSV to this file.",
)
@as_json
@needs_index
def quality(
    composition: Composition,
    organisation: str | None,
    now: bool,
    first: datetime | None,
    last: datetime | None,
    csv_path: Path | None,
    is_json: bool,
) -> None:
    """Say how good the records of each organisation and system are, by the figures that a worker measures once a day.

    Counts are exact here: round them before they are shown to other organisations.
    """
    with _telling(is_json):
        if organisation is not None:
            organisation = parse_ods_code(organisation)
        if now:
            if organisation is None:
                raise Invalid("organisation-needed", field="organisation")
            measure_now(composition.mpi, organisation)
        found: list[SourceQuality] = []
        after = None
        while True:
            page = read_quality(
                composition.mpi,
                OPERATOR,
                organisation=organisation,
                first=first.date() if first else None,
                last=last.date() if last else None,
                after=after,
            )
            found += page.sources
            after = page.next
            if after is None:
                break
    if csv_path is not None:
        with csv_path.open("w", encoding="utf-8", newline="") as file:
            file.write(csv_of(found))
    answer = json.loads(
        json.dumps({"sources": [asdict(one) for one in found]}, default=lambda value: value.isoformat())
    )
    _say(answer, is_json, list(_quality_lines(found)))


def _quality_lines(found: Sequence[SourceQuality]) -> Iterator[str]:
    if not found:
        yield "Nothing is measured yet: a worker does it once a day."
    for one in found:
        yield f"{one.organisation} {one.system}, measured {one.latest.measured_at:%Y-%m-%d %H:%M}"
        for code, told in one.latest.figures.items():
            share = "" if told.per_mille is None else f"{told.per_mille:>10.1f} per mille"
            yield f"  {code:<24} {told.count:>10}{share}"


@cli.command()
@as_json
@needs_index
def verify(composition: Composition, is_json: bool) -> None:
    """Look again at every record: is each person what its records, edges and decisions make it? Exit status 1 if not."""
    with _telling(is_json):
        total = count_index(composition.mpi)["records"]
        with progress_bar(total, "Verifying", is_json) as progress:
            found = verify_index(composition.mpi, progress)
    lines = [
        f"{found.records} records, {found.waiting} waiting: " + ("sound" if found.is_sound else "NOT sound")
    ]
    lines += [f"misplaced: record {number}" for number in found.misplaced]
    lines += [f"without its keys: record {number}" for number in found.unfindable]
    _say(found.as_json(), is_json, lines)
    if not found.is_sound:
        sys.exit(FAILED)


@cli.command()
@as_json
@needs_index
def status(composition: Composition, is_json: bool) -> None:
    """Count records, records that wait, and persons."""
    with _telling(is_json):
        counts = count_index(composition.mpi)
        model = composition.mpi.present().model
    answer = {**counts, "model": {"name": model.name, "revision": model.revision}}
    lines = [f"{name}: {count}" for name, count in counts.items()]
    _say(answer, is_json, [*lines, f"model: {model.name}, revision {model.revision}"])


# NHS numbers ---------------------------------------------------------------------------------------------------------

_REST_SECONDS = 60.0


@cli.command()
@click.option("--limit", type=click.IntRange(1), help="Ask about so many records at most.")
@click.option(
    "--for", "organisations", multiple=True, help="Only records of this organisation; may be repeated."
)
@click.option(
    "--older-than", type=click.IntRange(1), metavar="DAYS", help="Those asked about so long ago as well."
)
@click.option("--keep-on", is_flag=True, help="Look for more every minute, until told to stop.")
@click.option("--status", "is_status", is_flag=True, help="Only say what came of all traces so far.")
@as_json
@needs_index
def trace(
    composition: Composition,
    limit: int | None,
    organisations: tuple[str, ...],
    older_than: int | None,
    keep_on: bool,
    is_status: bool,
    is_json: bool,
) -> None:
    """Ask the national service about NHS numbers that are claimed or missing. Exit status 1 says that it gave no answer.

    It is asked about each record once, at the rate of MPI_PDS_PER_SECOND; a run that ended goes on where it was.
    """
    if is_status:
        with _telling(is_json):
            counts = count_traced(composition.mpi)
        _say({"outcomes": counts}, is_json, [f"{name:<14} {count}" for name, count in counts.items()])
        return
    configure_logs(composition.settings.log_level)
    stop = threading.Event()
    if keep_on:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    with _telling(is_json):
        tracer = composition.tracer
        while True:
            with progress_bar(limit or 0, "Tracing", is_json or limit is None) as progress:
                traced = trace_waiting(
                    composition.mpi,
                    tracer,
                    limit=limit,
                    organisations=organisations or None,
                    older_than=timedelta(days=older_than) if older_than is not None else None,
                    progress=progress,
                    may_go_on=lambda: not stop.is_set(),
                )
            if traced.asked or not keep_on:
                _say(traced.as_json(), is_json, _traced_lines(traced))
            if not keep_on or stop.wait(_REST_SECONDS):
                break
    if traced.stopped not in (None, "limit", "told-to"):
        sys.exit(FAILED)


def _traced_lines(traced: Traced) -> list[str]:
    lines = [f"Asked about {traced.asked} records."]
    lines += [f"  {name:<14} {count}" for name, count in sorted(traced.outcomes.items())]
    if traced.stopped is not None:
        lines.append(f"Stopped: {traced.stopped}.")
    return lines


@cli.command("simulate-pds")
@click.option(
    "--sample",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The people of a folder that `mpi sample` wrote.",
)
@click.option(
    "--records", default=5_000, show_default=True, help="Without a folder: of a sample of this size."
)
@click.option("--seed", default=1, show_default=True, help="And of this seed.")
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The client's public key: a JWK with a kid, or a JWK set.",
)
@click.option("--client-id", default="mpi-trial", show_default=True, help="Who may ask.")
@click.option("--port", default=8090, show_default=True, help="On this machine's own address only.")
def simulate_pds(
    folder: Path | None, records: int, seed: int, key_file: Path, client_id: str, port: int
) -> None:
    """Stand in for the Personal Demographics Service, over made-up people. For tests and demonstrations."""
    from mpi.tracing.population import people_of_folder, people_of_sample
    from mpi.tracing.simulator import BASE, TOKEN_PATH, Simulator

    with _telling(False):
        people = people_of_folder(folder) if folder is not None else people_of_sample(records, seed)
        try:
            given = json.loads(key_file.read_text(encoding="utf-8"))
            simulator = Simulator(people, {client_id: given["keys"] if "keys" in given else [given]})
        except (ValueError, KeyError, TypeError) as fault:
            raise Invalid("key-format", detail="A public JWK with a kid, or a JWK set, is needed.") from fault
    server = simulator.serve(port=port)
    click.echo(f"{len(people)} made-up people. Set, and run `mpi trace`:")
    click.echo(f"  MPI_PDS_URL=http://127.0.0.1:{server.server_port}{BASE}")
    click.echo(f"  MPI_PDS_TOKEN_URL=http://127.0.0.1:{server.server_port}{TOKEN_PATH}")
    click.echo(f"  MPI_PDS_CLIENT_ID={client_id}")
    server.serve_forever()
