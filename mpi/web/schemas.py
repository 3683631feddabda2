"""What the index's routes take and give. Values of people come in; ids, grades and codes go out."""

from typing import Any

from marshmallow import ValidationError, fields, validate

from foundation.comments import MAX_COMMENT
from foundation.directory import parse_ods_code
from foundation.errors import Invalid
from foundation.web import Code, IdText, Instant, OdsCode, PageQuery, QuerySchema, Schema, Text, page_schema
from foundation.web.changes import change_schema, known_schema
from mpi.matching import quality
from mpi.matching.harm import REGIONAL_TEAM, TEAMS
from mpi.matching.questions import Kind
from mpi.records import NumberState, golden
from mpi.records.demographics import ADDRESS_USES, NAME_USES
from mpi.service import bulk_review, figures, history, local_ids, purge, queue, withdraw
from mpi.service.match import MOST_CANDIDATES
from mpi.service.review import EVERYTHING, OWN, VERDICTS
from mpi.service.review import REASONS as DECISION_REASONS
from mpi.service.views import CHOICES, LONGEST_NAME
from mpi.store.tasks import SORTS, VIEWS

_FEW = validate.Length(max=20)


class IdentifierSchema(Schema):
    system = Text(longest=254, required=True)
    value = Text(longest=254, required=True)


class NameSchema(Schema):
    use = Code(one_of=NAME_USES)
    prefix = Text(longest=100)
    given = fields.List(Text(longest=100), validate=_FEW)
    family = Text(longest=100)


class AddressSchema(Schema):
    use = Code(one_of=ADDRESS_USES)
    lines = fields.List(Text(longest=200), validate=_FEW)
    city = Text(longest=200)
    postcode = Text(longest=16)


class TelecomSchema(Schema):
    system = Code(one_of=("phone", "email"), required=True)
    value = Text(longest=254, required=True)


class DemographicsSchema(Schema):
    """What is said of one person. Dates may lack day or month: ``1990-02-14``, ``1990-02``, ``1990``."""

    nhs_number = Text(longest=20)
    nhs_number_status = Text(longest=2)
    identifiers = fields.List(fields.Nested(IdentifierSchema), validate=_FEW)
    names = fields.List(fields.Nested(NameSchema), validate=_FEW)
    birth_date = Text(longest=40)
    gender = Text(longest=20)
    addresses = fields.List(fields.Nested(AddressSchema), validate=_FEW)
    telecoms = fields.List(fields.Nested(TelecomSchema), validate=_FEW)
    gp_practice = Text(longest=12)
    mother_nhs_number = Text(longest=20)
    birth_order = Text(longest=2)
    death_date = Text(longest=40)


class SourceRecordSchema(DemographicsSchema):
    """A source record without its key, which stands in the URL. ``updated_at`` is the source's own time of the change."""

    nhs_number_verified_by = Text(longest=64)
    nhs_number_verified_at = Text(longest=40)
    nhs_number_superseded_by = Text(longest=20)
    nhs_number_withdrawn_at = Text(longest=40)
    restricted = fields.Boolean(
        truthy={True},
        falsy={False},
        metadata={
            "description": "Whether the location is protected. Left out, it stays as it was; only false lifts it."
        },
    )
    updated_at = Instant()


class RecordQuery(QuerySchema):
    wait = fields.Boolean(load_default=True, metadata={"description": "Link before answering."})


class ReceivedSchema(Schema):
    record_id = IdText()
    version = fields.Integer()
    state = Code(one_of=("linked", "waiting", "held", "unchanged", "withdrawn"))
    person_id = IdText(allow_none=True)


class StoredRecordSchema(Schema):
    """A record as it stands, for the organisation whose it is."""

    record_id = IdText()
    version = fields.Integer()
    state = Code(one_of=("linked", "waiting", "held", "withdrawn", "merged"))
    person_id = IdText(allow_none=True)
    nhs_number_state = Code(one_of=tuple(one.value for one in NumberState), allow_none=True)
    record = fields.Raw(metadata={"description": "The record as received."})


class MatchSchema(DemographicsSchema):
    limit = fields.Integer(load_default=10, validate=validate.Range(1, MOST_CANDIDATES))
    reasons = fields.Boolean(load_default=False, truthy={True}, falsy={False})


