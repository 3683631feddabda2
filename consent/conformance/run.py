"""Ask the cases, one after the other: make people up, tell the facts, ask, and hold the answers to what is expected."""

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from consent.conformance.judge import (
    decision_problems,
    grant_problems,
    redemption_problems,
    told_problems,
    without_the_moment,
)
from consent.conformance.people import doubtful_likes, make_number, make_person, personal_values
from consent.conformance.read import NOBODY, UNREACHED, Case, Config, Pack
from consent.conformance.speak import Answer, AtScreen, Needs, NoAnswer, Speaker, System

State = Literal["passed", "failed", "not run"]
_SYSTEM = "conformance"
_CARED_FOR = timedelta(hours=6)
_RACERS = 2
_MOST_PAGES = 50
_UNREACHED = 2_000_000_000
_NOBODYS_ID = "1"
"""An id that was never given: ids are made from the time."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case went. ``problems`` are of a failed one; ``needs`` is what one that was not run needs."""

    case: str
    hard_case: str
    title: str
    state: State
    questions: int = 0
    problems: tuple[str, ...] = ()
    needs: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run, and what it leaves behind in the service."""

    run: str
    url: str
    pack: int
    results: tuple[CaseResult, ...]
    left_behind: Mapping[str, int]

    def count(self, state: State) -> int:
        return sum(one.state == state for one in self.results)


class _Failed(Exception):
    """The service refused a fact that it should have taken."""


def run_pack(
    pack: Pack,
    config: Config,
    url: str,
    *,
    only: tuple[str, ...] = (),
    told: Callable[[CaseResult], None] = lambda result: None,
) -> Report:
    """Ask the cases of a service, and return how each went; ``told`` is called after each.

    Raises:
        NoAnswer: no service speaks at this address.
    """
    run = f"{datetime.now(UTC):%y%m%d%H%M%S}{secrets.token_hex(2)}"
    service = _Service(pack, config, url, run)
    service.reach()
    results = []
    for case in pack.cases:
        if only and not any(case.name.startswith(one) for one in only):
            continue
        result = _run_case(service, case)
        told(result)
        results.append(result)
    return Report(
        run,
        url,
        pack.version,
        tuple(results),
        {what: count for what, count in sorted(service.left.items()) if count},
    )


def _run_case(service: "_Service", case: Case) -> CaseResult:
    common = (case.name, case.hard_case, case.title)
    play = _Play(service, case)
    try:
        problems = tuple(play.act())
    except Needs as missing:
        return CaseResult(*common, "not run", play.questions, needs=str(missing))
    except _Failed as fault:
        return CaseResult(*common, "failed", play.questions, (str(fault),))
    except NoAnswer as fault:
        return CaseResult(*common, "failed", play.questions, (f"no answer: {fault}",))
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        # An answer of another shape than the description says.
        return CaseResult(
            *common, "failed", play.questions, (f"an answer is not as described: {type(fault).__name__}",)
        )
    return CaseResult(*common, "failed" if problems else "passed", play.questions, problems)


class _Service:
    """The service under test: who may speak to it, and what was left in it."""

    def __init__(self, pack: Pack, config: Config, url: str, run: str) -> None:
        self.pack, self.config, self.url, self.run = pack, config, url, run
        self.left: Counter[str] = Counter()
        self.organisations = {part: one.organisation for part, one in config.systems.items()}
        self.parts = {code: part for part, code in self.organisations.items()}
        self._speakers: dict[str, Speaker | Needs] = {}
        self._checked: set[str] = set()
        self._agreed = False
        self._numbers = 0

    def reach(self) -> None:
        """See that there is a service; what it then refuses is told case by case."""
        for system in self.config.systems.values():
            with suppress(Needs):
                System(self.url, system.client_id, system.key).token()
                return

    def organisation(self, part: str) -> str:
        """Return the ODS code of who plays a part, once it is seen that the directory has it in the right setting."""
        if part not in self.organisations:
            raise Needs(f"a system of the {part}")
        code = self.organisations[part]
        if part not in self._checked:
            answer = self.speaker("administrator").call("GET", f"/api/v1/organisations/{code}")
            if answer.status != 200:
                raise Needs(f"the {part}'s organisation in the directory ({_refusal(answer)})")
            if answer.body["setting"] not in self.pack.settings[part]:
                raise Needs(f"an organisation for the {part} whose setting is {self.pack.settings[part][0]}")
            self._checked.add(part)
        return code

    def speaker(self, name: str) -> Speaker:
        """Return who speaks for a part or signs in under a name; a refusal is remembered, not asked for again."""
        if name not in self._speakers:
            self._speakers[name] = self._made(name)
        found = self._speakers[name]
        if isinstance(found, Needs):
            raise found
        return found

    def _made(self, name: str) -> "Speaker | Needs":
        try:
            if name in self.config.systems:
                system = self.config.systems[name]
                return System(self.url, system.client_id, system.key)
            if name in self.config.people:
                person = self.config.people[name]
                return AtScreen(self.url, person.username, person.password)
        except Needs as missing:
            return missing
        return Needs(f"a system or an account for the {name}")

    def agree(self) -> None:
        """Record the standing agreements of the pack, among its own organisations only; again, they change nothing."""
        if self._agreed:
            return
        for name, words in self.pack.agreements.items():
            if not words.get("is_passing"):
                self.put_agreement(name)
        self._agreed = True

    def put_agreement(self, name: str, *, has_ended: bool = False) -> None:
        words = dict(self.pack.agreements[name])
        words.pop("is_passing", None)
        # A part that no system plays is left out: its cases are not run.
        for side in ("providers", "consumers"):
            words[side] = [self.organisations[part] for part in words[side] if part in self.organisations]
            if not words[side]:
                return
        if has_ended:
            words["ends_at"] = _instant(timedelta(seconds=-1))
        answer = self.speaker("administrator").call(
            "POST", "/api/v1/agreements", {"name": f"Conformance: {name}", **words}
        )
        _taken(answer, "agreement")
        self.left["agreement versions"] += answer.body.get("state") != "unchanged"

    def fresh_number(self, speaker: Speaker) -> str:
        """Draw an NHS number of the range for tests that nobody in the index bears, as far as the service lets us see."""
        for _ in range(20):
            number = make_number()
            answer = speaker.call("POST", "/api/v1/persons/lookup", {"system": "nhs-number", "value": number})
            if answer.status != 200 or not answer.body["persons"]:
                return number
        raise Needs("an NHS number of the range for tests that is free")

    def next_local_id(self) -> str:
        self._numbers += 1
        return f"{self.run}-{self._numbers}"


class _Play:
    """One case being acted out."""

    def __init__(self, service: _Service, case: Case) -> None:
        self._service, self._case = service, case
        self.questions = 0
        self._records: dict[str, dict[str, Any]] = {}  # demographics by name
        self._persons: dict[
            str, str
        ] = {}  # the id of the first record, which resolves to the person whose it is
        self._homes: dict[str, str] = {}  # the person who bore that record when it came
        self._directives: dict[str, dict[str, Any]] = {}
        self._tickets: dict[str, Any] = {}
        self._decisions: dict[str, Mapping[str, Any]] = {}
        self._incident = f"conf-{service.run}-{secrets.token_hex(3)}"

    def act(self) -> Iterator[str]:
        self._service.agree()
        for name in self._case.people:
            self._introduce(name)
        for fact in self._case.given:
            self._tell(fact)
        for place, question in enumerate(self._case.asked, start=1):
            for fact in question.get("after", ()):
                self._tell(fact)
            name = question.get("name", f"question {place}")
            self.questions += 1
            for problem in self._ask(name, question):
                yield f"{name}: {problem}"

    # People ----------------------------------------------------------------------------------------------------------

    def _introduce(self, name: str) -> None:
        words = self._case.people[name]
        if "like" in words:
            self._introduce_doubtful(name, words)
            return
        record = make_person(born_years_ago=words.get("born_years_ago"))
        if words.get("restricted"):
            record["restricted"] = True
        if words.get("died"):
            record["death_date"] = (datetime.now(UTC) - timedelta(days=40)).date().isoformat()
        known_to = words.get("known_to", [])
        if len(known_to) > 1:
            number = self._service.fresh_number(self._service.speaker(known_to[0]))
            record |= {"nhs_number": number, "nhs_number_status": "01"}
        self._records[name] = record
        for part in known_to:
            self._send(name, part, record)

    def _send(self, name: str, part: str, record: Mapping[str, Any]) -> dict[str, Any]:
        code, local_id = self._service.organisation(part), self._service.next_local_id()
        answer = self._service.speaker(part).call(
            "PUT", f"/api/v1/source-records/{code}/{_SYSTEM}/{local_id}", dict(record)
        )
        body = _taken(answer, "record")
        self._service.left["source records"] += 1
        self._persons.setdefault(name, body["record_id"])
        if body["state"] != "linked":
            raise Needs(f"records that are linked before the answer: one is {body['state']}")
        if body["person_id"] != self._homes.setdefault(name, body["person_id"]):
            raise Needs("two records that agree in everything to be linked")
        return body

    def _introduce_doubtful(self, name: str, words: Mapping[str, Any]) -> None:
        like = self._persons[words["like"]]
        for record in doubtful_likes(self._records[words["like"]]):
            self._persons.pop(name, None)
            self._homes.pop(name, None)
            body = self._send(name, words["known_to"][0], record)
            self._records[name] = record
            if body["person_id"] == like:
                raise Needs("a doubtful record to be asked about, and not linked")
            if self._task_of(like, body["record_id"]):
                return
        raise Needs("a doubtful record to be asked about, and no task was opened")

    def _task_of(self, one: str, other: str) -> dict[str, Any] | None:
        reader, cursor = self._service.speaker("reader"), ""
        for _ in range(_MOST_PAGES):
            query = {"for": "*", "limit": "200"} | ({"cursor": cursor} if cursor else {})
            page = _taken(reader.call("GET", "/api/v1/tasks", **query), "task")
            for task in page["tasks"]:
                ids = {number for side in task["sides"] for number in side}
                if {one, other} <= ids:
                    return dict(task)
            cursor = page.get("next") or ""
            if not cursor:
                return None
        raise Needs("a shorter review queue: it was read in part only")

    # Facts -----------------------------------------------------------------------------------------------------------

    def _tell(self, fact: Mapping[str, Any]) -> None:
        for kind, words in fact.items():
            {
                "record": self._tell_record,
                "relationship": self._tell_relationship,
                "relationship-ends": self._tell_end,
                "directive": self._tell_directive,
                "withdrawal": self._tell_withdrawal,
                "same-person": self._tell_same,
                "agreement": self._tell_agreement,
            }[kind](words)

    def _tell_record(self, words: Mapping[str, Any]) -> None:
        name = words["person"]
        code, local_id = self._service.organisation(words["organisation"]), self._service.next_local_id()
        answer = self._service.speaker(words["organisation"]).call(
            "PUT", f"/api/v1/source-records/{code}/{_SYSTEM}/{local_id}", self._records[name]
        )
        self._persons[name] = _taken(answer, "record")["record_id"]
        self._service.left["source records"] += 1

    def _tell_relationship(self, words: Mapping[str, Any]) -> None:
        body = {
            "person_id": self._persons[words["person"]],
            "kind": words["kind"],
            "organisation": self._service.organisation(words["organisation"]),
            "ends_at": _instant(_CARED_FOR),
        }
        if "user" in words:
            body["user_id"] = self._user_id(words["user"])
        if words.get("incident"):
            body["incident_id"] = self._incident
        speaker = self._service.speaker(words["organisation"])
        _taken(speaker.call("POST", "/api/v1/relationships", body), "relationship")
        self._service.left["relationships that end within six hours"] += 1

    def _tell_end(self, words: Mapping[str, Any]) -> None:
        body = {
            "person_id": self._persons[words["person"]],
            "kind": words["kind"],
            "organisation": self._service.organisation(words["organisation"]),
            "ends_at": _instant(timedelta(0)),
        }
        speaker = self._service.speaker(words["organisation"])
        _taken(speaker.call("POST", "/api/v1/relationships/end", body), "relationship-ends")

    def _tell_directive(self, words: Mapping[str, Any]) -> None:
        speaker = self._service.speaker(words["by"])
        answer = speaker.call("POST", "/api/v1/directives", self._directive(words, speaker))
        self._directives[words.get("name", "directive")] = _taken(answer, "directive")
        self._service.left["directives"] += 1

    def _directive(self, words: Mapping[str, Any], speaker: Speaker) -> dict[str, Any]:
        by = words["by"]
        if by in self._service.organisations:
            received_by = self._service.organisation(by)
        else:
            received_by = _taken(speaker.call("GET", "/api/v1/me"), "directive")["organisation"]
        scope = dict(words["scope"])
        if scope["kind"] == "organisation":
            scope["code"] = self._service.organisation(scope["code"])
        body = {"kind": words["kind"], "scope": scope, "received_by": received_by}
        body |= {name: words[name] for name in ("may_override", "standing", "reason") if name in words}
        if words.get("form"):
            record = self._records[words["person"]]
            body["form"] = {name: value for name, value in record.items() if name != "restricted"}
        else:
            body["person_id"] = self._persons[words["person"]]
        if "effective" in words:
            body["effective_at"] = _instant(timedelta(days=words["effective"]))
        if "lifts" in words:
            body["lifts"] = [self._directives[name]["directive_id"] for name in words["lifts"]]
        return body

    def _tell_withdrawal(self, words: Mapping[str, Any]) -> None:
        number = self._directives[words["of"]]["directive_id"]
        body = {"reason": "A case of the conformance pack"}
        answer = self._service.speaker(words["by"]).call(
            "POST", f"/api/v1/directives/{number}/withdraw", body
        )
        _taken(answer, "withdrawal")

    def _tell_same(self, words: Mapping[str, Any]) -> None:
        one, other = (self._persons[name] for name in words["of"])
        task = self._task_of(one, other)
        if task is None:
            raise _Failed("same-person: the task is no longer there")
        reader, path = self._service.speaker("reader"), f"/api/v1/tasks/{task['task_id']}"
        claimed = _taken(
            reader.call("POST", f"{path}/claim", if_match=f'W/"{task["version"]}"'), "same-person"
        )
        body = {"verdict": "same", "reason": "patient-confirmed"}
        answer = reader.call("POST", f"{path}/decide", body, if_match=f'W/"{claimed["version"]}"')
        if _taken(answer, "same-person").get("outcome") == "second-reader-needed":
            raise Needs("a decision that one reader may take")
        self._service.left["readers' decisions"] += 1

    def _tell_agreement(self, words: Mapping[str, Any]) -> None:
        self._service.put_agreement(words["name"], has_ended=words.get("ended", False))

    # Questions -------------------------------------------------------------------------------------------------------

    def _ask(self, name: str, question: Mapping[str, Any]) -> Iterator[str]:
        expected = question["expected"]
        for kind, ask in (
            ("decision", self._ask_decision),
            ("release", self._ask_release),
            ("redemption", self._ask_redemption),
            ("emergency", self._ask_emergency),
            ("batch", self._ask_batch),
            ("race", self._ask_race),
            ("report", self._ask_report),
            ("alerts", self._ask_alerts),
        ):
            if kind in question:
                yield from ask(name, question[kind], expected)

    def _ask_decision(
        self, name: str, words: Mapping[str, Any], expected: Mapping[str, Any]
    ) -> Iterator[str]:
        body = self._question(words)
        answer = self._service.speaker(words["as"]).call("POST", "/api/v1/decisions", body)
        yield from self._judged(name, answer, body, expected)

    def _judged(
        self, name: str, answer: Answer, asked: Mapping[str, Any], expected: Mapping[str, Any]
    ) -> Iterator[str]:
        """Judge an answer that should be a decision."""
        if (yield from self._is_refusal(answer, expected)):
            return
        yield from self._judged_decision(name, answer.body, asked, expected)
        yield from self._told(answer, expected)

    def _judged_decision(
        self, name: str, decision: Mapping[str, Any], asked: Mapping[str, Any], expected: Mapping[str, Any]
    ) -> Iterator[str]:
        self._decisions[name] = decision
        yield from decision_problems(decision, expected, asked, self._service.parts)
        if (
            "epoch_of" in expected
            and (decision["epoch"] or 0) < self._directives[expected["epoch_of"]]["epoch"]
        ):
            yield "epoch: older than that of the receipt"
        if "same_as" in expected:
            other = without_the_moment(self._decisions[expected["same_as"]])
            here = without_the_moment(decision)
            for field_name in sorted(other.keys() | here.keys()):
                if other.get(field_name) != here.get(field_name):
                    yield f"{field_name}: differs from the answer to {expected['same_as']}"

    def _is_refusal(self, answer: Answer, expected: Mapping[str, Any]) -> Generator[str, None, bool]:
        """Judge a status and a code; return whether there is no decision to judge."""
        wanted = expected.get("status", 200)
        if answer.status in (401, 403) and wanted != answer.status:
            raise Needs(f"the right to ask ({_refusal(answer)})")
        if answer.status != wanted:
            yield f"status: {wanted} expected, {_refusal(answer)} answered"
            return True
        if "code" in expected and answer.code != expected["code"]:
            yield f"code: {expected['code']} expected, {answer.code} answered"
        if wanted != 200:
            yield from self._told(answer, expected)
        return bool(wanted != 200)

    def _told(self, answer: Answer, expected: Mapping[str, Any]) -> Iterator[str]:
        for record in self._records.values():
            yield from told_problems(answer, personal_values(record), ())
        yield from told_problems(answer, {}, tuple(expected.get("never", ())))

    def _ask_release(self, name: str, words: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
        body = self._question(words)
        redeemer = words["redeemer"]
        if redeemer not in self._service.config.systems:
            raise Needs(f"a system of the {redeemer}")
        body["redeemer"] = self._service.config.systems[redeemer].client_id
        answer = self._service.speaker(words["as"]).call("POST", "/api/v1/releases", body)
        if (yield from self._is_refusal(answer, expected)):
            return
        yield from self._judged_decision(name, answer.body["decision"], body, expected)
        yield from self._told(answer, expected)
        ticket = answer.body["ticket"]
        if "ticket" in expected and (ticket is not None) is not expected["ticket"]:
            yield f"ticket: {'one' if expected['ticket'] else 'none'} expected"
        if ticket is not None:
            self._tickets[words["ticket"]] = ticket

    def _ask_redemption(
        self, name: str, words: Mapping[str, Any], expected: Mapping[str, Any]
    ) -> Iterator[str]:
        if words["ticket"] not in self._tickets:
            yield "there is no ticket to redeem"
            return
        items = [
            {**dict(zip(("category", "label"), item["cell"].split("/"), strict=False)), "id": item["id"]}
            | {"source": self._service.organisation(item["cell"].split("/")[2])}
            for item in words["items"]
        ]
        body = {"ticket": self._tickets[words["ticket"]], "items": items}
        answer = self._service.speaker(words["by"]).call("POST", "/api/v1/releases/redeem", body)
        if (yield from self._is_refusal(answer, expected)):
            return
        yield from redemption_problems(answer.body, expected, items)
        yield from self._told(answer, expected)

    def _ask_emergency(
        self, name: str, words: Mapping[str, Any], expected: Mapping[str, Any]
    ) -> Iterator[str]:
        body = self._question(words)
        answer = self._service.speaker(words["as"]).call("POST", "/api/v1/emergency-access", body)
        if (yield from self._is_refusal(answer, expected)):
            return
        if answer.body["grant"] is not None:
            self._service.left["emergency openings with their alerts"] += 1
        yield from grant_problems(answer.body, expected)
        yield from self._judged_decision(name, answer.body["decision"], body, expected)
        yield from self._told(answer, expected)

    def _ask_batch(self, name: str, words: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
        """Ask about several people one by one, as an extract does."""
        for person in words["persons"]:
            one = {key: value for key, value in words.items() if key != "persons"} | {"person": person}
            wanted = {**expected, "outcome": expected["outcomes"][person]}
            for problem in self._ask_decision(f"{name}: {person}", one, wanted):
                yield f"{person}: {problem}"

    def _ask_race(self, name: str, words: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
        """Ask again and again while a directive is recorded: each answer is before it or after it, as its epoch says."""
        ask = {key: value for key, value in words.items() if key != "directive"}
        body, asker = self._question(ask), self._service.speaker(ask["as"])
        answers: list[tuple[bool, Answer]] = []  # whether it was asked after the receipt had come
        faults: list[BaseException] = []
        is_recorded, first = threading.Event(), asker.call("POST", "/api/v1/decisions", body)
        if (yield from self._is_refusal(first, {})):
            return
        answers.append((False, first))

        def keep_asking() -> None:
            try:
                while True:
                    is_after = is_recorded.is_set()
                    answers.append((is_after, asker.call("POST", "/api/v1/decisions", body)))
                    if is_after:
                        return
            except BaseException as fault:
                faults.append(fault)

        racers = [threading.Thread(target=keep_asking, daemon=True) for _ in range(_RACERS)]
        for racer in racers:
            racer.start()
        try:
            self._tell_directive({"name": "race", **words["directive"]})
        finally:
            is_recorded.set()
            for racer in racers:
                racer.join()
        if faults:
            raise faults[0]
        epoch = self._directives["race"]["epoch"]
        problems: Counter[str] = Counter()
        for is_after, answer in answers:
            if answer.status != 200:
                problems[f"status: 200 expected, {_refusal(answer)} answered"] += 1
                continue
            problems.update(decision_problems(answer.body, {}, body, self._service.parts))
            problems.update(self._told(answer, {}))
            at = answer.body["epoch"]
            wanted = expected["from"] if at >= epoch else expected["before"]
            if is_after and at < epoch:
                problems["epoch: a decision that began after the receipt states an older one"] += 1
            if answer.body["outcome"] != wanted:
                side = "at or after" if at >= epoch else "before"
                problems[
                    f"outcome: {wanted} expected {side} the receipt's epoch, {answer.body['outcome']} answered"
                ] += 1
        yield from problems

    def _ask_report(self, name: str, words: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
        number = self._persons[words["person"]]
        answer = self._service.speaker(words["by"]).call("GET", f"/api/v1/persons/{number}/access-report")
        if (yield from self._is_refusal(answer, expected)):
            return
        outcomes = [access["outcome"] for access in answer.body["accesses"] if access["kind"] == "decision"]
        if outcomes != expected["outcomes"]:
            yield f"outcomes: {len(expected['outcomes'])} accesses expected, {len(outcomes)} answered, or others"

    def _ask_alerts(self, name: str, words: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
        officer, person = self._service.speaker(words["by"]), self._persons[words["person"]]
        home = _taken(officer.call("GET", "/api/v1/me"), "question")["organisation"]
        if home != self._service.organisation("hospital"):
            raise Needs(f"an {words['by']} of the hospital")
        found: set[str] = set()
        cursor = ""
        for _ in range(_MOST_PAGES):
            query = {"state": "all", "limit": "200"} | ({"cursor": cursor} if cursor else {})
            answer = officer.call("GET", "/api/v1/alerts", **query)
            if (yield from self._is_refusal(answer, expected)):
                return
            for alert in answer.body["items"]:
                if alert["person_id"] == person:
                    found |= {alert["code"], *alert.get("signals", ())}
            cursor = answer.body.get("next") or ""
            if not cursor:
                break
        else:
            raise Needs("fewer alerts: they were read in part only")
        for code in expected["alerts"]:
            if code not in found:
                yield f"alerts: {code} is missing"

    def _question(self, words: Mapping[str, Any]) -> dict[str, Any]:
        service = self._service
        body: dict[str, Any] = {
            "person_id": _NOBODYS_ID if words["person"] == NOBODY else self._persons[words["person"]],
            "purpose": words.get("purpose", "TREAT"),
            "categories": words["categories"],
            "labels": words.get("labels", ["N"]),
            "sources": [service.organisation(part) for part in words["sources"]],
            "identified_by": words.get("identified_by", "confirmed-match"),
        }
        if "user" in words:
            user = service.pack.users[words["user"]]
            body["user"] = {
                "user_id": self._user_id(words["user"]),
                "role": user["role"],
                "organisation": service.organisation(words["as"]),
                "assurance": words.get("assurance", 3),
                "activities": words.get("activities", []),
            }
        for name in ("action", "claimed_relationship", "reason_code", "reason"):
            if name in words:
                body[name] = words[name]
        if "incident" in words:
            body["incident_id"] = self._incident if words["incident"] == "this" else f"{self._incident}-2"
        if "min_epoch" in words:
            name = words["min_epoch"]
            body["min_epoch"] = _UNREACHED if name == UNREACHED else self._directives[name]["epoch"]
        return body

    def _user_id(self, name: str) -> str:
        return f"conf-{self._service.run}-{name}"


def _taken(answer: Answer, what: str) -> dict[str, Any]:
    """Return what the service answered to a fact.

    Raises:
        Needs: the caller may not tell it. _Failed: the service refused it.
    """
    if answer.status in (401, 403):
        raise Needs(f"the right to tell it of a {what} ({_refusal(answer)})")
    if answer.status >= 400:
        raise _Failed(f"{what}: {_refusal(answer)}")
    return dict(answer.body)


def _refusal(answer: Answer) -> str:
    return f"{answer.status} {answer.code}".strip()


def _instant(ahead: timedelta) -> str:
    return (datetime.now(UTC) + ahead).isoformat()
