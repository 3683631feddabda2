"""The index's tables: records and their versions, keys, edges, decisions, persons, history, the review queue, and what was erased."""

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
    Text,
    UniqueConstraint,
)

from foundation.changes import change_table, kept_table
from foundation.database import Id, Json, UtcDateTime, metadata

# One row a source record, as it stands now. It waits for T2 while linked_version differs from current_version. Of an erased one the id
# alone is left: its key is '', '' and the id, and it bears neither form nor keys nor versions. A withdrawn one keeps its key and its
# versions, and like a merged one it bears neither form nor match keys, so that nobody finds it and it is nobody's.
# A renumbered one is no record but a local id that a record had once.
source_record = Table(
    "source_record",
    metadata,
    Column("record_id", Id, primary_key=True, autoincrement=False),
    Column("organisation", String(20), nullable=False),
    Column("system", String(64), nullable=False),
    Column("local_id", String(64), nullable=False),
    Column("state", String(12), nullable=False),
    Column("version", Integer, nullable=False),  # how many versions were received: the ETag
    Column("current_version", Integer, nullable=False),  # the one that stands after folding
    Column("linked_version", Integer),  # the one that T2 has searched with
    Column("held_version", Integer),  # one that reads like another person and waits for someone
    Column("normalised", Text, nullable=False),
    Column("keys", LargeBinary, nullable=False),  # match keys as packed signed 64-bit numbers
    Column("model_revision", String(16), nullable=False),
    Column("restricted", Boolean, nullable=False),
    Column("component_id", Id, nullable=False),
    Column("person_id", Id),
    Column("search_complete", Boolean, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("trace_id", Id),  # the trace whose finding its form was read with
    Column("conflict_trace_id", Id),  # the same, where its NHS number is somebody else's by it
    Column("held_change_id", Id),  # a merge or a renumbering of its source's that waits for someone
    Column(
        "unread_from", Integer
    ),  # the first version that came while nobody could read it, out of the index or without a model
    UniqueConstraint("organisation", "system", "local_id"),
    CheckConstraint(
        "state in ('active', 'erased', 'withdrawn', 'merged', 'renumbered')", name="state_is_known"
    ),
    Index("ix_source_record_person_id", "person_id"),
    Index("ix_source_record_component_id", "component_id"),
)
# What T2 still has to take: a partial index, empty in good times.
Index(
    "ix_source_record_waiting",
    source_record.c.record_id,
    sqlite_where=source_record.c.linked_version.is_(None),
    postgresql_where=source_record.c.linked_version.is_(None),
)

# Whose location is protected: a few in a hundred, asked for with each list of tasks.
Index(
    "ix_source_record_restricted",
    source_record.c.person_id,
    sqlite_where=source_record.c.restricted,
    postgresql_where=source_record.c.restricted,
)

# What two people do about the erasure of a record: one proposes, another confirms. Codes, ids and times only.
purge = Table(
    "purge",
    metadata,
    Column("purge_id", Id, primary_key=True, autoincrement=False),
    Column("act", String(8), nullable=False),  # erase a record, or lift the tombstone of one
    Column("record_id", Id, nullable=False),
    Column("organisation", String(20), nullable=False),  # whose people may confirm it
    Column("state", String(12), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("legal_basis", String(40), nullable=False),
    Column(
        "seen", Id, nullable=False
    ),  # a mark of what the proposer was shown; another one is to be looked at
    Column("proposed_by", String(128), nullable=False),
    Column("proposed_at", UtcDateTime, nullable=False),
    Column("closed_by", String(128)),
    Column("closed_at", UtcDateTime),
    CheckConstraint("act in ('erase', 'lift')", name="act_is_known"),
    CheckConstraint("state in ('proposed', 'confirmed', 'withdrawn')", name="state_is_known"),
    CheckConstraint("(closed_by is null) = (state = 'proposed')", name="closed_by_someone"),
    CheckConstraint("state <> 'confirmed' or closed_by <> proposed_by", name="two_people"),
)
# One open proposal a record.
Index(
    "uq_purge_open_record_id",
    purge.c.record_id,
    unique=True,
    sqlite_where=purge.c.state == "proposed",
    postgresql_where=purge.c.state == "proposed",
)

# Feeds that were withdrawn: all that an organisation's systems sent, or one of them; an empty system is all. The records follow one by
# one, also those that come later, for as long as it stands.
feed_withdrawal = Table(
    "feed_withdrawal",
    metadata,
    Column("feed_id", Id, primary_key=True, autoincrement=False),
    Column("organisation", String(20), nullable=False),
    Column("system", String(64), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("comment", Text, nullable=False),
    Column("withdrawn_by", String(128), nullable=False),
    Column("withdrawn_at", UtcDateTime, nullable=False),
    Column("restored_by", String(128)),
    Column("restored_at", UtcDateTime),
    CheckConstraint("(restored_by is null) = (restored_at is null)", name="restored_by_someone"),
)
Index(
    "uq_feed_withdrawal_standing",
    feed_withdrawal.c.organisation,
    feed_withdrawal.c.system,
    unique=True,
    sqlite_where=feed_withdrawal.c.restored_at.is_(None),
    postgresql_where=feed_withdrawal.c.restored_at.is_(None),
)

# Records that were taken out of the index, and can be brought back: one by one, with their feed, or into another record of their system.
withdrawal = Table(
    "withdrawal",
    metadata,
    Column("withdrawal_id", Id, primary_key=True, autoincrement=False),
    Column("record_id", Id, nullable=False),
    Column("feed_id", Id, ForeignKey("feed_withdrawal.feed_id")),
    Column("into_record_id", Id),  # the record of the same system that stands for it
    Column("reason", String(40), nullable=False),
    Column("comment", Text),
    Column(
        "handed", Json, nullable=False
    ),  # what others handed on with it, as they want it told when it comes back
    Column("withdrawn_by", String(128), nullable=False),
    Column("withdrawn_at", UtcDateTime, nullable=False),
    Column("restored_by", String(128)),
    Column("restored_at", UtcDateTime),
    CheckConstraint("(restored_by is null) = (restored_at is null)", name="restored_by_someone"),
    CheckConstraint("feed_id is null or into_record_id is null", name="one_cause"),
    Index("ix_withdrawal_feed_id", "feed_id"),
    Index("ix_withdrawal_into_record_id", "into_record_id"),
)
# One that stands a record.
Index(
    "uq_withdrawal_standing",
    withdrawal.c.record_id,
    unique=True,
    sqlite_where=withdrawal.c.restored_at.is_(None),
    postgresql_where=withdrawal.c.restored_at.is_(None),
)

# What sources say of their own local ids: that one record is another's (merge), or has another id from now on (renumber).
local_change = Table(
    "local_change",
    metadata,
    Column("change_id", Id, primary_key=True, autoincrement=False),
    Column("act", String(10), nullable=False),
    Column("record_id", Id, nullable=False),
    Column("into_record_id", Id),  # of a merge: the record that stands for it
    Column(
        "local_id", String(64)
    ),  # of a renumbering: the other id, which is the old one while the new one stands
    Column("old_id", Id),  # of a renumbering that stands: the row that keeps the old id
    Column("version", Integer),  # of a renumbering that waited: the held version that it waited for
    Column("task_id", Id),  # of a merge that was asked about
    Column("decision_id", Id),  # by whose answer it stands as it does
    Column("state", String(10), nullable=False),
    Column("requested_by", String(128), nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("changed_by", String(128), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    CheckConstraint("act in ('merge', 'renumber')", name="act_is_known"),
    CheckConstraint("state in ('held', 'done', 'rejected', 'undone')", name="state_is_known"),
    CheckConstraint("(act = 'merge') = (into_record_id is not null)", name="merge_has_an_heir"),
    CheckConstraint("(act = 'renumber') = (local_id is not null)", name="renumbering_has_an_id"),
    Index("ix_local_change_record_id", "record_id"),
    Index("ix_local_change_into_record_id", "into_record_id"),
    Index("ix_local_change_decision_id", "decision_id"),
)
# One that waits a record.
Index(
    "uq_local_change_held",
    local_change.c.record_id,
    unique=True,
    sqlite_where=local_change.c.state == "held",
    postgresql_where=local_change.c.state == "held",
)

# What is left of an erased record: no value of it, only a keyed digest by which its key is known when it comes again.
tombstone = Table(
    "tombstone",
    metadata,
    Column("record_id", Id, primary_key=True, autoincrement=False),
    Column("key_digest", LargeBinary, nullable=False),
    Column("purge_id", Id, ForeignKey("purge.purge_id"), nullable=False),
    Column("erased_at", UtcDateTime, nullable=False),
    Column("lift_id", Id, ForeignKey("purge.purge_id")),
    Column("lifted_at", UtcDateTime),
    CheckConstraint("(lift_id is null) = (lifted_at is null)", name="lifted_by_an_act"),
)
Index(
    "uq_tombstone_standing_key_digest",
    tombstone.c.key_digest,
    unique=True,
    sqlite_where=tombstone.c.lift_id.is_(None),
    postgresql_where=tombstone.c.lift_id.is_(None),
)

# Like keys, edges and moves it names records without a foreign key: a record's row is never deleted, and the check of each row was most of
# what a version cost a first load.
record_version = Table(
    "record_version",
    metadata,
    Column("record_id", Id, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("digest", LargeBinary, nullable=False),  # of the content without its source time
    Column("payload", Text, nullable=False),
    Column("source_at", UtcDateTime, nullable=False),  # the source's own time, else that of arrival
    Column("has_source_time", Boolean, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("received_from", String(128), nullable=False),
    Column("finding", Text),  # what a trace found of it, as JSON; the payload stays as it was received
    PrimaryKeyConstraint("record_id", "version"),
    CheckConstraint("state in ('accepted', 'held', 'rejected')", name="state_is_known"),
)

# What was asked of a national service about a record: codes, ids and times. What it answered of anybody is a finding or nowhere.
number_trace = Table(
    "number_trace",
    metadata,
    Column("trace_id", Id, primary_key=True, autoincrement=False),
    Column("record_id", Id, nullable=False),
    Column("version", Integer, nullable=False),
    Column("service", String(20), nullable=False),
    Column("request_id", String(36), nullable=False),  # the same for every try
    Column("state", String(12), nullable=False),
    Column("asked_by", String(128), nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("outcome", String(20)),
    Column("answered_at", UtcDateTime),
    CheckConstraint("state in ('asked', 'answered', 'moved')", name="state_is_known"),
    CheckConstraint("(answered_at is null) = (state = 'asked')", name="answered_at_some_time"),
    CheckConstraint("(outcome is null) = (state <> 'answered')", name="answer_has_outcome"),
    Index("ix_number_trace_record_id", "record_id"),
)
# One question a record at a time.
Index(
    "uq_number_trace_open_record_id",
    number_trace.c.record_id,
    unique=True,
    sqlite_where=number_trace.c.state == "asked",
    postgresql_where=number_trace.c.state == "asked",
)

# Findings in whose place a later trace put another: what was known of a version's number before that.
past_finding = Table(
    "past_finding",
    metadata,
    Column("record_id", Id, nullable=False, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("trace_id", Id, nullable=False, autoincrement=False),
    Column("finding", Text, nullable=False),
    PrimaryKeyConstraint("record_id", "version", "trace_id"),
    sqlite_with_rowid=False,
)

# NHS numbers that another has taken the place of, by the record that says so.
superseded_number = Table(
    "superseded_number",
    metadata,
    Column("old_number", Id, nullable=False, autoincrement=False),
    Column("record_id", Id, nullable=False, autoincrement=False),
    Column("new_number", Id, nullable=False, autoincrement=False),
    PrimaryKeyConstraint("old_number", "record_id"),
    CheckConstraint("old_number <> new_number", name="numbers_differ"),
    Index("ix_superseded_number_new_number", "new_number"),
    Index("ix_superseded_number_record_id", "record_id"),
)

# Who said so once and no longer does. When, and by which number, its versions tell.
past_superseded_number = Table(
    "past_superseded_number",
    metadata,
    Column("old_number", Id, nullable=False, autoincrement=False),
    Column("record_id", Id, nullable=False, autoincrement=False),
    PrimaryKeyConstraint("old_number", "record_id"),
    Index("ix_past_superseded_number_record_id", "record_id"),
    sqlite_with_rowid=False,
)

match_key = Table(
    "match_key",
    metadata,
    Column("key", Id, nullable=False, autoincrement=False),
    Column("record_id", Id, nullable=False, autoincrement=False),
    PrimaryKeyConstraint("key", "record_id"),
    sqlite_with_rowid=False,
)

edge = Table(
    "edge",
    metadata,
    Column("low_id", Id, nullable=False, autoincrement=False),
    Column("high_id", Id, nullable=False, autoincrement=False),
    Column("weight", Integer, nullable=False),  # millibits
    Column("may_link", Boolean, nullable=False),  # false where a safety rule asks for more evidence
    Column(
        "conflict", String(32)
    ),  # a contradiction that a reviewer should see, such as one number on two people
    Column("parts", Text, nullable=False),
    Column("model_revision", String(16), nullable=False),
    Column("search_complete", Boolean, nullable=False),
    PrimaryKeyConstraint("low_id", "high_id"),
    CheckConstraint("low_id < high_id", name="ids_are_ordered"),
    Index("ix_edge_high_id", "high_id"),
    sqlite_with_rowid=False,
)

link_decision = Table(
    "link_decision",
    metadata,
    Column("decision_id", Id, primary_key=True, autoincrement=False),
    Column("task_id", Id),
    Column("kind", String(32), nullable=False),  # the type of task that it answers
    Column("verdict", String(12), nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("comment", Text),
    Column("decided_by", String(128), nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("seconded_by", String(128)),
    Column("undone_by", String(128)),
    Column("undone_at", UtcDateTime),
    Column(
        "evidence", Json, nullable=False
    ),  # what the reader had before them: new evidence opens the task again
    CheckConstraint("verdict in ('same', 'different', 'not-enough')", name="verdict_is_known"),
    CheckConstraint("state in ('proposed', 'standing', 'declined', 'undone')", name="state_is_known"),
    Index("ix_link_decision_task_id", "task_id"),
)

link_decision_member = Table(
    "link_decision_member",
    metadata,
    Column("decision_id", Id, ForeignKey("link_decision.decision_id"), nullable=False),
    Column("record_id", Id, nullable=False),
    Column("side", Integer, nullable=False),
    PrimaryKeyConstraint("decision_id", "record_id"),
    Index("ix_link_decision_member_record_id", "record_id"),
)

person = Table(
    "person",
    metadata,
    Column("person_id", Id, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    CheckConstraint("epoch >= 0", name="epoch_is_natural"),
)

# A history row is found by its record, as a key of the index is by its key.
membership_change = Table(
    "membership_change",
    metadata,
    Column("change_id", Id, nullable=False, autoincrement=False),
    Column("record_id", Id, nullable=False, autoincrement=False),
    Column("from_person_id", Id),
    Column("to_person_id", Id),
    Column("cause", String(32), nullable=False),
    Column("decision_id", Id),
    Column("changed_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("record_id", "change_id"),
    sqlite_with_rowid=False,
)
# Who ever came to a person. A record that bears the person's own id is found by it, and most rows of a first load are of such.
Index(
    "ix_membership_change_to_person_id",
    membership_change.c.to_person_id,
    sqlite_where=membership_change.c.to_person_id != membership_change.c.record_id,
    postgresql_where=membership_change.c.to_person_id != membership_change.c.record_id,
)

task = Table(
    "task",
    metadata,
    Column("task_id", Id, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("subject", String(200), nullable=False),  # what it is about, the same however often it is found
    Column("state", String(12), nullable=False),
    Column("version", Integer, nullable=False),
    Column("rank", Integer, nullable=False),  # worst first: 0 is the worst
    Column("is_binding", Boolean, nullable=False),  # while open, an objection on either side binds both
    Column("weight", Integer),
    Column("reason", String(40), nullable=False),
    Column("evidence", Json, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("claimed_by", String(128)),
    Column("claimed_until", UtcDateTime),
    Column("decision_id", Id),
    Column(
        "harm", Integer, nullable=False
    ),  # wrong views to expect, in thousandths: its place within its type
    Column("routed_to", String(20), nullable=False),  # an ODS code, or a team
    Column("escalated_to", String(20)),
    Column("deferred_until", UtcDateTime),
    Column("is_sample", Boolean, nullable=False),  # asked of a reader, and not by the index
    Column("placed_at", UtcDateTime),  # when harm and route were worked out; none while they are stale
    Column("is_withdrawn", Boolean, nullable=False),  # closed because whoever asked took it back
    UniqueConstraint("kind", "subject"),
    CheckConstraint("state in ('open', 'decided', 'closed')", name="state_is_known"),
    CheckConstraint("escalated_to in ('regional-team', 'privacy-officer')", name="team_is_known"),
)
Index("ix_task_queue", task.c.state, task.c.rank, task.c.harm.desc(), task.c.opened_at, task.c.task_id)
Index(
    "ix_task_route",
    task.c.routed_to,
    task.c.state,
    task.c.rank,
    task.c.harm.desc(),
    task.c.opened_at,
    task.c.task_id,
)
# What the worker has to place, and which claims may have run out.
Index(
    "ix_task_placed_at",
    task.c.placed_at,
    sqlite_where=task.c.state == "open",
    postgresql_where=task.c.state == "open",
)
Index(
    "ix_task_claimed_until",
    task.c.claimed_until,
    sqlite_where=task.c.claimed_by.is_not(None),
    postgresql_where=task.c.claimed_by.is_not(None),
)

task_member = Table(
    "task_member",
    metadata,
    Column("task_id", Id, ForeignKey("task.task_id"), nullable=False),
    Column("record_id", Id, nullable=False),
    Column("side", Integer, nullable=False),
    PrimaryKeyConstraint("task_id", "record_id"),
    Index("ix_task_member_record_id", "record_id"),
)

task_comment = Table(
    "task_comment",
    metadata,
    Column("comment_id", Id, primary_key=True, autoincrement=False),
    Column("task_id", Id, ForeignKey("task.task_id"), nullable=False),
    Column("author", String(128), nullable=False),
    Column("comment", Text, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
    Index("ix_task_comment_task_id", "task_id"),
)

# What readers did with a task beside deciding it, and leases that ran out. Codes, ids and times only: words are comments.
task_act = Table(
    "task_act",
    metadata,
    Column("act_id", Id, primary_key=True, autoincrement=False),
    Column("task_id", Id, ForeignKey("task.task_id"), nullable=False),
    Column("act", String(16), nullable=False),
    Column("reason", String(40)),
    Column("until", UtcDateTime),
    Column("target", String(20)),
    Column("done_by", String(128), nullable=False),
    Column("done_at", UtcDateTime, nullable=False),
    Column("undone_by", String(128)),
    Column("undone_at", UtcDateTime),
    CheckConstraint("act in ('deferred', 'escalated', 'lease-expired')", name="act_is_known"),
    CheckConstraint("(act = 'deferred') = (until is not null)", name="deferred_until_when"),
    CheckConstraint("(act = 'escalated') = (target is not null)", name="escalated_to_whom"),
    CheckConstraint("(undone_by is null) = (undone_at is null)", name="undone_by_someone"),
    Index("ix_task_act_task_id", "task_id"),
)

# Tasks that the index does not ask: links drawn by lot, read blind, and pairs of which the answer is known.
task_sample = Table(
    "task_sample",
    metadata,
    Column("task_id", Id, ForeignKey("task.task_id"), primary_key=True, autoincrement=False),
    Column("purpose", String(8), nullable=False),
    Column("low_id", Id, nullable=False),
    Column("high_id", Id, nullable=False),
    Column("expected", String(12)),  # the answer that is known
    Column("stratum", String(60)),  # of a link: its band of weight, and whose the newer record is
    Column("reader", String(128)),  # for whom a known pair was put in
    Column("drawn_by", String(128), nullable=False),
    Column("drawn_at", UtcDateTime, nullable=False),
    Column("review_id", Id),  # the task that an answer opened
    CheckConstraint("purpose in ('blind', 'known')", name="purpose_is_known"),
    CheckConstraint("(purpose = 'known') = (expected is not null)", name="known_has_answer"),
    CheckConstraint("expected in ('same', 'different')", name="answer_is_known"),
    Index("ix_task_sample_pair", "low_id", "high_id"),
)

# What readers answered to those: never an edge of the evidence graph.
task_answer = Table(
    "task_answer",
    metadata,
    Column("answer_id", Id, primary_key=True, autoincrement=False),
    Column("task_id", Id, ForeignKey("task_sample.task_id"), nullable=False),
    Column("verdict", String(12), nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("comment", Text),
    Column("decided_by", String(128), nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("undone_by", String(128)),
    Column("undone_at", UtcDateTime),
    CheckConstraint("verdict in ('same', 'different', 'not-enough')", name="verdict_is_known"),
    CheckConstraint("state in ('standing', 'undone')", name="state_is_known"),
    Index("ix_task_answer_task_id", "task_id"),
)

# One answer to several tasks, and what came of it for each.
saved_view = Table(
    "saved_view",
    metadata,
    Column("view_id", Id, primary_key=True, autoincrement=False),
    Column("owner", String(128), nullable=False),
    Column("name", String(40), nullable=False),
    Column("chosen", Json, nullable=False),  # filters and order of the queue, as codes
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("owner", "name"),
)

bulk_act = Table(
    "bulk_act",
    metadata,
    Column("bulk_id", Id, primary_key=True, autoincrement=False),
    Column("verdict", String(12), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("done_by", String(128), nullable=False),
    Column("done_at", UtcDateTime, nullable=False),
    Column("undone_by", String(128)),
    Column("undone_at", UtcDateTime),
)

bulk_act_task = Table(
    "bulk_act_task",
    metadata,
    Column("bulk_id", Id, ForeignKey("bulk_act.bulk_id"), nullable=False),
    Column("task_id", Id, nullable=False, autoincrement=False),
    Column("decision_id", Id),
    Column("outcome", String(16)),
    Column("refusal", String(40)),
    PrimaryKeyConstraint("bulk_id", "task_id"),
    CheckConstraint("(decision_id is null) = (refusal is not null)", name="decided_or_refused"),
)

# How much a record has been looked at lately: a count that decays, as it stood at an instant.
record_activity = Table(
    "record_activity",
    metadata,
    Column("record_id", Id, primary_key=True, autoincrement=False),
    Column("milliviews", Id, nullable=False),
    Column("counted_at", UtcDateTime, nullable=False),
)

# How good an organisation's records were on a day (UTC), a row for each of its systems: counts by code, and nobody's ids or values.
quality_day = Table(
    "quality_day",
    metadata,
    Column("organisation", String(20), nullable=False),
    Column("system", String(64), nullable=False),
    Column("measured_on", Date, nullable=False),
    Column("measured_at", UtcDateTime, nullable=False),
    Column("counts", Json, nullable=False),
    PrimaryKeyConstraint("organisation", "system", "measured_on"),
    sqlite_with_rowid=False,
)

# Match models, and who let which of them be in force.
match_model = kept_table("match_model")
model_change = change_table("model_change", match_model, kind="activation", figures="forecast")

# Senders of HL7 v2 messages: who is behind a sending application and facility, and how its messages are read.
hl7_feed = Table(
    "hl7_feed",
    metadata,
    Column("feed_id", Id, primary_key=True, autoincrement=False),
    Column("application", String(180), nullable=False),  # MSH-3, without what follows its first component
    Column("facility", String(180), nullable=False),  # MSH-4, likewise
    Column("organisation", String(20), nullable=False),
    Column("system", String(64), nullable=False),
    Column("reading", Text, nullable=False),  # JSON: character set, time zone, identifier types, old fields
    Column("state", String(8), nullable=False),
    Column("changed_by", String(128), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    UniqueConstraint("application", "facility"),
    CheckConstraint("state in ('active', 'stopped')", name="state_is_known"),
)

# Messages that were kept, so that one that is sent again is told so: ids and a digest, for some days.
hl7_message = Table(
    "hl7_message",
    metadata,
    Column("feed_id", Id, nullable=False),
    Column("control_id", String(199), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("feed_id", "control_id"),
    Index("ix_hl7_message_received_at", "received_at"),
)
