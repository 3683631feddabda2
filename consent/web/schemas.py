"""What the consent routes take and give. Codes that decide are checked by the rules, where the unknown is a denial."""

from operator import attrgetter
from typing import Any

from marshmallow import fields, missing, validate
from marshmallow.utils import get_value

from consent.facts import codes
from consent.facts.usage import MINUTES_A_VIEW
from consent.rules.binding import BECAUSE
from consent.service.alerts import OUTCOMES
from consent.service.binding import MOST_ASKED_ABOUT
from consent.service.decide import MOST_PEOPLE
from consent.service.directive_file import KINDS as BULK_KINDS
from consent.service.directives import ACTS
from consent.service.notices import LONGEST_NOTE, MEANS
from consent.service.notices import REASONS as NOT_NEEDED
from consent.store.alerts import STATES
from consent.store.notices import STATES as NOTICE_STATES
from foundation.comments import MAX_COMMENT
from foundation.ids import format_id
from foundation.web import Closed, IdText, Instant, OdsCode, PageQuery, Schema, Text, page_schema
from foundation.web.changes import change_schema, known_schema
from mpi.web.schemas import DemographicsSchema

Loaded = dict[str, Any]
"""What a schema read."""

_CODE = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$"
_MOST_CODES = validate.Length(max=40)
_LIST = validate.Length(min=1, max=500)


class Code(fields.String):
    """A code that the rules will judge: any shape of a code, since an unknown one is a denial and not a fault of form."""

    def __init__(self, longest: int, **kwargs: Any) -> None:
        shape = {"maxLength": longest, "pattern": _CODE} | kwargs.pop("metadata", {})
        check = validate.Regexp(rf"{_CODE[:-1]}\Z", error="code-format")
        limit = validate.Length(min=1, max=longest, error="too-long")
        super().__init__(metadata=shape, validate=[check, limit], **kwargs)


class ProofLink(fields.String):
    """Where the proof is read that the audit row of this answer is in the log; made of its ``event_id`` and ``leaf_hash``."""

    def __init__(self) -> None:
        told = "Where to read, within a minute, the proof that the row is in the audit log."
        super().__init__(metadata={"description": told})

    def get_value(self, obj: Any, attr: str, accessor: Any = None, default: Any = missing) -> Any:
        event_id, leaf_hash = (get_value(obj, name) for name in ("event_id", "leaf_hash"))
        return proof_link(event_id, leaf_hash)


def proof_link(event_id: int, leaf_hash: str) -> str:
    return f"/api/v1/audit/events/{format_id(event_id)}/proof?leaf_hash={leaf_hash}"


class Plain(fields.List[Any]):
    """A list of values of our own making, all of whose fields are texts and numbers: written at once, not field by field."""

    def __init__(self, schema: type[Schema], **kwargs: Any) -> None:
        super().__init__(fields.Nested(schema), **kwargs)
        declared = schema().fields
        self._names = tuple(declared)
        self._values = attrgetter(*(field.attribute or name for name, field in declared.items()))

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> list[Any] | None:
        if value is None:
            return None
        return [dict(zip(self._names, self._values(one), strict=True)) for one in value]


class CellSchema(Schema):
    category = Code(40, required=True)
    label = Code(40, required=True)
    source = OdsCode(required=True)


class UserSchema(Schema):
    """The user at the screen of the calling system, as that system vouches for them."""

    user_id = Text(128, required=True)
    role = Code(
        longest=40, required=True, metadata={"description": "The one selected job role, such as R8000."}
    )
    organisation = OdsCode(required=True)
    assurance = fields.Integer(required=True, strict=True, validate=validate.Range(0, 3))
    activities = fields.List(Code(16), load_default=list, validate=_MOST_CODES)


_EPOCH = validate.Range(0, 2**31 - 1)


class QuestionSchema(Schema):
    """What is asked, whoever it is asked about."""

    purpose = Code(16, required=True)
    categories = fields.List(Code(40), load_default=list, validate=_MOST_CODES)
    labels = fields.List(Code(40), load_default=list, validate=_MOST_CODES)
    sources = fields.List(OdsCode(), load_default=list, validate=validate.Length(max=100))
    action = Code(16, load_default="view")
    identified_by = Code(32, required=True)
    user = fields.Nested(UserSchema, load_default=None, allow_none=True)
    claimed_relationship = Code(32, load_default=None, allow_none=True)
    reason_code = Code(32, load_default=None, allow_none=True)
    reason = Text(500, load_default=None, allow_none=True)
    incident_id = Code(64, load_default=None, allow_none=True)