class CandidateSchema(Schema):
    person_id = IdText()
    weight_millibits = fields.Integer()
    probability = fields.Float()
    grade = Code(one_of=("certain", "probable", "possible", "certainly-not"))
    reasons = fields.Dict(keys=fields.String(), values=fields.String())


class MatchAnswerSchema(Schema):
    search_complete = fields.Boolean()
    candidates = fields.List(fields.Nested(CandidateSchema))


class PersonQuery(QuerySchema):
    purpose = Code(longest=32, load_default=None)


class AsAtQuery(QuerySchema):
    as_at = Instant(
        load_default=None,
        metadata={"description": "An instant with its zone, not of the future: the person as it was then."},
    )


class MembersQuery(PersonQuery, AsAtQuery):
    pass


class HistoryQuery(PersonQuery, PageQuery):
    pass


class WhyQuery(PersonQuery):
    other = fields.String(load_default=None, metadata={"description": "An id to compare with."})
    format = Code(
        one_of=("json", "svg"),
        load_default=None,
        metadata={
            "description": "`svg` for a picture; without it the header Accept chooses, and JSON is the default."
        },
    )


class MemberSchema(Schema):
    record_id = IdText()
    organisation = fields.String()
    system = fields.String()
    local_id = fields.String()


class PersonSchema(Schema):
    person_id = IdText()
    epoch = fields.Integer()
    identity_warning = fields.Boolean(attribute="has_identity_warning")
    restricted = fields.Boolean(attribute="is_restricted")


class PersonThenSchema(PersonSchema):
    """A person as it is, or with ``as_at`` as it was: then without an epoch, and ``restricted`` is of today."""

    person_id = IdText(
        allow_none=True,
        metadata={
            "description": "Null where the record of the id that stood then was erased, or is of another person today who may not be told."
        },
    )
    as_at = Instant(metadata={"description": "With `as_at` only."})
    erased_records = fields.Boolean(
        attribute="has_erased_records",
        metadata={
            "description": "With `as_at` only: whether records that it had then are not told, since they were erased."
        },
    )


class MemberThenSchema(MemberSchema):
    version = fields.Integer(
        allow_none=True,
        metadata={
            "description": "With `as_at` only: the version that stood then. Null for another organisation's record of a restricted person."
        },
    )


class MembersThenSchema(PersonThenSchema):
    members = fields.List(fields.Nested(MemberThenSchema))


class OriginSchema(Schema):
    record_id = IdText()
    organisation = fields.String()
    system = fields.String()
    version = fields.Integer(
        allow_none=True,
        metadata={"description": "Null for another organisation's record of a restricted person."},
    )
    source_at = Instant(
        allow_none=True,
        metadata={
            "description": "The source's own time of that version; null for another organisation's record of a restricted person."
        },
    )


class GoldenValueSchema(Schema):
    """A value that is shown, whose it is, and why it rather than another."""

    field = Code(one_of=golden.FIELDS, attribute="name")
    value = fields.Raw(
        metadata={
            "description": "A text; of `name` an object of `prefix`, `given` and `family`, of `address` one of `lines`, `city`, `postcode`."
        }
    )
    verified = fields.Boolean(
        attribute="is_verified", metadata={"description": "Whether its record's NHS number is verified."}
    )
    because = Code(
        one_of=golden.BECAUSE,
        metadata={
            "description": "`only`: no other record says anything of it; `agreed`: all that do say the same; else the first rule by which"
            " it is ahead of all else that is said, and `order` where none is."
        },
    )
    agree = fields.Integer(metadata={"description": "How many other records say the same."})
    differ = fields.Integer(metadata={"description": "How many say otherwise."})
    replaced = fields.Boolean(
        attribute="is_replaced",
        metadata={
            "description": "Of an NHS number: whether the record bears another one, of which this took the place."
        },
    )
    origin = fields.Nested(
        OriginSchema,
        allow_none=True,
        metadata={
            "description": "Null where it may not be told that its organisation knows the person, or where the source would tell where a "
            "restricted person can be found."
        },
    )


class GoldenQuery(PersonQuery, AsAtQuery):
    pass


class GoldenSchema(PersonThenSchema):
    """What the records of a person say at their best, or with ``as_at`` said: then by rules of today, and ``restricted`` is of today."""

    rules_version = fields.Integer(metadata={"description": "Of the survivorship rules that chose."})
    nhs_number_state = Code(
        one_of=golden.NUMBER_STATES,
        attribute="number_state",
        allow_none=True,
        metadata={"description": "Null where no record that may be told of has one."},
    )
    values = fields.List(fields.Nested(GoldenValueSchema))


