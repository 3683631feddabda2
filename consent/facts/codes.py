"""The closed lists of codes; what is not listed here is unknown, and the unknown is denied."""

CATEGORIES = frozenset(
    {
        "demographics",  # name, birth date, gender, identifiers
        "location",  # address, telecoms, contacts, practice, pharmacy, related persons: where someone can be found
        "membership",  # that an organisation knows this person at all
        "encounters",
        "problems",
        "medication",
        "allergies",
        "results",
        "referrals",
        "letters",
        "notes",
        "care-plans",
        "social-care",
    }
)

ORDINARY_LABELS = frozenset({"N", "R", "V"})
"""HL7 v3-Confidentiality: normal, restricted, very restricted."""

SENSITIVE_LABELS = frozenset({"PSY", "BH", "ETH", "ETHUD", "OPIOIDUD", "SDV", "HIV", "SEX", "STD", "GDIS"})
"""HL7 v3-ActCode, information sensitivity."""

STATUTORY_LABELS = frozenset({"GRA", "HFEA", "ADOPT", "COURT"})
"""Our own: gender recognition, licensed fertility treatment, adoption or protected link, court order."""

LABELS = ORDINARY_LABELS | SENSITIVE_LABELS | STATUTORY_LABELS

SHAREABLE_LABELS = LABELS - STATUTORY_LABELS - {"V"}
"""The labels that a request asks for when it names none: never drawn from what a patient's record holds, so that
neither a grant nor a refusal of one says that such an item exists."""

PURPOSES = frozenset(
    {
        "TREAT", "ETREAT", "ERTREAT", "BTG", "CAREMGT", "COC",
        "PATRQT", "FAMRQT", "PWATRNY",
        "HRESCH", "PUBHLTH", "HQUALIMP", "HPAYMT", "HOPERAT",
        "PATADMIN", "LEGAL",
    }
)  # fmt: skip
"""HL7 v3-ActReason; LEGAL is our own (coroner, court, statute)."""

ACTIONS = frozenset({"view", "list", "export", "match"})

IDENTIFICATIONS = frozenset(
    {
        "nhs-number",  # found by a number that the patient or the record gave
        "certain-match",
        "confirmed-match",  # a probable match that the user confirmed with the patient
        "local-id",  # through a source record of the caller's own
        "care-context",  # carried over from the user's own record system
        "possible-match",
        "several-matches",
    }
)

SOURCE_KINDS = frozenset(
    {
        "acute",
        "mental-health",
        "ambulance",
        "community",
        "practice",
        "care-home",
        "borough",
        "neighbour",
        "other",
    }
)
"""Settings in which an organisation works, as the directory has them."""

RELATIONSHIP_KINDS = frozenset(
    {
        "registration",
        "referral",
        "admission",
        "attendance",
        "incident",
        "residency",
        "team",
        "self",
        "proxy",
        "proxy-reviewed",
    }
)

DIRECTIVE_KINDS = frozenset({"objection", "permission", "dissent", "seal", "type-1", "statutory-bar"})
"""Objection and permission are the patient's; dissent and seal a source's; Type 1 covers purposes beyond care; a bar is law's."""

SCOPE_KINDS = frozenset({"everything", "organisation", "category", "purpose"})

STANDINGS = frozenset({"pending", "upheld", "refused", "entered-in-error"})
"""How a directive was decided. Pending binds like upheld: silence of a decider is not permission."""

CAPACITIES = frozenset(
    {"patient", "parent", "attorney", "deputy", "clinician-best-interests", "practice", "provider", "court"}
)

LEGAL_BASES = frozenset(
    {
        "direct-care",
        "section-251",
        "explicit-consent",
        "copi-regulation-3",
        "public-interest",
        "legal-requirement",
        "court-order",
        "coroner",
        "anonymised",
    }
)

EMERGENCY_REASONS = {
    "emergency-care": (2, 5),
    "public-interest": (2, 1),
    "statute": (2, 2),
    "court-order": (2, 3),
}
"""Coded reason → type and reason of the privacy alert (SCR-AlertType, SCR-AlertReason)."""

SELF_CLAIM_REASONS = {
    "patient-agreed": (1, 6),
    "self-claim-emergency": (1, 4),
    "public-interest": (1, 1),
    "statute": (1, 2),
    "court-order": (1, 3),
}