class AskSchema(QuestionSchema):
    """May this be seen? Empty categories or labels mean all that can be shared; empty sources mean all there are."""

    person_id = IdText(required=True)
    min_epoch = fields.Integer(load_default=0, strict=True, validate=_EPOCH)


class AskedAboutSchema(Schema):
    person_id = IdText(required=True)
    min_epoch = fields.Integer(load_default=0, strict=True, validate=_EPOCH)


class WorklistSchema(QuestionSchema):
    """One question about each person of a worklist."""

    people = fields.List(
        fields.Nested(AskedAboutSchema),
        required=True,
        validate=validate.Length(1, MOST_PEOPLE),
        metadata={"description": "Nobody twice."},
    )


class ObligationSchema(Schema):
    code = fields.String()
    parameters = fields.Dict(keys=fields.String(), values=fields.String())


class FindingSchema(Schema):
    rule = fields.String(attribute="rule_id")
    version = fields.Integer()
    tier = fields.Integer()
    effect = fields.String()
    reason = fields.String()


class NearMissSchema(Schema):
    rule = fields.String(attribute="rule_id")
    condition = fields.String()


class OverrideSchema(Schema):
    is_possible = fields.Boolean()
    reasons = fields.List(fields.String())


class TextsSchema(Schema):
    staff = fields.String()
    officer = fields.String(metadata={"description": "With the scope reports:read only."})
    patient = fields.String(metadata={"description": "With the scope reports:read only."})


class PolicySchema(Schema):
    name = fields.String()
    version = fields.Integer()
    revision = fields.String()