class HistoryEntrySchema(Schema):
    """One thing that befell a person. ``says`` tells all of it in a sentence."""

    what = Code(one_of=history.WHAT)
    at = Instant()
    cause = fields.String(
        allow_none=True,
        metadata={"description": "Why records changed hands, by the same codes as in events."},
    )
    record_ids = fields.List(IdText(), metadata={"description": "Those that may be told."})
    from_person_id = IdText(allow_none=True)
    person_id = IdText(
        allow_none=True,
        metadata={
            "description": "Whom the records came to; null where the record of that id may not be told."
        },
    )
    version = fields.Integer(allow_none=True)
    decision_id = IdText(allow_none=True)
    verdict = fields.String(allow_none=True)
    reason = fields.String(allow_none=True)
    role = fields.String(
        allow_none=True,
        metadata={"description": "In which it was decided or undone, where records changed hands by it."},
    )
    readers = fields.Integer(allow_none=True, metadata={"description": "How many people decided so."})
    organisations = fields.List(
        fields.String(),
        metadata={
            "description": "Of a merge that was undone: whose records were in it, and who is to be told."
        },
    )
    says = fields.String()


HistoryEntryPage = page_schema(HistoryEntrySchema)


class PersonsSchema(Schema):
    persons = fields.List(fields.Nested(PersonSchema))


class LookupSchema(Schema):
    """An identifier (``system`` and ``value``), or one's own record (``organisation``, ``system`` and ``local_id``)."""

    system = Text(longest=254, required=True)
    value = Text(longest=254)
    organisation = Code(longest=12)
    local_id = Text(longest=64)


class FieldReasonSchema(Schema):
    field = fields.String()
    reason = fields.String()
    weight_millibits = fields.Integer(
        allow_none=True, metadata={"description": "Null in a possible match, of which no weight is told."}
    )


class BarSchema(Schema):
    field = fields.String(metadata={"description": "A field, or `prior`: the starting odds."})
    reason = Code(one_of=("prior", "agree", "close", "differ", "missing"))
    rival = fields.String(
        metadata={"description": "Of the starting odds: the other explanation that they are against."}
    )
    weight_millibits = fields.Integer(attribute="weight")
    from_millibits = fields.Integer(attribute="start")
    to_millibits = fields.Integer(attribute="end")


class WaterfallSchema(Schema):
    """A weight from its starting odds to its total. The bars add up to it exactly; a name's frequency is in the bar of its name."""

    bars = fields.List(fields.Nested(BarSchema))
    total_millibits = fields.Integer(attribute="total")
    live_millibits = fields.Integer(attribute="live", metadata={"description": "What links by itself."})


class StepSchema(Schema):
    record_ids = fields.Function(
        lambda step: [str(step.low_id), str(step.high_id)],
        metadata={"type": "array", "items": {"type": "string"}},
    )
    weight_millibits = fields.Integer(allow_none=True)
    decision_id = IdText(allow_none=True)
    rule = fields.String(
        allow_none=True,
        metadata={
            "description": "What joined the two: `weight`, their pair alone; `sole-candidate`, since the record could be nobody else; "
            "`decision`. Null for two persons."
        },
    )
    reasons = fields.List(fields.Nested(FieldReasonSchema))
    waterfall = fields.Nested(
        WaterfallSchema, allow_none=True, metadata={"description": "Null where people decided."}
    )


class WhySchema(Schema):
    answer = Code(one_of=("one-person", "two-persons"))
    because = fields.String(allow_none=True)
    record_ids = fields.List(IdText())
    steps = fields.List(fields.Nested(StepSchema))


# Tasks ---------------------------------------------------------------------------------------------------------------


_KIND_CODES = [kind.value for kind in Kind]
MOST_ASKED = 200
"""How many records one question by hand may name."""


