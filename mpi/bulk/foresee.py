"""What decides a step before any text is looked at: the words of earlier steps, and facts that whole numbers tell.

A *fact* is true or false of a pair. It is either of one record ("it has a number", "its first given name has more than one letter"), and
then worked out once for every distinct value, or the equality of something of either record, and then of two numbers. A choice is
evaluated with what is known; where that does not decide it, it stays open.
"""

import ast
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, TypeGuard

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.records import Records, combined
from mpi.bulk.sql import condition_of, expression_of, is_best
from mpi.matching.definition import COLUMNS, PAIRWISES, PLACE_PARTS
from mpi.matching.language import Choice, Let, parsed

Ints = NDArray[np.int32]
Rows = Mapping[int, tuple[Ints, Ints]]
"""Of each group of columns, which value either record of a pair has."""

Which = NDArray[np.int64] | slice
"""Some of the pairs."""

_UNKNOWN = ast.Name("_unknown")
"""What only the records tell. No name of the language begins like this, nor those of facts."""


@dataclass(frozen=True, slots=True)
class OneSided:
    """Whether a condition holds of one record: of the first of a pair (0) or the second (1)."""

    side: int
    group: int
    condition: str


@dataclass(frozen=True, slots=True)
class Equal:
    """Whether something of the first record equals something of the second."""

    groups: tuple[int, int]
    values: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Disjoint:
    """Whether a list, or the words of a text, of the first record and one of the second are known to have nothing in common."""

    groups: tuple[int, int]
    values: tuple[str, str]
    are_texts: bool


Fact = OneSided | Equal | Disjoint


