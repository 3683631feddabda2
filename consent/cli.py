"""The ``consent`` command: directives, national opt-outs, alerts, reports, audit, policy; ``app.py`` composes its service."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import click

from consent import conformance
from consent.facts import OptOutState, Scope
from consent.facts.hours import A_DAY, ALWAYS, DAYS, Shift
from consent.facts.opt_out_file import NATIONAL_MAILBOX, WORKFLOW
from consent.facts.staff import COMPARED
from consent.facts.usage import MINUTES_A_VIEW
from consent.rules import Policy, compile_policy
from consent.rules.watch import PROBING
from consent.service import trail, what_if_told
from consent.service.agreements import agreement_from_payload, record_agreements
from consent.service.alerts import (
    OUTCOMES,
    Coverage,
    Review,
    alert_figures,
    coverage_of,
    list_alerts,
    review_alert,
)
from consent.service.binding import Situation, tell_binding
from consent.service.context import Consent
from consent.service.directive_file import RowOutcome, load_directives, read_directive_rows
from consent.service.directives import NewDirective, list_directives, record_directive, withdraw_directive
from consent.service.hours import list_hours, load_hours, withdraw_hours
from consent.service.notices import (
    MEANS,
    Notice,
    get_notice,
    list_notices,
    note_not_needed,
    note_told,
    reopen_notice,
    who_saw,
)
from consent.service.notices import REASONS as NOT_NEEDED
from consent.service.opt_out import (
    MOST_NUMBERS,
    abandon_list,
    count_records,
    count_waiting,
    list_lists,
    prepare_lists,
    record_opt_out_evidence,
)
from consent.service.opt_out_folder import ReceivedFile, open_folder, put_lists, receive_folder
from consent.service.policies import (
    PolicyChange,
    approve_policy,
    import_policy,
    list_policies,
    propose_policy,
    propose_roll_back,
    publish_policy,
    read_policy,
    withdraw_policy,
)
from consent.service.replay import explain_event
from consent.service.report import TOLD, ToldRow, access_report, search_accesses
from consent.service.report_told import Systems, audit_event_of
from consent.service.staff import list_staff_files, load_staff, withdraw_staff
from consent.service.usage import count_usage, load_usage, read_usage
from consent.service.usage_told import change_of, csv_of, lines_of, page_of, picture_of, shares_of
from consent.service.watch import explain_open, watch_views
from consent.service.what_if import MOST_EXAMPLES, read_moment, read_planned, what_if
from consent.store.alerts import STATES, Alert
from consent.store.notices import STATES as NOTICE_STATES
from foundation.audit import Sought
from foundation.cli import (
    FAILED,
    WITH_REJECTS,
    as_json,
    change_lines,
    fail,
    known_line,
    known_lines,
    person_of,
    progress_bar,
    read_json,
    telling,
    whose,
    why_so,
)
from foundation.directory import parse_ods_code
from foundation.errors import Invalid, Unavailable
from foundation.ids import format_id, parse_id
from foundation.principal import Principal
from foundation.sealing.checkpoint import read_checkpoint
from foundation.sealing.export import export_checkpoints, export_events
from foundation.sealing.verify import Fault, verify_log

OPERATOR = Principal(
    kind="system",
    id="consent-cli",
    organisation="MPI",
    scopes=frozenset(),
    organisations=frozenset({"*"}),
    client_id="consent-cli",
)
"""Who works at the command line: an operator with the database in hand, named so in the audit log."""


class Composition(Protocol):
    """What ``app.py`` gives the command."""

    @property
    def consent(self) -> Consent: ...


needs_service = click.pass_obj


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """May this be shared? Agreements, objections, national opt-outs, alerts, reports, the audit log and the policy."""


_telling, _fail = partial(telling, "consent"), partial(fail, "consent")


def _say(is_json: bool, answer: Any, line: str) -> None:
    click.echo(json.dumps(answer, ensure_ascii=False) if is_json else line)


# Agreements ----------------------------------------------------------------------------------------------------------


@cli.group()
def agreements() -> None:
    """Sharing agreements between organisations."""


@agreements.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@needs_service
def load_agreements(composition: Composition, file: Path, is_json: bool) -> None:
    """Load agreements from a JSON list, all or none. The same file again changes nothing."""
    with _telling(is_json):
        try:
            rows = json.loads(file.read_text("utf-8"))
        except (ValueError, UnicodeDecodeError) as error:
            raise Invalid("json-syntax") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Invalid("agreements-not-a-list")
        new = [agreement_from_payload(row, place) for place, row in enumerate(rows, start=1)]
        recorded = record_agreements(composition.consent, new, OPERATOR)
    counts = {state: sum(one.state == state for one in recorded) for state in ("new", "changed", "unchanged")}
    _say(is_json, counts, " · ".join(f"{count} {state}" for state, count in counts.items()))


# Objections ----------------------------------------------------------------------------------------------------------


@cli.group()
def objections() -> None:
    """Patients' objections."""


@objections.command("add")
@click.argument("person_id")
@click.option("--received-by", required=True, help="ODS code of the organisation that took it.")
@click.option("--organisation", help="Object to this organisation only.")
@click.option("--category", help="Object to this category only.")
@click.option("--purpose", help="Object to this purpose only.")
@click.option("--refused", "reason_refused", help="Keep it as refused, for this reason.")
@click.option("--also-in-emergency", is_flag=True, help="Emergency access may not override it.")
@as_json
@needs_service
def add_objection(
    composition: Composition,
    person_id: str,
    received_by: str,
    organisation: str | None,
    category: str | None,
    purpose: str | None,
    reason_refused: str | None,
    also_in_emergency: bool,
    is_json: bool,
) -> None:
    """Record an objection of a person; without an option it covers everything."""
    with _telling(is_json):
        wanted = [
            Scope(kind, code)
            for kind, code in (("organisation", organisation), ("category", category), ("purpose", purpose))
            if code
        ]
        if len(wanted) > 1:
            raise Invalid("one-scope-only", field="scope")
        receipt = record_directive(
            composition.consent,
            NewDirective(
                "objection",
                wanted[0] if wanted else Scope("everything"),
                received_by,
                person_id=parse_id(person_id, "person_id"),
                standing="refused" if reason_refused else "upheld",
                reason=reason_refused,
                may_override=not also_in_emergency,
                channel="other",
            ),
            OPERATOR,
        )
    answer = {
        "directive_id": format_id(receipt.directive_id),
        "state": receipt.state,
        "epoch": receipt.epoch,
        "leaf_hash": receipt.leaf_hash,
    }
    _say(is_json, answer, f"{answer['directive_id']} · {receipt.state} · epoch {receipt.epoch}")


