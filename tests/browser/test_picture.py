"""The picture of an explanation, looked at in Chromium: everything inside, nothing over anything, and named for who cannot see it."""

from itertools import combinations
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from mpi.matching import compare, load_model, normalise, score
from mpi.matching.draw import WIDTH, Panel, svg_of
from mpi.matching.explain import Waterfall, bits, waterfall
from mpi.matching.score import Part
from mpi.records import SourceRecord
from tests.core.matching_builders import ONE_NUMBER, OTHER_NUMBER, a_source_record

MODEL = load_model()
LIVE = MODEL.thresholds.live

_BOXES = """() => [...document.querySelectorAll('text')].map(one => {
    const box = one.getBoundingClientRect();
    return {words: one.textContent, left: box.left, right: box.right, top: box.top, bottom: box.bottom};
})"""


def of_pair(one: SourceRecord, other: SourceRecord) -> Waterfall:
    scored = score(compare(normalise(one, MODEL), normalise(other, MODEL), MODEL), MODEL)
    return waterfall(scored.parts, LIVE)


def everything(weight: int) -> Waterfall:
    """A waterfall with a bar for every field, whose starting odds have the longest words."""
    parts: list[Part] = [("prior", "neighbour", weight)]
    parts += [
        (name, next(iter(levels)), weight * (-1) ** place)
        for place, (name, levels) in enumerate(MODEL.parts.items())
    ]
    return waterfall(parts, LIVE)


def looked_at(browser: Browser, path: Path, *falls: Waterfall) -> tuple[Page, list[dict[str, Any]]]:
    heading = "Step 1: record 913801730862955757 and record 913801730975528304"
    panels = [Panel(heading, "Joined by a decision of people (decision 913801730975528999).")]
    panels += [Panel(heading, "Joined because nobody else could be meant: 1 below.", fall) for fall in falls]
    path.write_text(svg_of("How this person was built", "An answer in a sentence.", panels), encoding="utf-8")
    page = browser.new_context(viewport={"width": WIDTH + 20, "height": 800}).new_page()
    page.goto(path.as_uri())
    return page, page.evaluate(_BOXES)


def test_no_word_lies_over_another_or_outside(browser: Browser, tmp_path: Path) -> None:
    falls = [
        of_pair(a_source_record("1", nhs_number=ONE_NUMBER), a_source_record("2", nhs_number=ONE_NUMBER)),
        of_pair(
            a_source_record("1", nhs_number=OTHER_NUMBER),
            a_source_record("2", given="Kevin", line="9 Elsewhere"),
        ),
        *(everything(weight) for weight in (-60_000, -900, 1, 7_000, 60_000)),
        waterfall([("prior", "stranger", -LIVE)], LIVE),
    ]

    page, boxes = looked_at(browser, tmp_path / "why.svg", *falls)

    assert len(boxes) > 100
    over = [
        (one["words"], other["words"])
        for one, other in combinations(boxes, 2)
        if min(one["right"], other["right"]) - max(one["left"], other["left"]) > 0.5
        # Lines of text stand close: their letters must not meet, their boxes may.
        and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > 4
    ]
    assert over == []
    height = page.evaluate("() => document.documentElement.height.baseVal.value")
    outside = [
        one["words"]
        for one in boxes
        if one["left"] < 10 or one["right"] > WIDTH - 10 or one["top"] < 0 or one["bottom"] > height
    ]
    assert outside == []
    page.context.close()


def test_whoever_cannot_see_it_is_told_all_of_it(browser: Browser, tmp_path: Path) -> None:
    page, _ = looked_at(browser, tmp_path / "why.svg", everything(1_000))

    picture = page.get_by_role("img", name="How this person was built")

    assert picture.count() == 1
    description = page.evaluate("() => document.getElementById('description').textContent")
    for bar in everything(1_000).bars:
        assert any(
            line.startswith(bar.name) and bar.words in line and bits(bar.weight, is_signed=True) in line
            for line in description.splitlines()
        )
    page.context.close()