class Route(Code):
    """Whose tasks: a team, an organisation's ODS code, ``own``, or ``*`` for the whole queue."""

    def __init__(self, **kwargs: Any) -> None:
        told = {
            "pattern": rf"^([0-9A-Z]{{3,10}}|{'|'.join(TEAMS)}|\*)$",
            "description": "An ODS code that the caller may act for, `own` for all of these, a team, or `*` for the whole queue. "
            "Without it: what the caller's role begins with.",
            "example": REGIONAL_TEAM,
        }
        super().__init__(metadata=told | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text in (EVERYTHING, OWN, *TEAMS):
            return text
        try:
            return parse_ods_code(text)
        except Invalid as fault:
            raise ValidationError("route-format") from fault


class QueueQuery(PageQuery):
    kind = Code(one_of=_KIND_CODES, load_default=None)
    for_whom = Route(data_key="for", load_default=None)


_ONLY_RESTRICTED = "Only tasks about restricted people; needs the scope `restricted:read`."


class TaskFilterQuery(QuerySchema):
    kind = Code(one_of=_KIND_CODES, load_default=None)
    for_whom = Route(data_key="for", load_default=None)
    state = Code(one_of=VIEWS, load_default="open")
    restricted = fields.Boolean(load_default=False, metadata={"description": _ONLY_RESTRICTED})
    mine = fields.Boolean(load_default=False, metadata={"description": "Only tasks that the caller holds."})
    older_than_days = fields.Integer(
        load_default=None,
        validate=validate.Range(1, 3_660),
        metadata={"description": "Only tasks that have been open for longer."},
    )


class TaskQuery(TaskFilterQuery, PageQuery):
    sort = Code(
        one_of=SORTS,
        load_default="worst",
        metadata={
            "description": "`worst` is the queue's own order; `harm` is by expected harm whatever the kind. A cursor is of one order."
        },
    )


class NewViewSchema(Schema):
    name = Text(
        LONGEST_NAME, required=True, metadata={"description": "For its owner alone; no name of a patient."}
    )
    chosen = fields.Dict(
        keys=Code(one_of=CHOICES),
        values=Text(20),
        required=True,
        metadata={"description": "What the list of tasks is asked: its query arguments, by name."},
    )


class ViewSchema(NewViewSchema):
    view_id = IdText()
    created_at = Instant()


class ViewsSchema(Schema):
    views = fields.List(fields.Nested(ViewSchema))


class TaskCountsSchema(Schema):
    total = fields.Integer()
    by_kind = fields.Dict(keys=fields.String(), values=fields.Integer())


class TaskSchema(Schema):
    task_id = IdText()
    kind = fields.String()
    state = fields.String()
    version = fields.Integer()
    reason = fields.String()
    weight_millibits = fields.Integer(allow_none=True)
    is_binding = fields.Boolean()
    opened_at = Instant()
    changed_at = Instant()
    claimed_by = fields.String(allow_none=True)
    claimed_until = Instant(allow_none=True)
    sides = fields.List(fields.List(IdText()))
    expected_harm = fields.Integer(
        metadata={
            "description": "Its place within its kind: wrong views to expect, in thousandths, as a power of two."
        }
    )
    routed_to = fields.String(
        allow_none=True,
        metadata={
            "description": "A team, or an organisation that the caller may act for; null is another one."
        },
    )
    escalated_to = Code(one_of=TEAMS, allow_none=True)
    deferred_until = Instant(allow_none=True)


class TaskPageSchema(Schema):
    tasks = fields.List(fields.Nested(TaskSchema))
    next = fields.String(allow_none=True)


class TaskSideSchema(Schema):
    record_ids = fields.List(IdText())
    person_ids = fields.List(IdText())


class TaskEdgeSchema(Schema):
    record_ids = fields.Function(
        lambda edge: [str(edge.low_id), str(edge.high_id)],
        metadata={"type": "array", "items": {"type": "string"}},
    )
    weight_millibits = fields.Integer(allow_none=True)
    may_link = fields.Boolean(allow_none=True)
    conflict = fields.String(allow_none=True)
    reasons = fields.List(fields.Nested(FieldReasonSchema))


class CommentSchema(Schema):
    author = fields.String()
    comment = fields.String()
    written_at = Instant()


class DecidedSchema(Schema):
    decision_id = IdText()
    verdict = fields.String()
    state = fields.String()
    reason = fields.String()
    comment = fields.String(allow_none=True)
    decided_by = fields.String()
    decided_at = Instant()
    seconded_by = fields.String(allow_none=True)
    undone_by = fields.String(allow_none=True)
    undone_at = Instant(allow_none=True)


class ActSchema(Schema):
    act = Code(one_of=("deferred", "escalated", "lease-expired"))
    reason = fields.String(allow_none=True)
    until = Instant(allow_none=True)
    target = Code(one_of=TEAMS, allow_none=True)
    done_by = fields.String()
    done_at = Instant()
    undone_by = fields.String(allow_none=True)
    undone_at = Instant(allow_none=True)


class TaskDetailSchema(Schema):
    task = fields.Nested(TaskSchema)
    sides = fields.List(fields.Nested(TaskSideSchema))
    edges = fields.List(fields.Nested(TaskEdgeSchema))
    comments = fields.List(fields.Nested(CommentSchema))
    decisions = fields.List(fields.Nested(DecidedSchema))
    acts = fields.List(fields.Nested(ActSchema))
    needs_second_reader = fields.Boolean()


class DecideSchema(Schema):
    verdict = Code(one_of=VERDICTS, required=True)
    reason = Code(one_of=DECISION_REASONS, required=True)
    comment = Text(longest=MAX_COMMENT)


class WhetherOneSchema(Schema):
    persons = fields.List(IdText(), required=True, validate=validate.Length(equal=2))
    comment = Text(longest=MAX_COMMENT, required=True)


class WhetherTwoSchema(Schema):
    person = IdText(required=True)
    records = fields.List(
        IdText(),
        required=True,
        validate=validate.Length(1, MOST_ASKED),
        metadata={"description": "Ids of records that may be somebody else's: not all of the person's."},
    )
    comment = Text(longest=MAX_COMMENT, required=True)


class AnswerPreviewSchema(Schema):
    verdict = Code(one_of=VERDICTS, required=True)


class AnswerEffectSchema(Schema):
    merged = fields.List(
        fields.List(IdText()), metadata={"description": "Persons that would become one, a list each."}
    )
    split = fields.List(IdText(), metadata={"description": "Persons that would become several."})
    touched = fields.Integer(metadata={"description": "How many persons the task is about."})
    needs_second_reader = fields.Boolean(
        metadata={"description": "Whether it stands only once a second person gives it too."}
    )


class UndoSchema(Schema):
    comment = Text(longest=MAX_COMMENT)


class NewCommentSchema(Schema):
    comment = Text(longest=MAX_COMMENT, required=True)


class OutcomeSchema(Schema):
    outcome = fields.String()
    decision_id = IdText()
    task = fields.Nested(TaskSchema)


class NextTaskSchema(Schema):
    kind = Code(one_of=_KIND_CODES, load_default=None)
    for_whom = Route(data_key="for", load_default=None)
    restricted = fields.Boolean(
        load_default=False, truthy={True}, falsy={False}, metadata={"description": _ONLY_RESTRICTED}
    )


class NextTaskAnswerSchema(Schema):
    task = fields.Nested(TaskSchema, allow_none=True, metadata={"description": "Null: there is none."})


class DeferSchema(Schema):
    until = Instant(required=True)
    reason = Code(one_of=queue.DEFERRAL_REASONS, required=True)
    comment = Text(longest=MAX_COMMENT)


class EscalateSchema(Schema):
    to = Code(one_of=TEAMS, required=True)
    reason = Code(one_of=queue.ESCALATION_REASONS, required=True)
    comment = Text(longest=MAX_COMMENT)


class TaskGroupSchema(Schema):
    group_id = IdText()
    worst_kind = fields.String()
    count = fields.Integer()
    expected_harm = fields.Integer()
    person_ids = fields.List(IdText())
    tasks = fields.List(fields.Nested(TaskSchema))


class TaskGroupPageSchema(Schema):
    groups = fields.List(fields.Nested(TaskGroupSchema))
    next = fields.String(allow_none=True)


class ClaimedSchema(Schema):
    tasks = fields.List(fields.Nested(TaskSchema))
    held_by_others = fields.List(IdText())


class BulkPreviewSchema(DecideSchema):
    """One answer, and the tasks that it is for: those named, or the first of the queue."""

    task_ids = fields.List(
        IdText(), validate=validate.Length(min=1, max=bulk_review.MOST_TASKS), load_default=None
    )
    kind = Code(one_of=_KIND_CODES, load_default=None)
    for_whom = Route(data_key="for", load_default=None)
    limit = fields.Integer(
        strict=True, validate=validate.Range(1, bulk_review.MOST_TASKS), load_default=bulk_review.MOST_TASKS
    )


class BulkDecideSchema(DecideSchema):
    task_ids = fields.List(
        IdText(), validate=validate.Length(min=1, max=bulk_review.MOST_TASKS), required=True
    )
    token = Code(required=True)
    checked = fields.List(
        IdText(),
        load_default=None,
        validate=validate.Length(max=bulk_review.MOST_TASKS),
        metadata={
            "description": "Tasks that somebody looked at: with it, the whole sample must be among these."
        },
    )


class RefusedTaskSchema(Schema):
    task_id = IdText()
    code = fields.String()


class BulkEffectSchema(Schema):
    task_ids = fields.List(IdText())
    refused = fields.List(fields.Nested(RefusedTaskSchema))
    merged = fields.List(
        fields.List(IdText()), metadata={"description": "Persons that would become one, a list each."}
    )
    split = fields.List(IdText(), metadata={"description": "Persons that would become several."})
    touched = fields.Integer(metadata={"description": "How many persons the tasks are about."})
    sample = fields.List(
        IdText(),
        metadata={"description": "Of these tasks some, drawn by lot, to be looked at one by one first."},
    )
    token = fields.String(metadata={"description": "Stands for all of this; `bulk-decide` asks for it."})


class BulkTaskSchema(Schema):
    task_id = IdText()
    decision_id = IdText(allow_none=True)
    outcome = fields.String(allow_none=True)
    refusal = fields.String(
        allow_none=True, metadata={"description": "Why it was not done; null where it was."}
    )


class BulkOutcomeSchema(Schema):
    bulk_id = IdText()
    decided = fields.Integer()
    tasks = fields.List(fields.Nested(BulkTaskSchema))
    undone_at = Instant(allow_none=True)


class FiguresQuery(QuerySchema):
    days = fields.Integer(
        strict=False, validate=validate.Range(1, figures.MOST_DAYS), load_default=figures.DAYS
    )


class ShareSchema(Schema):
    """So many of so many, with Wilson's 95 % interval."""

    count = fields.Integer()
    of = fields.Integer()
    share = fields.Float(allow_none=True)
    low = fields.Float()
    high = fields.Float()


class WaitingSchema(Schema):
    kind = fields.String()
    routed_to = fields.String()
    count = fields.Integer()
    deferred = fields.Integer()
    escalated = fields.Integer()
    median_hours = fields.Float()
    p90_hours = fields.Float()
    oldest_hours = fields.Float()


class DoneSchema(Schema):
    day = fields.Date()
    reader = fields.String(metadata={"description": "A pseudonym, but for oneself and with `tasks:manage`."})
    decided = fields.Integer()


class ReaderAgreementSchema(Schema):
    reader = fields.String()
    right = fields.Nested(ShareSchema)
    kappa = fields.Float(allow_none=True)


class BlindSchema(Schema):
    stratum = fields.String()
    precision = fields.Nested(ShareSchema)
    not_enough = fields.Integer()
    confirmed_wrong = fields.Integer()


class QualitySchema(Schema):
    changed = fields.Nested(ShareSchema)
    readers = fields.List(fields.Nested(ReaderAgreementSchema))
    blind = fields.List(fields.Nested(BlindSchema))


class FiguresSchema(Schema):
    at = Instant()
    since = Instant()
    waiting = fields.List(fields.Nested(WaitingSchema))
    done = fields.List(fields.Nested(DoneSchema))
    decided = fields.Integer()
    undone = fields.Integer()
    agreed = fields.Nested(ShareSchema)
    deferred = fields.Integer()
    escalated = fields.Integer()
    leases_expired = fields.Integer()
    quality = fields.Nested(
        QualitySchema, allow_none=True, metadata={"description": "Only with the scope `tasks:manage`."}
    )


# Models --------------------------------------------------------------------------------------------------------------


class ProposeModelSchema(Schema):
    model = fields.Dict(required=True, metadata={"description": "The model's document."})
    forecast = fields.Dict(metadata={"description": "What `mpi forecast --json` printed of it."})
    comment = Text(longest=MAX_COMMENT)


class RollBackSchema(Schema):
    comment = Text(longest=MAX_COMMENT)


class StalenessSchema(Schema):
    records = fields.Integer()
    changed = fields.Integer(metadata={"description": "Records that came or changed since."})
    decisions = fields.Integer(metadata={"description": "Decisions that were made or undone since."})
    is_stale = fields.Boolean()
    because = Code(one_of=("model-moved", "index-changed", "old"), allow_none=True)


ModelChangeSchema = change_schema(
    "ModelChangeSchema",
    "activation",
    {
        "forecast": fields.Dict(
            allow_none=True, metadata={"description": "Its figures, without the people of whom it speaks."}
        ),
        "forecast_at": Instant(allow_none=True),
        "staleness": fields.Nested(StalenessSchema, allow_none=True),
    },
)
KnownModelSchema = known_schema("KnownModelSchema", "kept")


class ModelsSchema(Schema):
    in_force = fields.String()
    models = fields.List(fields.Nested(KnownModelSchema))
    changes = fields.List(fields.Nested(ModelChangeSchema))


# Lawful erasure ------------------------------------------------------------------------------------------------------


class RecordKeySchema(Schema):
    organisation = OdsCode(required=True)
    system = Text(longest=64, required=True)
    local_id = Text(longest=64, required=True)


class NewPurgeSchema(RecordKeySchema):
    """What is to be erased, or sent again, and by what right. No words: they might quote what is to be forgotten."""

    act = Code(one_of=purge.ACTS, load_default="erase")
    reason = Code(one_of=[code for codes in purge.REASONS.values() for code in codes], required=True)
    legal_basis = Code(
        one_of=dict.fromkeys(code for codes in purge.LEGAL_BASES.values() for code in codes), required=True
    )


class PurgeQuery(PageQuery):
    state = Code(one_of=purge.STATES, load_default=None)


class PreviewSchema(Schema):
    """What an erasure would change. ``counts`` names what goes or changes; nothing of it is a value."""

    person_id = IdText(
        allow_none=True, metadata={"description": "Whose the record is; null while it is nobody's."}
    )
    persons = fields.List(
        IdText(), metadata={"description": "The persons that would be left, by their ids then."}
    )
    records_left = fields.Integer()
    counts = fields.Dict(keys=fields.String(), values=fields.Integer())


class PurgeSchema(Schema):
    purge_id = IdText()
    act = Code(one_of=purge.ACTS)
    record_id = IdText()
    organisation = fields.String()
    state = Code(one_of=purge.STATES)
    reason = fields.String()
    legal_basis = fields.String()
    proposed_by = fields.String()
    proposed_at = Instant()
    closed_by = fields.String(allow_none=True)
    closed_at = Instant(allow_none=True)
    preview = fields.Nested(PreviewSchema, allow_none=True)
    refused = fields.String(
        allow_none=True, metadata={"description": "Why it could not be done as things stand."}
    )


# Withdrawal ----------------------------------------------------------------------------------------------------------


class NewWithdrawalSchema(RecordKeySchema):
    reason = Code(one_of=withdraw.REASONS, required=True)
    comment = Text(longest=MAX_COMMENT, load_default=None)


class OutSchema(Schema):
    """What taking a record out of the index changes."""

    person_ids = fields.List(
        IdText(), metadata={"description": "Whose the record is; empty while it is nobody's."}
    )
    persons = fields.List(
        IdText(), metadata={"description": "The persons that are left of it, by their ids then."}
    )
    tasks_opened = fields.Integer()
    tasks_closed = fields.Integer()
    handed = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={
            "description": "What is handed on to other records: directives and facts of care, counted."
        },
    )


