"""The console as people use it: on a desk and on a phone, by keyboard alone, without JavaScript; every page passes WCAG 2.2 AA by axe."""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import LONG_NAME, SIZES, Visitor
from tests.web.foundation_caller import PASSWORD

Visit = Callable[..., Visitor]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def signing_in(visitor: Visitor) -> None:
    visitor.open("/sign-in")


def refused(visitor: Visitor) -> None:
    visitor.sign_in("nobody", "something else")


def at_work(visitor: Visitor) -> None:
    visitor.sign_in("doctor")


def at_work_under_a_long_name(visitor: Visitor) -> None:
    visitor.sign_in("supervisor")


def told_what_the_role_may_do(visitor: Visitor) -> None:
    visitor.sign_in("quality")
    visitor.page.get_by_text("What your role may do").click()


def lost(visitor: Visitor) -> None:
    visitor.open("/no-such-page")


def lost_at_work(visitor: Visitor) -> None:
    visitor.sign_in("supervisor")
    visitor.open("/no-such-page")


def with_an_old_form(visitor: Visitor) -> None:
    visitor.sign_in("doctor")
    visitor.page.locator("[name=csrf_token]").evaluate("input => input.value = 'old'")
    visitor.page.get_by_role("button", name="Sign out").click()


def signed_out(visitor: Visitor) -> None:
    visitor.sign_in("doctor")
    visitor.page.get_by_role("button", name="Sign out").click()


PAGES = [
    (signing_in, "Sign in"),
    (refused, "Sign in"),
    (at_work, "My work"),
    (at_work_under_a_long_name, "My work"),
    (told_what_the_role_may_do, "My work"),
    (lost, "Not found"),
    (lost_at_work, "Not found"),
    (with_an_old_form, "Not allowed"),
    (signed_out, "Sign in"),
]


def faults(visitor: Visitor) -> list[str]:
    found = Axe().run(visitor.page, options={"runOnly": {"type": "tag", "values": WCAG}})
    return [
        f"{one['id']}: {one['help']}: {node['html']}"
        for one in found.response["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("come", "heading"), PAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_page_is_accessible_and_as_wide_as_its_screen(
    visit: Visit, come: Callable[[Visitor], None], heading: str, size: str
):
    visitor = visit(size)

    come(visitor)

    page = visitor.page
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    expect(page).to_have_title(re.compile(f"{heading} – Patient index and consent$"))
    assert faults(visitor) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    assert page.evaluate("[...document.querySelectorAll('h1')].length") == 1


def test_axe_sees_a_fault_that_is_planted(visit: Visit):
    visitor = visit()
    visitor.open("/sign-in")
    visitor.page.evaluate("document.querySelector('label[for=username]').remove()")

    assert [fault.partition(":")[0] for fault in faults(visitor)] == ["label"]


def test_by_keyboard_alone_one_signs_in_reads_and_signs_out(visit: Visit):
    visitor = visit()
    visitor.open("/sign-in")
    page, keys = visitor.page, visitor.page.keyboard
    keys.press("Tab")
    expect(page.get_by_text("Skip to main content")).to_be_focused()
    keys.press("Enter")
    keys.press("Tab")
    expect(page.get_by_label("User name")).to_be_focused()
    keys.type("doctor")
    keys.press("Tab")
    keys.type(PASSWORD)
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("My work")

    reached = []
    for _ in range(8):
        keys.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
        assert page.evaluate(VISIBLY_FOCUSED), reached
    assert {"Skip to main content", "Sign out", "My work", "What your role may do"} <= set(reached)

    page.get_by_role("button", name="Sign out").focus()
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


VISIBLY_FOCUSED = """() => {
    const element = document.activeElement;
    if (element === document.body) return true;
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    const marked = style.outlineStyle !== 'none' || style.boxShadow !== 'none' || style.backgroundColor === 'rgb(255, 235, 59)';
    return marked && box.width > 0 && box.height > 0;
}"""


def test_without_javascript_everything_works(visit: Visit):
    visitor = visit(java_script_enabled=False)
    visitor.sign_in("doctor", "something else")
    expect(visitor.page.get_by_text("There is a problem")).to_be_visible()
    visitor.sign_in("doctor")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("My work")
    visitor.page.get_by_text("What your role may do").click()
    expect(visitor.page.get_by_text("Find who someone is")).to_be_visible()

    visitor.page.get_by_role("button", name="Sign out").click()
    visitor.open("/")

    assert visitor.path == "/sign-in"


def test_after_a_refusal_the_reader_is_led_to_what_is_wrong_and_the_name_is_kept(visit: Visit):
    visitor = visit()
    visitor.sign_in("docter", "something else")
    page = visitor.page
    expect(page).to_have_title(re.compile("^Error: "))
    expect(page.locator(".nhsuk-error-summary")).to_be_focused()
    expect(page.get_by_label("User name")).to_have_value("docter")
    expect(page.get_by_label("Password", exact=True)).to_have_value("")

    page.locator(".nhsuk-error-summary a").click()

    expect(page.get_by_label("User name")).to_be_focused()


def test_the_password_can_be_shown_and_is_hidden_again_before_it_is_sent(visit: Visit):
    visitor = visit()
    visitor.open("/sign-in")
    page = visitor.page
    page.get_by_label("Password", exact=True).fill("a secret")
    page.get_by_role("button", name="Show password").click()
    expect(page.locator("#password")).to_have_attribute("type", "text")

    page.get_by_role("button", name="Hide password").click()

    expect(page.locator("#password")).to_have_attribute("type", "password")


def test_who_was_sent_to_sign_in_comes_to_the_page_that_they_wanted(visit: Visit):
    visitor = visit()
    visitor.open("/?said=nothing")
    assert visitor.path.startswith("/sign-in")
    visitor.open("/sign-in?next=/no-such-page")
    visitor.page.get_by_label("User name").fill("doctor")
    visitor.page.get_by_label("Password", exact=True).fill(PASSWORD)
    visitor.page.get_by_role("button", name="Sign in").click()

    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Not found")
    assert visitor.path == "/no-such-page"


def test_after_signing_out_the_way_back_shows_nothing(visit: Visit):
    visitor = visit()
    visitor.sign_in("supervisor")
    expect(visitor.page.get_by_text(LONG_NAME).first).to_be_visible()
    visitor.page.get_by_role("button", name="Sign out").click()
    # There is a way back once the page has come.
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Sign in")
    visitor.page.wait_for_load_state()

    visitor.page.go_back()

    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert LONG_NAME not in visitor.page.content()


@pytest.mark.parametrize("size", SIZES)
def test_at_four_times_the_text_nothing_is_cut_off(visit: Visit, size: str):
    """WCAG 1.4.10: at 320 pixels, as at 400 % on a desk, nobody has to scroll sideways."""
    visitor = visit(size)
    visitor.sign_in("supervisor")
    # What is measured is the page with the long name, once it has come.
    expect(visitor.page.get_by_text(LONG_NAME).first).to_be_visible()
    visitor.page.wait_for_load_state()
    visitor.page.set_viewport_size({"width": 320, "height": 600})

    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 320
