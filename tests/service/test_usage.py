"""Usage on both engines: views are counted once from the sealed log, whatever is asked again, and told beside the year before."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from app import Composition, consent_command, seal_audit
from consent.service.asking import User
from consent.service.release import Item
from consent.service.usage import count_usage, load_usage, read_usage
from consent.store.tables import usage_month, usage_staff
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.errors import Invalid
from foundation.settings import Settings
from tests.service.audit_world import wait_until_settled
from tests.service.consent_world import AMBULANCE, FEED, ITEMS, PARAMEDIC, UCLH, World, a_world


@pytest.fixture
def world(db: Database, clock: FixedClock) -> World:
    return a_world(db, clock)


@pytest.fixture
def composition(world: World) -> Composition:
    return Composition(Settings.from_environment({}), database=world.db, clock=world.clock)


def view(world: World, user: str = "paramedic-1", items: tuple[Item, ...] = ITEMS) -> None:
    ticket = world.release(user=User(user, PARAMEDIC, AMBULANCE, assurance=2)).ticket
    assert world.redeem(ticket, *items).answer["released"]


def counted(composition: Composition, at_once: int = 5_000) -> dict[str, int]:
    wait_until_settled(composition.db)
    seal_audit(composition)
    while count_usage(composition.consent, at_once):
        pass
    with composition.db.read() as tx:
        rows = tx.execute(select(usage_month)).all()
    return {f"{row.month} {row.organisation} {row.role} {row.purpose}": row.views for row in rows}


def test_a_view_is_one_user_and_one_person_in_one_hour(world: World, composition: Composition) -> None:
    view(world)
    view(world)  # another record service, or the next page
    view(world, "paramedic-2")
    world.clock.advance(timedelta(hours=1))
    view(world)

    assert counted(composition) == {f"2026-11 {AMBULANCE} {PARAMEDIC} TREAT": 3}


def test_nothing_is_counted_twice_however_it_is_cut(world: World, composition: Composition) -> None:
    for _ in range(3):
        view(world)
        view(world, "paramedic-2")
        counted(composition, at_once=1)

    assert counted(composition) == {f"2026-11 {AMBULANCE} {PARAMEDIC} TREAT": 2}
    assert count_usage(composition.consent) == 0


def test_what_showed_nothing_is_no_view(world: World, composition: Composition) -> None:
    ticket = world.release().ticket
    world.object()
    assert not world.redeem(ticket).answer["released"]
    world.ask()

    assert counted(composition) == {}


def test_staff_are_counted_and_not_kept_and_a_few_are_not_told(
    world: World, composition: Composition
) -> None:
    for number in range(4):
        view(world, f"paramedic-{number}")
    counted(composition)
    few = read_usage(world.consent, FEED, first="2026-11", last="2026-11")
    view(world, "paramedic-4")
    counted(composition)
    enough = read_usage(world.consent, FEED, first="2026-11", last="2026-11")

    assert (few.staff, enough.staff) == (None, 5)
    assert enough.counted_until == world.clock.now()
    with world.db.read() as tx:
        kept = tx.execute(select(usage_staff)).all()
    assert "paramedic" not in repr(kept)
    named = {hashlib.blake2b(f"paramedic-{number}".encode(), digest_size=8).digest() for number in range(5)}
    assert not {row.user_digest for row in kept} & {int.from_bytes(one, signed=True) for one in named}


# -- from a file ------------------------------------------------------------------------------------------------------

EARLIER = "month,organisation,role,purpose,views\n2025-11,RRU,R1070,TREAT,400\n2025-11,RRV,,,600\n"


def test_earlier_months_come_from_a_file_and_stand_beside_the_log(
    world: World, composition: Composition, tmp_path
) -> None:
    path = tmp_path / "earlier.csv"
    path.write_text(EARLIER)
    view(world)
    counted(composition)

    assert load_usage(world.consent, path, FEED) == load_usage(world.consent, path, FEED) == 2

    usage = read_usage(world.consent, FEED, first="2026-11", last="2026-11").usage
    assert (usage.total.views, usage.total.before) == (1, 1_000)
    assert [(one.code, one.before) for one in usage.by_setting] == [("ambulance", 400), ("acute", 600)]
    assert usage.connections == (), "both were connected a year ago"


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        ("2025-13,RRU,R1070,TREAT,4", "month", "month-format"),
        ("2025-12,rru,R1070,TREAT,4", "organisation", "organisation-format"),
        ("2025-12,RRU,R1,TREAT,4", "role", "role-unknown"),
        ("2025-12,RRU,R1070,CURIOSITY,4", "purpose", "purpose-unknown"),
        ("2025-12,RRU,R1070,TREAT,-4", "views", "views-format"),
        ("2025-12,RRU,R1070,TREAT", None, "row-unreadable"),
        ("2025-11,RRV,,,7", None, "row-repeated"),
        ("2026-11,RRU,R1070,TREAT,4", "month", "month-counted"),
    ],
)
def test_one_wrong_row_keeps_the_file_out(world, composition, tmp_path: Path, row, field, code) -> None:
    view(world)
    before = counted(composition)
    path = tmp_path / "earlier.csv"
    path.write_text(EARLIER + row + "\n")

    with pytest.raises(Invalid, match=code) as caught:
        load_usage(world.consent, path, FEED)

    assert (caught.value.field, caught.value.row) == (field, 4)
    assert counted(composition) == before


# -- as it is used ----------------------------------------------------------------------------------------------------


def test_usage_at_the_command_line(world: World, composition: Composition, tmp_path: Path) -> None:
    view(world)
    wait_until_settled(world.db)
    seal_audit(composition)
    files = [tmp_path / f"usage.{end}" for end in ("csv", "svg", "html")]
    words = [word for file in files for word in (f"--{file.suffix[1:]}", str(file))]
    run = lambda *more: CliRunner().invoke(consent_command, ["usage", *more], obj=composition)  # noqa: E731
    (tmp_path / "earlier.csv").write_text(EARLIER)

    loaded = run("load", str(tmp_path / "earlier.csv"))
    done = run("--from", "2026-11", "--to", "2026-11", *words)
    told = json.loads(run("--from", "2026-11", "--to", "2026-11", "--minutes-per-view", "2", "--json").stdout)

    assert loaded.stdout == "2 rows\n" and done.exit_code == 0
    assert "1 views from 2026-11 to 2026-11, 1,000 in the year before (-99.9 %)" in done.stdout
    assert (told["minutes_saved"], told["views"]["setting"][0]) == (2, ["ambulance", 1, 400, -998])
    assert all(file.stat().st_size for file in files)
    assert run("--from", "2026-12", "--to", "2026-11").exit_code == 1
    assert UCLH in files[2].read_text()