class DecisionSchema(Schema):
    """A decision. What is not under ``permitted`` is withheld; nothing says what that is."""

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Return what ``decision_body`` wrote, which is as it is sent: field by field it costs more than the rules do."""
        return obj

    decision_id = IdText()
    outcome = Closed(("PERMIT", "PERMIT_FILTERED", "DENY", "DENY_OVERRIDABLE", "NOT_FOUND"))
    permitted = Plain(CellSchema)
    obligations = fields.List(fields.Nested(ObligationSchema))
    determining = Plain(FindingSchema)
    near_misses = fields.List(
        fields.Nested(NearMissSchema), metadata={"description": "With the scope reports:read only."}
    )
    override = fields.Nested(OverrideSchema)
    texts = fields.Nested(TextsSchema)
    policy = fields.Nested(PolicySchema)
    epoch = fields.Integer(allow_none=True)
    evaluated_at = Instant()
    leaf_hash = fields.String(metadata={"description": "Of the audit row: evidence that may be kept."})
    proof = ProofLink()


class WorklistAnswerSchema(Schema):
    person_id = IdText(metadata={"description": "As it was asked about."})
    decision = fields.Nested(DecisionSchema, allow_none=True)
    code = fields.String(
        allow_none=True,
        metadata={"description": "`person-moving`: not decided, ask again. Null where it was decided."},
    )


class WorklistDecisionsSchema(Schema):
    decisions = fields.List(
        fields.Nested(WorklistAnswerSchema), metadata={"description": "In the order of the question."}
    )


# Releases ------------------------------------------------------------------------------------------------------------


class ReleaseSchema(AskSchema):
    redeemer = Code(64, required=True, metadata={"description": "The provider's client id."})


class IssuedSchema(Schema):
    decision = fields.Nested(DecisionSchema)
    ticket = fields.String(allow_none=True)
    expires_at = Instant(allow_none=True)


class TicketSchema(Schema):
    ticket = Text(16_384, required=True)


class LocalIdSchema(Schema):
    organisation = fields.String()
    system = fields.String()
    local_id = fields.String()


class InspectionSchema(Schema):
    ticket_id = IdText()
    person_id = IdText()
    consumer = fields.String()
    purpose = fields.String()
    cells = fields.List(fields.Nested(CellSchema))
    local_ids = fields.List(fields.Nested(LocalIdSchema))
    expires_at = Instant()


class ItemSchema(CellSchema):
    id = Code(64, required=True, metadata={"description": "The provider's own id of the item."})


class RedeemSchema(TicketSchema):
    items = fields.List(fields.Nested(ItemSchema), required=True, validate=_LIST)


class RedemptionSchema(Schema):
    redemption_id = IdText()
    outcome = fields.String()
    released = fields.List(fields.String())
    withheld = fields.List(fields.String())
    obligations = fields.List(fields.Nested(ObligationSchema))
    text = fields.String()
    epoch = fields.Integer()
    evaluated_at = fields.String()


class GrantSchema(Schema):
    grant_id = IdText()
    reason_code = fields.String()
    opened_at = Instant()
    expires_at = Instant()
    renewals = fields.Integer()


class OpenedSchema(Schema):
    """Emergency access, or (``grant`` null) the denial that says why it was not opened."""

    grant = fields.Nested(GrantSchema, allow_none=True)
    decision = fields.Nested(DecisionSchema)


# Facts ---------------------------------------------------------------------------------------------------------------


class ScopeSchema(Schema):
    kind = Closed(codes.SCOPE_KINDS, required=True)
    code = fields.String(
        load_default="", validate=validate.Regexp(r"^[A-Za-z0-9.-]{0,40}\Z", error="code-format")
    )


class FormSchema(DemographicsSchema):
    """Demographics as the form has them; they link like any other record, so the directive finds whom it was meant for."""


class DirectiveSchema(Schema):
    """What was asked for. ``person_id`` names a known person; ``form`` describes someone who may not be known yet."""

    kind = Closed(codes.DIRECTIVE_KINDS, required=True)
    scope = fields.Nested(ScopeSchema, required=True)
    received_by = OdsCode(required=True)
    person_id = IdText(load_default=None, allow_none=True)
    form = fields.Nested(FormSchema, load_default=None, allow_none=True)
    standing = Closed(("pending", "upheld", "refused"), load_default="upheld")
    may_override = fields.Boolean(truthy={True}, falsy={False}, load_default=True)
    lifts = fields.List(IdText(), load_default=list, validate=_MOST_CODES)
    capacity = Closed(codes.CAPACITIES, load_default="patient")
    channel = Closed(("in-person", "phone", "letter", "form", "online", "other"), load_default="in-person")
    evidence = Text(200, load_default=None, allow_none=True)
    reason = Text(500, load_default=None, allow_none=True)
    wording_digest = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Regexp(r"^[0-9a-f]{64}\Z", error="digest-format"),
    )
    review_at = Instant(load_default=None, allow_none=True)
    effective_at = Instant(load_default=None, allow_none=True)
    ends_at = Instant(load_default=None, allow_none=True)


class DirectiveBulkRowSchema(DirectiveSchema):
    """One of many. What lifts is not among them: it is given by one patient alone."""

    class Meta:
        exclude = ("lifts",)

    kind = Closed(sorted(BULK_KINDS), required=True)
    reference = fields.String(
        required=True, validate=validate.Regexp(r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}\Z", error="code-format")
    )


class DirectiveBulkSchema(Schema):
    mode = Closed(("preview", "record"), required=True)
    rows = fields.List(fields.Nested(DirectiveBulkRowSchema), required=True, validate=_LIST)


class DirectiveBulkRowOutcomeSchema(Schema):
    row = fields.Integer()
    state = Closed(("binds", "waits", "kept", "lifted", "known", "may-bind", "rejected"))
    person_id = IdText(allow_none=True)
    field = fields.String(allow_none=True)
    code = fields.String(allow_none=True)


class DirectiveBulkOutcomeSchema(Schema):
    is_written = fields.Boolean(truthy={True}, falsy={False})
    rows = fields.List(fields.Nested(DirectiveBulkRowOutcomeSchema))


class ReceiptSchema(Schema):
    """What the patient takes home."""

    directive_id = IdText()
    state = fields.String()
    person_id = IdText(allow_none=True)
    epoch = fields.Integer()
    recorded_at = Instant()
    leaf_hash = fields.String()
    proof = ProofLink()
    covered = fields.String()
    not_covered = fields.String()


class ReasonSchema(Schema):
    reason = Text(500, required=True)


class VerdictSchema(ReasonSchema):
    verdict = Closed(("upheld", "refused", "entered-in-error"), required=True)


class DirectivesQuery(Schema):
    person_id = IdText(required=True)


class HeldSchema(Schema):
    directive_id = IdText()
    kind = fields.String()
    scope = fields.Nested(ScopeSchema)
    standing = fields.String()
    may_override = fields.Boolean(
        truthy={True},
        falsy={False},
    )
    lifts = fields.List(IdText())
    capacity = fields.String()
    received_by = fields.String()
    channel = fields.String()
    evidence = fields.String(allow_none=True)
    reason = fields.String(allow_none=True)
    decided_by = fields.String(allow_none=True)
    review_at = Instant(allow_none=True)
    effective_at = Instant()
    ends_at = Instant(allow_none=True)
    recorded_at = Instant()
    recorded_by = fields.String()
    withdrawn_at = Instant(allow_none=True)
    via_task = fields.Boolean()


class HeldsSchema(Schema):
    directives = fields.List(fields.Nested(HeldSchema))


class ProofRowSchema(Schema):
    act = Closed(ACTS)
    at = Instant()
    leaf_hash = fields.String()
    proof = ProofLink()


class DirectiveEventSchema(Schema):
    kind = fields.String()
    reason = fields.String(allow_none=True)
    at = Instant()
    by = fields.String()


class AccountSchema(HeldSchema):
    """One directive with its history."""

    person_id = IdText(
        allow_none=True, metadata={"description": "Whose it is now; null while the index knows nobody."}
    )
    epoch = fields.Integer()
    events = fields.List(fields.Nested(DirectiveEventSchema))
    proofs = fields.List(
        fields.Nested(ProofRowSchema), metadata={"description": "The audit rows of what was done with it."}
    )


class ReplacementSchema(DirectiveSchema):
    """What is asked for now, and why the directive before it is withdrawn."""

    class Meta:
        exclude = ("form",)

    person_id = IdText(required=True)
    change_reason = Text(500, required=True)


class ChangeKindSchema(Schema):
    kind = Closed(("withdrawn", "upheld", "refused", "entered-in-error"), required=True)


class SharedPartSchema(Schema):
    categories = fields.List(fields.String())
    sources = fields.List(
        fields.String(),
        metadata={
            "description": "Whose; none for all of whom the asker sees anything, but for those in `but`."
        },
    )
    but = fields.List(fields.String())
    is_all = fields.Boolean(
        truthy={True}, falsy={False}, metadata={"description": "These are all that the asker sees at all."}
    )


class SightForeseenSchema(Schema):
    lost = fields.List(fields.Nested(SharedPartSchema), metadata={"description": "Seen today, and not then."})
    gained = fields.List(
        fields.Nested(SharedPartSchema), metadata={"description": "Not seen today, and then."}
    )
    kept = fields.List(fields.Nested(SharedPartSchema), metadata={"description": "Seen today and then."})
    opened = fields.List(
        fields.Nested(SharedPartSchema), metadata={"description": "Seen then by emergency access alone."}
    )


class ExampleSchema(Schema):
    organisation = fields.String()
    name = fields.String()
    setting = fields.String()
    role = fields.String()
    purpose = fields.String()


class ForeseenSchema(Schema):
    example = fields.Nested(ExampleSchema)
    sight = fields.Nested(SightForeseenSchema)


class ForesightSchema(Schema):
    """What an act would come to, told of people who might ask."""

    state = fields.String(metadata={"description": "As of the receipt."})
    person_id = IdText(allow_none=True)
    epoch = fields.Integer()
    at = Instant(
        metadata={"description": "The instant that was looked at: later where it takes effect later."}
    )
    askers = fields.List(fields.Nested(ForeseenSchema), attribute="examples")


class BindingQuestionSchema(Schema):
    """Which directives bind in this situation?"""

    people = fields.List(
        IdText(),
        required=True,
        validate=validate.Length(1, MOST_ASKED_ABOUT),
        metadata={"description": "Nobody twice."},
    )
    purpose = Closed(codes.PURPOSES, required=True)
    organisation = OdsCode(required=True, metadata={"description": "Whose user would ask."})
    role = Code(40, load_default=None, metadata={"description": "The role in which they would ask."})
    categories = fields.List(
        Closed(codes.CATEGORIES),
        load_default=list,
        validate=_MOST_CODES,
        metadata={"description": "None for all that can be shared."},
    )
    sources = fields.List(
        OdsCode(),
        load_default=list,
        validate=validate.Length(max=100),
        metadata={"description": "Of whose items; none for whoever may have some."},
    )
    directives = fields.List(
        IdText(),
        load_default=list,
        validate=validate.Length(max=MOST_ASKED_ABOUT),
        metadata={"description": "None for all on record."},
    )


class BearingSchema(Schema):
    directive_id = IdText()
    binds = fields.Boolean(truthy={True}, falsy={False})
    because = Closed(BECAUSE, metadata={"description": "Why it binds, or does not."})
    lifted_by = fields.List(IdText(), metadata={"description": "The permissions that lift it."})
    categories = fields.List(
        fields.String(), metadata={"description": "Those that were asked about in which it binds."}
    )


class PersonBearingsSchema(Schema):
    person_id = IdText(metadata={"description": "As it was asked."})
    directives = fields.List(fields.Nested(BearingSchema))


class BindingAnswerSchema(Schema):
    people = fields.List(fields.Nested(PersonBearingsSchema))


class AgreementSchema(Schema):
    """``*`` among providers or consumers stands for every organisation."""

    name = Text(120, required=True)
    providers = fields.List(Text(10), required=True, validate=_LIST)
    consumers = fields.List(Text(10), required=True, validate=_LIST)
    role_classes = fields.List(Code(40), required=True, validate=_LIST)
    purposes = fields.List(Code(40), required=True, validate=_LIST)
    categories = fields.List(Code(40), required=True, validate=_LIST)
    legal_basis = Code(40, required=True)
    starts_at = Instant(required=True)
    ends_at = Instant(load_default=None, allow_none=True)
    approved_by = Text(
        200,
        load_default=None,
        allow_none=True,
        metadata={"description": "The board or office that approved it."},
    )


class PlannedAgreementSchema(AgreementSchema):
    """What takes an agreement's place when it begins, under a name of its own."""


