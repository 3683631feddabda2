"""Consent administration in the console: from finding someone to the receipt, at HTTP height."""

import re
from datetime import timedelta

import pytest

import consent.web.console.directives as pages
from app import create_app
from consent.service.directives import list_directives
from foundation.settings import Settings
from tests.service.consent_world import PRACTICE, UCLH, World, a_world
from tests.web.console_visitor import Page, Visitor

HER = {
    "who-nhs_number": "999 000 0018",
    "who-birth-day": "7",
    "who-birth-month": "3",
    "who-birth-year": "1984",
}
SAID = {
    "kind": "objection",
    "scope": "category",
    "category": "letters",
    "emergency": "may-override",
    "capacity": "patient",
    "channel": "phone",
    "standing": "upheld",
}


@pytest.fixture
def world(db, clock) -> World:
    return a_world(db, clock)


@pytest.fixture
def app(world: World):
    return create_app(Settings.from_environment({}), database=world.db, clock=world.clock)


@pytest.fixture
def anne(app) -> Visitor:
    return Visitor(app, "anne")


def checked(visitor: Visitor, world: World, **changes: str) -> Page:
    page = visitor.get(f"/objections/people/{world.she}/new?kind=objection")
    return page.send("/check", **{**SAID, **changes})


def held(world: World):
    from tests.service.consent_world import PRACTICE_CLERK

    return [one.directive for one in list_directives(world.consent, world.she, PRACTICE_CLERK)]


def test_from_finding_her_to_her_receipt(world: World, anne: Visitor):
    found = anne.get("/objections").send("/find", **HER)
    assert "Probably who you described" in found.text
    assert "Rosalind Applewhite" in found.text
    person = anne.get(next(link for link in found.links if link.startswith("/objections/people/")))
    assert "Nothing is on record" in person.text

    check = checked(anne, world)
    assert check.status == 200
    assert held(world) == []
    assert "No organisation is shown this about you, whoever holds it: letters." in check.text
    assert "Everything else is shared as before." in check.text
    assert "No longer shown Letters" in check.text
    unsure = check.send("/record")
    assert (unsure.status, held(world)) == (422, [])
    receipt = unsure.send("/record", sure="yes").follow()

    (directive,) = held(world)
    assert (directive.row.scope_code, directive.row.received_by, directive.row.channel) == (
        "letters",
        UCLH,
        "phone",
    )
    assert "Receipt of what you asked for" in receipt.text
    assert "No organisation is shown this about you, whoever holds it: letters." in receipt.text
    assert re.search(r"[0-9a-f]{64}", receipt.text)
    assert directive.row.wording_digest is not None
    again = anne.get(f"/objections/people/{world.she}")
    assert "Letters" in again.text and "Upheld" in again.text


def test_no_address_and_no_title_tells_who_it_is_about(world: World, anne: Visitor):
    found = anne.get("/objections").send("/find", **HER)
    check = checked(anne, world)
    receipt = check.send("/record", sure="yes")
    pages = [found, check, receipt.follow(), anne.get(f"/objections/people/{world.she}")]

    for page in pages:
        told = page.title + " ".join(page.links) + " ".join(form.action for form in page.forms)
        assert not re.search("Rosalind|Applewhite|9990000018|999 000|1984|Larkspur", told)


def test_the_same_form_sent_twice_is_recorded_once(world: World, anne: Visitor):
    check = checked(anne, world)
    check.send("/record", sure="yes")

    again = check.send("/record", sure="yes").follow()

    assert len(held(world)) == 1
    assert "recorded before" in again.text


