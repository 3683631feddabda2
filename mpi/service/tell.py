"""Why records are one person, or two, told in words and as a picture: of what may be told, and never a value."""

from foundation.ids import format_id
from mpi.matching.draw import Panel, svg_of
from mpi.matching.explain import table_of, verdict
from mpi.service.people import Step, Why

_HOW = {
    "weight": "Joined by this pair alone",
    "sole-candidate": "Joined because nobody else could be meant",
}
_BECAUSE = {
    "decided-never": "People decided that these are two.",
    "below-threshold": "No pair between them links by itself.",
    "no-edge": "No pair between them is worth a look: they share no key, or too little agrees.",
    "verified-numbers-differ": "Their verified NHS numbers differ.",
    "birth-orders-differ": "They are of one birth, and their orders of birth differ.",
    "contradiction": "Two of their records contradict each other too much.",
    "members-disagree": "One pair speaks for it, and on the whole the pairs between their other records against it.",
    "group-too-large": "Together they are more records than may be joined without agreeing verified numbers.",
}


def title_of(why: Why, *, is_way: bool) -> str:
    """Say what is explained. ``is_way``: two records were named, rather than a person."""
    if why.answer == "two-persons":
        return "Why these are two persons"
    return "Why these two records are one person" if is_way else "How this person was built"


def answer_of(why: Why, *, is_way: bool) -> str:
    if why.answer == "two-persons":
        if why.because is None:
            return "Nothing may be told of one of them."
        return _BECAUSE.get(why.because, f"What stands between them: {why.because}.")
    steps = _count(len(why.steps), "step")
    if is_way:
        return f"The way from one to the other, as far as it may be told: {steps}."
    told = f"{_count(len(why.record_ids), 'record')} and {steps} between them may be told"
    return f"{told}: decisions of people first, then the heaviest pairs, then who was left over."


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def panels_of(why: Why) -> list[Panel]:
    is_alone = why.answer == "two-persons"
    return [
        Panel(
            ("" if is_alone else f"Step {place}: ")
            + f"record {format_id(step.low_id)} and record {format_id(step.high_id)}",
            _says(step),
            step.waterfall,
        )
        for place, step in enumerate(why.steps, start=1)
    ]


def _says(step: Step) -> str:
    if step.waterfall is None:
        number = "" if step.decision_id is None else f" (decision {format_id(step.decision_id)})"
        return f"Joined by a decision of people{number}."
    fall = step.waterfall
    said = f"{_HOW.get(step.rule or '', 'The strongest pair between the two')}: {verdict(fall)}."
    if step.rule == "weight" and fall.total < fall.live:
        said += " Part of the evidence may not be told."
    return said


def picture_of(why: Why, *, is_way: bool) -> str:
    """Return an explanation as SVG."""
    return svg_of(title_of(why, is_way=is_way), answer_of(why, is_way=is_way), panels_of(why))


def lines_of(why: Why, *, is_way: bool) -> list[str]:
    """Return an explanation as lines of text, the same as the picture says."""
    lines = [title_of(why, is_way=is_way), answer_of(why, is_way=is_way)]
    for panel in panels_of(why):
        lines += ["", panel.heading[0].upper() + panel.heading[1:], panel.says]
        lines += table_of(panel.waterfall) if panel.waterfall is not None else []
    return lines