class AgreementEndSchema(Schema):
    ends_at = Instant(required=True)
    approved_by = Text(200, load_default=None, allow_none=True)


class AgreementVersionSchema(AgreementSchema):
    agreement_id = IdText()
    version = fields.Integer()
    recorded_at = Instant()
    recorded_by = fields.String()


class AgreementRowSchema(AgreementVersionSchema):
    state = fields.String()


AgreementPage = page_schema(AgreementRowSchema)


class AgreementVersionsSchema(Schema):
    versions = fields.List(
        fields.Nested(AgreementVersionSchema), metadata={"description": "The newest first."}
    )


class PlannedSchema(Schema):
    ended = fields.Nested(AgreementRowSchema)
    begun = fields.Nested(AgreementRowSchema)


class AgreementQuery(PageQuery):
    provider = OdsCode(load_default=None)
    consumer = OdsCode(load_default=None)


class MatrixQuery(Schema):
    at = Instant(load_default=None, metadata={"description": "Now, if nobody says."})
    category = Closed(codes.CATEGORIES, load_default=None)
    purpose = Closed(codes.PURPOSES, load_default=None)
    providers_after = Text(10, load_default="")
    consumers_after = Text(10, load_default="")


class MatrixPairSchema(Schema):
    provider = fields.String()
    consumer = fields.String()
    categories = fields.List(fields.String())
    in_force = fields.List(IdText())
    coming = fields.List(IdText())
    past = fields.List(IdText())


