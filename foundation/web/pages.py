"""What pages of the console share: how things are written, lists, words after a redirect, work on the first page, faults of forms."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Flask, current_app, make_response, redirect, render_template, request
from jinja2 import ChoiceLoader, FileSystemLoader
from markupsafe import Markup
from werkzeug.wrappers import Response

from foundation.errors import Invalid
from foundation.principal import Principal

_CARDS, _PANELS, _SAID = "console_cards", "console_panels", "console_said"


def _local_zone() -> tzinfo:
    try:
        return ZoneInfo("Europe/London")
    except ZoneInfoNotFoundError:  # pragma: no cover - a machine without zone data shows UTC, and says so
        return UTC


LOCAL = _local_zone()


# Work and words ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Card:
    """One piece of work on the first page: how much of it waits, and where it is done."""

    title: str
    url: str
    hint: str
    count: int | None = None


CardsOf = Callable[[Principal], Sequence[Card]]


def add_cards(app: Flask, scope: str, cards_of: CardsOf) -> None:
    """Let a wing say what work waits for those who have a scope; it is asked anew for every first page."""
    app.extensions.setdefault(_CARDS, []).append((scope, cards_of))


def cards_for(by: Principal) -> list[Card]:
    known: list[tuple[str, CardsOf]] = current_app.extensions.get(_CARDS, [])
    return [card for scope, cards_of in known if scope in by.scopes for card in cards_of(by)]


PanelOf = Callable[[Principal], str]


def add_panel(app: Flask, scope: str, panel_of: PanelOf) -> None:
    """Let a wing show something of its own below the cards of the first page to those who have a scope: what a template rendered."""
    app.extensions.setdefault(_PANELS, []).append((scope, panel_of))


def panels_for(by: Principal) -> list[Markup]:
    known: list[tuple[str, PanelOf]] = current_app.extensions.get(_PANELS, [])
    # A panel is what a template rendered, which escapes all that is put into it.
    return [Markup(panel_of(by)) for scope, panel_of in known if scope in by.scopes]  # noqa: S704


def add_templates(app: Flask, folder: Path) -> None:
    """Let the app find a wing's templates beside the frame's."""
    assert isinstance(app.jinja_loader, ChoiceLoader)
    app.jinja_loader.loaders = [*app.jinja_loader.loaders, FileSystemLoader(folder)]


def add_said(app: Flask, words: Mapping[str, str]) -> None:
    """Register what a page may say after a redirect. The address carries the code only, and no page says anything else."""
    app.extensions.setdefault(_SAID, {}).update(words)


def said() -> str | None:
    words: dict[str, str] = current_app.extensions.get(_SAID, {})
    return words.get(request.args.get("said", ""))


def go(url: str, code: str | None = None) -> Response:
    """Send the browser on after a form was taken, so that loading the page again repeats nothing."""
    if code is None:
        return redirect(url, 303)
    return redirect(f"{url}{'&' if '?' in url else '?'}{urlencode({'said': code})}", 303)


# Lists ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listing:
    """A list as its address asks for it: what was chosen (filters, and ``sort``), where its page begins, and where the next one does.

    Codes and ids alone: an address is kept by browsers, proxies and logs. ``sort`` is a column's code, after a minus sign the other way.
    """

    path: str
    chosen: Mapping[str, str] = field(default_factory=dict)
    cursor: str | None = None
    next: str | None = None

    def url(self, **changes: str | None) -> str:
        """Return the address of the list with something chosen otherwise; without a cursor, of its first page."""
        wanted = {name: value for name, value in {**self.chosen, **changes}.items() if value}
        return f"{self.path}?{urlencode(wanted)}" if wanted else self.path

    @property
    def next_url(self) -> str | None:
        return self.url(cursor=self.next) if self.next else None

    @property
    def first_url(self) -> str | None:
        """The address of the first page, from any other."""
        return self.url() if self.cursor else None

    @property
    def sort(self) -> str:
        return self.chosen.get("sort", "")

    def is_sorted(self, key: str) -> str:
        """Say how a column is sorted, in the words of ``aria-sort``."""
        return {key: "ascending", f"-{key}": "descending"}.get(self.sort, "none")

    def sort_url(self, key: str) -> str:
        return self.url(sort=f"-{key}" if self.sort == key else key)


def chosen_of(args: Mapping[str, str], known: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Read what an address chooses, of what may be chosen: anything else is left out, as if it had not been said.

    Args:
        known: for each name the codes that it takes.
    """
    return {name: args[name] for name, codes in known.items() if args.get(name) in set(codes)}


# Pages that several screens need -------------------------------------------------------------------------------------


def confirm_page(
    title: str,
    *,
    action: str,
    button: str,
    back: str,
    says: Sequence[str] = (),
    rows: Sequence[tuple[str, str]] = (),
    fields: Mapping[str, str | Sequence[str]] | None = None,
    is_warning: bool = False,
) -> str:
    """Ask before something is done: what it is, what it changes, and the way back.

    Args:
        action: where the form goes.
        fields: what it bears beside the session's secret.
        is_warning: whether it cannot be taken back.
    """
    listed = [
        (name, one)
        for name, value in (fields or {}).items()
        for one in ([value] if isinstance(value, str) else value)
    ]
    return render_template(
        "confirm.html",
        title=title,
        says=says,
        rows=rows,
        action=action,
        fields=listed,
        button=button,
        back=back,
        is_warning=is_warning,
    )


