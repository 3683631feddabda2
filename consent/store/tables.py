"""Tables of the consent wing. Directives, their anchors and their events are only ever added to, unless a source record is erased."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

from foundation.changes import change_table, kept_table
from foundation.database import Id, Json, UtcDateTime, metadata

directive = Table(
    "directive",
    metadata,
    Column("directive_id", Id, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("scope_kind", String(16), nullable=False),
    Column("scope_code", String(40), nullable=False),
    Column("identity_id", Id, nullable=False),  # the person it was given for, as the index knew them then
    Column("standing", String(20), nullable=False),  # as first decided; later events may change it
    Column("may_override", Boolean, nullable=False),
    Column("lifts", Json, nullable=False),  # ids of the objections that a permission names
    Column("capacity", String(32), nullable=False),
    Column("received_by", String(20), nullable=False),  # ODS code
    Column("channel", String(20), nullable=False),
    Column("evidence", String(200)),  # a reference to the form or letter, never its content
    Column("reason", String(500)),  # why it was upheld or refused
    Column("decided_by", String(128)),
    Column("wording_digest", String(64)),  # of the text that the patient was shown
    Column("review_at", UtcDateTime),
    Column("effective_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("recorded_by", String(128), nullable=False),
    CheckConstraint("ends_at is null or ends_at > effective_at", name="ends_after_start"),
    CheckConstraint(
        "kind in ('objection', 'permission', 'dissent', 'seal', 'type-1', 'statutory-bar')",
        name="kind_is_known",
    ),
    CheckConstraint(
        "scope_kind in ('everything', 'organisation', 'category', 'purpose')", name="scope_is_known"
    ),
    CheckConstraint("standing in ('pending', 'upheld', 'refused')", name="standing_is_known"),
)
# What waits for somebody: few of all.
Index(
    "ix_directive_pending",
    directive.c.received_by,
    directive.c.recorded_at,
    sqlite_where=directive.c.standing == "pending",
    postgresql_where=directive.c.standing == "pending",
)
Index(
    "ix_directive_review",
    directive.c.received_by,
    directive.c.review_at,
    sqlite_where=directive.c.review_at.is_not(None),
    postgresql_where=directive.c.review_at.is_not(None),
)

directive_anchor = Table(
    "directive_anchor",
    metadata,
    Column("record_id", Id, nullable=False, autoincrement=False),
    Column("directive_id", Id, ForeignKey("directive.directive_id"), nullable=False, autoincrement=False),
    PrimaryKeyConstraint("record_id", "directive_id"),
    Index("ix_directive_anchor_directive_id", "directive_id"),
)

directive_event = Table(
    "directive_event",
    metadata,
    Column("event_id", Id, primary_key=True, autoincrement=False),
    Column("directive_id", Id, ForeignKey("directive.directive_id"), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("reason", String(500)),
    Column("at", UtcDateTime, nullable=False),
    Column("by", String(128), nullable=False),
    CheckConstraint("kind in ('upheld', 'refused', 'withdrawn', 'entered-in-error')", name="kind_is_known"),
    Index("ix_directive_event_directive_id", "directive_id"),
)

agreement = Table(
    "agreement",
    metadata,
    Column("agreement_id", Id, nullable=False, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("name", String(120), nullable=False),
    Column("providers", Json, nullable=False),
    Column("consumers", Json, nullable=False),
    Column("role_classes", Json, nullable=False),
    Column("purposes", Json, nullable=False),
    Column("categories", Json, nullable=False),
    Column("legal_basis", String(32), nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime),
    Column("is_current", Boolean, nullable=False),  # the newest version; older ones explain older decisions
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("recorded_by", String(128), nullable=False),
    Column("approved_by", String(200)),  # a board or an office, in the words of whoever recorded it
    PrimaryKeyConstraint("agreement_id", "version"),
    CheckConstraint("ends_at is null or ends_at > starts_at", name="ends_after_start"),
    Index("ix_agreement_name", "name"),
)

agreement_consumer = Table(
    "agreement_consumer",
    metadata,
    Column("organisation", String(20), nullable=False),
    Column("agreement_id", Id, nullable=False, autoincrement=False),
    PrimaryKeyConstraint("organisation", "agreement_id"),
)

relationship = Table(
    "relationship",
    metadata,
    Column("relationship_id", Id, primary_key=True, autoincrement=False),
    Column("record_id", Id, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("organisation", String(20), nullable=False),
    Column("user_id", String(128)),
    Column("incident_id", String(64)),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("recorded_by", String(128), nullable=False),
    CheckConstraint("ends_at is null or ends_at >= started_at", name="ends_after_start"),
    Index("ix_relationship_record_id", "record_id"),
)

emergency_grant = Table(
    "emergency_grant",
    metadata,
    Column("grant_id", Id, primary_key=True, autoincrement=False),
    Column("record_id", Id, nullable=False),
    Column("user_id", String(128), nullable=False),
    Column("organisation", String(20), nullable=False),
    Column("reason_code", String(32), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("renewals", Integer, nullable=False),
    CheckConstraint("expires_at > opened_at", name="ends_after_start"),
    Index("ix_emergency_grant_record_id", "record_id"),
)

opt_out_evidence = Table(
    "opt_out_evidence",
    metadata,
    Column("record_id", Id, nullable=False, autoincrement=False),
    Column("checked_at", UtcDateTime, nullable=False),
    Column("state", String(12), nullable=False),
    Column("number_key", Id),  # a mark of the NHS number that was asked about; none: of the person as such
    PrimaryKeyConstraint("record_id", "checked_at"),
    CheckConstraint("state in ('clear', 'opted-out')", name="state_is_known"),
)

# Lists of numbers that went to the national opt-out service, and, while one waits for its answer, what it asks about.
opt_out_list = Table(
    "opt_out_list",
    metadata,
    Column("list_id", Id, primary_key=True, autoincrement=False),
    Column("name", String(40), nullable=False),
    Column("state", String(12), nullable=False),
    Column("numbers", Integer, nullable=False),
    Column("taken_back", Integer, nullable=False),  # numbers whose records were erased while it waited
    Column("clear", Integer),
    Column("opted_out", Integer),
    Column("prepared_at", UtcDateTime, nullable=False),
    Column("prepared_by", String(128), nullable=False),
    Column("closed_at", UtcDateTime),
    Column("closed_by", String(128)),
    UniqueConstraint("name"),
    CheckConstraint("state in ('waiting', 'answered', 'refused', 'abandoned')", name="state_is_known"),
    CheckConstraint("(closed_by is null) = (state = 'waiting')", name="closed_by_someone"),
    CheckConstraint("(clear is null) = (state <> 'answered')", name="answered_with_counts"),
)

opt_out_asked = Table(
    "opt_out_asked",
    metadata,
    Column("list_id", Id, ForeignKey("opt_out_list.list_id"), nullable=False, autoincrement=False),
    Column("record_id", Id, nullable=False, autoincrement=False),
    Column("nhs_number", Id, nullable=False),
    PrimaryKeyConstraint("list_id", "record_id"),
    Index("ix_opt_out_asked_record_id", "record_id"),
)

# The sender's own reference of a directive that came in a file: the same row again is the same directive.
directive_reference = Table(
    "directive_reference",
    metadata,
    Column("received_by", String(20), nullable=False),
    Column("reference", String(64), nullable=False),
    Column("directive_id", Id, ForeignKey("directive.directive_id"), nullable=False),
    PrimaryKeyConstraint("received_by", "reference"),
    Index("ix_directive_reference_directive_id", "directive_id"),
)

# Directives that were given at one time, as one statement, in the order in which they were said.
directive_together = Table(
    "directive_together",
    metadata,
    Column("directive_id", Id, ForeignKey("directive.directive_id"), primary_key=True, autoincrement=False),
    Column("statement_id", Id, nullable=False),
    Column("place", Integer, nullable=False),
    Column("given_at", UtcDateTime, nullable=False),
    UniqueConstraint("statement_id", "place"),
)

release_ticket = Table(
    "release_ticket",
    metadata,
    Column("ticket_id", Id, primary_key=True, autoincrement=False),
    Column("decision_id", Id, nullable=False),
    Column("person_id", Id, nullable=False),
    Column("redeemer", String(128), nullable=False),  # client id
    Column("asked_by", Json, nullable=False),  # actor and request, so that redemption can decide again
    Column("cells", Json, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("issued_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    CheckConstraint("expires_at > issued_at", name="ends_after_start"),
)

release_use = Table(
    "release_use",
    metadata,
    Column("ticket_id", Id, ForeignKey("release_ticket.ticket_id"), primary_key=True, autoincrement=False),
    Column("client_id", String(128), nullable=False),
    Column("items_digest", String(64), nullable=False),
    Column("decision_id", Id, nullable=False),
    Column("answer", Json, nullable=False),
    Column("used_at", UtcDateTime, nullable=False),
)

alert = Table(
    "alert",
    metadata,
    Column("alert_id", Id, primary_key=True, autoincrement=False),
    Column("code", String(40), nullable=False),
    Column("alert_type", Integer),  # SCR-AlertType and SCR-AlertReason, where they apply
    Column("alert_reason", Integer),
    Column("rank", Integer, nullable=False),  # 0 is the worst
    Column(
        "person_id", Id
    ),  # a record of theirs, and so whoever holds it now; none: it is about what the user did with many
    Column("organisation", String(20), nullable=False),
    Column("user_id", String(128), nullable=False),
    Column("decision_id", Id),
    Column("grant_id", Id),
    Column("reason", String(500)),
    Column("state", String(12), nullable=False),
    Column("raised_at", UtcDateTime, nullable=False),
    Column("signals", Json),  # all that agree, the worst first; none: the code alone
    Column("event_id", Id),  # the audit row of the view that raised it
    Column("viewed_at", UtcDateTime),
    Column("staff_of", String(20)),  # whose staff file some of the signals rest on; it may be a parent's
    Column(
        "explained_by", Id
    ),  # a relationship that accounts for the view; the alert is closed, and was nobody's to review
    Column("outcome", String(20)),  # of its review
    Column("comment", String(500)),
    Column("reviewed_at", UtcDateTime),
    Column("reviewed_by", String(128)),
    CheckConstraint("state in ('open', 'closed')", name="state_is_known"),
    Index("ix_alert_queue", "organisation", "state", "rank", "alert_id"),
    Index("ix_alert_person_id", "person_id"),
)

# An employer's staff file: one for each organisation, replaced and withdrawn whole.
staff_file = Table(
    "staff_file",
    metadata,
    Column("file_id", Id, primary_key=True, autoincrement=False),
    Column("organisation", String(20), nullable=False),
    Column("legal_basis", String(200), nullable=False),
    Column("compares", Json, nullable=False),
    Column("members", Integer, nullable=False),
    Column("review_on", Date, nullable=False),
    Column("stands_since", UtcDateTime, nullable=False),
    Column("loaded_at", UtcDateTime, nullable=False),
    Column("loaded_by", String(128), nullable=False),
    UniqueConstraint("organisation"),
)

# Its staff, as keyed digests: nothing of them can be read, only known again.
staff_member = Table(
    "staff_member",
    metadata,
    Column("file_id", Id, ForeignKey("staff_file.file_id"), nullable=False, autoincrement=False),
    Column("user_mark", LargeBinary, nullable=False),
    Column("number_mark", LargeBinary),
    Column("surname_mark", LargeBinary),
    Column("person_mark", LargeBinary),
    Column("address_mark", LargeBinary),
    PrimaryKeyConstraint("file_id", "user_mark"),
    Index("ix_staff_member_number", "file_id", "number_mark"),
    Index("ix_staff_member_person", "file_id", "person_mark"),
)

# People whom many are curious about; as directives are, anchored to the records that made the person then.
celebrity_entry = Table(
    "celebrity_entry",
    metadata,
    Column("entry_id", Id, primary_key=True, autoincrement=False),
    Column("organisation", String(20), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("review_on", Date, nullable=False),
    Column("listed_at", UtcDateTime, nullable=False),
    Column("listed_by", String(128), nullable=False),
    Column("ended_at", UtcDateTime),
    Column("ended_by", String(128)),
)

celebrity_anchor = Table(
    "celebrity_anchor",
    metadata,
    Column("record_id", Id, nullable=False, autoincrement=False),
    Column("entry_id", Id, ForeignKey("celebrity_entry.entry_id"), nullable=False, autoincrement=False),
    PrimaryKeyConstraint("record_id", "entry_id"),
    Index("ix_celebrity_anchor_entry_id", "entry_id"),
)

# When an organisation's staff work, by role: replaced and withdrawn whole.
working_hours = Table(
    "working_hours",
    metadata,
    Column("organisation", String(20), primary_key=True),
    Column("shifts", Json, nullable=False),
    Column("stands_since", UtcDateTime, nullable=False),
    Column("loaded_at", UtcDateTime, nullable=False),
    Column("loaded_by", String(128), nullable=False),
)

# Whom each user viewed in the last days, an hour at a time, so that nobody is counted twice; and how many people a day since.
viewer_seen = Table(
    "viewer_seen",
    metadata,
    Column("day", Date, nullable=False),  # in Britain
    Column("organisation", String(20), nullable=False),
    Column("user_id", String(128), nullable=False),
    Column("hour_at", UtcDateTime, nullable=False),
    Column("person_id", Id, nullable=False, autoincrement=False),
    PrimaryKeyConstraint("day", "organisation", "user_id", "hour_at", "person_id"),
)

viewer_day = Table(
    "viewer_day",
    metadata,
    Column("organisation", String(20), nullable=False),
    Column("user_id", String(128), nullable=False),
    Column("day", Date, nullable=False),
    Column("role", String(32), nullable=False),
    Column("people", Integer, nullable=False),
    Column("most_in_hour", Integer, nullable=False),
    PrimaryKeyConstraint("organisation", "user_id", "day"),
    Index("ix_viewer_day_role", "organisation", "role", "day"),
)

# Searches of the last day by marks from the log: under each thing that they are alike by, which different ones there were.
search_seen = Table(
    "search_seen",
    metadata,
    Column("organisation", String(20), nullable=False),
    Column("user_id", String(128), nullable=False),
    Column("alike", String(40), nullable=False),
    Column("mark", String(16), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("person_id", Id),  # who fitted best
    PrimaryKeyConstraint("organisation", "user_id", "alike", "mark"),
    Index("ix_search_seen_at", "at"),
    sqlite_with_rowid=False,
)

# How far the sealed log was looked through for alerts.
alert_mark = Table(
    "alert_mark",
    metadata,
    Column("mark", Integer, primary_key=True, autoincrement=False),
    Column("leaf_index", Id, nullable=False),
    Column("looked_until", UtcDateTime),
    CheckConstraint("mark = 1", name="one_mark"),
)

# Views by month, counted once from the sealed audit log, or brought in a file from whatever counted before.
usage_month = Table(
    "usage_month",
    metadata,
    Column("origin", String(8), nullable=False),
    Column("month", String(7), nullable=False),
    Column("organisation", String(20), nullable=False),
    Column("role", String(32), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("views", Id, nullable=False),
    PrimaryKeyConstraint("origin", "month", "organisation", "role", "purpose"),
    CheckConstraint("origin in ('log', 'file')", name="origin_is_known"),
    CheckConstraint("views >= 0", name="views_are_counted"),
)

# Which staff viewed in a month: a digest, to be counted and no more.
usage_staff = Table(
    "usage_staff",
    metadata,
    Column("month", String(7), nullable=False),
    Column("organisation", String(20), nullable=False),
    Column("user_digest", Id, nullable=False, autoincrement=False),
    PrimaryKeyConstraint("month", "organisation", "user_digest"),
)

# How far the sealed log was counted.
usage_mark = Table(
    "usage_mark",
    metadata,
    Column("mark", Integer, primary_key=True, autoincrement=False),
    Column("leaf_index", Id, nullable=False),
    Column("counted_until", UtcDateTime),
    CheckConstraint("mark = 1", name="one_mark"),
)

# Persons whose history the worker has yet to look at for merges that were undone. The same may stand here again: a look comes after it.
merge_look = Table(
    "merge_look",
    metadata,
    Column("look_id", Id, primary_key=True, autoincrement=True),
    Column("person_id", Id, nullable=False),
    sqlite_autoincrement=True,
)

# Up to which event of the feed that was noted.
notice_mark = Table(
    "notice_mark",
    metadata,
    Column("mark", Integer, primary_key=True, autoincrement=False),
    Column("sequence", Id, nullable=False),
    CheckConstraint("mark = 1", name="one_mark"),
)

# Persons that came apart. Its id is that of the first change of its history, so that it is found once however often it is looked for.
undone_merge = Table(
    "undone_merge",
    metadata,
    Column("merge_id", Id, primary_key=True, autoincrement=False),
    Column("person_id", Id, nullable=False),  # whose the records were
    Column("cause", String(32), nullable=False),
    Column("decision_id", Id),
    Column("stood_from", UtcDateTime, nullable=False),
    Column("stood_until", UtcDateTime, nullable=False),
    Column("rejoined_at", UtcDateTime),  # when its records were seen to be one person's again
    Column("count_at", UtcDateTime),  # when the worker next counts who looked; none once that is done
    CheckConstraint("stood_until >= stood_from", name="ends_after_start"),
)
Index(
    "ix_undone_merge_count_at",
    undone_merge.c.count_at,
    sqlite_where=undone_merge.c.count_at.is_not(None),
    postgresql_where=undone_merge.c.count_at.is_not(None),
)

undone_merge_record = Table(
    "undone_merge_record",
    metadata,
    Column("record_id", Id, nullable=False, autoincrement=False),
    Column("merge_id", Id, ForeignKey("undone_merge.merge_id"), nullable=False, autoincrement=False),
    Column("organisation", String(20), nullable=False),
    Column("part", Id),  # the person that it came to as they parted; none where it had left before
    PrimaryKeyConstraint("record_id", "merge_id"),
    Index("ix_undone_merge_record_merge_id", "merge_id"),
)

# Organisations that are to be told of it, and what came of that. Who told them what, and when before, the audit log keeps.
notice = Table(
    "notice",
    metadata,
    Column("notice_id", Id, primary_key=True, autoincrement=False),
    Column("merge_id", Id, ForeignKey("undone_merge.merge_id"), nullable=False),
    Column("organisation", String(20), nullable=False),
    Column("held_record", Boolean, nullable=False),
    Column("views", Integer, nullable=False),
    Column("users", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("version", Integer, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("means", String(16)),
    Column("told_at", UtcDateTime),
    Column("reason", String(24)),
    Column("note", String(500)),
    Column("changed_by", String(128)),
    Column("changed_at", UtcDateTime),
    UniqueConstraint("merge_id", "organisation"),
    CheckConstraint("state in ('open', 'told', 'not-needed')", name="state_is_known"),
    CheckConstraint("(state = 'told') = (told_at is not null)", name="told_at_some_time"),
    CheckConstraint("(state = 'told') = (means is not null)", name="told_somehow"),
    CheckConstraint("(state = 'not-needed') = (reason is not null)", name="not_needed_for_a_reason"),
    CheckConstraint("views >= 0 and users >= 0", name="looks_are_counted"),
)

# Rule sets, and who let which of them be in force.
policy = kept_table("policy", Column("version", Integer, nullable=False))
policy_change = change_table("policy_change", policy, kind="publication", figures="what_if")