class MatrixSchema(Schema):
    """A page of providers beside a page of consumers, as agreements name them; `*` stands for every organisation."""

    at = Instant()
    providers = fields.List(fields.String())
    consumers = fields.List(fields.String())
    pairs = fields.List(fields.Nested(MatrixPairSchema))
    providers_after = fields.String(allow_none=True, metadata={"description": "Where the next page begins."})
    consumers_after = fields.String(allow_none=True)
    is_whole = fields.Boolean(truthy={True}, falsy={False})


class RelationshipSchema(Schema):
    """Evidence of care. ``ends_at`` already holds any grace."""

    person_id = IdText(required=True)
    kind = Closed(codes.RELATIONSHIP_KINDS, required=True)
    organisation = OdsCode(required=True)
    user_id = Text(128, load_default=None, allow_none=True)
    incident_id = Code(64, load_default=None, allow_none=True)
    started_at = Instant(load_default=None, allow_none=True)
    ends_at = Instant(load_default=None, allow_none=True)


class RelationshipRowSchema(RelationshipSchema):
    relationship_id = IdText()


class EndSchema(Schema):
    person_id = IdText(required=True)
    kind = Closed(codes.RELATIONSHIP_KINDS, required=True)
    organisation = OdsCode(required=True)
    ends_at = Instant(required=True)


class EndedSchema(Schema):
    ended = fields.Integer()


class OptOutListSchema(Schema):
    name = fields.String()
    state = Closed(("waiting", "answered", "refused", "abandoned"))
    numbers = fields.Integer()
    clear = fields.Integer(allow_none=True)
    opted_out = fields.Integer(allow_none=True)
    prepared_at = Instant()
    closed_at = Instant(allow_none=True)


OptOutListPage = page_schema(OptOutListSchema)


# Reports -------------------------------------------------------------------------------------------------------------


class ReportQuery(Schema):
    since = Instant(load_default=None)
    until = Instant(load_default=None)


class SeenItemSchema(Schema):
    item_id = fields.String()
    category = fields.String()
    label = fields.String()
    source = fields.String()


class AccessSchema(Schema):
    event_id = IdText()
    at = Instant()
    kind = fields.String()
    act = fields.String()
    outcome = fields.String()
    organisation = fields.String(allow_none=True)
    user_id = fields.String(allow_none=True)
    role = fields.String(allow_none=True)
    client_id = fields.String(allow_none=True)
    purpose = fields.String(allow_none=True)
    is_emergency = fields.Boolean()
    items = fields.List(fields.Nested(SeenItemSchema))
    request_id = fields.String(allow_none=True)
    texts = fields.Nested(TextsSchema)
    leaf_hash = fields.String()
    proof = ProofLink()