class WithdrawalSchema(Schema):
    withdrawal_id = IdText()
    record_id = IdText()
    organisation = fields.String()
    system = fields.String()
    reason = fields.String()
    comment = fields.String(allow_none=True)
    withdrawn_by = fields.String()
    withdrawn_at = Instant()
    feed_id = IdText(allow_none=True)
    into_record_id = IdText(
        allow_none=True,
        metadata={"description": "The record that stands for it, where its source merged them."},
    )


class WithdrawnSchema(OutSchema):
    withdrawal = fields.Nested(WithdrawalSchema)


class RestoredSchema(Schema):
    record_id = IdText()
    person_id = IdText(
        allow_none=True, metadata={"description": "Whose it is; null while it waits for linking."}
    )


class FeedKeySchema(Schema):
    organisation = OdsCode(required=True)
    system = Text(
        longest=64,
        load_default=None,
        metadata={"description": "One system's feed; all of them if not given."},
    )


class NewFeedWithdrawalSchema(FeedKeySchema):
    reason = Code(one_of=withdraw.REASONS, required=True)
    comment = Text(longest=MAX_COMMENT, required=True)


class FeedPreviewSchema(Schema):
    records = fields.Integer()
    persons = fields.Integer()


class FeedSchema(Schema):
    feed_id = IdText()
    organisation = fields.String()
    system = fields.String(allow_none=True)
    reason = fields.String()
    comment = fields.String()
    withdrawn_by = fields.String()
    withdrawn_at = Instant()
    restored_by = fields.String(allow_none=True)
    restored_at = Instant(allow_none=True)
    records_left = fields.Integer(
        metadata={"description": "Records that have yet to follow, out of the index or back into it."}
    )


