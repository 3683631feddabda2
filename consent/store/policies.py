"""Rule sets as documents, and the changes of the one in force."""

from consent.store.tables import policy, policy_change
from foundation.changes import Tables

IN_FORCE = "(SELECT p.revision FROM policy_change p WHERE p.place IS NOT NULL ORDER BY p.place DESC LIMIT 1)"
"""The revision in force, to be asked beside something else in one statement; NULL where nothing was ever published."""

POLICIES = Tables(policy, policy_change, "what_if")