@objections.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say row by row what would happen, and write nothing.")
@click.option(
    "--skip-rejected", is_flag=True, help="Write the other rows; else one rejected row keeps all back."
)
@as_json
@needs_service
def load_objections(
    composition: Composition, file: Path, dry_run: bool, skip_rejected: bool, is_json: bool
) -> None:
    """Record objections, dissents and Type 1 opt-outs from FILE, a CSV in UTF-8. The same file again changes nothing.

    Every row is checked before the first is written. Exit status 3 says that rows were rejected: told by row and field, never by value.
    """
    with _telling(is_json):
        rows = read_directive_rows(file, composition.consent)
        with progress_bar(len(rows), "Recording", is_json) as progress:
            made = load_directives(
                composition.consent,
                rows,
                OPERATOR,
                is_preview=dry_run,
                skips_rejected=skip_rejected,
                progress=progress,
            )
    told = made.rows if dry_run else made.rejected
    answer = {
        "dry_run": dry_run,
        "written": made.is_written,
        "counts": made.counts,
        "rows": [
            {name: value for name, value in asdict(one).items() if value is not None}
            | ({"person_id": format_id(one.person_id)} if one.person_id is not None else {})
            for one in told
        ],
    }
    lines = [_told_row(one) for one in told]
    counts = ", ".join(f"{count} {state}" for state, count in made.counts.items()) or "no rows"
    lines.append(f"{'Written' if made.is_written else 'Nothing was written'}: {counts}")
    _say(is_json, answer, "\n".join(lines))
    if made.rejected:
        sys.exit(WITH_REJECTS)


def _told_row(one: RowOutcome) -> str:
    if one.state == "rejected":
        return f"row {one.row}  rejected  {one.field or 'row'}: {one.code}"
    return f"row {one.row}  {one.state}" + (f"  {format_id(one.person_id)}" if one.person_id else "")


@objections.command("withdraw")
@click.argument("directive_id")
@click.option("--reason", required=True)
@as_json
@needs_service
def withdraw(composition: Composition, directive_id: str, reason: str, is_json: bool) -> None:
    """Withdraw a directive; it stays on record."""
    with _telling(is_json):
        number = parse_id(directive_id, "directive_id")
        receipt = withdraw_directive(composition.consent, number, reason, OPERATOR)
    answer = {"directive_id": directive_id, "state": receipt.state, "epoch": receipt.epoch}
    _say(is_json, answer, f"{directive_id} · {receipt.state} · epoch {receipt.epoch}")


@objections.command("list")
@click.argument("person_id")
@as_json
@needs_service
def list_objections(composition: Composition, person_id: str, is_json: bool) -> None:
    """Tell every directive that bears on a person; the reading is audited."""
    with _telling(is_json):
        held = list_directives(composition.consent, parse_id(person_id, "person_id"), OPERATOR)
    rows: list[dict[str, Any]] = [
        {
            "directive_id": format_id(one.directive.row.directive_id),
            "kind": one.directive.row.kind,
            "scope": [one.directive.row.scope_kind, one.directive.row.scope_code],
            "standing": one.directive.standing,
            "is_withdrawn": one.directive.withdrawn_at is not None,
            "via_task": one.via_task,
        }
        for one in held
    ]
    lines = [
        f"{row['directive_id']}  {row['kind']}  {' '.join(row['scope']).strip()}  {row['standing']}"
        + ("  withdrawn" if row["is_withdrawn"] else "")
        + ("  through an open task" if row["via_task"] else "")
        for row in rows
    ]
    _say(is_json, rows, "\n".join(lines) or "No directives.")


@cli.group()
def directives() -> None:
    """What patients and sources asked for, and what of it binds where."""


@directives.command("binding")
@click.argument("person_ids", nargs=-1, required=True)
@click.option("--purpose", required=True, help="For what would be asked, as TREAT.")
@click.option("--organisation", required=True, help="ODS code of the organisation whose user would ask.")
@click.option("--role", help="The role in which they would ask, as R8000.")
@click.option("--category", "categories", multiple=True, help="Only of this category; may be given again.")
@click.option("--source", "sources", multiple=True, help="Only of this organisation's items.")
@click.option("--directive", "directive_ids", multiple=True, help="Only this directive; else all on record.")
@as_json
@needs_service
def tell_what_binds(
    composition: Composition,
    person_ids: tuple[str, ...],
    purpose: str,
    organisation: str,
    role: str | None,
    categories: tuple[str, ...],
    sources: tuple[str, ...],
    directive_ids: tuple[str, ...],
    is_json: bool,
) -> None:
    """Say which directives of people bind in a situation, and why the others do not; each reading is audited."""
    with _telling(is_json):
        found = tell_binding(
            composition.consent,
            Situation(
                purpose,
                parse_ods_code(organisation),
                role,
                categories,
                tuple(parse_ods_code(code) for code in sources),
            ),
            [parse_id(one, "person_id") for one in person_ids],
            OPERATOR,
            directive_ids=[parse_id(one, "directive") for one in directive_ids],
        )
    answer = [
        {
            "person_id": format_id(person.person_id),
            "directives": [
                {
                    "directive_id": format_id(one.directive_id),
                    "binds": one.binds,
                    "because": one.because,
                    "lifted_by": [format_id(number) for number in one.lifted_by],
                    "categories": list(one.categories),
                }
                for one in person.directives
            ],
        }
        for person in found
    ]
    lines = [
        f"{format_id(person.person_id)}  {format_id(one.directive_id)}  {one.because}"
        + "".join(f" {format_id(number)}" for number in one.lifted_by)
        for person in found
        for one in person.directives
    ]
    _say(is_json, {"people": answer}, "\n".join(lines) or "No directives.")


# The national opt-out ------------------------------------------------------------------------------------------------


@cli.group("opt-out")
def opt_out() -> None:
    """The National Data Opt-out: lists of NHS numbers for the national service, and its answers."""


@opt_out.command("prepare")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--mailbox", required=True, help="The id of your own mailbox; it begins the lists' names.")
@click.option(
    "--older-than-days",
    default=0,
    show_default=True,
    type=click.IntRange(0, 365),
    help="Leave out numbers whose answer is no older than this.",
)
@click.option(
    "--most",
    default=MOST_NUMBERS,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="Numbers of a list.",
)
@click.option(
    "--test-numbers", is_flag=True, help="Take numbers of test ranges too, which the live service may refuse."
)
@as_json
@needs_service
def prepare_opt_out_lists(
    composition: Composition,
    folder: Path,
    mailbox: str,
    older_than_days: int,
    most: int,
    test_numbers: bool,
    is_json: bool,
) -> None:
    """Write the lists to be sent into FOLDER/out, every number checked. They are for the transfer client alone."""
    with _telling(is_json):
        open_folder(folder)
        with progress_bar(lambda: count_records(composition.consent), "Gathering", is_json) as progress:
            made = prepare_lists(
                composition.consent,
                mailbox,
                OPERATOR,
                older_than=timedelta(days=older_than_days),
                most=most,
                takes_reserved=test_numbers,
                progress=progress,
            )
        put_lists(folder, made.lists)
    answer = {
        "lists": [{"name": one.name, "numbers": one.numbers} for one in made.lists],
        "records": made.records,
        "fresh": made.fresh,
        "reserved": made.reserved,
        "workflow": WORKFLOW,
        "to": NATIONAL_MAILBOX,
    }
    lines = [f"{one.name}  {one.numbers} numbers" for one in made.lists] or ["Nothing to ask about."]
    lines.append(
        f"{made.records} records with a number, {made.fresh} with a fresh answer, {made.reserved} of test ranges"
    )
    if made.lists:
        lines.append(f"Send them to mailbox {NATIONAL_MAILBOX} with workflow {WORKFLOW}.")
    _say(is_json, answer, "\n".join(lines))