class FeedsSchema(Schema):
    feeds = fields.List(fields.Nested(FeedSchema))


# Local ids -----------------------------------------------------------------------------------------------------------


class NewLocalChangeSchema(RecordKeySchema):
    """``merge``: the record of this key goes, and the one of ``to`` stays. ``renumber``: ``to`` is its local id from now on."""

    act = Code(one_of=local_ids.ACTS, required=True)
    to = Text(longest=local_ids.LONGEST_ID, required=True)


class LocalChangeQuery(PageQuery):
    state = Code(one_of=local_ids.STATES, load_default=None)


class LocalChangeSchema(Schema):
    """A merge or a renumbering inside a source. It names records by their ids, never by a local id."""

    change_id = IdText()
    act = Code(one_of=local_ids.ACTS)
    state = Code(one_of=local_ids.STATES)
    organisation = fields.String()
    system = fields.String()
    record_id = IdText()
    into_record_id = IdText(allow_none=True, metadata={"description": "Of a merge, the record that stays."})
    task_id = IdText(allow_none=True, metadata={"description": "The task that asks whether the two are one."})
    requested_by = fields.String()
    requested_at = Instant()
    changed_by = fields.String()
    changed_at = Instant()


Loaded = dict[str, Any]
"""What a schema read."""


# Data quality ----------------------------------------------------------------------------------------------------------