class ReportSchema(Schema):
    person_id = IdText()
    made_at = Instant()
    since = Instant(allow_none=True)
    until = Instant(allow_none=True)
    accesses = fields.List(fields.Nested(AccessSchema))


class NoticeQuery(PageQuery):
    state = Closed(
        NOTICE_STATES,
        load_default="open",
        metadata={"description": "`merged-again`: open ones whose persons are one again."},
    )
    organisation = OdsCode(load_default=None)
    person = IdText(
        load_default=None, metadata={"description": "Only of merges with a record that this person has now."}
    )


class NoticeSchema(Schema):
    notice_id = IdText()
    merge_id = IdText(metadata={"description": "The undone merge; see `/undone-merges/{merge_id}/who-saw`."})
    organisation = fields.String()
    why = fields.List(
        fields.String(),
        metadata={"description": "`held-a-record` in that person, `saw-it` while it stood, or both."},
    )
    views = fields.Integer(
        metadata={
            "description": "By its users while the merge stood; a view is one user within one clock hour."
        }
    )
    users = fields.Integer()
    state = fields.String()
    version = fields.Integer()
    cause = fields.String(metadata={"description": "Why they came apart, as in the events of the index."})
    decision_id = IdText(allow_none=True)
    person_id = IdText(metadata={"description": "The id that they had while they were one."})
    person_ids = fields.List(IdText(), metadata={"description": "Whose its records are now."})
    stood_from = Instant()
    stood_until = Instant()
    opened_at = Instant()
    means = fields.String(allow_none=True)
    told_at = Instant(allow_none=True)
    reason = fields.String(allow_none=True)
    note = fields.String(allow_none=True)
    changed_by = fields.String(allow_none=True)
    changed_at = Instant(allow_none=True)


class NoticeToldSchema(Schema):
    means = Closed(MEANS, required=True)
    told_at = Instant(load_default=None, metadata={"description": "Now, if nobody says."})
    note = Text(LONGEST_NOTE, load_default=None)


class NoticeNotNeededSchema(Schema):
    reason = Closed(NOT_NEEDED, required=True)
    note = Text(
        LONGEST_NOTE, load_default=None, metadata={"description": "Needed where the reason is `other`."}
    )


class NoticeReopenSchema(Schema):
    note = Text(LONGEST_NOTE, load_default=None)


class WhoSawQuery(PageQuery):
    since = Instant(load_default=None, data_key="from")
    until = Instant(load_default=None, data_key="to")
    organisation = OdsCode(load_default=None)


class ShownSchema(Schema):
    category = fields.String(
        metadata={"description": "Of what the index tells: `members`, `demographics` or `history`."}
    )
    source = fields.String()


class SightSchema(Schema):
    event_id = IdText(metadata={"description": "The row of the audit log."})
    at = Instant()
    kind = fields.String()
    organisation = fields.String(allow_none=True)
    user_id = fields.String(allow_none=True)
    role = fields.String(allow_none=True)
    client_id = fields.String(allow_none=True)
    purpose = fields.String(allow_none=True)
    person_id = IdText(metadata={"description": "The id under which it was looked at."})
    shown = fields.List(fields.Nested(ShownSchema))


class AlertQuery(PageQuery):
    state = Closed(
        STATES,
        load_default="open",
        metadata={"description": "`explained`: closed because care accounts for the look."},
    )


class AlertSchema(Schema):
    alert_id = IdText()
    code = fields.String(metadata={"description": "What raised it."})
    signals = fields.List(fields.String(), metadata={"description": "All that agree, the worst first."})
    alert_type = fields.Integer(allow_none=True)
    alert_reason = fields.Integer(allow_none=True)
    rank = fields.Integer(metadata={"description": "0 is the worst."})
    person_id = IdText(
        allow_none=True,
        metadata={
            "description": "Who they are now, after merges and splits; null where it is about what the user did with many, or about"
            " searches that led to nobody who may be told."
        },
    )
    organisation = fields.String()
    user_id = fields.String()
    decision_id = IdText(allow_none=True)
    grant_id = IdText(allow_none=True)
    event_id = IdText(allow_none=True, metadata={"description": "The audit row of the view."})
    reason = fields.String(allow_none=True)
    state = fields.String()
    raised_at = Instant()
    viewed_at = Instant(allow_none=True)
    explained_by = IdText(
        allow_none=True, metadata={"description": "The relationship that accounts for the look."}
    )
    outcome = fields.String(allow_none=True)
    comment = fields.String(allow_none=True)
    reviewed_at = Instant(allow_none=True)
    reviewed_by = fields.String(allow_none=True)