@opt_out.command("receive")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--list", "name", help="The list that the one answer there is of, where no file name says so.")
@click.option("--all-opted-out", is_flag=True, help="Believe an answer without any number.")
@as_json
@needs_service
def receive_opt_out_answers(
    composition: Composition, folder: Path, name: str | None, all_opted_out: bool, is_json: bool
) -> None:
    """Read the answers in FOLDER/in and move them to FOLDER/done. Exit status 3 says that one was refused; it stays where it is."""
    with _telling(is_json):
        open_folder(folder)
        with progress_bar(lambda: count_waiting(composition.consent), "Answering", is_json) as progress:
            received = list(
                receive_folder(
                    composition.consent,
                    folder,
                    OPERATOR,
                    only=name,
                    may_be_empty=all_opted_out,
                    progress=progress,
                )
            )
    rows = [{key: value for key, value in asdict(one).items() if value is not None} for one in received]
    _say(is_json, rows, "\n".join(map(_told_file, received)) or "No answers.")
    if any(one.state == "refused" for one in received):
        sys.exit(WITH_REJECTS)


def _told_file(one: ReceivedFile) -> str:
    if one.state == "answered":
        return f"{one.file}  {one.list}  {one.clear} clear, {one.opted_out} opted out"
    where = f" in row {one.row}" if one.row is not None else ""
    return f"{one.file}  {one.state}" + (f": {one.code}{where}" if one.code else "")


@opt_out.command("list")
@as_json
@needs_service
def list_opt_out_lists(composition: Composition, is_json: bool) -> None:
    """Tell the lists that were prepared and what they came to, in counts."""
    with _telling(is_json):
        found = list_lists(composition.consent, limit=1_000)
    rows = [
        {
            "name": one.name,
            "state": one.state,
            "numbers": one.numbers,
            "clear": one.clear,
            "opted_out": one.opted_out,
            "prepared_at": one.prepared_at.isoformat(),
        }
        for one in found
    ]
    lines = [
        f"{row['name']}  {row['state']}  {row['numbers']} numbers"
        + (f"  {row['clear']} clear, {row['opted_out']} opted out" if row["state"] == "answered" else "")
        for row in rows
    ]
    _say(is_json, rows, "\n".join(lines) or "No lists.")


@opt_out.command("abandon")
@click.argument("name")
@as_json
@needs_service
def abandon_opt_out_list(composition: Composition, name: str, is_json: bool) -> None:
    """Give up the list NAME, which will have no answer; its numbers are asked about again with the next."""
    with _telling(is_json):
        closed = abandon_list(composition.consent, name, OPERATOR)
    _say(is_json, {"name": closed.name, "state": closed.state}, f"{closed.name} · {closed.state}")


@opt_out.command("record")
@click.argument("person_id")
@click.argument("state", type=click.Choice([one.value for one in OptOutState]))
@click.option("--checked-at", type=click.DateTime(), required=True, help="When the service answered (UTC).")
@as_json
@needs_service
def record_opt_out(
    composition: Composition, person_id: str, state: str, checked_at: datetime, is_json: bool
) -> None:
    """Record the national service's answer about one person, looked up elsewhere."""
    with _telling(is_json):
        number = parse_id(person_id, "person_id")
        record_opt_out_evidence(composition.consent, number, state, checked_at.replace(tzinfo=UTC), OPERATOR)
    _say(is_json, {"person_id": person_id, "state": str(state)}, f"{person_id} · {state}")


# Alerts and the staff files that they rest on -------------------------------------------------------------------------


@cli.group()
def staff() -> None:
    """Employers' staff files, by which looks at relatives, neighbours and colleagues are found."""


@staff.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--organisation", required=True, help="ODS code of the employer.")
@click.option("--legal-basis", required=True, help="On what the employer rests it, in its own words.")
@click.option(
    "--compare",
    "compares",
    multiple=True,
    required=True,
    type=click.Choice(COMPARED),
    help="What the basis allows to be compared; again for more.",
)
@click.option(
    "--review-on",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    help="When to ask again if it may be kept.",
)
@as_json
@needs_service
def load_staff_file(
    composition: Composition,
    file: Path,
    organisation: str,
    legal_basis: str,
    compares: tuple[str, ...],
    review_on: datetime,
    is_json: bool,
) -> None:
    """Load FILE, a CSV (user_id and what is compared), in the place of the employer's last one, all or none; keyed digests are kept of it.

    Exit status 3 says that rows were rejected: told by row and field, never by value.
    """
    with _telling(is_json):
        loaded = load_staff(
            composition.consent,
            file,
            OPERATOR,
            organisation=organisation,
            legal_basis=legal_basis,
            compares=compares,
            review_on=review_on.date(),
        )
    answer = {
        "members": loaded.file.members if loaded.file else 0,
        "rejected": [asdict(one) for one in loaded.rejected],
    }
    lines = [f"row {one.row}  rejected  {one.field or 'row'}: {one.code}" for one in loaded.rejected]
    lines.append(f"{loaded.file.members} staff of {organisation}" if loaded.file else "Nothing was written.")
    _say(is_json, answer, "\n".join(lines))
    if loaded.rejected:
        sys.exit(WITH_REJECTS)


@staff.command("list")
@as_json
@needs_service
def list_staff(composition: Composition, is_json: bool) -> None:
    """List staff files: on what basis, what is compared, when to be reviewed; never whom they name."""
    with _telling(is_json):
        found = list_staff_files(composition.consent, OPERATOR)
    today = composition.consent.mpi.today()
    rows = [
        {
            "organisation": one.organisation,
            "legal_basis": one.legal_basis,
            "compares": list(one.compares),
            "members": one.members,
            "review_on": one.review_on.isoformat(),
            "is_overdue": one.review_on <= today,
            "loaded_at": one.loaded_at.isoformat(),
            "loaded_by": one.loaded_by,
        }
        for one in found
    ]
    lines = [
        f"{one.organisation}  {one.members} staff  {', '.join(one.compares)}  {one.legal_basis}  review on {one.review_on}"
        + ("  OVERDUE" if one.review_on <= today else "")
        for one in found
    ]
    _say(
        is_json,
        rows,
        "\n".join(lines) or "No staff files: nobody's looks are compared with their employer's staff.",
    )


@staff.command("withdraw")
@click.argument("organisation")
@click.option("--reason", required=True)
@as_json
@needs_service
def withdraw_staff_file(composition: Composition, organisation: str, reason: str, is_json: bool) -> None:
    """Take the staff file of ORGANISATION away, and every alert that came of it."""
    with _telling(is_json):
        done = withdraw_staff(composition.consent, organisation, reason, OPERATOR)
    answer = {"organisation": organisation, "alerts_removed": done.removed, "alerts_reduced": done.reduced}
    line = f"{organisation} · withdrawn · {done.removed} alerts removed, {done.reduced} reduced to what else they rest on"
    _say(is_json, answer, line)


@cli.group()
def hours() -> None:
    """When organisations' staff work, by role, by which looks out of hours are found."""


@hours.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--organisation", required=True, help="ODS code of whose staff they are.")
@as_json
@needs_service
def load_hours_file(composition: Composition, file: Path, organisation: str, is_json: bool) -> None:
    """Load FILE, a CSV (role, days, from, until), in the place of the organisation's last one, all or none.

    Exit status 3 says that rows were rejected: told by row and field, never by value.
    """
    with _telling(is_json):
        loaded = load_hours(composition.consent, file, OPERATOR, organisation=organisation)
    answer = {
        "roles": list(loaded.hours.roles) if loaded.hours else [],
        "rejected": [asdict(one) for one in loaded.rejected],
    }
    lines = [f"row {one.row}  rejected  {one.field or 'row'}: {one.code}" for one in loaded.rejected]
    lines.append(
        f"hours of {organisation} for {len(loaded.hours.roles)} roles"
        if loaded.hours
        else "Nothing was written."
    )
    _say(is_json, answer, "\n".join(lines))
    if loaded.rejected:
        sys.exit(WITH_REJECTS)