class Foresight:
    """A choice as far as it can be told without its texts: an expression over words of steps and facts."""

    def __init__(self, choice: Choice, absent: Iterable[str], group_of: Callable[[str], int]) -> None:
        self._group_of = group_of
        self._names: dict[Fact, str] = {}
        self._told = self._choice(choice, {})
        self._absent = dict.fromkeys(absent, "missing")

    @property
    def facts(self) -> Mapping[Fact, str]:
        """The facts that it asks for, and what it calls them."""
        return self._names

    def told(self, known: Mapping[str, Any]) -> tuple[str | None, set[str]]:
        """Return the word that it comes to whatever else the records hold, None where that matters; and the names asked for in vain."""
        names = _Known({**self._absent, **known})
        found = _evaluated(self._told, names)
        return None if found is _UNKNOWN else str(found), names.missed

    # From the matching language to words and facts

    def _choice(self, choice: Choice, names: Mapping[str, ast.expr]) -> ast.expr:
        names = dict(names)
        cases: list[tuple[ast.expr, ast.expr]] = []
        for case in choice.cases:
            if isinstance(case, Let):
                names[case.name] = _put(parsed(case.expression), names)
            else:
                condition = self._condition(_put(parsed(case.condition), names))
                cases.append((condition, self._value(case.value, names)))
        found = self._value(choice.otherwise, names)
        for condition, value in reversed(cases):
            found = ast.IfExp(condition, value, found)
        return found

    def _value(self, text: str, names: Mapping[str, ast.expr]) -> ast.expr:
        if not text.startswith("="):
            return ast.Constant(text)
        node = _put(parsed(text[1:]), names)
        if is_best(node):
            return self._best(node)
        return node if isinstance(node, ast.Name | ast.Constant) else _UNKNOWN

    def _best(self, node: ast.Call) -> ast.expr:
        name, *lists = node.args
        assert isinstance(name, ast.Name)
        if not all(map(_is_list, lists)):
            return _UNKNOWN
        pairwise = PAIRWISES[name.id]
        single = self._choice(pairwise.choice, dict(zip("xy", map(_first_of, lists), strict=True)))
        return ast.IfExp(
            self._all(lists, ast.Gt(), 0),
            ast.IfExp(self._all(lists, ast.Eq(), 1), single, _UNKNOWN),
            ast.Constant(pairwise.ranks[0]),
        )

    def _condition(self, node: ast.expr) -> ast.expr:
        fact = self._one_sided(node)
        if fact is not None:
            return fact
        match node:
            case ast.Constant() | ast.Name():
                return node
            case ast.BoolOp(op=op, values=values):
                return ast.BoolOp(op, [self._condition(value) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ast.UnaryOp(ast.Not(), self._condition(operand))
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                return node if isinstance(left, ast.Name) else self._equal(left, right)
            case ast.Compare(left=left, ops=[ast.NotEq()], comparators=[right]):
                return node if isinstance(left, ast.Name) else _negated(self._equal(left, right))
            case ast.Compare(left=left, ops=[ast.In()], comparators=[right]):
                return node if isinstance(right, ast.Tuple) else self._in_list(left, right)
            case ast.Compare(left=left, ops=[ast.NotIn()], comparators=[right]):
                return node if isinstance(right, ast.Tuple) else _negated(self._in_list(left, right))
            case ast.Compare(
                left=ast.Call(func=ast.Name(id="count_common"), args=[one, other]),
                ops=[ast.Gt()],
                comparators=[ast.Constant(value=0)],
            ):
                return self._have_common(one, other)
            case ast.Call(func=ast.Name(id="any"), args=[ast.GeneratorExp() as loops]):
                return self._any(loops)
        return _UNKNOWN

    def _one_sided(self, node: ast.expr) -> ast.expr | None:
        """Return the fact that a condition on one record is, if it is one and on columns that stand together."""
        found = self._of_one(node)
        if found is None:
            return None
        try:
            return self._fact(OneSided(*found, condition_of(node)))
        except ValueError:
            return None

    def _equal(self, left: ast.expr, right: ast.expr) -> ast.expr:
        one, other = self._of_one(left), self._of_one(right)
        if one is None or other is None or one[0] == other[0]:
            return _UNKNOWN
        if one[0] == 1:
            left, right, one, other = right, left, other, one
        if _is_place(left) and _is_place(right):
            parts = [
                self._equal(ast.Attribute(left, part), ast.Attribute(right, part)) for part in PLACE_PARTS
            ]
            return ast.BoolOp(ast.And(), parts)
        try:
            return self._fact(Equal((one[1], other[1]), (expression_of(left), expression_of(right))))
        except ValueError:
            return _UNKNOWN

    def _disjoint(self, one: ast.expr, other: ast.expr, *, are_texts: bool = False) -> ast.expr:
        """Whether two lists, or the words of two texts, are known to have nothing in common."""
        mine, theirs = self._of_one(one), self._of_one(other)
        if mine is None or theirs is None or mine[0] == theirs[0]:
            return ast.Constant(False)
        values, groups = (expression_of(one), expression_of(other)), (mine[1], theirs[1])
        if mine[0] == 1:
            values, groups = values[::-1], groups[::-1]
        return self._fact(Disjoint(groups, values, are_texts))

    def _in_list(self, value: ast.expr, over: ast.expr) -> ast.expr:
        if isinstance(over, ast.BinOp):
            return ast.BoolOp(ast.Or(), [self._in_list(value, side) for side in (over.left, over.right)])
        if not _is_list(over):
            return _UNKNOWN
        found: ast.expr = _UNKNOWN
        if isinstance(value, ast.Subscript) and _is_list(value.value) and COLUMNS[over.attr] == "texts":
            found = ast.IfExp(self._disjoint(value.value, over), ast.Constant(False), _UNKNOWN)
        if not _is_some(value):
            found = ast.IfExp(self._all([over], ast.Eq(), 1), self._equal(value, _first_of(over)), found)
        return ast.IfExp(self._all([over], ast.Gt(), 0), found, ast.Constant(False))

    def _have_common(self, one: ast.expr, other: ast.expr) -> ast.expr:
        """Whether two texts have a word in common; known where both are of one word."""
        words = [ast.Call(ast.Name("count_words"), [text], []) for text in (one, other)]
        single = [self._condition(ast.Compare(count, [ast.Eq()], [ast.Constant(1)])) for count in words]
        either = ast.IfExp(self._disjoint(one, other, are_texts=True), ast.Constant(False), _UNKNOWN)
        return ast.IfExp(ast.BoolOp(ast.And(), single), self._equal(one, other), either)

    def _any(self, loops: ast.GeneratorExp) -> ast.expr:
        """A loop over lists of one value each asks about those; over longer ones it is known if it does not matter which value."""
        found: list[ast.expr] = []
        ways = [[(loop, over) for over in _parts(loop.iter)] for loop in loops.generators]
        for way in product(*ways):
            lists = [over for _, over in way]
            if not all(map(_is_list, lists)):
                return _UNKNOWN
            conditions = [*(one for loop, _ in way for one in loop.ifs), loops.elt]
            asked = conditions[0] if len(conditions) == 1 else ast.BoolOp(ast.And(), conditions)
            variables = [loop.target.id for loop, _ in way if isinstance(loop.target, ast.Name)]
            single = _put(asked, dict(zip(variables, map(_first_of, lists), strict=True)))
            several = _put(asked, dict(zip(variables, map(_some_of, lists), strict=True)))
            inner = ast.IfExp(
                self._all(lists, ast.Eq(), 1), self._condition(single), self._condition(several)
            )
            found.append(ast.IfExp(self._all(lists, ast.Gt(), 0), inner, ast.Constant(False)))
        return found[0] if len(found) == 1 else ast.BoolOp(ast.Or(), found)

    def _all(self, lists: Sequence[ast.expr], sign: ast.cmpop, size: int) -> ast.expr:
        """Whether each list's length is so."""
        lengths = [ast.Call(ast.Name("len"), [one], []) for one in lists]
        said = [self._condition(ast.Compare(one, [sign], [ast.Constant(size)])) for one in lengths]
        return said[0] if len(said) == 1 else ast.BoolOp(ast.And(), said)

    def _of_one(self, node: ast.expr) -> tuple[int, int] | None:
        """Return the side and the group of columns of an expression that asks for no others."""
        sides, groups = set(), set()
        for one in ast.walk(node):
            match one:
                case ast.Attribute(value=ast.Name(id=("a" | "b") as record), attr=column):
                    sides.add("ab".index(record))
                    groups.add(self._group_of(column))
                case ast.Name(id=name) if name not in ("a", "b", "len", "min", "max", *_FUNCTIONS):
                    return None
                case ast.GeneratorExp():
                    return None
        return (sides.pop(), groups.pop()) if len(sides) == len(groups) == 1 else None

    def _fact(self, fact: Fact) -> ast.expr:
        return ast.Name(self._names.setdefault(fact, f"_{len(self._names)}"))


_FUNCTIONS = ("outward_of", "count_words", "system_of", "value_of", "digits")


class _Put(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._names.get(node.id, node)


def _put(node: ast.expr, names: Mapping[str, ast.expr]) -> ast.expr:
    """Return an expression with others in the place of names."""
    if not names:
        return node
    found: ast.expr = _Put(names).visit(ast.parse(ast.unparse(node), mode="eval").body)
    return found


def _negated(node: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), node)


def _parts(node: ast.expr) -> list[ast.expr]:
    """Return the lists that were put together to one."""
    return [*_parts(node.left), *_parts(node.right)] if isinstance(node, ast.BinOp) else [node]


def _is_list(node: ast.expr) -> TypeGuard[ast.Attribute]:
    match node:
        case ast.Attribute(value=ast.Name(id="a" | "b"), attr=column):
            return COLUMNS[column] in ("texts", "places")
    return False


def _first_of(node: ast.expr) -> ast.expr:
    return ast.Subscript(node, ast.Constant(0))


def _some_of(node: ast.expr) -> ast.expr:
    """Any value of a list, nobody knows which."""
    return ast.Subscript(node, ast.Name("_some"))


def _is_some(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name)


def _is_place(node: ast.expr) -> bool:
    match node:
        case ast.Subscript(value=ast.Attribute(attr=column)):
            return COLUMNS.get(column) == "places"
    return False


# Facts over the values that records have -----------------------------------------------------------------------


_Asked = tuple[int, str]
"""A group of columns, and an expression over it."""


class Values:
    """Works out facts over the distinct values of a table of records.

    Args:
        facts: what may be asked for. What these need of one group of columns is read together, when the first of it is asked for.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, records: Records, facts: Iterable[Fact] = ()
    ) -> None:
        self._connection, self._records = connection, records
        self._held: dict[_Asked, pa.ChunkedArray] = {}
        self._numbered: dict[tuple[_Asked, ...], tuple[NDArray[Any], ...]] = {}
        self._expected: dict[int, dict[str, None]] = {}
        """Expressions over each group that nobody asked for yet."""
        self._uses: Counter[_Asked] = Counter()
        """How many facts that are not numbered yet need an expression; when none is left it is let go."""
        for sides in dict.fromkeys(map(_sides, facts)):
            for group, expression in sides:
                self._expected.setdefault(group, {})[expression] = None
            self._uses.update(sides)

    def holds(self, group: int, conditions: Iterable[str]) -> list[NDArray[np.bool_]]:
        """Say of each value of a group whether conditions hold."""
        return [self._asked((group, one)).to_numpy() for one in conditions]

    def are(self, fact: Equal | Disjoint, one: Ints, other: Ints) -> NDArray[np.bool_]:
        """Say of pairs, told by their values in the fact's groups, whether it holds."""
        numbers = self._numbers(fact)
        mine, theirs = numbers[0][one], numbers[-1][other]
        found: NDArray[np.bool_]
        if isinstance(fact, Equal):
            # What is not there, a number below zero, equals nothing.
            found = (mine == theirs) & (mine >= 0)
        else:
            found = (mine & theirs) == 0
        return found

    def _numbers(self, fact: Equal | Disjoint) -> tuple[NDArray[Any], ...]:
        """Return for every value of either side its number, or the set of what is in it, a bit each (several may share a bit).

        Where both sides are one and the same there is one answer.
        """
        sides = _sides(fact)
        if sides not in self._numbered:
            columns = [self._asked(side) for side in sides]
            are_equal = isinstance(fact, Equal)
            self._numbered[sides] = (
                _numbered(columns) if are_equal else tuple(column.to_numpy() for column in columns)
            )
            self._uses.subtract(sides)
            for side in sides:
                if self._uses[side] <= 0:
                    del self._held[side]
        return self._numbered[sides]

    def _asked(self, asked: _Asked) -> pa.ChunkedArray:
        if asked not in self._held:
            group, expression = asked
            expressions = list({expression: None} | self._expected.pop(group, {}))
            answer = self._read(group, expressions)
            for place, one in enumerate(expressions):
                self._held[group, one] = answer.column(place)
        return self._held[asked]

    def _read(self, group: int, expressions: Sequence[str]) -> pa.Table:
        values = self._records.groups[group].values
        numbered = values.append_column("place", pa.array(np.arange(values.num_rows, dtype=np.int32)))
        self._connection.register("bulk_values", numbered)
        try:
            answer = self._connection.sql(
                f"SELECT {', '.join(expressions)}, place FROM bulk_values"
            ).to_arrow_table()
        finally:
            self._connection.unregister("bulk_values")
        place = answer.column("place").to_numpy()
        if not (place[1:] > place[:-1]).all():
            answer = answer.take(pa.array(np.argsort(place)))
        return answer


def _sides(fact: Fact) -> tuple[_Asked, ...]:
    """Return what a fact needs to know of the values of either side, once where both are the same."""
    if isinstance(fact, OneSided):
        return ((fact.group, fact.condition),)
    values = fact.values
    if isinstance(fact, Disjoint):
        values = (_set_of(values[0], fact.are_texts), _set_of(values[1], fact.are_texts))
    return tuple(dict.fromkeys(zip(fact.groups, values, strict=True)))


def _set_of(value: str, is_text: bool) -> str:
    """Return the expression of a set of 64 bits: one for each text of a list, or each word of a text."""
    listed = f"string_split({value}, ' ')" if is_text else value
    bits = f"list_transform({listed}, lambda x: 1::UBIGINT << (hash(x) % 64))"
    return f"coalesce(list_reduce({bits}, lambda x, y: x | y, 0::UBIGINT), 0::UBIGINT)"


class _Told(NamedTuple):
    """Facts of one side and group, packed: which combination every value has, and what each combination says."""

    side: int
    group: int
    code: NDArray[np.uint16]
    says: tuple[Mapping[str, bool], ...]


class Facts:
    """The facts that a step asks for, to be looked up by pair: those of one record, and then equalities."""

    def __init__(self, foresight: Foresight, values: Values) -> None:
        self._values = values
        sided: dict[tuple[int, int], dict[str, str]] = {}
        self._equals: dict[str, Equal | Disjoint] = {}
        for fact, name in foresight.facts.items():
            if isinstance(fact, OneSided):
                sided.setdefault((fact.side, fact.group), {})[name] = fact.condition
            else:
                self._equals[name] = fact
        self._told = [
            _packed(side, group, named, values.holds(group, named.values()))
            for (side, group), named in sided.items()
        ]
        self.sizes = [len(one.says) for one in self._told]
        """What the numbers of each column of ``told`` lie below."""
        self.equalities = 1 << len(self._equals)
        """What the numbers of ``equal`` lie below."""

    def told(self, rows: Rows, which: Which) -> Iterator[NDArray[Any]]:
        """Return what is told of one record of some pairs as columns of numbers."""
        return (one.code[rows[one.group][one.side][which]] for one in self._told)

    def says(self, numbers: Sequence[int], needed: int = 0, equal: int = 0) -> dict[str, bool]:
        """Return what one row of ``told`` says, and of ``equal`` as far as it was needed."""
        found: dict[str, bool] = {}
        for one, number in zip(self._told, numbers, strict=True):
            found |= one.says[number]
        return found | {
            name: bool(equal >> place & 1) for place, name in enumerate(self._equals) if needed >> place & 1
        }

    def needed(self, names: Container[str]) -> int:
        """Return which equalities are among names, a bit each."""
        return sum(1 << place for place, name in enumerate(self._equals) if name in names)

    def equal(self, rows: Rows, which: Which, needed: Ints) -> Ints:
        """Return which of the needed equalities hold for some pairs, a bit each."""
        found = np.zeros(len(needed), np.int32)
        met = int(np.bitwise_or.reduce(needed, initial=0))
        for place, fact in enumerate(self._equals.values()):
            if not met >> place & 1:
                continue
            some = np.flatnonzero(needed & (1 << place))
            at = some if isinstance(which, slice) else which[some]
            first, second = fact.groups
            same = self._values.are(fact, rows[first][0][at], rows[second][1][at])
            found[some] |= same.astype(np.int32) << place
        return found


def _numbered(columns: Sequence[pa.ChunkedArray]) -> tuple[NDArray[Any], ...]:
    """Return numbers of the texts, or of the numbers, in columns: equal where those are, below zero for none."""
    whole = pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)
    numbers: NDArray[Any]
    if not pa.types.is_string(whole.type):
        numbers = whole.cast(pa.int64()).fill_null(-1).to_numpy()
    else:
        # A text of digits is a number already, which spares the table of millions of identifiers and telephone numbers.
        lengths = pc.binary_length(whole).fill_null(0).to_numpy()
        are_digits = pc.ascii_is_decimal(whole).fill_null(False).to_numpy() & (lengths <= _DIGITS)
        if 2 * np.count_nonzero(are_digits) > len(are_digits):
            numbers = np.empty(len(whole), np.int64)
            read = whole.filter(pa.array(are_digits)).cast(pa.int64()).to_numpy()
            numbers[are_digits] = _BEYOND_TEXTS + (lengths[are_digits].astype(np.int64) << 54) + read
            numbers[~are_digits] = _by_table(whole.filter(pa.array(~are_digits)))
        else:
            numbers = _by_table(whole)
    return tuple(np.split(numbers, np.cumsum([len(column) for column in columns])[:-1]))


_DIGITS = 16
"""A number of so many digits fits into 54 bits."""

_BEYOND_TEXTS = 1 << 60


def _by_table(texts: pa.ChunkedArray) -> Ints:
    found: Ints = texts.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    return found


def _packed(side: int, group: int, names: Iterable[str], holds: Sequence[NDArray[np.bool_]]) -> _Told:
    first, code = combined(holds, [2] * len(holds))
    says = [
        dict(zip(names, row, strict=True))
        for row in zip(*(one[first].tolist() for one in holds), strict=True)
    ]
    return _Told(side, group, code.astype(np.uint16), tuple(says))


# Evaluation ----------------------------------------------------------------------------------------------------


class _Known(dict[str, Any]):
    """What names stand for. ``missed`` are those that were asked for in vain."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        super().__init__(names)
        self.missed: set[str] = set()

    def __missing__(self, name: str) -> ast.expr:
        self.missed.add(name)
        return _UNKNOWN


def _evaluated(node: ast.expr, known: _Known) -> Any:
    """Evaluate an expression as far as what is known goes; ``_UNKNOWN`` where it does not."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return known[name]
        case ast.Tuple(elts=elements):
            return tuple(ast.literal_eval(element) for element in elements)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            found = _evaluated(operand, known)
            return _UNKNOWN if found is _UNKNOWN else not found
        case ast.BoolOp(op=op, values=values):
            return _in_turn(values, isinstance(op, ast.Or), known)
        case ast.IfExp(test=test, body=body, orelse=otherwise):
            holds = _evaluated(test, known)
            if holds is not _UNKNOWN:
                return _evaluated(body if holds else otherwise, known)
            one = _evaluated(body, known)
            return one if one is not _UNKNOWN and one == _evaluated(otherwise, known) else _UNKNOWN
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            one, other = _evaluated(left, known), _evaluated(right, known)
            if one is _UNKNOWN or other is _UNKNOWN:
                return _UNKNOWN
            if isinstance(op, ast.Eq | ast.NotEq):
                return (one == other) is isinstance(op, ast.Eq)
            return (one in other) is isinstance(op, ast.In)
    raise ValueError(f"cannot be foreseen: {ast.unparse(node)}")


def _in_turn(values: Iterable[ast.expr], decides: bool, known: _Known) -> Any:
    is_open = False
    for value in values:
        found = _evaluated(value, known)
        if found is _UNKNOWN:
            is_open = True
        elif bool(found) is decides:
            return decides
    return _UNKNOWN if is_open else not decides