class CoverageSchema(Schema):
    organisation = fields.String()
    not_evaluated = fields.List(fields.String())
    has_staff_file = fields.Boolean(metadata={"description": "Its own, or that of one that it is a part of."})
    has_hours = fields.Boolean(metadata={"description": "As has_staff_file."})


class AlertPage(Schema):
    items = fields.List(fields.Nested(AlertSchema), required=True)
    next = fields.String(allow_none=True)
    not_evaluated = fields.List(
        fields.Nested(CoverageSchema),
        required=True,
        metadata={
            "description": "Organisations and signals that nobody looked for, so that none is not taken for nothing."
        },
    )


class ReviewSchema(Schema):
    outcome = Closed(OUTCOMES, required=True)
    comment = Text(500, required=True)


class AlertRateSchema(Schema):
    signal = fields.String()
    alerts = fields.Integer()
    open = fields.Integer()
    explained = fields.Integer()
    legitimate = fields.Integer()
    confirmed = fields.Integer()
    undecided = fields.Integer()
    hit_per_mille = fields.Integer(
        allow_none=True,
        metadata={"description": "Confirmed of those decided either way; null while none was."},
    )


class AlertFiguresSchema(Schema):
    rates = fields.List(fields.Nested(AlertRateSchema))
    not_evaluated = fields.List(fields.Nested(CoverageSchema))
    looked_until = Instant(allow_none=True)


class StaffFileSchema(Schema):
    organisation = fields.String()
    legal_basis = fields.String()
    compares = fields.List(fields.String())
    members = fields.Integer()
    review_on = fields.Date()
    is_overdue = fields.Boolean(metadata={"description": "Its day of review has passed."})
    stands_since = Instant()
    loaded_at = Instant()
    loaded_by = fields.String()


class StaffFilesSchema(Schema):
    staff_files = fields.List(fields.Nested(StaffFileSchema), required=True)


class ShiftSchema(Schema):
    role = fields.String(
        metadata={"description": "A national job role code; `*` for every role with none of its own."}
    )
    day = fields.String(
        metadata={"description": "mon to sun; a date, in the place of its day of the week; or `always`."}
    )
    begins = fields.Integer(metadata={"description": "Minutes after midnight of that day in Britain."})
    ends = fields.Integer(
        metadata={
            "description": "As begins, not in it; beyond 1440 on the day after. As begins: nobody works."
        }
    )


class WorkingHoursSchema(Schema):
    organisation = fields.String()
    shifts = fields.List(fields.Nested(ShiftSchema))
    stands_since = Instant()
    loaded_at = Instant()
    loaded_by = fields.String()


class WorkingHoursListSchema(Schema):
    working_hours = fields.List(fields.Nested(WorkingHoursSchema), required=True)


class NewCelebritySchema(Schema):
    person_id = IdText(required=True)
    reason = Text(500, required=True)
    review_on = fields.Date(
        required=True, metadata={"description": "When to ask again whether they stay on."}
    )


class CelebritySchema(Schema):
    entry_id = IdText()
    person_ids = fields.List(
        IdText(), metadata={"description": "Who holds the entry's records now: several after a split."}
    )
    organisation = fields.String()
    reason = fields.String()
    review_on = fields.Date()
    is_overdue = fields.Boolean(metadata={"description": "Its day of review has passed."})
    listed_at = Instant()
    listed_by = fields.String()


class CelebritiesSchema(Schema):
    celebrities = fields.List(fields.Nested(CelebritySchema), required=True)


class UsageQuery(Schema):
    first = fields.String(
        data_key="from", load_default=None, metadata={"description": "First month, as 2026-01."}
    )
    last = fields.String(
        data_key="to",
        load_default=None,
        metadata={"description": "Last month; the one before this if not given."},
    )
    minutes_per_view = fields.Float(load_default=MINUTES_A_VIEW, validate=validate.Range(0, 60))
    format = Closed(("json", "csv", "svg"), load_default=None)


class UsageShareSchema(Schema):
    code = fields.String()
    views = fields.Integer()
    before = fields.Integer(metadata={"description": "In the same months a year before."})
    change_per_mille = fields.Integer(allow_none=True)


class NewConnectionSchema(Schema):
    organisation = fields.String()
    month = fields.String()