@hours.command("list")
@as_json
@needs_service
def list_working_hours(composition: Composition, is_json: bool) -> None:
    """List hours by organisation and role, in the wall clock's time in Britain."""
    with _telling(is_json):
        found = list_hours(composition.consent, OPERATOR)
    rows = [
        {
            "organisation": one.organisation,
            "shifts": [asdict(shift) for shift in one.shifts],
            "stands_since": one.stands_since.isoformat(),
            "loaded_at": one.loaded_at.isoformat(),
            "loaded_by": one.loaded_by,
        }
        for one in found
    ]
    lines = [
        f"{one.organisation}  {shift.role:6}  {shift.day:10}  {_span(shift)}"
        for one in found
        for shift in sorted(one.shifts, key=lambda shift: (shift.role, _place(shift.day), shift.begins))
    ]
    _say(is_json, rows, "\n".join(lines) or "No hours on file: no look is taken to be out of hours.")


def _place(day: str) -> tuple[int, str]:
    return (DAYS.index(day), "") if day in DAYS else (len(DAYS), day)


def _span(shift: Shift) -> str:
    if shift.day == ALWAYS:
        return "round the clock"
    if shift.begins == shift.ends:
        return "nobody works"
    begins, ends = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (shift.begins, shift.ends % A_DAY))
    return f"{begins}–{'24:00' if shift.ends == A_DAY else ends}" + (
        " the day after" if shift.ends > A_DAY else ""
    )


@hours.command("withdraw")
@click.argument("organisation")
@click.option("--reason", required=True)
@as_json
@needs_service
def withdraw_working_hours(composition: Composition, organisation: str, reason: str, is_json: bool) -> None:
    """Take the hours of ORGANISATION away; alerts that were raised by them stay."""
    with _telling(is_json):
        withdraw_hours(composition.consent, organisation, reason, OPERATOR)
    _say(is_json, {"organisation": organisation}, f"{organisation} · hours withdrawn")


@cli.group()
def alerts() -> None:
    """Looks at records that a privacy officer should ask about."""


@alerts.command("list")
@click.option("--state", type=click.Choice(STATES), default="open", show_default=True)
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@as_json
@needs_service
def list_open_alerts(composition: Composition, state: str, limit: int, is_json: bool) -> None:
    """Look through the log as far as it is sealed, and list alerts, the worst first; this is audited."""
    consent = composition.consent
    with _telling(is_json):
        _look(consent)
        found = list_alerts(consent, OPERATOR, state=state, limit=limit)
        missing = coverage_of(consent, OPERATOR)
    rows = [
        {
            "alert_id": format_id(one.alert_id),
            "rank": one.rank,
            "code": one.code,
            "signals": list(one.signals),
            "organisation": one.organisation,
            "user_id": one.user_id,
            "person_id": None if one.person_id is None else format_id(one.person_id),
            "reason": one.reason,
            "state": one.state,
            "outcome": one.outcome,
            "is_explained": one.is_explained,
            "raised_at": one.raised_at.isoformat(),
        }
        for one in found
    ]
    lines = [
        f"{row['alert_id']}  rank {row['rank']}  {', '.join(one.signals)}  {one.organisation}  {one.user_id}  "
        + "  ".join(_about(one))
        + (f"  {one.outcome}" if one.outcome else "  explained" if one.is_explained else "")
        for row, one in zip(rows, found, strict=True)
    ]
    answer = {"alerts": rows, "not_evaluated": [asdict(one) for one in missing]}
    _say(is_json, answer, "\n".join([*(lines or ["No alerts."]), *_untold(missing)]))


def _about(one: Alert) -> list[str]:
    """Return whom an alert is about, and in what words where it counts something."""
    person = [] if one.person_id is None else [f"person {format_id(one.person_id)}"]
    return person if person and one.code != PROBING else [*person, str(one.reason)]


@alerts.command("review")
@click.argument("alert_id")
@click.option("--outcome", required=True, type=click.Choice(OUTCOMES))
@click.option("--comment", required=True, help="Why, in a few words.")
@as_json
@needs_service
def review_one_alert(
    composition: Composition, alert_id: str, outcome: str, comment: str, is_json: bool
) -> None:
    """Close an alert with an outcome."""
    with _telling(is_json):
        number = parse_id(alert_id, "alert_id")
        done = review_alert(composition.consent, number, Review(outcome, comment), OPERATOR)
    _say(is_json, {"alert_id": alert_id, "outcome": done.outcome}, f"{alert_id} · {done.outcome}")


@alerts.command("figures")
@as_json
@needs_service
def show_alert_figures(composition: Composition, is_json: bool) -> None:
    """Say how many alerts each signal raised, what came of them, and how often it was right."""
    with _telling(is_json):
        _look(composition.consent)
        found = alert_figures(composition.consent, OPERATOR)
    lines = [
        f"{one.signal:30}  {one.alerts} alerts  {one.open} open  {one.explained} explained  {one.confirmed} confirmed  "
        f"{one.legitimate} legitimate  {one.undecided} undecided  hit rate "
        + ("none yet" if one.hit_per_mille is None else f"{one.hit_per_mille / 10:.1f} %")
        for one in found.rates
    ]
    until = found.looked_until
    answer = {
        "rates": [asdict(one) | {"hit_per_mille": one.hit_per_mille} for one in found.rates],
        "not_evaluated": [asdict(one) for one in found.coverage],
        "looked_until": until.isoformat() if until else None,
    }
    _say(is_json, answer, "\n".join([*(lines or ["No alerts."]), *_untold(found.coverage)]))


def _look(consent: Consent) -> None:
    while count_usage(consent):  # it says who viewed at all, and so whose looks were not evaluated
        pass
    while watch_views(consent):
        pass
    explain_open(consent)


def _untold(missing: Iterable[Coverage]) -> list[str]:
    return [
        f"{one.organisation}  not evaluated: {', '.join(one.not_evaluated)}"
        + ("" if one.has_staff_file else "  (no staff file)")
        + ("" if one.has_hours else "  (no hours)")
        for one in missing
    ]


# Undone merges -------------------------------------------------------------------------------------------------------


@cli.group()
def notices() -> None:
    """Organisations that are to be told of merges that were undone, and who saw what while they stood."""


_if_version = click.option(
    "--if-version", type=click.IntRange(1), help="Refuse where the notice was changed since this version."
)


