"""Every kind of audit row that the code writes can be told as FHIR: the code is read for what reaches the log, however it gets there."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from consent.service.report_told import EVENTS

ROOT = Path(__file__).resolve().parents[2]
ATTRIBUTES = {"act": "mpi.service.local_ids.ACTS", "ERASING": "foundation.audit.ERASING"}
"""Kinds, or ends of kinds, that are read off a value rather than written where the row is: where their closed lists stand."""


@dataclass
class Module:
    name: str
    tree: ast.Module
    imports: dict[str, str] = field(default_factory=dict)  # name here → dotted name
    functions: dict[str, list[ast.FunctionDef]] = field(default_factory=lambda: defaultdict(list))


def _modules() -> dict[str, Module]:
    found = {}
    for folder in ("app.py", "foundation", "mpi", "consent"):
        for path in [ROOT / folder] if folder.endswith(".py") else sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT)).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            one = found[name] = Module(name, ast.parse(path.read_text(encoding="utf-8")))
            for node in ast.walk(one.tree):
                if isinstance(node, ast.ImportFrom) and node.module:
                    one.imports |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
                elif isinstance(node, ast.Import):
                    one.imports |= {a.asname: a.name for a in node.names if a.asname}
                elif isinstance(node, ast.FunctionDef):
                    one.functions[node.name].append(node)
    return found


Where = tuple[Module, tuple[ast.FunctionDef, ...], str]
"""A module, the functions around a place in it from the outermost in, and the place as told."""


class Kinds:
    """The kinds that reach ``entry_by``: literals as they are, names followed to what stands behind them, arguments to all callers."""

    def __init__(self) -> None:
        self.modules = _modules()
        self.found: dict[str, str] = {}
        self.unread: list[str] = []
        # Dotted name of a function → the place and name of its argument, and what becomes of it: the kind, or a part of one.
        self._writers = {
            "foundation.audit.entry_by": {(2, "kind", "%s")},
            "foundation.audit.AuditEntry": {(1, "kind", "%s")},
        }
        known = 0
        while known != (known := sum(map(len, self._writers.values()))):
            self.found.clear()
            self.unread.clear()
            for module in self.modules.values():
                for around, call in _calls(module.tree):
                    where = (module, around, f"{module.name}:{call.lineno}")
                    for writer in sorted(self._writers.get(self._dotted(module, call.func), ())):
                        self._follow(where, call, writer)
        self._add_governed()

    def _follow(self, where: Where, call: ast.Call, writer: tuple[int, str, str]) -> None:
        place, name, frame = writer
        if where[2].startswith("foundation.audit:"):
            return  # how entry_by hands on what it was given
        given = [word.value for word in call.keywords if word.arg == name] or call.args[place : place + 1]
        for one in given:
            for kind in self._read(where, one, frame):
                self.found[kind] = where[2]

    def _dotted(self, module: Module, called: ast.expr) -> str:
        match called:
            case ast.Name(id=name):
                return f"{module.name}.{name}" if name in module.functions else module.imports.get(name, "")
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return f"{module.name}.{name}"
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                return f"{module.imports.get(owner, '')}.{name}"
        return ""

    def _read(self, where: Where, part: ast.expr, frame: str) -> Iterator[str]:
        match part:
            case ast.Constant(value=str(text)):
                yield frame % text
            case ast.Constant(value=None):
                return
            case ast.IfExp(body=first, orelse=second) | ast.BoolOp(values=[first, second]):
                yield from self._read(where, first, frame)
                yield from self._read(where, second, frame)
            case ast.JoinedStr(values=[ast.Constant(value=str(start)), ast.FormattedValue(value=inner)]):
                yield from self._read(where, inner, frame % f"{start}%s")
            case ast.Subscript(value=value) | ast.Call(func=ast.Attribute(value=value, attr="get")):
                yield from self._read(where, value, frame)
            case ast.Dict(values=values) | ast.Tuple(elts=values) | ast.List(elts=values):
                for value in values:
                    yield from self._read(where, value, frame)
            case ast.Name(id=name):
                yield from self._named(where, name, frame)
            case ast.Attribute(attr=name) if name in ATTRIBUTES:
                module, _, inner_name = ATTRIBUTES[name].rpartition(".")
                yield from self._named((self.modules[module], (), where[2]), inner_name, frame)
            case ast.Attribute(attr="cause"):
                for one, around, call in self._made("mpi.service.link.Change"):
                    yield from self._read((one, around, where[2]), call.args[0], frame)
            case _:
                self.unread.append(f"{where[2]} {ast.unparse(part)}")

    def _named(self, where: Where, name: str, frame: str) -> Iterator[str]:
        module, around, told = where
        for function in reversed(around):
            values = list(_assigned(function, name))
            if values:
                for value in values:
                    yield from self._read(where, value, frame)
                return
            asked = [one.arg for one in function.args.args]
            if name in asked or name in [one.arg for one in function.args.kwonlyargs]:
                place = asked.index(name) - (asked[0] == "self") if name in asked else len(asked) + 99
                writers = self._writers.setdefault(f"{module.name}.{function.name}", set())
                writers.add((place, name, frame))
                for one in _closed_list(function, name):
                    yield from self._read((module, (), told), one, frame)
                for argument, value in _defaults(function):
                    if argument == name:
                        yield from self._read((module, (), told), value, frame)
                return
        dotted = module.imports.get(name, f"{module.name}.{name}")
        owner, _, inner = dotted.rpartition(".")
        while owner in self.modules and inner in self.modules[owner].imports:
            owner, _, inner = self.modules[owner].imports[inner].rpartition(".")
        values = list(_assigned(self.modules[owner].tree, inner)) if owner in self.modules else []
        if not values:
            self.unread.append(f"{told} {name}")
        for value in values:
            yield from self._read((self.modules[owner], (), told), value, frame)

    def _made(self, dotted: str) -> Iterator[tuple[Module, tuple[ast.FunctionDef, ...], ast.Call]]:
        owner, _, name = dotted.rpartition(".")
        for module in self.modules.values():
            for around, call in _calls(module.tree):
                is_here = module.name == owner and isinstance(call.func, ast.Name) and call.func.id == name
                if is_here or self._dotted(module, call.func) == dotted:
                    yield module, around, call

    def _add_governed(self) -> None:
        """What two people govern bears its own word in its kinds, and hands rows on through a value of its own."""
        changes = self.modules["foundation.changes"]
        states = {
            call.args[3].value
            for _, call in _calls(changes.tree)
            if ast.unparse(call.func) == "_take" and isinstance(call.args[3], ast.Constant)
        }
        for module, _, call in self._made("foundation.changes.Governed"):
            told = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
            for end in {"proposed", "rolled-back", told["done"], *states} - {"done"}:
                self.found[f"{told['word']}-{end}"] = module.name
        self.unread = [one for one in self.unread if not one.endswith(_HANDED_ON)]


_HANDED_ON = (" kind",)  # the lambdas of ``Governed``, whose callers were read above


def _calls(
    tree: ast.AST, around: tuple[ast.FunctionDef, ...] = ()
) -> Iterator[tuple[tuple[ast.FunctionDef, ...], ast.Call]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield around, node
        yield from _calls(node, (*around, node) if isinstance(node, ast.FunctionDef) else around)


def _closed_list(function: ast.FunctionDef, name: str) -> Iterator[ast.expr]:
    """What an argument may be, where the function refuses all else: ``if name not in (…)``."""
    for node in ast.walk(function):
        match node:
            case ast.Compare(
                left=ast.Name(id=found), ops=[ast.NotIn()], comparators=[ast.Tuple() as those]
            ) if found == name:
                yield those


def _defaults(function: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    asked = function.args
    for one, value in zip(reversed(asked.args), reversed(asked.defaults), strict=False):
        yield one.arg, value
    for one, given in zip(asked.kwonlyargs, asked.kw_defaults, strict=True):
        if given is not None:
            yield one.arg, given


def _assigned(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                yield value
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                yield from (
                    v for n, v in zip(names, values, strict=True) if isinstance(n, ast.Name) and n.id == name
                )
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value) if found == name:
                yield value
            case ast.For(target=ast.Tuple(elts=names), iter=ast.Tuple(elts=rows)):
                for place, one in enumerate(names):
                    if isinstance(one, ast.Name) and one.id == name:
                        yield from (row.elts[place] for row in rows if isinstance(row, ast.Tuple))


@pytest.fixture(scope="module")
def kinds() -> Kinds:
    return Kinds()


def test_every_kind_that_is_written_can_be_read_off_the_code(kinds: Kinds):
    assert kinds.unread == []
    assert len(kinds.found) > 90
    # One of each way there: a literal, a choice, a name, a default, an argument's callers, a put-together one, a value's.
    seen = {
        "access-report",
        "emergency-renewed",
        "record-purged",
        "decision",
        "task-claimed",
        "directive-upheld",
    }
    assert (
        seen | {"policy-published", "local-merge", "record-merged", "audit-rows-erased"} <= kinds.found.keys()
    )


def test_every_kind_that_is_written_is_told_as_fhir(kinds: Kinds):
    assert {kind: where for kind, where in kinds.found.items() if kind not in EVENTS} == {}


def test_nothing_is_told_that_is_never_written(kinds: Kinds):
    assert sorted(EVENTS.keys() - kinds.found.keys()) == []
