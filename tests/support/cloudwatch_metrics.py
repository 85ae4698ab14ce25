"""Reads metrics in the embedded metric format, and calculates metric math for one period.

`SUM([…])` and `MAX([…])` pass over what has no data. Arithmetic with it has no data here; AWS says
that it counts as 0 if the other operand has data. Expressions must not depend on this.
"""

import ast
import json
import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any


def documents(output: str) -> Iterator[dict[str, Any]]:
    """Yield each metrics document in the output."""
    for line in output.splitlines():
        if '"_aws"' in line:
            yield json.loads(line)


def metrics(output: str) -> Mapping[str, list[float]]:
    """Return all values of each metric in the output."""
    found: dict[str, list[float]] = defaultdict(list)
    for document in documents(output):
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                value = document[metric["Name"]]
                found[metric["Name"]] += value if isinstance(value, list) else [value]
    return found


type Values = Mapping[str, float | None]
"""What each metric has in the period.

None: it has data in another period that CloudWatch reads. Metrics without any are left out.
"""

_ARITHMETIC: Mapping[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def solved(expressions: Mapping[str, str], wanted: str, metrics: Values) -> float | None:
    """Return the value of an expression, or None if it has no data.

    Args:
        expressions: All expressions of the widget or alarm, by their ids.
        wanted: The id of the expression.
        metrics: The metrics' values.
    """
    values = dict(metrics)
    every = f"[{', '.join(metrics)}]"
    for _ in expressions:  # repeated, because an expression can use a later one
        for name, text in expressions.items():
            tree = ast.parse(text.replace("METRICS()", every), mode="eval")
            if (value := _worth(tree.body, values)) is not None:
                values[name] = value
    return values.get(wanted)


def _worth(node: ast.expr, values: Values) -> float | None:
    match node:
        case ast.Constant(int() | float() as value):
            return value
        case ast.Name(name):
            return values.get(name)
        case ast.BinOp(left, operation, right):
            return _together(_ARITHMETIC[type(operation)], _all([left, right], values))
        case ast.Call(ast.Name(function), arguments):
            return _called(function, arguments, values)
    raise AssertionError(ast.unparse(node))


def _called(function: str, arguments: Sequence[ast.expr], values: Values) -> float | None:
    match function, arguments:
        case "IF", [ast.Compare(left, [ast.GtE()], [right]), then, otherwise]:
            one, other = _all([left, right], values)
            if one is None or other is None:
                return None
            return _worth(then if one >= other else otherwise, values)
        case "FILL", [ast.Name(name), filler]:
            value = values.get(name)
            return _worth(filler, values) if value is None and name in values else value
        case "SUM" | "MAX", [ast.List(entries)]:
            known = [it for it in _all(entries, values) if it is not None]
            combine = sum if function == "SUM" else max
            return combine(known) if known else None
        case "SUM", [ast.Call(ast.Name("SEARCH"))]:
            return None
    raise AssertionError(function)


def _all(nodes: Sequence[ast.expr], values: Values) -> list[float | None]:
    return [_worth(node, values) for node in nodes]


def _together(
    operation: Callable[[float, float], float], operands: Sequence[float | None]
) -> float | None:
    one, other = operands
    return None if one is None or other is None else float(operation(one, other))
