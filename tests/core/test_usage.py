"""Usage: sums by month and by who viewed, beside the year before; the London Care Record's own headlines from its kind of counts."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.facts.usage import Month, Viewed, parse_month, usage_of
from consent.service.usage import Told
from consent.service.usage_told import csv_of, lines_of, page_of, picture_of, shares_of
from foundation.errors import Invalid

SETTINGS = {"RRV": "acute", "RV5": "mental-health", "RRU": "ambulance", "RP4": "acute"}

months = st.builds(Month, st.integers(2022, 2024), st.integers(1, 12))
counts = st.lists(
    st.builds(
        Viewed,
        months,
        st.sampled_from(sorted(SETTINGS)),
        st.sampled_from(["R8000", "R1070"]),
        st.sampled_from(["TREAT", "BTG"]),
        st.integers(0, 1_000_000),
    ),
    max_size=30,
)


def london() -> list[Viewed]:
    """Counts such as the London Care Record's: 11.85 million views in 2022, 17.7 million in 2023, 2.2 million in May 2024."""
    viewed = []
    for number in range(1, 13):
        for code, before, now in (("RRV", 600_000, 900_000), ("RV5", 0, 75_000), ("RRU", 387_500, 500_000)):
            viewed.append(Viewed(Month(2022, number), code, "R8000", "TREAT", before))
            if code != "RV5" or number >= 3:
                viewed.append(Viewed(Month(2023, number), code, "R8000", "TREAT", now))
    for number in (1, 2):
        viewed.append(Viewed(Month(2023, number), "RRV", "R8001", "TREAT", 75_000))
    viewed.append(Viewed(Month(2024, 5), "RRV", "R8000", "TREAT", 2_150_000))
    viewed.append(Viewed(Month(2024, 5), "RP4", "R8000", "TREAT", 50_000))
    return viewed


def test_the_headlines_of_london_come_out_of_its_kind_of_counts() -> None:
    year = usage_of(london(), SETTINGS, Month(2023, 1), Month(2023, 12))
    may = usage_of(london(), SETTINGS, Month(2024, 5), Month(2024, 5))

    assert (year.total.views, year.total.before) == (17_700_000, 11_850_000)
    assert year.total.change_per_mille == 494, "almost 50 % more than the year before"
    assert year.total.views / 12 == pytest.approx(1_475_000), "about 1.5 million a month"
    assert [(one.organisation, str(one.month)) for one in year.connections] == [("RV5", "2023-03")]
    assert may.total.views == 2_200_000 and [one.organisation for one in may.connections] == ["RP4"]
    assert year.minutes_saved == 17_700_000
    assert (
        usage_of(london(), SETTINGS, Month(2023, 1), Month(2023, 12), minutes_a_view=0.5).minutes_saved
        == 8_850_000
    )


@given(counts, months, st.integers(0, 24))
def test_every_breakdown_sums_up_to_the_total(viewed, first, length) -> None:
    usage = usage_of(viewed, SETTINGS, first, first.plus(length))

    for shares in shares_of(usage).values():
        assert sum(one.views for one in shares) == usage.total.views
        if length < 12:
            assert sum(one.before for one in shares) == usage.total.before
    assert len(usage.by_month) == length + 1


@given(counts, months, st.integers(0, 24), st.randoms())
def test_order_does_not_matter(viewed, first, length, random) -> None:
    shuffled = list(viewed)
    random.shuffle(shuffled)

    assert usage_of(shuffled, SETTINGS, first, first.plus(length)) == usage_of(
        viewed, SETTINGS, first, first.plus(length)
    )


@given(months, st.integers(-40, 40))
def test_months_are_counted_on_and_back(month, many) -> None:
    assert month.plus(many).plus(-many) == month
    assert month.plus(-12) == month.year_before
    if 2000 <= month.year <= 2099:
        assert parse_month(str(month)) == month


def test_nothing_before_is_no_change_at_all() -> None:
    usage = usage_of(
        [Viewed(Month(2026, 1), "RRV", "R8000", "TREAT", 7)], SETTINGS, Month(2026, 1), Month(2026, 1)
    )

    assert usage.total.change_per_mille is None


def test_an_organisation_that_the_directory_does_not_know_is_counted() -> None:
    usage = usage_of(
        [Viewed(Month(2026, 1), "XX999", "R8000", "TREAT", 7)], SETTINGS, Month(2026, 1), Month(2026, 1)
    )

    assert [(one.code, one.views) for one in usage.by_setting] == [("unknown", 7)]


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-1", "2026-01-01", "1999-01", "", "26-01"])
def test_a_month_is_written_in_one_way(text: str) -> None:
    with pytest.raises(Invalid, match="month-format"):
        parse_month(text)


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"last": Month(2022, 1)}, "period-order"), ({"minutes_a_view": 61}, "minutes-range")],
)
def test_a_period_or_an_assumption_that_is_none_is_refused(changes, code) -> None:
    asked = {"first": Month(2023, 1), "last": Month(2023, 12)} | changes

    with pytest.raises(Invalid, match=code):
        usage_of([], SETTINGS, **asked)


def test_the_picture_says_in_words_what_it_shows_and_the_page_has_the_tables() -> None:
    usage = usage_of(london(), SETTINGS, Month(2023, 1), Month(2023, 12))
    told = Told(usage, 80_000, datetime(2024, 1, 1, tzinfo=UTC))

    root = ET.fromstring(picture_of(usage))
    described = root.attrib["aria-labelledby"].split()

    words = {one.attrib["id"]: one.text or "" for one in root.iter() if one.attrib.get("id") in described}
    assert (
        root.attrib["role"] == "img"
        and "2023-03: 1,475,000 views, 987,500 the year before" in words["description"]
    )
    page = page_of(told)
    assert page.count("<table>") == 5 and "17,700,000" in page and '<th scope="row">ambulance</th>' in page
    assert "80,000 staff" in page and "(an assumption)" in page
    assert csv_of(usage).splitlines()[:2] == [
        "by,code,views,year_before,change_per_mille",
        "total,total,17700000,11850000,494",
    ]
    assert "fewer than 5 staff" in "\n".join(lines_of(replace(told, staff=None)))


def test_a_period_without_views_is_drawn_too() -> None:
    usage = usage_of([], SETTINGS, Month(2023, 1), Month(2023, 1))

    root = ET.fromstring(picture_of(usage))

    bars = [
        one
        for one in root.iter()
        if one.attrib.get("class") in ("now", "before") and one.attrib["y"] != "360"
    ]
    assert [one.attrib["height"] for one in bars] == ["0", "0"]
