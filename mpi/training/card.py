"""The model card: what a model is, what it learned and from what, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from mpi.matching.explain import NAMES, RIVALS, WORDS
from mpi.matching.model import revision_of


def model_card(document: Mapping[str, Any], report: Mapping[str, Any] | None = None) -> str:
    """Return the card of a model document; ``report`` is what training returned beside it.

    It holds rates, counts and thresholds. Frequency tables are told by size: names are not printed.
    """
    training = {**document.get("training", {}), **(report or {})}
    lines = [
        f"# Match model: {document['name']}",
        "",
        f"Revision `{revision_of(document)}`.",
        "",
        "## Training",
        "",
        *_table(("", ""), [(name, _plain(training[name])) for name in _FACTS if name in training]),
        "",
        "## Thresholds",
        "",
        *_table(
            ("threshold", "bits"),
            [(name, _bits(value)) for name, value in document["thresholds"].items()],
        ),
        "",
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
        "m: share of pairs of one person that show the level, where both say something. Then its part in bits against each rival.",
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


_FACTS = (
    "records",
    "candidate_pairs",
    "random_pairs",
    "seed",
    "population",
    "rounds",
    "patterns",
    "pairs_of",
    "cross_check",
)


def _levels(document: Mapping[str, Any]) -> list[str]:
    rivals = list(document["rivals"])
    rows = []
    for name, levels in document["fields"].items():
        for level, logs in levels.items():
            share = 2.0 ** (logs["person"] / 1000)
            parts = [_bits(logs["person"] - logs[rival]) for rival in rivals]
            rows.append(
                (NAMES.get(name, name), f"{level}: {WORDS.get(level, level)}", f"{share:.4f}", *parts)
            )
    return _table(("field", "level", "m", *rivals), rows)


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
        return "; ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
