"""The SQL of ``mpi.bulk.sql`` in Spark's words, by sqlglot; what the two engines say differently is put right here."""

from collections.abc import Mapping, Sequence

from sqlglot import exp, parse_one
from sqlglot.dialects.duckdb import DuckDB

from mpi.bulk.spark.near import Near, split
from mpi.bulk.sql import compare_statement, key_statement
from mpi.matching.definition import KEY_RULES, Program


class _Ours(DuckDB):
    """DuckDB as ``mpi.bulk.sql`` writes it: ``len`` is of lists and ``length`` of texts, which sqlglot takes for one function."""

    class Parser(DuckDB.Parser):
        FUNCTIONS = {
            **DuckDB.Parser.FUNCTIONS,
            "LEN": lambda args: exp.ArraySize(this=args[0]),
            "LIST_ZIP": lambda args: _function("arrays_zip", args),
            "HASH": lambda args: _function("xxhash64", args),
        }


def _function(name: str, arguments: Sequence[exp.Expression]) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=list(arguments))


def _is(node: exp.Expression | None, name: str) -> bool:
    return isinstance(node, exp.Anonymous) and node.name == name


def to_spark(statement: str, functions: Mapping[str, exp.Expression] | None = None) -> str:
    """Translate a statement of ``mpi.bulk.sql``.

    Args:
        functions: columns of the statement that are taken from these expressions instead of their own.
    """
    tree = parse_one(statement, dialect=_Ours)
    for column in list(tree.find_all(exp.Alias)):
        if functions and column.alias in functions:
            column.set("this", functions[column.alias].copy())
    for zipped in [one for one in tree.find_all(exp.Anonymous) if _is(one, "arrays_zip")]:
        _name_parts(zipped)
    for item in list(tree.find_all(exp.Bracket)):
        # An index past the end is null in DuckDB; in Spark it is a fault, but for "get".
        item.replace(_function("get", [item.this.copy(), *(one.copy() for one in item.expressions)]))
    return str(tree.sql(dialect="spark"))


def _name_parts(zipped: exp.Anonymous) -> None:
    """Make pairs of two lists with named parts: a pair of DuckDB's ``list_zip`` is asked by place."""
    loop = zipped.parent
    assert isinstance(loop, exp.Transform | exp.ArrayFilter)
    body = loop.expression
    variable = body.expressions[0].name
    for item in list(body.this.find_all(exp.Bracket)):
        if isinstance(item.this, exp.Column | exp.Identifier) and item.this.name == variable:
            part = ("name", "sound")[int(item.expressions[0].name)]
            item.replace(exp.Dot(this=exp.to_identifier(variable), expression=exp.to_identifier(part)))
    pair = exp.Lambda(
        this=_function(
            "named_struct",
            [exp.Literal.string("name"), exp.column("l"), exp.Literal.string("sound"), exp.column("r")],
        ),
        expressions=[exp.to_identifier("l"), exp.to_identifier("r")],
    )
    zipped.replace(_function("zip_with", [*(one.copy() for one in zipped.expressions), pair]))


def keys_on_spark(rule: str, records: str, *, with_text: bool = False) -> str:
    """Write the keys of a blocking rule, as ``key_statement`` does."""
    return to_spark(key_statement(rule, KEY_RULES[rule], records, with_text=with_text))


def levels_on_spark(program: Program, pairs: str, kept: Sequence[str]) -> tuple[str, tuple[Near, ...]]:
    """Write the comparison of every row of ``pairs``, and say which functions (``function_of``) it asks for."""
    parted, nears = split(program)
    functions: dict[str, exp.Expression] = {}
    for near in nears:
        asked = [f"step_{near.asked}"] if near.asked else []
        functions[f"step_{near.step.name}"] = _function(
            function_of(near), [exp.column(name) for name in (*asked, *near.arguments())]
        )
    return to_spark(compare_statement(parted, pairs, kept), functions), nears


def function_of(near: Near) -> str:
    """Return the name under which a step's function is registered."""
    return f"mpi_{near.step.name}"