def moved_on_page(
    title: str,
    says: Sequence[str],
    *,
    back: str,
    since: Sequence[tuple[str, str]] = (),
    kept: Sequence[tuple[str, str]] = (),
) -> Response:
    """Say that a form came too late: what changed since, what was typed (nothing of it is lost), and the page as it is now. Answers 409.

    Args:
        since: what was done meanwhile: when or by whom, and what.
        kept: what was typed, by the words of its label.
    """
    shown = [(label, text) for label, text in kept if text]
    page = render_template("moved_on.html", title=title, says=says, since=since, kept=shown, back=back)
    return make_response(page, 409)


# Faults of forms -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field of a form, in words; ``field`` is the id of the input to jump to."""

    field: str
    words: str


def fault_of(error: Invalid, words: Mapping[str, str], fields: Mapping[str, str]) -> Fault:
    """Say a refusal in the words of a form.

    Args:
        words: sentences by code.
        fields: ids of inputs by the field that the refusal names.
    """
    name = error.field or ""
    sentence = words.get(error.code) or error.detail or f"This cannot be taken ({error.code})"
    return Fault(fields.get(name, name), sentence)


def read_day(form: Mapping[str, str], name: str) -> str | None:
    """Read three inputs as year-month-day text; parts that were left empty become question marks, all empty is None."""
    day, month, year = (form.get(f"{name}-{part}", "").strip() for part in ("day", "month", "year"))
    if not (day or month or year):
        return None
    return f"{year or '????'}-{_two(month)}-{_two(day)}"


def day_begins(
    form: Mapping[str, str], name: str, *, after_year: int = 1900, is_needed: bool = False
) -> datetime | None:
    """Read three inputs as the instant at which a day begins in London; None where nothing was given.

    Raises:
        Invalid: ``day-format``, ``day-missing``; the field is the name with ``_at``.
    """
    told = read_day(form, name)
    if told is None:
        if is_needed:
            raise Invalid("day-missing", field=f"{name}_at")
        return None
    try:
        day = date.fromisoformat(told)
    except ValueError:
        raise Invalid("day-format", field=f"{name}_at") from None
    if not after_year < day.year < 2200:
        raise Invalid("day-format", field=f"{name}_at")
    return datetime(day.year, day.month, day.day, tzinfo=LOCAL)


def whole_number(text: str | None) -> int | None:
    """Read a whole number of at most 18 digits; None where it is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _two(text: str) -> str:
    return text.zfill(2) if text.isdecimal() else text or "??"


# How things are written ----------------------------------------------------------------------------------------------


def write_day(value: date | datetime | None) -> str:
    """3 March 2026."""
    if value is None:
        return "not given"
    if isinstance(value, datetime):
        value = value.astimezone(LOCAL).date()
    return f"{value.day} {value:%B %Y}"


def write_moment(value: datetime | None) -> str:
    """3 March 2026 at 09:05, London time."""
    if value is None:
        return "not given"
    local = value.astimezone(LOCAL)
    return f"{local.day} {local:%B %Y at %H:%M}"


def write_age(value: datetime, now: datetime) -> str:
    """How long ago, in the largest whole unit."""
    passed = max(now - value, timedelta())
    for seconds, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        count = int(passed.total_seconds() // seconds)
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"


def write_nhs_number(digits: str | None) -> str:
    """999 000 0018; what has not ten digits is written as it came."""
    if digits is None:
        return ""
    plain = digits.replace(" ", "").replace("-", "")
    return f"{plain[:3]} {plain[3:6]} {plain[6:]}" if len(plain) == 10 and plain.isdecimal() else digits


def write_birth_date(text: str | None) -> str:
    """14 February 1990 where all of it is known, and as it came where it is not."""
    try:
        return write_day(date.fromisoformat(text)) if text else ""
    except ValueError:
        return text or ""


def write_count(value: int | None) -> str:
    """12,345."""
    return "not told" if value is None else f"{value:,}"


def write_share(value: float | None) -> str:
    """A share as a percentage, to a tenth."""
    return "–" if value is None else f"{100 * value:.1f}%"


def write_code(code: str | None) -> str:
    """A code in words, where nothing better is known: ``number-conflict`` as "Number conflict"."""
    words = (code or "").replace("-", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


def write_bits(millibits: int) -> str:
    """A weight with its sign, to a tenth of a bit."""
    return f"{millibits / 1000:+.1f}".replace("-", "−")


def prepare_pages(app: Flask) -> None:
    """Teach the app's templates how things are written."""
    filters: dict[str, Callable[..., Any]] = {
        "day": write_day,
        "moment": write_moment,
        "nhs_number": write_nhs_number,
        "birth_date": write_birth_date,
        "bits": write_bits,
        "count": write_count,
        "share": write_share,
        "code": write_code,
    }
    app.jinja_env.filters.update(filters)
    app.jinja_env.globals["age_of"] = write_age
