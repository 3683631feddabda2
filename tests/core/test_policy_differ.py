"""What two rule sets say otherwise: part by part, rules by their ids."""

import json

from consent.rules import default_policy
from consent.rules.differ import ABSENT, Difference, differences

SHIPPED = json.loads(json.dumps(dict(default_policy().document)))


def changed(**parts) -> dict:
    return {**json.loads(json.dumps(SHIPPED)), **parts}


def test_a_rule_set_says_nothing_otherwise_than_itself():
    assert differences(SHIPPED, changed()) == ()


def test_a_rule_that_comes_goes_or_changes_is_told_by_its_id():
    rows = [dict(row) for row in SHIPPED["rows"]]
    gone, other = rows.pop(3), rows[0]
    rows[0] = {**other, "effect": "DENY"}
    rows.append({"id": "no-letters", "version": 1})

    found = {(one.name, one.field): one for one in differences(SHIPPED, changed(rows=rows))}

    assert set(found) == {(gone["id"], ""), (other["id"], "effect"), ("no-letters", "")}
    assert (found[gone["id"], ""].change, found[gone["id"], ""].after) == ("removed", ABSENT)
    assert found["no-letters", ""].after == '{"id": "no-letters", "version": 1}'
    changed_row = found[other["id"], "effect"]
    assert (changed_row.change, changed_row.before, changed_row.after) == ("changed", other["effect"], "DENY")


def test_the_order_of_rules_alone_is_no_difference():
    assert differences(SHIPPED, changed(rows=SHIPPED["rows"][::-1])) == ()


def test_settings_and_classes_are_told_entry_by_entry():
    after = changed(name="other", settings={**SHIPPED["settings"], "emergency_hours": 2})
    after["role_classes"] = {**SHIPPED["role_classes"], "R9999": "doctor"}

    assert differences(SHIPPED, after) == (
        Difference("name", "name", "", "changed", "default", "other"),
        Difference("settings", "emergency_hours", "", "changed", "4", "2"),
        Difference("role_classes", "R9999", "", "added", ABSENT, "doctor"),
    )
    assert differences(after, SHIPPED)[-1] == Difference(
        "role_classes", "R9999", "", "removed", "doctor", ABSENT
    )
