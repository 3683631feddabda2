"""Read the pack and the configuration. A misspelt word in a case is a fault: what is passed over silently was never asked."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOM = Path(__file__).parent
PARTS = ("hospital", "practice", "mental-health", "ambulance", "care-home")
"""The organisations of the cases; a configuration says which ODS code plays which."""
PEOPLE = ("administrator", "reader", "guardian", "officer")
"""Those who sign in at a screen."""


def _words_of(schema: Mapping[str, Any], name: str) -> frozenset[str]:
    return frozenset(schema["$defs"][name]["properties"])


SCHEMA: Mapping[str, Any] = json.loads((ROOM / "case.schema.json").read_text(encoding="utf-8"))
"""How a case is written: the one place that lists its words."""
_NAMES = {
    "person": "person",
    "persons": "person",
    "as": "part",
    "by": "part",
    "organisation": "part",
    "sources": "part",
    "redeemer": "part",
    "user": "user",
    "ticket": "ticket",
    "lifts": "directive",
}
"""What a word of a fact or of a question names."""
NOBODY = "nobody"
UNREACHED = "none"
FACTS = {kind: _words_of(SCHEMA, kind) for kind in SCHEMA["$defs"]["fact"]["properties"]}
QUESTIONS = {
    kind: _words_of(SCHEMA, kind)
    for kind in SCHEMA["$defs"]["asked"]["properties"]
    if kind not in ("name", "after", "expected")
}
EXPECTED = _words_of(SCHEMA, "expected")
_CASE = frozenset(SCHEMA["properties"])
_PERSON = _words_of(SCHEMA, "person")


class CaseFault(Exception):
    """A case that cannot be read; the text says where."""


class ConfigFault(Exception):
    """A configuration that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case: people, facts given, and questions with what is expected of their answers."""

    name: str
    hard_case: str
    title: str
    why: str
    people: Mapping[str, Mapping[str, Any]]
    given: tuple[Mapping[str, Any], ...]
    asked: tuple[Mapping[str, Any], ...]

    def facts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Give the kind and the words of each fact, those between questions too."""
        for one in (*self.given, *(fact for question in self.asked for fact in question.get("after", ()))):
            yield from one.items()


@dataclass(frozen=True, slots=True)
class Pack:
    """Everything that is asked: the cases, who asks, and the agreements that they rest on."""

    version: int
    users: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, tuple[str, ...]]
    agreements: Mapping[str, Mapping[str, Any]]
    cases: tuple[Case, ...]
    not_shown: tuple[Mapping[str, str], ...]


def read_pack(folder: Path = ROOM) -> Pack:
    """Read the pack of a folder: ``pack.json`` and the files of ``cases/`` in order of name.

    Raises:
        CaseFault
    """
    whole = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
    cases = tuple(_case(path, whole) for path in sorted((folder / "cases").glob("*.json")))
    return Pack(
        version=whole["version"],
        users=whole["users"],
        settings={part: tuple(found) for part, found in whole["settings"].items()},
        agreements=whole["agreements"],
        cases=cases,
        not_shown=tuple(whole["not_shown"]),
    )


def _case(path: Path, whole: Mapping[str, Any]) -> Case:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CaseFault(f"{path.name}: no JSON: {error}") from None
    _only(path.name, given, _CASE)
    if missing := set(SCHEMA["required"]) - given.keys():
        raise CaseFault(f"{path.name}: {min(missing)} is missing")
    if given["case"] != path.stem:
        raise CaseFault(f"{path.name}: the case is called {given['case']}")
    case = Case(
        name=given["case"],
        hard_case=given.get("hard_case", ""),
        title=given["title"],
        why=given["why"],
        people=given["people"],
        given=tuple(given.get("given", ())),
        asked=tuple(given["asked"]),
    )
    for name, person in case.people.items():
        _only(f"{path.name}: people: {name}", person, _PERSON)
    for kind, words in case.facts():
        if kind not in FACTS:
            raise CaseFault(f"{path.name}: no fact is called {kind}")
        _only(f"{path.name}: {kind}", words, FACTS[kind])
    for place, question in enumerate(case.asked, start=1):
        where = f"{path.name}: question {place}"
        kinds = question.keys() & QUESTIONS.keys()
        if len(kinds) != 1:
            raise CaseFault(f"{where}: one kind of question is needed")
        kind = min(kinds)
        _only(where, question, frozenset({"name", "after", "expected", kind}))
        _only(where, question[kind], QUESTIONS[kind])
        if not question.get("expected"):
            raise CaseFault(f"{where}: nothing is expected")
        _only(f"{where}: expected", question["expected"], EXPECTED)
        if question[kind].get("user", "doctor") not in whole["users"]:
            raise CaseFault(f"{where}: no user is called {question[kind]['user']}")
    _check_names(path.name, case, whole)
    return case