def test_what_changed_while_the_page_was_open_is_told_and_nothing_typed_is_lost(
    world: World, anne: Visitor, app
):
    check = checked(anne, world, evidence="letter 17")
    world.object()

    late = check.send("/record", sure="yes")

    assert (late.status, len(held(world))) == (409, 1)
    assert "Something changed since you looked" in late.text
    assert late.form("/record").fields["evidence"] == "letter 17"
    assert late.send("/record", sure="yes").status == 303
    assert len(held(world)) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": None}, "Choose what is asked for"),
        ({"scope": None}, "Choose what it covers"),
        ({"scope": "organisation", "organisation": "ZZ999"}, "Choose what it covers"),
        ({"scope": "organisation", "organisation": "?"}, "Give the ODS code"),
        ({"scope": "category", "category": ""}, "Choose which kind of information"),
        ({"emergency": None}, "Choose what is to be done in an emergency"),
        ({"standing": "refused"}, "Give the reason why it was refused"),
        (
            {"review-day": "31", "review-month": "2", "review-year": "2027"},
            "Write a date as day, month and year",
        ),
        ({"ends-day": "1", "ends-month": "2", "ends-year": "2020"}, "It would end before it begins"),
        ({"evidence": "x" * 201}, "This is too long"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_words_and_the_rest_is_kept(
    world: World, anne: Visitor, changes, words
):
    page = checked(anne, world, **{"channel": "letter", **changes})

    assert page.status == 422
    assert words in page.text
    assert page.title.startswith("Error: ")
    assert page.form("/check").fields["channel"] == "letter"


def test_somebody_unknown_is_recorded_from_what_was_typed(world: World, anne: Visitor):
    typed = {"who-given": "Odalys", "who-family": "Penhallow", "who-birth-year": "1988", "who-birth-month": "7",
             "who-birth-day": "30", "who-postcode": "SE5 8QX"}  # fmt: skip
    found = anne.get("/objections").send("/find", **typed)
    assert "Nobody in the index fits" in found.text

    check = found.send("/unknown/new").send("/check", **SAID)
    receipt = check.send("/record", sure="yes").follow()

    assert "Odalys Penhallow" in check.text
    assert receipt.status == 200


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"who-nhs_number": "999 000 0019", "who-birth-year": "1984"}, "This is not an NHS number"),
        ({"who-family": "Applewhite"}, "Give a name or an NHS number, and one more thing"),
    ],
)
def test_a_search_that_cannot_be_made_says_why(anne: Visitor, typed, words):
    page = anne.get("/objections").send("/find", **typed)

    assert (page.status, words in page.text) == (422, True)


def test_an_objection_is_lifted_changed_and_withdrawn(world: World, anne: Visitor):
    checked(anne, world).send("/record", sure="yes")
    first = held(world)[0].row.directive_id
    page = anne.get(f"/objections/{first}")

    changed = anne.get(f"/objections/people/{world.she}/new?instead={first}").send("/check", category="notes",
                                                                                  change_reason="She meant notes.")  # fmt: skip
    changed.send("/record", sure="yes")
    second = next(one for one in held(world) if one.row.scope_code == "notes").row.directive_id
    lifting = anne.get(f"/objections/people/{world.she}/new?lifts={second}").send("/check")
    lifting.send("/record", sure="yes")

    assert "Change it" in page.text
    assert [(one.row.kind, one.row.scope_code, one.withdrawn_at is None) for one in held(world)] == [
        ("objection", "letters", False),
        ("objection", "notes", True),
        ("permission", "notes", True),
    ]
    assert "Shown again" in lifting.text
    no_reason = anne.get(f"/objections/{second}/withdraw").send("/withdraw")
    assert (no_reason.status, "Give the reason" in no_reason.text) == (422, True)
    done = no_reason.send("/withdraw", reason="She changed her mind.").follow()
    assert "It is withdrawn." in done.text
    assert "She changed her mind." in done.text


def test_a_change_that_was_refused_leaves_the_objection_as_it_is(world: World, anne: Visitor):
    checked(anne, world).send("/record", sure="yes")
    first = held(world)[0].row.directive_id
    form = anne.get(f"/objections/people/{world.she}/new?instead={first}")

    page = form.send("/check", category="notes", standing="refused", reason="It is not about sharing.",
                     change_reason="She meant notes.")  # fmt: skip

    assert (page.status, "takes no place" in page.text) == (422, True)
    assert [one.withdrawn_at for one in held(world)] == [None]


def test_only_a_second_person_strikes_out_what_was_entered_in_error(world: World, anne: Visitor, app):
    checked(anne, world).send("/record", sure="yes")
    number = held(world)[0].row.directive_id
    own = anne.post(f"/objections/{number}/strike-out", {"reason": "wrong patient"})
    seen, bela = anne.get(f"/objections/{number}"), Visitor(app, "bela")

    page = bela.get(f"/objections/{number}/strike-out")
    done = page.send("/strike-out", reason="It was for another patient.").follow()

    assert own.status == 403
    assert "another person must strike it out" in seen.text
    assert "struck out" in done.text
    assert held(world)[0].standing == "entered-in-error"


