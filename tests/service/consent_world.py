"""A small region for service tests: organisations, agreements, one woman known to three of them, and those who ask about her."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from consent.facts import Cell, Scope, codes
from consent.service.agreements import NewAgreement, record_agreement
from consent.service.asking import Ask, User
from consent.service.context import Consent
from consent.service.decide import Answer, decide
from consent.service.directives import NewDirective, Receipt, record_directive
from consent.service.gate import release_gate
from consent.service.relationships import NewRelationship, record_relationship
from consent.service.release import Issued, Item, Redemption, issue_release, redeem_release
from foundation.auth.clients import create_client
from foundation.clock import FixedClock
from foundation.database import Database
from foundation.directory import Organisation, put_organisation
from foundation.principal import Principal
from mpi.matching import block, load_model, normalise
from mpi.records import Address, HumanName, RecordKey, SourceRecord
from mpi.service.context import Mpi
from mpi.service.evidence import weigh_pair
from mpi.service.receive import receive_record
from mpi.service.review import decide_task, list_tasks
from tests.service.snapshots import filled

UCLH, SLAM, AMBULANCE, PRACTICE, CARE_HOME = "RRV", "RV5", "RRU", "Y12345", "VL123"
SETTINGS = {
    UCLH: "acute",
    SLAM: "mental-health",
    AMBULANCE: "ambulance",
    PRACTICE: "practice",
    CARE_HOME: "care-home",
}
MODEL = load_model()
DOCTOR, PARAMEDIC = "R8000", "R1070"
CLIENTS = {
    "record-service": frozenset({UCLH, SLAM, PRACTICE}),
    "ambulance-app": frozenset({AMBULANCE}),
    "slam-records": frozenset({SLAM}),
}
MEDICATION = Cell("medication", "N", PRACTICE)
LETTER = Cell("letters", "N", UCLH)
NOTE = Cell("notes", "PSY", SLAM)


def a_system(client_id: str = "record-service", **changes) -> Principal:
    organisations = CLIENTS.get(client_id, frozenset({UCLH}))
    made = Principal(
        kind="system",
        id=client_id,
        organisation=min(organisations),
        scopes=frozenset(),
        organisations=organisations,
        client_id=client_id,
    )
    return replace(made, **changes)


PROVIDER = a_system("record-service")
APP = a_system("ambulance-app")
PRACTICE_CLERK = Principal("person", "clerk-1", PRACTICE, frozenset(), role="R8010", assurance=2)
OFFICER = Principal("person", "officer-1", UCLH, frozenset(), role="R0001", assurance=2)
FEED = a_system("feed", organisations=frozenset("*"))


@dataclass
class World:
    """Everything a test needs to act; ``she`` is the person id of the woman."""

    db: Database
    clock: FixedClock
    mpi: Mpi
    consent: Consent
    she: int = 0

    # People of the index -------------------------------------------------------------------------------------------

    def receive(self, record: SourceRecord) -> int:
        received = receive_record(self.mpi, record, FEED)
        assert received.person_id is not None
        return received.person_id

    # What the consent wing does ------------------------------------------------------------------------------------

    def ask(self, **changes) -> Answer:
        return decide(self.consent, self.question(**changes), APP)

    def question(self, **changes) -> Ask:
        made = Ask(
            person_id=self.she,
            purpose="TREAT",
            categories=("medication", "letters", "notes"),
            labels=("N", "PSY"),
            sources=(UCLH, SLAM, PRACTICE),
            user=User("paramedic-1", PARAMEDIC, AMBULANCE, assurance=2),
        )
        return replace(made, **changes)

    def release(self, **changes) -> Issued:
        return issue_release(self.consent, self.question(**changes), "record-service", APP)

    def redeem(self, ticket: str | None, *items: Item, by: Principal = PROVIDER) -> Redemption:
        assert ticket is not None
        return redeem_release(self.consent, ticket, items or ITEMS, by)

    def object(self, **changes) -> Receipt:
        made = NewDirective("objection", Scope("everything"), PRACTICE, person_id=self.she)
        return record_directive(self.consent, replace(made, **changes), PRACTICE_CLERK)

    def is_caring(self, organisation: str = AMBULANCE, kind: str = "incident", **changes) -> None:
        made = NewRelationship(self.she, kind, organisation)
        record_relationship(self.consent, replace(made, **changes), FEED)


ITEMS = (Item("item-1", MEDICATION), Item("item-2", LETTER), Item("item-3", NOTE))


def a_record(organisation: str, local_id: str, **changes) -> SourceRecord:
    made = SourceRecord(
        key=RecordKey(organisation, "main", local_id),
        nhs_number="9990000018",
        nhs_number_status="01",
        names=(HumanName("usual", None, ("Rosalind",), "Applewhite"),),
        birth_date="1984-03-07",
        gender="female",
        addresses=(Address("home", ("14 Larkspur Road",), "London", "SE5 8AZ"),),
    )
    return replace(made, **changes)


def a_form(**changes) -> SourceRecord:
    return a_record(PRACTICE, "form", **changes)


def a_world(db: Database, clock: FixedClock) -> World:
    """Fill an empty database: five organisations, one agreement for all of them, one woman at three, an ambulance on its way to her."""
    mpi = Mpi(db=db, clock=clock, model=MODEL)
    consent = Consent(
        db=db,
        clock=clock,
        mpi=mpi,
        issuer="http://test",
    )
    world = World(db, clock, replace(mpi, release_gate=release_gate(consent)), consent)
    world.she = filled(db, f"the region at {clock.now()}", lambda: _people_it(world))
    return world


def _people_it(world: World) -> int:
    with world.db.write() as tx:
        for code, setting in SETTINGS.items():
            put_organisation(tx, Organisation(code, f"Organisation {code}", setting))
        for client_id, organisations in CLIENTS.items():
            create_client(
                tx,
                world.clock.now(),
                client_id,
                client_id,
                min(organisations),
                frozenset({"redeem", "releases", "decisions", "emergency"}),
                organisations=organisations,
            )
    record_agreement(world.consent, the_agreement(world.clock.now()), FEED)
    for place, organisation in enumerate((UCLH, SLAM, PRACTICE)):
        world.she = world.receive(a_record(organisation, f"p-{place}"))
    world.is_caring()
    return world.she


def the_agreement(now: datetime) -> NewAgreement:
    return NewAgreement(
        name="region",
        providers=frozenset("*"),
        consumers=frozenset("*"),
        role_classes=frozenset({"doctor", "nurse", "paramedic", "clerical", "records", "system"}),
        purposes=frozenset({"TREAT", "ETREAT", "ERTREAT", "BTG", "PATADMIN"}),
        categories=codes.CATEGORIES,
        legal_basis="direct-care",
        starts_at=now - timedelta(days=400),
    )


QUALITY_CLERK = Principal("person", "quality-1", UCLH, frozenset({"tasks:work"}), role="R1984", assurance=2)


_ELSEWHERE = {"addresses": (Address("home", ("9 Elm Walk",), "Leeds", "LS1 4AP"),)}
_RESPELT = {"names": (HumanName("usual", None, ("Rosalynd",), "Applewhite"),)}
_DOUBTS: tuple[dict, ...] = (
    {**_ELSEWHERE, **_RESPELT},
    {**_ELSEWHERE, "birth_date": "1984-03-08"},
    {**_ELSEWHERE, "birth_date": "1984"},
    {**_ELSEWHERE, "birth_date": "1984-07-03"},
    {**_ELSEWHERE, **_RESPELT, "birth_date": "1984-03-08"},
    {**_ELSEWHERE, **_RESPELT, "birth_date": "1984-03"},
)


def a_possible_duplicate(world: World, organisation: str = CARE_HOME, local_id: str = "maybe") -> int:
    """Receive a record that may be hers and is not linked, under whatever model is shipped: no number, elsewhere, a slip."""
    doubts = (a_record(organisation, local_id, nhs_number=None, nhs_number_status=None, **d) for d in _DOUBTS)
    person_id = world.receive(next(record for record in doubts if _is_doubtful(record)))
    assert person_id != world.she
    return person_id


def _is_doubtful(record: SourceRecord) -> bool:
    one, other = normalise(a_record(UCLH, "p-0"), MODEL), normalise(record, MODEL)
    shared = {key.key for key in block(one, MODEL)} & {key.key for key in block(other, MODEL)}
    weighed = weigh_pair(one, other, MODEL)
    is_between = MODEL.thresholds.review < weighed.weight_millibits < MODEL.thresholds.live
    return bool(shared) and is_between and weighed.conflict is None


def join(world: World) -> int:
    """Decide, as someone who works the queue, that the possible match is one person; return the task's id."""
    (task,) = [task for task in list_tasks(world.mpi, QUALITY_CLERK).tasks if task.is_binding]
    decide_task(world.mpi, task.task_id, QUALITY_CLERK, verdict="same", reason="patient-confirmed")
    return task.task_id
