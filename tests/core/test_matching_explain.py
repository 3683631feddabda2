"""Explanations: waterfalls whose bars add up to the millibit, and pictures that say all they show in words."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpi.matching import compare, load_model, normalise, score
from mpi.matching.draw import Panel, svg_of
from mpi.matching.explain import Waterfall, bits, table_of, verdict, waterfall
from mpi.matching.score import Part
from mpi.records import SourceRecord
from tests.core.matching_builders import ONE_NUMBER, OTHER_NUMBER, a_source_record, source_records

MODEL = load_model()
SVG = "{http://www.w3.org/2000/svg}"
LIVE = MODEL.thresholds.live

WEIGHTS = st.integers(-60_000, 60_000)
LEVELS = sorted(
    (name, level) for name, levels in MODEL.parts.items() for level in levels if level != "missing"
)
PARTS = st.tuples(
    st.tuples(st.just("prior"), st.sampled_from(MODEL.rivals), WEIGHTS),
    st.lists(st.tuples(st.sampled_from(LEVELS), WEIGHTS), max_size=12, unique_by=lambda one: one[0][0]),
    st.lists(
        st.tuples(st.sampled_from(("given", "family")), WEIGHTS), max_size=2, unique_by=lambda one: one[0]
    ),
).map(
    lambda drawn: [
        drawn[0],
        *((name, level, weight) for (name, level), weight in drawn[1]),
        *((name, "frequency", weight) for name, weight in drawn[2]),
    ]
)


def of_pair(one: SourceRecord, other: SourceRecord) -> tuple[Waterfall, int]:
    scored = score(compare(normalise(one, MODEL), normalise(other, MODEL), MODEL), MODEL)
    return waterfall(scored.parts, LIVE), scored.weight


# Bars ----------------------------------------------------------------------------------------------------------------


@given(parts=PARTS)
def test_bars_lie_end_to_end_and_add_up_to_the_total(parts: list[Part]):
    fall = waterfall(parts, LIVE)

    assert fall.bars[0].start == 0
    for before, bar in zip(fall.bars, fall.bars[1:], strict=False):
        assert bar.start == before.end
    assert fall.total == sum(bar.weight for bar in fall.bars) == sum(weight for _, _, weight in parts)
    fields = [bar.field for bar in fall.bars]
    assert fields[0] == "prior"
    assert len(set(fields)) == len(fields)
    for name in fields:
        (bar,) = (one for one in fall.bars if one.field == name)
        assert bar.weight == sum(weight for field, _, weight in parts if field == name)


@given(one=source_records(), other=source_records())
def test_a_pairs_bars_add_up_to_the_weight_that_links_it(one: SourceRecord, other: SourceRecord):
    fall, weight = of_pair(one, other)

    assert fall.total == sum(bar.weight for bar in fall.bars) == weight


def test_a_rare_names_worth_is_in_the_bar_of_its_name():
    parts = [("prior", "stranger", -20_000), ("given", "nickname", 4_000), ("given", "frequency", 2_500)]

    fall = waterfall(parts, LIVE)

    assert [(bar.field, bar.reason, bar.weight) for bar in fall.bars] == [
        ("prior", "prior", -20_000),
        ("given", "agree", 6_500),
    ]


def test_a_name_whose_frequency_alone_says_something_has_a_bar():
    fall = waterfall([("prior", "twin", 1_000), ("family", "frequency", 700)], LIVE)

    assert [(bar.field, bar.reason, bar.weight) for bar in fall.bars][1:] == [("family", "agree", 700)]


@pytest.mark.parametrize(
    ("millibits", "plain", "signed"),
    [(0, "0.000", "0.000"), (1, "0.001", "+0.001"), (-1, "−0.001", "−0.001"), (12_345, "12.345", "+12.345")],
)
def test_bits_are_written_to_the_last_millibit(millibits: int, plain: str, signed: str):
    assert (bits(millibits), bits(millibits, is_signed=True)) == (plain, signed)


@given(parts=PARTS)
def test_the_table_tells_every_bar_and_the_total(parts: list[Part]):
    fall = waterfall(parts, LIVE)

    *lines, last = table_of(fall)

    assert len({len(line) for line in (*lines, last)}) == 1
    for line, bar in zip(lines, fall.bars, strict=True):
        assert line.startswith(bar.name)
        assert line.endswith(f"{bits(bar.weight, is_signed=True)}  = {bits(bar.end):>8}")
    assert last.split()[-1] == bits(fall.total)


def test_the_verdict_says_how_far_a_total_is_from_the_threshold():
    assert (
        verdict(waterfall([("prior", "twin", LIVE)], LIVE))
        == f"0.000 above the live threshold of {bits(LIVE)}"
    )
    assert verdict(waterfall([("prior", "twin", LIVE - 1)], LIVE)).startswith("0.001 below")


# Pictures ------------------------------------------------------------------------------------------------------------


def drawn(*falls: Waterfall) -> ElementTree.Element:
    panels = [Panel(f"Step {place}", "Said of it.", fall) for place, fall in enumerate(falls, start=1)]
    return ElementTree.fromstring(svg_of("A title", "An answer.", panels))


def texts(picture: ElementTree.Element) -> list[str]:
    return [one.text or "" for one in picture.iter(f"{SVG}text")]


@given(parts=PARTS)
def test_a_picture_draws_each_bar_as_long_as_it_weighs_from_where_the_last_one_ended(parts: list[Part]):
    fall = waterfall(parts, LIVE)

    picture = drawn(fall)

    boxes = [
        (float(one.get("x", "")), float(one.get("width", "")), one.get("class"))
        for one in picture.iter(f"{SVG}rect")
        if one.get("class") in ("for", "against", "whole")
    ]
    (line,) = (one for one in picture.iter(f"{SVG}line") if one.get("class") == "live")
    assert len(boxes) == len(fall.bars) + 1
    *bars, (whole_x, whole_width, kind) = boxes
    assert kind == "whole"
    # One place for one weight, and one unit of length for all.
    marks = [(min(0, fall.total), whole_x), (max(0, fall.total), whole_x + whole_width)]
    marks.append((LIVE, float(line.get("x1", ""))))
    for (x, width, name), bar in zip(bars, fall.bars, strict=True):
        low, high = sorted((bar.start, bar.end))
        marks += [(low, x), (high, x + width)]
        assert name == ("against" if bar.weight < 0 else "for")
    (least, left), (most, right) = min(marks), max(marks)
    for weight, at in marks:
        assert at == pytest.approx(left + (right - left) * (weight - least) / (most - least), abs=0.05)


def test_a_picture_says_in_words_all_that_it_shows():
    one, _ = of_pair(
        a_source_record("1", nhs_number=ONE_NUMBER),
        a_source_record("2", nhs_number=ONE_NUMBER, family="Smith"),
    )
    two, _ = of_pair(
        a_source_record("1", nhs_number=ONE_NUMBER), a_source_record("2", nhs_number=OTHER_NUMBER)
    )

    picture = drawn(one, two)

    assert picture.get("role") == "img"
    ids = {part.get("id"): part for part in picture}
    title, description = (ids[name] for name in (picture.get("aria-labelledby") or "").split())
    assert title.text == "A title"
    told = description.text or ""
    for fall in (one, two):
        assert "\n".join(table_of(fall)) in told
        for bar in fall.bars:
            assert {bar.name, bar.words, bits(bar.weight, is_signed=True)} <= set(texts(picture))
        assert bits(fall.total) in texts(picture)
    assert texts(picture).count(f"live threshold {bits(LIVE)}") == 2
    # What stands against a link is hatched and has a sign: nobody needs to tell two colours apart.
    assert any(bar.weight < 0 for bar in one.bars)
    assert "url(#hatch)" in (picture.find(f"{SVG}style").text or "")  # type: ignore[union-attr]


def test_a_picture_fetches_nothing_runs_nothing_and_escapes_what_it_is_told():
    fall, _ = of_pair(a_source_record("1"), a_source_record("2"))

    text = svg_of("<b>&", '"<script>"', [Panel("<i>", "&amp;", fall)])

    picture = ElementTree.fromstring(text)
    assert picture.find(f"{SVG}script") is None
    assert {"<b>&", '"<script>"', "<i>", "&amp;"} <= set(texts(picture))
    assert set(re.findall(r"url\([^)]*\)", text)) == {"url(#hatch)"}
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|@font-face|href|<image|<foreignObject", text)


def test_a_picture_of_nothing_and_of_a_decision_is_a_picture():
    empty = ElementTree.fromstring(svg_of("A title", "Nothing may be told.", []))
    decided = ElementTree.fromstring(svg_of("A title", "An answer.", [Panel("Step 1", "People decided.")]))

    assert texts(empty) == ["A title", "Nothing may be told."]
    assert texts(decided)[-2:] == ["Step 1", "People decided."]


@given(one=source_records(), other=source_records())
def test_a_picture_holds_no_value_of_a_record(one: SourceRecord, other: SourceRecord):
    words = " ".join(texts(drawn(of_pair(one, other)[0])))

    for record in (one, other):
        for value in (
            *(name.family for name in record.names),
            *(part for name in record.names for part in name.given),
            record.birth_date,
            record.nhs_number,
            *(address.postcode for address in record.addresses),
        ):
            if value is not None and len(value) > 3:
                assert value not in words