def test_a_pending_one_is_decided(world: World, anne: Visitor):
    checked(anne, world, standing="pending").send("/record", sure="yes")
    number = held(world)[0].row.directive_id

    done = (
        anne.get(f"/objections/{number}/refuse").send("/refuse", reason="It is not about sharing.").follow()
    )

    assert "It is refused." in done.text
    assert held(world)[0].standing == "refused"


@pytest.mark.parametrize(
    ("role", "may_write"), [("R0008", True), ("R8009", True), ("R0001", False), ("R8000", False)]
)
def test_each_role_sees_what_it_may(world: World, app, role: str, may_write: bool):
    visitor = Visitor(app, "carol", role)

    assert (visitor.get("/objections").status == 200) is may_write
    assert (visitor.get(f"/objections/people/{world.she}/new").status == 200) is may_write
    assert (visitor.get(f"/objections/people/{world.she}").status == 200) is (role != "R8000")
    assert ("/objections" in visitor.get("/").links) is may_write


def test_another_organisations_directive_is_shown_and_not_to_be_changed(world: World, anne: Visitor):
    number = world.object().directive_id

    page = anne.get(f"/objections/{number}")

    assert "It was received by another organisation" in page.text
    assert f"/objections/{number}/withdraw" not in page.links
    assert anne.post(f"/objections/{number}/withdraw", {"reason": "elsewhere"}).status == 403
    assert PRACTICE in page.text


def test_a_receipt_of_another_act_is_not_there(world: World, anne: Visitor):
    checked(anne, world).send("/record", sure="yes")
    number = held(world)[0].row.directive_id

    assert anne.get(f"/objections/{number}/receipt/1").status == 404
    assert anne.get("/objections/17").status == 404
    assert anne.get("/objections/seventeen").status in (400, 422)


def test_pages_stay_small(world: World, anne: Visitor):
    sizes = [
        anne.get("/objections").size,
        checked(anne, world).size,
        anne.get(f"/objections/people/{world.she}").size,
    ]

    assert max(sizes) < 100_000


def test_what_waits_is_counted_on_the_first_page_and_listed(world: World, anne: Visitor, app):
    checked(anne, world, standing="pending").send("/record", sure="yes")
    review = {"review-day": "30", "review-month": "11", "review-year": "2026"}
    checked(anne, world, category="notes", **review).send("/record", sure="yes")
    first, second = (one.row.directive_id for one in held(world))
    elsewhere = Visitor(app, "elsewhere", organisation="RV5")

    assert "1 Waiting for a decision" in anne.get("/").text
    assert "0 To be reviewed" in anne.get("/").text
    assert "0 Waiting for a decision" in elsewhere.get("/").text
    assert f"/objections/{first}" in anne.get("/objections/due?why=pending").links
    world.clock.advance(timedelta(days=8))
    listed = Visitor(app, "carol").get("/objections/due?why=review")
    assert f"/objections/{second}" in listed.links and f"/objections/{first}" not in listed.links
    decided = Visitor(app, "dora")
    decided.get(f"/objections/{first}/uphold").send("/uphold", reason="It is hers to say.")
    decided.get(f"/objections/{second}/withdraw").send("/withdraw", reason="She changed her mind.")
    assert "Nothing waits." in decided.get("/objections/due").text
    assert "Nothing waits." in decided.get("/objections/due?why=review").text


def test_a_long_list_goes_on_where_it_ended(world: World, anne: Visitor, monkeypatch):
    monkeypatch.setattr(pages, "_LISTED", 2)
    for category in ("letters", "notes", "results"):
        checked(anne, world, standing="pending", category=category).send("/record", sure="yes")

    page = anne.get("/objections/due")
    rest = anne.get(next(link for link in page.links if "cursor=" in link))

    ids = [[link for link in one.links if link.startswith("/objections/9")] for one in (page, rest)]
    assert [len(one) for one in ids] == [2, 1]
    assert not set(ids[0]) & set(ids[1])
    assert anne.get("/objections/due?cursor=x").status in (400, 422)