@notices.command("list")
@click.option("--state", type=click.Choice(NOTICE_STATES), default="open", show_default=True)
@click.option("--organisation", help="Only of this organisation, by its ODS code.")
@click.option("--person", "person_id", help="Only of merges with a record that this person has now.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@as_json
@needs_service
def list_all_notices(
    composition: Composition,
    state: str,
    organisation: str | None,
    person_id: str | None,
    limit: int,
    is_json: bool,
) -> None:
    """List notices, those of the oldest undone merge first; this is audited. The worker finds them."""
    with _telling(is_json):
        found = list_notices(
            composition.consent,
            OPERATOR,
            state=state,
            organisation=None if organisation is None else parse_ods_code(organisation),
            person_id=None if person_id is None else parse_id(person_id, "person"),
            limit=limit,
        )
    lines = [_notice_line(one) for one in found]
    _say(is_json, {"notices": [_notice_row(one) for one in found]}, "\n".join(lines) or "No notices.")


@notices.command("show")
@click.argument("notice_id")
@as_json
@needs_service
def show_notice(composition: Composition, notice_id: str, is_json: bool) -> None:
    """Show one notice with all that is known of it; this is audited."""
    with _telling(is_json):
        found = get_notice(composition.consent, parse_id(notice_id, "notice_id"), OPERATOR)
    lines = [
        _notice_line(found),
        f"  merge {format_id(found.merge_id)} of person {format_id(found.person_id)}, undone: {found.cause}",
        f"  its records are now of {', '.join(map(format_id, found.person_ids)) or 'nobody'}",
        f"  version {found.version}"
        + (f", changed by {found.changed_by} at {_minute(found.changed_at)}" if found.changed_at else ""),
        *([f"  told at {_minute(found.told_at)} by {found.means}"] if found.told_at else []),
        *([f"  not needed: {found.reason}"] if found.reason else []),
        *([f"  note: {found.note}"] if found.note else []),
    ]
    _say(is_json, _notice_row(found), "\n".join(lines))


@notices.command("told")
@click.argument("notice_id")
@click.option("--means", required=True, type=click.Choice(MEANS), help="How they were told.")
@click.option("--at", "told_at", type=click.DateTime(), help="When (UTC); now if not given.")
@click.option("--note", help="What else is to be known of it.")
@_if_version
@as_json
@needs_service
def note_notice_told(
    composition: Composition,
    notice_id: str,
    means: str,
    told_at: datetime | None,
    note: str | None,
    if_version: int | None,
    is_json: bool,
) -> None:
    """Note that the organisation of a notice was told."""
    with _telling(is_json):
        done = note_told(
            composition.consent,
            parse_id(notice_id, "notice_id"),
            OPERATOR,
            means=means,
            told_at=told_at.replace(tzinfo=UTC) if told_at else None,
            note=note,
            if_match=if_version,
        )
    _say(is_json, _notice_row(done), _notice_line(done))


@notices.command("not-needed")
@click.argument("notice_id")
@click.option("--reason", required=True, type=click.Choice(NOT_NEEDED))
@click.option("--note", help="Why, in a few words; needed where the reason is other.")
@_if_version
@as_json
@needs_service
def note_notice_not_needed(
    composition: Composition,
    notice_id: str,
    reason: str,
    note: str | None,
    if_version: int | None,
    is_json: bool,
) -> None:
    """Note that the organisation of a notice need not be told."""
    with _telling(is_json):
        number = parse_id(notice_id, "notice_id")
        done = note_not_needed(
            composition.consent, number, OPERATOR, reason=reason, note=note, if_match=if_version
        )
    _say(is_json, _notice_row(done), _notice_line(done))


@notices.command("reopen")
@click.argument("notice_id")
@click.option("--note", help="Why, in a few words.")
@_if_version
@as_json
@needs_service
def reopen_one_notice(
    composition: Composition, notice_id: str, note: str | None, if_version: int | None, is_json: bool
) -> None:
    """Take back that an organisation was told, or need not be."""
    with _telling(is_json):
        number = parse_id(notice_id, "notice_id")
        done = reopen_notice(composition.consent, number, OPERATOR, note=note, if_match=if_version)
    _say(is_json, _notice_row(done), _notice_line(done))


@notices.command("who-saw")
@click.argument("merge_id")
@click.option("--from", "since", type=click.DateTime(), help="From this instant (UTC).")
@click.option("--to", "until", type=click.DateTime(), help="Until this instant (UTC), that one left out.")
@click.option("--organisation", help="Only by users of this organisation, by its ODS code.")
@click.option("--limit", default=1_000, show_default=True, type=click.IntRange(1, 100_000))
@as_json
@needs_service
def tell_who_saw(
    composition: Composition,
    merge_id: str,
    since: datetime | None,
    until: datetime | None,
    organisation: str | None,
    limit: int,
    is_json: bool,
) -> None:
    """Tell every look at the undone merge MERGE_ID while it stood; this is audited."""
    with _telling(is_json):
        found = who_saw(
            composition.consent,
            parse_id(merge_id, "merge_id"),
            OPERATOR,
            since=since.replace(tzinfo=UTC) if since else None,
            until=until.replace(tzinfo=UTC) if until else None,
            organisation=None if organisation is None else parse_ods_code(organisation),
            limit=limit,
        )
    rows = [
        {
            "event_id": format_id(one.event_id),
            "at": one.at.isoformat(),
            "kind": one.kind,
            "organisation": one.organisation,
            "user_id": one.user_id,
            "role": one.role,
            "client_id": one.client_id,
            "purpose": one.purpose,
            "person_id": None if one.person_id is None else format_id(one.person_id),
            "shown": [asdict(shown) for shown in one.shown],
        }
        for one in found
    ]
    lines = [
        f"{one.at:%Y-%m-%d %H:%M:%S}  {one.kind}  {one.organisation or '-'}  {one.user_id or 'erased'}  {one.role or '-'}  "
        f"{one.purpose or '-'}  {', '.join(f'{shown.category} of {shown.source}' for shown in one.shown) or 'who it is'}"
        f"  event {format_id(one.event_id)}"
        for one in found
    ]
    _say(is_json, {"looks": rows}, "\n".join(lines) or "Nobody looked while it stood.")


def _notice_row(one: Notice) -> dict[str, Any]:
    ids = ("notice_id", "merge_id", "person_id")
    row: dict[str, Any] = {name: getattr(one, name) for name in type(one).__slots__}
    row |= {name: format_id(row[name]) for name in ids}
    row["decision_id"] = None if one.decision_id is None else format_id(one.decision_id)
    row["person_ids"] = [format_id(number) for number in one.person_ids]
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _notice_line(one: Notice) -> str:
    views = f"{one.views} view{'' if one.views == 1 else 's'}"
    looks = f"  {views} by {one.users} user{'' if one.users == 1 else 's'}" if one.views else ""
    return (
        f"{format_id(one.notice_id)}  {one.state}  {one.organisation}  {', '.join(one.why)}{looks}  "
        f"merge {format_id(one.merge_id)} stood {_minute(one.stood_from)} to {_minute(one.stood_until)}"
    )


def _minute(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"


# Reports and policy --------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("person_id")
@click.option("--since", type=click.DateTime(), help="From this instant (UTC).")
@click.option("--fhir", "is_fhir", is_flag=True, help="As AuditEvents in a Bundle of FHIR R4.")
@as_json
@needs_service
def report(
    composition: Composition, person_id: str, since: datetime | None, is_fhir: bool, is_json: bool
) -> None:
    """Tell who asked for and saw a person's record; the making of the report is audited."""
    with _telling(is_json or is_fhir):
        number = parse_id(person_id, "person_id")
        since = since.replace(tzinfo=UTC) if since is not None else None
        if is_fhir:
            click.echo(json.dumps(_bundle_of(composition.consent, number, since), ensure_ascii=False))
            return
        made = access_report(composition.consent, number, OPERATOR, since=since)
    rows = [
        {
            "at": one.at.isoformat(),
            "act": one.act,
            "outcome": one.outcome,
            "organisation": one.organisation,
            "user_id": one.user_id,
            "role": one.role,
            "purpose": one.purpose,
            "items": [[item.item_id, item.category, item.source] for item in one.items],
            "patient_text": one.texts.patient,
        }
        for one in made.accesses
    ]
    lines = [
        f"{row['at']}  {row['organisation']}  {row['user_id']}  {row['act']}  {row['outcome']}"
        + (f"  {len(row['items'])} items" if row["items"] else "")
        for row in rows
    ]
    _say(is_json, rows, "\n".join(lines) or "Nobody.")


_EVENTS_AT_ONCE = 500


def _bundle_of(consent: Consent, person_id: int, since: datetime | None) -> dict[str, Any]:
    systems, sought = Systems(consent.issuer), Sought(TOLD, since=since)
    found: list[ToldRow] = []
    page: list[ToldRow] | None = None
    while page is None or len(page) == _EVENTS_AT_ONCE:
        after = (found[-1].row.at, found[-1].row.event_id) if found else None
        names = ["date", "patient"] if since is not None else ["patient"]
        page = search_accesses(
            consent, person_id, OPERATOR, sought, parameters=names, after=after, limit=_EVENTS_AT_ONCE
        )
        found += page
    events = [audit_event_of(one.row, one.person_id, systems, words=one.texts.officer) for one in found]
    entries = [{"fullUrl": f"{systems.fhir}/AuditEvent/{one['id']}", "resource": one} for one in events]
    bundle = {"resourceType": "Bundle", "type": "collection"}
    return bundle | ({"entry": entries} if entries else {})


@cli.command()
@click.argument("event_id")
@as_json
@needs_service
def explain(composition: Composition, event_id: str, is_json: bool) -> None:
    """Make the decision behind an audit row again, from the facts that it names, and say which rules decided; this is audited."""
    with _telling(is_json):
        made = explain_event(composition.consent, parse_id(event_id, "event_id"), OPERATOR)
    decision = made.decision
    answer = {
        "event_id": event_id,
        "kind": made.event.kind,
        "outcome": decision.outcome.value,
        "is_same": made.is_same,
        "determining": [
            [one.tier, one.rule_id, one.version, one.effect.value] for one in decision.determining
        ],
        "near_misses": [[one.rule_id, one.condition] for one in decision.near_misses],
        "officer_text": decision.texts.officer,
    }
    verdict = "as recorded" if made.is_same else "NOT as recorded"
    lines = [f"{event_id} · {made.event.kind} · {decision.outcome.value} · {verdict}", decision.texts.officer]
    lines += [
        f"tier {one.tier}  {one.effect.value}  {one.rule_id} v{one.version}" for one in decision.determining
    ]
    _say(is_json, answer, "\n".join(lines))
    if not made.is_same:
        sys.exit(FAILED)


@cli.group(invoke_without_command=True)
@click.option("--from", "first", help="First month, as 2026-01; eleven before the last one if not given.")
@click.option("--to", "last", help="Last month; the one before this if not given.")
@click.option(
    "--minutes-per-view",
    default=MINUTES_A_VIEW,
    show_default=True,
    help="What a view is taken to save: an assumption.",
)
@click.option(
    "--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every count here."
)
@click.option(
    "--svg", "svg_file", type=click.Path(dir_okay=False, path_type=Path), help="Draw the months here."
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Picture and tables, as one page.",
)
@as_json
@click.pass_context
def usage(
    context: click.Context,
    first: str | None,
    last: str | None,
    minutes_per_view: float,
    csv_file: Path | None,
    svg_file: Path | None,
    html_file: Path | None,
    is_json: bool,
) -> None:
    """Count views by month, setting, organisation, role and purpose, beside the year before, and say who is newly connected."""
    if context.invoked_subcommand is not None:
        return
    consent = context.obj.consent
    with _telling(is_json):
        while count_usage(consent):
            pass
        told = read_usage(consent, OPERATOR, first=first, last=last, minutes_a_view=minutes_per_view)
    for file, text in ((csv_file, csv_of), (svg_file, picture_of)):
        if file is not None:
            file.write_text(text(told.usage), "utf-8")
    if html_file is not None:
        html_file.write_text(page_of(told), "utf-8")
    answer = {
        "from": str(told.usage.first),
        "to": str(told.usage.last),
        "staff": told.staff,
        "minutes_saved": told.usage.minutes_saved,
        "minutes_per_view": told.usage.minutes_a_view,
        "counted_until": told.counted_until.isoformat() if told.counted_until else None,
        "connections": [[one.organisation, str(one.month)] for one in told.usage.connections],
        "views": {
            by: [[one.code, one.views, one.before, one.change_per_mille] for one in shares]
            for by, shares in shares_of(told.usage).items()
        },
    }
    lines = lines_of(told) + [
        f"{by:12}  {one.code:12}  {one.views:>12,}  {change_of(one)}"
        for by in ("setting", "purpose", "month")
        for one in shares_of(told.usage)[by]
    ]
    _say(is_json, answer, "\n".join(lines))


@usage.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@needs_service
def load_usage_file(composition: Composition, file: Path, is_json: bool) -> None:
    """Bring counts of earlier months from FILE, a CSV (month, organisation, role, purpose, views), all or none."""
    with _telling(is_json):
        rows = load_usage(composition.consent, file, OPERATOR)
    _say(is_json, {"rows": rows}, f"{rows} rows")


# The audit log -------------------------------------------------------------------------------------------------------


@cli.group()
def audit() -> None:
    """The audit log: whether it is as it was written, and a copy for auditors."""


@audit.command("verify")
@click.option(
    "--checkpoints",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoints kept elsewhere, as `consent audit export` writes them: the log must continue each.",
)
@click.option(
    "--key", "key_ids", multiple=True, help="Believe this signing key and no others that are not named."
)
@as_json
@needs_service
def verify_audit(
    composition: Composition, files: tuple[Path, ...], key_ids: tuple[str, ...], is_json: bool
) -> None:
    """Hash every audit row again, and hold rows, tree and signed checkpoints to each other. Exit status 1 when anything is found."""

    def found(fault: Fault) -> None:
        answer = {name: value for name, value in asdict(fault).items() if value is not None}
        _say(is_json, {"fault": answer}, str(fault))

    with _telling(is_json):
        told = [note for file in files for note in _read_notes(file)]
        with click.progressbar(length=1, label="Verifying", file=sys.stderr, hidden=is_json) as bar:

            def progress(done: int, total: int) -> None:
                bar.length = max(total, done, 1)
                bar.update(done - bar.pos)

            verdict = verify_log(
                composition.consent.db,
                found,
                trusted=frozenset(key_ids) or None,
                told=told,
                progress=progress,
            )
    line = (
        f"{verdict.rows} rows ({verdict.erased} erased, {verdict.waiting} waiting to be sealed), {verdict.leaves} leaves, "
        f"{verdict.nodes} nodes, {verdict.checkpoints} checkpoints, {verdict.unused} numbers unused: "
        + (f"{verdict.faults} faults" if verdict.faults else f"all as written, root {verdict.root}")
    )
    _say(is_json, asdict(verdict), line)
    if verdict.faults:
        sys.exit(FAILED)


def _read_notes(file: Path) -> Iterator[str]:
    """Give the notes of the checkpoints in a file of JSON lines; lines of other types are passed over.

    Raises:
        Invalid: ``json-syntax`` or ``checkpoint-format``, with the row.
    """
    with file.open(encoding="utf-8") as lines:
        for row, line in enumerate(lines, start=1):
            try:
                told = json.loads(line)
                if told["type"] != "checkpoint":
                    continue
                read_checkpoint(told["note"])
            except (KeyError, TypeError, AttributeError) as error:
                raise Invalid("checkpoint-format", row=row) from error
            except ValueError as error:
                is_json = not isinstance(error, json.JSONDecodeError)
                raise Invalid("checkpoint-format" if is_json else "json-syntax", row=row) from error
            yield told["note"]


@audit.command("export")
@click.option("--to", "path", type=click.Path(dir_okay=False, path_type=Path), help="Into this file instead.")
@click.option(
    "--after", default=0, type=click.IntRange(min=0), help="Only rows with a number above this one."
)
@click.option("--checkpoints-only", is_flag=True, help="No rows: what a witness keeps.")
@needs_service
def export_audit(composition: Composition, path: Path | None, after: int, checkpoints_only: bool) -> None:
    """Write rows with their leaf indexes, and checkpoints, as JSON lines. They say who did what about whom; this is audited first."""
    consent = composition.consent
    with _telling(is_json=False):
        if not checkpoints_only:
            with consent.db.write() as tx:
                detail = {"after": format_id(after)} if after else {}
                trail.append(tx, "audit-exported", OPERATOR, consent.clock.now(), detail=detail)
        parts = [export_checkpoints(consent.db)]
        if not checkpoints_only:
            parts.insert(0, export_events(consent.db, after=after))
        if path is not None:
            path.touch(mode=0o600)
        with click.open_file(str(path) if path else "-", "w", encoding="utf-8") as file:
            for line in chain.from_iterable(parts):
                file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


# Conformance ---------------------------------------------------------------------------------------------------------


@cli.command("conformance")
@click.argument("url", required=False)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With whose accounts: see docs/consent/conformance.md.",
)
@click.option("--only", multiple=True, help="Cases whose names begin so; may be given again.")
@as_json
def ask_the_hard_cases(
    url: str | None, config_file: Path | None, only: tuple[str, ...], is_json: bool
) -> None:
    """Ask the hard cases of the service at URL, over its public interface, and say which it answers otherwise; without URL, list them.

    For an index of tests: the people of the cases are made up and stay. Exit status 1 when a case fails, 3 when none fails but some were
    not run.
    """
    pack = conformance.read_pack()
    if url is None:
        _list_cases(pack, is_json)
        return
    if config_file is None:
        raise click.UsageError("--config is needed.")

    def told(result: conformance.CaseResult) -> None:
        if not is_json:
            click.echo("\n".join(_told_case(result)))

    try:
        config = conformance.read_config(config_file)
        report = conformance.run_pack(pack, config, url, only=only, told=told)
    except conformance.ConfigFault as fault:
        _fail(Invalid("config-invalid", detail=str(fault)), is_json)
    except conformance.NoAnswer as fault:
        _fail(Unavailable("no-service", detail=f"{url}: {fault}"), is_json)
    counts = {state: report.count(state) for state in ("passed", "failed", "not run")}
    left = ", ".join(f"{what}: {count}" for what, count in report.left_behind.items()) or "nothing"
    line = (
        f"\n{len(report.results)} cases: "
        + ", ".join(f"{count} {state}" for state, count in counts.items())
        + f"\nLeft behind under the run {report.run}: {left}."
    )
    _say(is_json, asdict(report) | {"counts": counts}, line)
    if counts["failed"] or not report.results:
        sys.exit(FAILED)
    if counts["not run"]:
        sys.exit(WITH_REJECTS)


def _told_case(result: conformance.CaseResult) -> list[str]:
    needs = f": needs {result.needs}" if result.needs else ""
    lines = [f"{result.state:8}  {result.case:36}  {result.title}{needs}"]
    return lines + [f"          {problem}" for problem in result.problems]


def _list_cases(pack: conformance.Pack, is_json: bool) -> None:
    rows = [
        {"case": one.name, "hard_case": one.hard_case, "title": one.title, "why": one.why}
        for one in pack.cases
    ]
    lines = [f"{one.hard_case or '-':>3}  {one.name:36}  {one.title}" for one in pack.cases]
    lines += ["", "Not to be shown from outside:"]
    lines += [f"{one['hard_case']:>3}  {one['what']}: {one['why']}" for one in pack.not_shown]
    _say(is_json, {"cases": rows, "not_shown": list(pack.not_shown)}, "\n".join(lines))


# The policy ----------------------------------------------------------------------------------------------------------


@cli.group()
def policy() -> None:
    """The rules by which decisions are made, and how others take their place: drafted, proposed, approved by a second person, published."""


@policy.command("list")
@as_json
@needs_service
def list_kept_policies(composition: Composition, is_json: bool) -> None:
    """List the rule sets that were ever drafted or in force, and what waits for approval."""
    with _telling(is_json):
        found = list_policies(composition.consent)
    answer = {
        "in_force": found.in_force,
        "policies": [one.as_json() for one in found.policies],
        "changes": [one.as_json() for one in found.changes],
    }
    waiting = [_change_lines(one) for one in found.changes if one.is_open]
    lines = known_lines(found.policies, _AS_SHIPPED, waiting)
    _say(is_json, answer, "\n".join(lines))


_AS_SHIPPED = "as shipped; nothing was published"


def _change_lines(one: PolicyChange) -> list[str]:
    return change_lines(one, _figures_lines(one))


def _figures_lines(one: PolicyChange) -> Iterator[str]:
    if one.what_if is None or one.what_if_at is None:
        yield "Nobody asked what it would change"
        return
    of = one.what_if
    sides = (
        f"{of[side]['decisions']} {side.replace('_', ' ')}" for side in ("newly_denied", "newly_permitted")
    )
    period = f"{of['from'][:10]} to {of['to'][:10]}"
    yield (
        f"What if, asked {one.what_if_at:%Y-%m-%d %H:%M} of {period}: of {of['replayed']} decisions "
        f"{', '.join(sides)}; {sum(of['not_replayable'].values())} could not be replayed"
    )
    if one.staleness is not None and one.staleness.because == "policy-moved":
        yield "STALE WHAT-IF (another policy came into force since)"
    elif one.staleness is not None and one.staleness.is_stale:
        yield f"STALE WHAT-IF (agreements were recorded since: {one.staleness.agreements})"


@policy.command("show")
@click.argument("revision", required=False)
@click.option("--markdown", is_flag=True, help="As the table in docs/consent/policy-table.md.")
@needs_service
def show_policy(composition: Composition, revision: str | None, markdown: bool) -> None:
    """Show the rows of REVISION, tier by tier; without it, those in force."""
    with _telling(is_json=False):
        found = read_policy(composition.consent, revision)
    click.echo(policy_table(found) if markdown else _plain(found))


@policy.command("export")
@click.argument("revision", required=False)
@click.option("--to", "path", type=click.Path(dir_okay=False, path_type=Path), help="Into this file instead.")
@needs_service
def export_policy(composition: Composition, revision: str | None, path: Path | None) -> None:
    """Write the rule set of REVISION as JSON, to be edited and imported; without it, the one in force."""
    with _telling(is_json=False):
        found = read_policy(composition.consent, revision)
    with click.open_file(str(path) if path else "-", "w", encoding="utf-8") as file:
        file.write(json.dumps(found.document, ensure_ascii=False, indent=1) + "\n")


@policy.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@whose
@as_json
@needs_service
def import_draft(composition: Composition, file: Path, username: str, is_json: bool) -> None:
    """Check the rule set in FILE whole and keep it as a draft. Nothing else changes; the same file again changes nothing at all."""
    with _telling(is_json):
        document = read_json(file, "policy")
        made = import_policy(composition.consent, document, person_of(composition.consent.db, username))
    _say(
        is_json,
        made.as_json(),
        f"{known_line(made, _AS_SHIPPED)}\nNext: `consent policy propose {made.revision} --by NAME`",
    )


@policy.command("propose")
@click.argument("revision")
@click.option(
    "--what-if",
    "figures",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What `consent what-if --json` printed of it.",
)
@whose
@why_so
@as_json
@needs_service
def propose(
    composition: Composition,
    revision: str,
    figures: Path | None,
    username: str,
    comment: str | None,
    is_json: bool,
) -> None:
    """Ask a second person to approve that the rule set of REVISION comes into force. Nothing else changes."""
    with _telling(is_json):
        by = person_of(composition.consent.db, username)
        told = None if figures is None else read_json(figures, "what_if")
        change = propose_policy(composition.consent, revision, by, what_if=told, comment=comment)
    _say_change(change, is_json, f"Next: `consent policy approve {change.revision} --by ANOTHER`")


@policy.command("roll-back")
@whose
@why_so
@as_json
@needs_service
def roll_back(composition: Composition, username: str, comment: str | None, is_json: bool) -> None:
    """Ask a second person to approve that the policy before the one in force comes back. Nothing else changes."""
    with _telling(is_json):
        change = propose_roll_back(
            composition.consent, person_of(composition.consent.db, username), comment=comment
        )
    _say_change(change, is_json, f"Next: `consent policy approve {change.revision} --by ANOTHER`")


@policy.command("approve")
@click.argument("revision")
@whose
@as_json
@needs_service
def approve(composition: Composition, revision: str, username: str, is_json: bool) -> None:
    """Approve what another person proposed: the revision that is to come into force. Nothing else changes."""
    with _telling(is_json):
        change = approve_policy(composition.consent, revision, person_of(composition.consent.db, username))
    _say_change(change, is_json, f"Next: `consent policy publish {change.revision} --by NAME`")


@policy.command("publish")
@click.argument("revision")
@whose
@as_json
@needs_service
def publish(composition: Composition, revision: str, username: str, is_json: bool) -> None:
    """Bring into force what was approved: every decision from then on is made by it, in every process. None has to be started again."""
    with _telling(is_json):
        change = publish_policy(composition.consent, revision, person_of(composition.consent.db, username))
    _say_change(change, is_json, None)


@policy.command("withdraw")
@click.argument("revision")
@whose
@as_json
@needs_service
def withdraw_change(composition: Composition, revision: str, username: str, is_json: bool) -> None:
    """Take back what was proposed, approved or not; one person is enough to say no."""
    with _telling(is_json):
        change = withdraw_policy(composition.consent, revision, person_of(composition.consent.db, username))
    _say_change(change, is_json, None)


def _say_change(change: PolicyChange, is_json: bool, then: str | None) -> None:
    _say(is_json, change.as_json(), "\n".join([*_change_lines(change), *([then] if then else [])]))


# What if -------------------------------------------------------------------------------------------------------------


@cli.command("what-if")
@click.option(
    "--from", "since", required=True, help="A day in London, as 2026-11-01, or an instant with its zone."
)
@click.option("--to", "until", required=True, help="The first day, or instant, that is not in the period.")
@click.option("--policy", "draft", help="Under this rule set: a file, or the revision of one that is kept.")
@click.option(
    "--agreements",
    "agreements_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='After these agreements came or changed: as `agreements load` takes them; {"name": …, "end": true} ends one.',
)
@click.option("--examples", default=10, show_default=True, type=click.IntRange(0, MOST_EXAMPLES))
@click.option(
    "--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the tables here."
)
@as_json
@needs_service
def foresee(
    composition: Composition,
    since: str,
    until: str,
    draft: str | None,
    agreements_file: Path | None,
    examples: int,
    csv_file: Path | None,
    is_json: bool,
) -> None:
    """Make the decisions of a period again under a change, and count what would have been denied or permitted that was not.

    Nothing changes. Each decision is first made again under its own rules; one that does not come out as recorded is counted apart.
    """
    if draft is None and agreements_file is None:
        raise click.UsageError("--policy or --agreements is needed.")
    consent = composition.consent
    with _telling(is_json):
        rules = None
        if draft is not None:
            file = Path(draft)
            rules = (
                compile_policy(read_json(file, "policy")) if file.is_file() else read_policy(consent, draft)
            )
        planned = None
        if agreements_file is not None:
            planned = read_planned(consent, read_json(agreements_file, "agreements"))
        found = what_if(
            consent,
            read_moment(since, "from"),
            read_moment(until, "to"),
            OPERATOR,
            policy=rules,
            planned=planned,
            examples=examples,
            progress=_deciding(is_json),
        )
    if csv_file is not None:
        csv_file.write_text(what_if_told.csv_of(found), "utf-8")
    _say(is_json, found.as_json(), "\n".join(what_if_told.lines_of(found)))


def _deciding(is_json: bool) -> Callable[[int], None]:
    """Return what tells a person who waits how many decisions were looked at; how many there are nobody has counted."""
    looked_at = 0

    def progress(done: int) -> None:
        nonlocal looked_at
        looked_at += done
        if not is_json and sys.stderr.isatty():
            click.echo(f"\r{looked_at:,} decisions", nl=False, err=True)

    return progress


def policy_table(rules: Policy) -> str:
    """Write the policy as a Markdown page; a test holds the page in docs to it."""
    lines = [
        "# The policy, row by row",
        "",
        f"Policy `{rules.name}` version {rules.version}, revision `{rules.revision}`. Made by `consent policy show --markdown`;",
        "how rows are read stands in [semantics.md](semantics.md).",
    ]
    for tier in rules.tiers:
        lines += ["", f"## Tier {tier.number}: {tier.name}", ""]
        if tier.otherwise is not None:
            kind = "overridable" if tier.otherwise.is_overridable else "final"
            lines += [f"Needs a permit; without one: `{tier.otherwise.reason}` ({kind}).", ""]
        lines += ["| row | effect | when | unless | obligations |", "|---|---|---|---|---|"]
        for row in tier.rows:
            marks = [row.effect.value]
            marks += ["overridable"] * row.is_overridable + ["hides"] * row.is_hidden
            lines.append(
                f"| `{row.rule_id}` v{row.version} | {', '.join(marks)} | {_conditions(rules, row.when)} "
                f"| {_conditions(rules, row.unless)} | {', '.join(row.obligations)} |"
            )
    return "\n".join(lines)


def _plain(rules: Policy) -> str:
    lines = [f"{rules.name} version {rules.version} revision {rules.revision}"]
    for tier in rules.tiers:
        lines.append(f"{tier.number} {tier.name}")
        lines += [f"    {row.effect.value:6} {row.rule_id}" for row in tier.rows]
    return "\n".join(lines)


def _conditions(rules: Policy, bits: int) -> str:
    found = [condition for place, condition in enumerate(rules.conditions) if bits >> place & 1]
    return "; ".join(f"{one.attribute}: {', '.join(sorted(one.codes))}" for one in found)
