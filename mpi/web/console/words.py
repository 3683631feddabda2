"""What the console calls things: kinds of task, answers, reasons, figures. Codes stay in addresses and forms, words in pages."""

from collections.abc import Mapping, Sequence

from mpi.matching.harm import PRIVACY_OFFICER, REGIONAL_TEAM
from mpi.matching.questions import WHETHER_ONE, WHETHER_TWO, Kind

KINDS: Mapping[str, str] = {
    Kind.SPLIT.value: "Split by new evidence",
    Kind.IN_DOUBT.value: "Link in doubt",
    Kind.ASKED.value: "Asked by a colleague",
    Kind.OVERLAY.value: "Held update",
    Kind.OUTSIZED.value: "Very large person",
    Kind.REFUSED.value: "Refused join",
    Kind.NUMBERS.value: "NHS number conflict",
    Kind.POSSIBLE.value: "Possible match",
    Kind.DUPLICATE.value: "Duplicate in one system",
}

QUESTIONS: Mapping[str, str] = {
    Kind.SPLIT.value: "New evidence took one person apart. Are the two sides one person all the same?",
    Kind.IN_DOUBT.value: "A reader doubted this link. Are the two sides one person?",
    Kind.ASKED.value: "A colleague asks whether these are one person.",
    Kind.OVERLAY.value: "An update reads like another person. Is it of the person whose record this is?",
    Kind.OUTSIZED.value: "This person has very many records. Are they all of one person?",
    Kind.REFUSED.value: "Much speaks for one person, and something forbids it. Are they one person?",
    Kind.NUMBERS.value: "NHS numbers conflict. Are these records of one person?",
    Kind.POSSIBLE.value: "Are these the same person?",
    Kind.DUPLICATE.value: "One system has several records of this person. Are they all of one person?",
}

STATES: Mapping[str, str] = {
    "open": "Open",
    "deferred": "Put off",
    "escalated": "Handed on",
    "decided": "Decided",
    "closed": "Closed without a decision",
}

SORTS: Mapping[str, str] = {
    "worst": "Worst first",
    "harm": "Greatest expected harm",
    "oldest": "Oldest first",
    "newest": "Newest first",
}

AGES: Mapping[str, str] = {"1": "More than a day", "7": "More than a week", "30": "More than 30 days"}

WHY_ASKED: Mapping[str, str] = {
    "possible-match": "They are alike, and not enough to be linked without being read",
    "numbers-differ": "Records of one person bear different NHS numbers",
    "number-shared": "One NHS number on people who are otherwise unlike",
    "trace-conflict": "The national service says that the NHS number is somebody else's",
    "reads-like-another": "An update reads like another person",
    "same-source": "One system has several records of this person",
    "outsized": "More records than one person is expected to have",
    "evidence-apart": "New evidence took them apart",
    "verified-numbers-differ": "Their verified NHS numbers differ",
    "birth-orders-differ": "They are of one birth, and their orders of birth differ",
    "contradiction": "Two of their records contradict each other too much",
    "members-disagree": "One pair speaks for it, and the others on the whole against it",
    "group-too-large": "Together they are more records than may be joined by themselves",
    WHETHER_ONE: "Somebody asks whether two people are one",
    WHETHER_TWO: "Somebody asks whether one person is two",
    "read-as-two": "A reader who read this link blind called it wrong",
}

TEAMS: Mapping[str, str] = {REGIONAL_TEAM: "Regional team", PRIVACY_OFFICER: "Privacy officer"}

VERDICTS: Mapping[str, str] = {
    "same": "Same person",
    "different": "Different people",
    "not-enough": "Not enough to say",
}
OF_UPDATES: Mapping[str, str] = {"same": "Let the update stand", "different": "Reject the update"}
"""The answers to a held update, of which there are two."""

REASONS: Mapping[str, str] = {
    "source-confirmed": "The organisation confirmed it",
    "patient-confirmed": "The patient confirmed it",
    "documents-seen": "Documents were seen",
    "number-wrong": "An NHS number is wrong",
    "clerical-error": "A slip of the pen explains it",
    "name-changed": "The name changed",
    "moved-home": "They moved home",
    "twins": "Twins, or of one birth",
    "relatives": "Relatives",
    "same-name-only": "The name is all that agrees",
    "insufficient-evidence": "The records say too little",
    "other": "Another reason (say which)",
}