def _check_names(file: str, case: Case, whole: Mapping[str, Any]) -> None:
    """See that whoever and whatever a case names is there: a name that is not would be told as somebody who is missing, or as nobody."""
    facts = list(case.facts())
    questions = [(kind, question[kind]) for question in case.asked for kind in QUESTIONS if kind in question]
    facts += [("directive", words["directive"]) for _, words in questions if "directive" in words]
    known = {
        "person": {*case.people, NOBODY},
        "part": {*PARTS, *PEOPLE},
        "user": set(whole["users"]),
        "agreement": set(whole["agreements"]),
        "directive": {words.get("name", "directive") for kind, words in facts if kind == "directive"},
        "ticket": {words["ticket"] for kind, words in questions if kind == "release"},
        "question": {question["name"] for question in case.asked},
    }
    named: list[tuple[str, str]] = []
    for person in case.people.values():
        named += [("part", part) for part in person.get("known_to", ())]
        named += [("person", person["like"])] if "like" in person else []
    for kind, words in (*facts, *questions):
        for word, what in _NAMES.items():
            if word in words:
                given = words[word] if isinstance(words[word], list) else [words[word]]
                named += [(what, one) for one in given]
        if kind == "agreement":
            named.append(("agreement", words["name"]))
        if kind in ("withdrawal", "same-person"):
            what = "directive" if kind == "withdrawal" else "person"
            named += [(what, one) for one in ([words["of"]] if kind == "withdrawal" else words["of"])]
        if words.get("min_epoch", UNREACHED) != UNREACHED:
            named.append(("directive", words["min_epoch"]))
        if kind == "directive" and words["scope"]["kind"] == "organisation":
            named.append(("part", words["scope"]["code"]))
    for question in case.asked:
        expected = question["expected"]
        named += [("directive", expected["epoch_of"])] if "epoch_of" in expected else []
        named += [("question", expected["same_as"])] if "same_as" in expected else []
    for what, name in named:
        if name not in known[what]:
            raise CaseFault(f"{file}: no {what} is called {name}")


def _only(where: str, given: Mapping[str, Any], known: frozenset[str]) -> None:
    if unknown := given.keys() - known:
        raise CaseFault(f"{where}: {min(unknown)} is not known")


# The configuration ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SystemAccount:
    """A registered system: for whom it speaks, and the file of its private key, a JWK with a ``kid``."""

    organisation: str
    client_id: str
    key: Path


@dataclass(frozen=True, slots=True)
class PersonAccount:
    """Somebody with an account; the password stands in a file of its own."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """With whose accounts the cases are asked."""

    systems: Mapping[str, SystemAccount]
    people: Mapping[str, PersonAccount]


def read_config(path: Path) -> Config:
    """Read a configuration; files that it names are looked for beside it.

    Raises:
        ConfigFault
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        if given.get("is_test") is not True:
            raise ConfigFault(
                "the pack makes people up and leaves them behind: say that the index is one for tests by"
                ' "is_test": true'
            )
        systems = {
            part: SystemAccount(one["organisation"], one["client_id"], path.parent / one["key"])
            for part, one in given["systems"].items()
        }
        people = {
            part: PersonAccount(
                one["username"], (path.parent / one["password_file"]).read_text(encoding="utf-8").strip()
            )
            for part, one in given.get("people", {}).items()
        }
    except OSError as error:
        raise ConfigFault(f"{error.filename}: {error.strerror}") from None
    except KeyError as error:
        raise ConfigFault(f"{path.name}: {error.args[0]} is missing") from None
    except (ValueError, AttributeError, TypeError):
        raise ConfigFault(f"{path.name}: not a configuration") from None
    if unknown := (systems.keys() - set(PARTS)) | (people.keys() - set(PEOPLE)):
        raise ConfigFault(f"{path.name}: {min(unknown)} plays no part")
    codes = [one.organisation for one in systems.values()]
    if len(set(codes)) != len(codes):
        raise ConfigFault(f"{path.name}: each part needs an organisation of its own")
    return Config(systems, people)
