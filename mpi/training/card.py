"""The model card: what a model is, what it learned and from what, in Markdown."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from mpi.matching.explain import NAMES, RIVALS, WORDS
from mpi.matching.model import revision_of
from mpi.training.train import LIVE_PRECISION, SAFE_PRECISION


def model_card(
    document: Mapping[str, Any], report: Mapping[str, Any] | None = None, trained_on: date | None = None
) -> str:
    """Return the card of a model document.

    Args:
        report: what training returned beside the document; without it the card tells only what the document itself holds.
        trained_on: the day on which it was trained, if it should stand in the card.

    It holds rates, counts and thresholds. Frequency tables are told by size: names are not printed.
    """
    training = {**document.get("training", {}), **(report or {})}
    facts = [(_FACTS[name], _plain(training[name])) for name in _FACTS if name in training]
    if trained_on:
        facts.insert(0, ("trained on", trained_on.isoformat()))
    lines = [
        f"# Match model: {document['name']}",
        "",
        f"Revision `{revision_of(document)}`.",
        "",
        "## Training",
        "",
        *_table(("", ""), facts),
        "",
        *_warned(training),
        *_cross_check(training),
        "## Thresholds",
        "",
        *_table(
            ("threshold", "bits"),
            [(name, _bits(value)) for name, value in document["thresholds"].items()],
        ),
        "",
        *_sole(document),
        *_quorum(document),
        *_expected(document, training),
        *_subgroups(training),
        *_sources(training),
        "## Rival explanations",
        "",
        "The weight of a pair is the least over these of starting odds plus parts. The odds are of one person against the rival.",
        "",
        *_table(
            ("rival", "starting odds, bits"),
            [(RIVALS.get(name, name), _bits(rival["prior"])) for name, rival in document["rivals"].items()],
        ),
        "",
        "## What each level is worth",
        "",
        "m: share of pairs of one person that show the level, where both say something; u: the same among pairs of strangers. Then the",
        "level's part in bits, log2(m / u), against each rival. A level that only some pairs can reach (a partial date, a changed surname)",
        "has its share among those pairs, so a column need not add up to 1.",
        "",
        *_levels(document),
        "",
        "## Names and keys",
        "",
        *_table(
            ("", ""),
            [
                *(
                    (f"{NAMES[name]}: values with a frequency of their own", str(len(table["values"])))
                    for name, table in document["frequency"].items()
                ),
                ("Short forms and spellings of given names", str(len(document["lists"]["nicknames"]))),
                ("Shared contacts and places, as fingerprints", str(len(document["shared"]))),
                ("Blocking rules", str(len(document["blocking"]))),
                ("Overfull keys", str(len(document["overfull"]))),
            ],
        ),
        "",
    ]
    return "\n".join(lines)


_FACTS = {
    "records": "records",
    "data_from": "oldest change in the data",
    "data_to": "newest change in the data",
    "known": "share of records that say something",
    "population": "set for an index of, records",
    "seed": "seed",
    "candidate_pairs": "candidate pairs",
    "random_pairs": "random pairs, for u",
    "labelled_pairs": "candidate pairs with labels",
    "reviewed_pairs": "of these, decided in the review queue",
    "patterns": "patterns of levels",
    "rounds": "rounds of the estimate",
    "pairs_of": "pairs of each class found",
}


def _sole(document: Mapping[str, Any]) -> list[str]:
    told = document.get("sole")
    if told is None:
        return ["Pairs alone link: the model has no rule of the sole candidate.", ""]
    allowances = ", ".join(
        f"{RIVALS.get(name, name)} {_bits(allowance)}"
        for name, allowance in sorted(told["allowance"].items())
    )
    return [
        "A record that joined nobody joins the only person that it can be (the sole candidate). What the absence of anyone else adds, in",
        f"bits, against {allowances}. Answered so: {', '.join(told['answers']) or 'nothing'}.",
        "What is expected below does not count these joins.",
        "",
    ]


def _quorum(document: Mapping[str, Any]) -> list[str]:
    told = document.get("quorum")
    if told is None:
        return []
    return [
        f"A pair below {_bits(told['sure'])} bits joins two groups of several records only if the pairs between the two, none of",
        f"which counts for more than {_bits(told['bound'])} bits, do not speak against it on the whole.",
        "",
    ]


def _warned(training: Mapping[str, Any]) -> list[str]:
    return [f"**Note:** {warning}" for warning in training.get("warnings", ())] + (
        [""] if training.get("warnings") else []
    )


def _cross_check(training: Mapping[str, Any]) -> list[str]:
    checked = training.get("cross_check")
    if not checked:
        return []
    return [
        "Beside our estimate, recordlinkage's ECM on a sample of the same candidate pairs (two classes, agree or not; a missing item does",
        "not agree, and ours is counted so here). Its u is that of candidate pairs, not of strangers.",
        "",
        *_table(
            ("field", "m, ECM", "m, ours", "u, ECM", "u, ours"),
            [
                (
                    NAMES.get(name, name),
                    *(
                        f"{one[kind]:.4f}"
                        for kind in ("recordlinkage_m", "our_m", "recordlinkage_u", "our_u")
                    ),
                )
                for name, one in checked.items()
            ],
        ),
        "",
    ]


def _expected(document: Mapping[str, Any], training: Mapping[str, Any]) -> list[str]:
    if "expected" not in training:
        return []
    live = document["thresholds"]["live"]
    return [
        f"`live` is the least weight from which the model expects a precision of {LIVE_PRECISION}, where {SAFE_PRECISION} is wanted. The",
        "margin, less than half of the errors allowed, is for what the expectation leaves out: fields err together in one hurried record,",
        "relatives whom blocking never brought together, a region that differs from the data. Expectations are of pairs that no safety",
        f"rule holds back, for an index of {training['population']:,} records; recall is of the true pairs that the estimate found, those",
        "held back counted as missed. What was measured against labels stands above what was expected: `mpi evaluate`.",
        "",
        *_table(
            ("from, bits", "expected precision", "expected recall", "linked unseen", "left to people"),
            [
                (
                    _bits(one["weight"]) + (" (live)" if one["weight"] == live else ""),
                    f"{one['precision']:.5f}",
                    f"{one['recall']:.4f}",
                    f"{one['linked']:,.0f}",
                    f"{one['review']:,.0f}",
                )
                for one in training["expected"]
            ],
        ),
        "",
    ]


def _subgroups(training: Mapping[str, Any]) -> list[str]:
    rows = training.get("subgroups")
    if not rows:
        return []
    measured = any("precision" in row for row in rows)
    heads = (
        "subgroup",
        "",
        "records",
        "pairs at live",
        "pairs for review",
        *(("precision", "recall") if measured else ()),
    )
    return [
        "## Subgroups",
        "",
        "Pairs of the training data, each counted to the subgroups of both its records, before persons are made of them."
        + (
            " Precision and recall are those of labelled pairs."
            if measured
            else " Without labels nothing here says how right they are."
        ),
        "",
        *_table(
            heads,
            [
                (
                    row["subgroup"],
                    row["value"],
                    f"{row['records']:,}",
                    f"{row['linked']:,}",
                    f"{row['review']:,}",
                    *(
                        (f"{row['precision']:.4f}", f"{row['recall']:.4f}")
                        if "precision" in row
                        else ("", "")
                        if measured
                        else ()
                    ),
                )
                for row in rows
            ],
        ),
        "",
    ]


MOST_SOURCES = 40


def _sources(training: Mapping[str, Any]) -> list[str]:
    rows = training.get("sources")
    if not rows:
        return []
    fields = list(dict.fromkeys(name for row in rows for name in row["errors"]))
    left_out = len(rows) - MOST_SOURCES
    return [
        "## How often sources err",
        "",
        "Of a source's records that say something, the share that is wrong, as far as pairs of one person tell: of two that disagree",
        "one is wrong, and the blame goes to the source that errs more with all others. A changed surname, a short form and a new home",
        "are no errors."
        + (
            f" The {MOST_SOURCES} sources with most records; {left_out} more stand in the model."
            if left_out > 0
            else ""
        ),
        "",
        *_table(
            ("source", "records", *(NAMES[name] for name in fields)),
            [
                (
                    row["source"],
                    f"{row['records']:,}",
                    *(f"{row['errors'][name]:.2%}" if name in row["errors"] else "" for name in fields),
                )
                for row in rows[:MOST_SOURCES]
            ],
        ),
        "",
    ]


def _levels(document: Mapping[str, Any]) -> list[str]:
    rivals = list(document["rivals"])
    rows = []
    for name, levels in document["fields"].items():
        for level, logs in levels.items():
            m, u = 2.0 ** (logs["person"] / 1000), 2.0 ** (logs["stranger"] / 1000)
            parts = [_bits(logs["person"] - logs[rival]) for rival in rivals]
            rows.append(
                (NAMES.get(name, name), f"{level}: {WORDS.get(level, level)}", f"{m:.4f}", f"{u:.3g}", *parts)
            )
    return _table(("field", "level", "m", "u", *rivals), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _bits(millibits: int) -> str:
    return f"{millibits / 1000:.1f}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{NAMES.get(name, name)} {_plain(inner)}" for name, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
