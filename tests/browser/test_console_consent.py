"""Recording what a patient asked for, as people do it: from the search to the receipt, every page accessible and as wide as its screen."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SIZES, Visitor
from tests.browser.test_console import faults

Visit = Callable[..., Visitor]


def is_good(visitor: Visitor, heading: str, size: str) -> None:
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text(heading)
    assert faults(visitor) == []
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]


PEOPLE = {
    "desktop": ("Odalys", "Penhallow", "30", "7", "1988", "SE5 8QX"),
    "phone": ("Brennan", "Quillfeather", "2", "11", "1953", "NW3 4DL"),
}
"""Nobody of them is in the index before, or like the other."""


def describe(visitor: Visitor, size: str) -> None:
    page = visitor.page
    labels = ("Given names", "Family name", "Day", "Month", "Year", "Postcode")
    for label, value in zip(labels, PEOPLE[size], strict=True):
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Find").click()


@pytest.mark.parametrize(("size", "scripts"), [("desktop", True), ("phone", False)])
def test_an_objection_is_recorded_from_the_search_to_the_receipt(visit: Visit, size: str, scripts: bool):
    visitor = visit(size, java_script_enabled=scripts)
    page = visitor.page
    visitor.sign_in("supervisor")
    page.get_by_role("link", name="Objections").click()
    if scripts:
        is_good(visitor, "Find whom it is about", size)
    describe(visitor, size)
    expect(page.get_by_text("Nobody in the index fits")).to_be_visible()
    page.get_by_role("button", name="Record for somebody who is not known here").click()
    page.get_by_role("button", name="See what it would change").click()
    expect(page.get_by_role("link", name="Choose what it covers")).to_be_visible()
    if scripts:
        is_good(visitor, "Record what was asked for", size)
    page.get_by_label("The patient objects to sharing").check()
    page.get_by_label("One kind of information").check()
    page.get_by_label("Which kind").select_option("letters")
    page.get_by_label("Staff may look").check()
    page.get_by_role("button", name="See what it would change").click()
    if scripts:
        is_good(visitor, "Check before it is saved", size)
    page.get_by_label("I have checked").check()
    page.get_by_role("button", name="Save it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Receipt of what you asked for")
    expect(
        page.get_by_text("No organisation is shown this about you, whoever holds it: letters.")
    ).to_be_visible()
    assert visitor.path.startswith("/objections/") and PEOPLE[size][1] not in visitor.path
    if scripts:
        is_good(visitor, "Receipt of what you asked for", size)
    page.get_by_role("link", name="To the record of it").click()
    if scripts:
        is_good(visitor, "Objection Upheld", size)
    page.get_by_role("link", name="Withdraw it").click()
    page.get_by_label("Reason").fill("She changed her mind.")
    page.get_by_role("button", name="Withdraw it").click()

    expect(page.get_by_text("It is withdrawn.")).to_be_visible()
    page.get_by_role("link", name="What the patient asked for").click()
    expect(page.get_by_role("row").filter(has_text="Letters")).to_contain_text("Withdrawn")
    if scripts:
        is_good(visitor, "What the patient asked for", size)