REASONS_FOR: Mapping[str, Sequence[str]] = {
    "same": (
        "clerical-error",
        "moved-home",
        "name-changed",
        "number-wrong",
        "source-confirmed",
        "patient-confirmed",
        "documents-seen",
        "other",
    ),
    "different": (
        "same-name-only",
        "relatives",
        "twins",
        "number-wrong",
        "source-confirmed",
        "patient-confirmed",
        "documents-seen",
        "clerical-error",
        "other",
    ),
    "not-enough": ("insufficient-evidence", "other"),
}
"""The reasons that a page offers for an answer, the likeliest first: a digit chooses each."""

DEFERRALS: Mapping[str, str] = {
    "waiting-for-source": "An organisation was asked",
    "waiting-for-documents": "Documents are on their way",
    "waiting-for-patient": "The patient was asked",
    "other": "Another reason (say which)",
}

ESCALATIONS: Mapping[str, str] = {
    "cannot-tell": "I cannot tell",
    "several-organisations": "Several organisations must act",
    "sensitive": "It is sensitive",
    "safeguarding": "Somebody may be in danger",
    "suspected-misuse": "Somebody may have misused a record",
    "readers-disagree": "Two readers disagree",
    "other": "Another reason (say which)",
}

OUTCOMES: Mapping[str, str] = {
    "standing": "Stands",
    "proposed": "Waits for a second reader",
    "declined": "A second reader disagreed",
    "undone": "Taken back",
}

FIELDS: Mapping[str, str] = {
    "nhs_number": "NHS number",
    "given": "First given name",
    "middle": "Other given names",
    "family": "Family name",
    "birth_date": "Date of birth",
    "gender": "Gender",
    "address": "Address",
    "phone": "Phone",
    "email": "E-mail",
    "identifier": "Other identifiers",
    "practice": "GP practice",
    "mother": "Mother's NHS number",
    "birth_order": "Order of birth",
    "death_date": "Date of death",
}

NUMBER_STATES: Mapping[str, str] = {
    "verified": "verified",
    "claimed": "not verified",
    "invalid": "not a valid number",
    "reserved": "a number for tests",
    "superseded": "another has taken its place",
    "withdrawn": "withdrawn",
    "conflicting": "somebody else's, by the national service",
}

REFUSALS: Mapping[str, str] = {
    "task-not-open": "It is not open any more",
    "task-read-alone": "Tasks of this type are read one by one",
    "verdict-not-applicable": "This answer does not fit it",
    "task-claimed": "Somebody else holds it",
    "task-escalated": "It was handed on",
    "second-reader-needed": "It needs two readers",
    "task-shares-person": "It is about a person of another task of this set: answer it in a second round",
    "task-unknown": "There is no such task",
    "task-stale": "It changed meanwhile",
    "record-withdrawn": "Its records are withdrawn",
}

MOVED_ON: Mapping[str, str] = {
    "task-stale": "This task changed while you had it open",
    "task-not-open": "This task is not open any more",
    "task-claimed": "Somebody else holds this task now",
    "task-not-claimed": "Nobody holds this task any more",
    "task-not-decided": "There is no decision to take back",
    "task-decided-since": "Somebody has decided this task anew",
    "second-reader-same": "You were the first reader of this task, so somebody else must be the second",
    "second-reader-waited-for": "Somebody has begun to answer this question, so it cannot be taken back",
    "record-withdrawn": "The records of this task are withdrawn; it can be answered once they are restored",
    "task-not-deferred": "This task is not put off any more",
    "task-escalated": "This task was handed on to them already",
    "task-not-escalated": "This task is not handed on any more",
    "preview-stale": "Something changed since the preview",
    "bulk-undone": "This was taken back already",
}
"""What a refusal for want of time means, as the heading of a page."""

FAULTS: Mapping[str, str] = {
    "reason-unknown": "Choose a reason",
    "comment-missing": "Say which reason, in the comment",
    "comment-empty": "Write a comment",
    "text-too-long": "Shorten the comment to 2,000 characters",
    "control-character": "Take out the characters that cannot be shown",
    "until-range": "Choose a day that is to come, within a year",
    "team-unknown": "Choose whom to hand it on to",
    "verdict-not-applicable": "This answer does not fit this task",
    "verdict-unknown": "Choose an answer",
}


VIEW_FAULTS: Mapping[str, str] = {
    "view-exists": "You have a view of this name: give another",
    "views-too-many": "You have 20 views already: forget one first",
    "view-name": "Give the view a name of up to 40 characters",
    "choice-unknown": "Choose something of the queue first",
}


def pairs(words: Mapping[str, str], *codes: str) -> list[tuple[str, str]]:
    """Return codes with their words, of all or of those named, as the fields of a form take them."""
    return [(code, words[code]) for code in (codes or words)]