class UsageSchema(Schema):
    first = fields.String(data_key="from")
    last = fields.String(data_key="to")
    total = fields.Nested(UsageShareSchema)
    by_month = Plain(UsageShareSchema)
    by_setting = Plain(UsageShareSchema)
    by_organisation = Plain(UsageShareSchema)
    by_role = Plain(UsageShareSchema)
    by_purpose = Plain(UsageShareSchema)
    connections = fields.List(
        fields.Nested(NewConnectionSchema),
        metadata={"description": "Organisations whose first view lies in the period."},
    )
    staff = fields.Integer(allow_none=True, metadata={"description": "Null below five."})
    minutes_saved = fields.Integer()
    minutes_per_view = fields.Float()
    counted_until = Instant(allow_none=True)


class ImportPolicySchema(Schema):
    policy = fields.Dict(required=True, metadata={"description": "The rule set's document."})


class RollBackPolicySchema(Schema):
    comment = Text(longest=MAX_COMMENT, metadata={"description": "Why, for whoever approves it."})


class ProposePolicySchema(Schema):
    what_if = fields.Dict(metadata={"description": "What `consent what-if --json` printed of it."})
    comment = Text(longest=MAX_COMMENT, metadata={"description": "Why, for whoever approves it."})


KnownPolicySchema = known_schema("KnownPolicySchema", "draft", {"version": fields.Integer()})


class PolicyDocumentSchema(Schema):
    revision = fields.String()
    name = fields.String()
    version = fields.Integer()
    policy = fields.Dict(metadata={"description": "The rule set's document, as it was imported."})


class ComparePolicyQuery(Schema):
    other = fields.String(
        data_key="with",
        load_default=None,
        validate=validate.Length(max=16),
        metadata={"description": "The revision to compare with."},
    )


class PolicyDifferenceSchema(Schema):
    part = fields.String()
    name = fields.String(metadata={"description": "Of rules and tiers their id."})
    field = fields.String(
        metadata={"description": "The attribute that differs; empty where the whole came or went."}
    )
    change = Closed(("added", "removed", "changed"))
    before = fields.String()
    after = fields.String()


class PolicyDifferencesSchema(Schema):
    from_revision = fields.String()
    revision = fields.String()
    differences = fields.List(fields.Nested(PolicyDifferenceSchema))


class TryPolicySchema(Schema):
    since = Instant(required=True, data_key="from")
    until = Instant(required=True, data_key="to", metadata={"description": "Not in it."})


class WhatIfSideSchema(Schema):
    decisions = fields.Integer()
    wholly = fields.Integer()
    cells = fields.Integer()
    by_setting = fields.Dict(keys=fields.String(), values=fields.Integer())
    by_role = fields.Dict(keys=fields.String(), values=fields.Integer())
    by_purpose = fields.Dict(keys=fields.String(), values=fields.Integer())
    by_hour = fields.Dict(keys=fields.String(), values=fields.Integer())
    by_category = fields.Dict(keys=fields.String(), values=fields.Integer())
    by_kind = fields.Dict(keys=fields.String(), values=fields.Integer())


class WhatIfSchema(Schema):
    """What a change would have changed, as `consent what-if --json` prints it."""

    since = fields.String(data_key="from", attribute="from")
    until = fields.String(data_key="to", attribute="to")
    made_at = fields.String()
    policy = fields.String(allow_none=True)
    agreements = fields.Dict(keys=fields.String(), values=fields.Integer())
    is_cut = fields.Boolean(
        truthy={True}, falsy={False}, metadata={"description": "It ended early: `to` is as far as it went."}
    )
    replayed = fields.Integer()
    changed = fields.Integer()
    not_replayable = fields.Dict(keys=fields.String(), values=fields.Integer())
    newly_denied = fields.Nested(WhatIfSideSchema)
    newly_permitted = fields.Nested(WhatIfSideSchema)


class PolicyStalenessSchema(Schema):
    agreements = fields.Integer(metadata={"description": "Versions of agreements recorded since."})
    is_stale = fields.Boolean()
    because = Closed(("policy-moved", "agreements-moved"), allow_none=True)


PolicyChangeSchema = change_schema(
    "PolicyChangeSchema",
    "publication",
    {
        "what_if": fields.Dict(allow_none=True, metadata={"description": "Its figures, without examples."}),
        "what_if_at": Instant(allow_none=True),
        "staleness": fields.Nested(PolicyStalenessSchema, allow_none=True),
    },
    {"version": fields.Integer()},
)


class PoliciesSchema(Schema):
    in_force = fields.String()
    policies = fields.List(fields.Nested(KnownPolicySchema))
    changes = fields.List(fields.Nested(PolicyChangeSchema))