class QualityQuery(PageQuery):
    worst = Code(
        one_of=quality.CODES,
        load_default=None,
        metadata={
            "description": "A figure: all sources, the worst by its share first. It goes with `limit` and `cursor` alone."
        },
    )
    organisation = OdsCode(
        load_default=None, metadata={"description": "Its systems alone, with the days of a period."}
    )
    first = fields.Date(
        data_key="from",
        load_default=None,
        metadata={"description": "First day (UTC) of the series; 30 days before the last one if not given."},
    )
    last = fields.Date(
        data_key="to",
        load_default=None,
        metadata={"description": "Last day (UTC) of the series; today if not given."},
    )
    format = Code(
        one_of=("json", "csv"),
        load_default=None,
        metadata={
            "description": "`csv` for a row a figure; without it the header Accept chooses, and JSON is the default."
        },
    )


class ToldSchema(Schema):
    """A count, out of how many, and per thousand of these; null where it would tell of fewer than five people."""

    count = fields.Integer(allow_none=True)
    out_of = fields.Integer(allow_none=True)
    per_mille = fields.Float(allow_none=True)


QualityFiguresSchema = Schema.from_dict(
    {
        one.code: fields.Nested(ToldSchema, metadata={"description": f"{one.meaning} Out of {one.of}."})
        for one in quality.FIGURES
    },
    name="QualityFiguresSchema",
)


class QualityDaySchema(Schema):
    measured_on = fields.Date()
    measured_at = Instant()
    figures = fields.Nested(QualityFiguresSchema)


class SourceQualitySchema(Schema):
    organisation = fields.String()
    system = fields.String()
    is_exact = fields.Boolean(
        metadata={
            "description": "Whether every count is told. To others than the organisation itself 1 to 4 are null, and all other "
            "counts are rounded to the nearest 5."
        }
    )
    latest = fields.Nested(QualityDaySchema, metadata={"description": "As last measured."})
    series = fields.List(
        fields.Nested(QualityDaySchema),
        metadata={"description": "The days of the period, where one organisation was asked for; else empty."},
    )


class QualityPageSchema(Schema):
    sources = fields.List(fields.Nested(SourceQualitySchema))
    next = fields.String(allow_none=True)
