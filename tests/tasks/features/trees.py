"""Random expressions, and their values by Python's own arithmetic."""

import math

from hypothesis import strategies as st

from linear_neuron.tasks.features.expressions import Binary, Call, Column, Negative, Node, Number

LARGEST = 1.7976931348623157e308
NUMBERS = st.floats(min_value=0, allow_nan=False, allow_infinity=False).map(Number)
CALLS = {"log": 1, "log1p": 1, "exp": 1, "sqrt": 1, "abs": 1, "min": 2, "max": 3, "clip": 3}


def trees(operators: str = "+-*/^", calls: dict[str, int] = CALLS) -> st.SearchStrategy[Node]:
    """Draw expressions over the columns a and b."""
    names = [operator.replace("^", "**") for operator in operators]
    leaves: st.SearchStrategy[Node] = st.one_of(st.sampled_from([Column("a"), Column("b")]), NUMBERS)

    def extend(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        kinds: list[st.SearchStrategy[Node]] = [
            st.builds(Negative, inner),
            st.builds(Binary, st.sampled_from(names), inner, inner),
        ]
        for name, count in calls.items():
            kinds.append(st.tuples(*[inner] * count).map(lambda values, name=name: Call(name, values)))  # type: ignore[misc]
        return st.one_of(kinds)

    return st.recursive(leaves, extend, max_leaves=12)


def evaluate(node: Node, row: dict[str, float | None]) -> float | None:
    """Compute a value by Python's arithmetic; None where there is no finite number, also within the expression."""
    try:
        value = _evaluate(node, row)
    except (ArithmeticError, ValueError):
        return None
    return value if value is None or math.isfinite(value) else None


def _evaluate(node: Node, row: dict[str, float | None]) -> float | None:
    match node:
        case Column(name):
            return row[name]
        case Number(value):
            return value
        case Negative(of):
            inner = evaluate(of, row)
            return None if inner is None else -inner
        case Binary(operator, left, right):
            one, other = evaluate(left, row), evaluate(right, row)
            return None if one is None or other is None else _combine(operator, one, other)
        case Call(name, arguments):
            values = [evaluate(argument, row) for argument in arguments]
            known = [value for value in values if value is not None]
            return _call(name, known) if len(known) == len(values) else None
    raise AssertionError(node)


def _combine(operator: str, one: float, other: float) -> float:
    if operator == "**":
        return math.pow(one, other)
    if operator == "/":
        return one / other
    return {"+": one + other, "-": one - other, "*": one * other}[operator]


def _call(name: str, values: list[float]) -> float:
    if name == "clip":
        return min(max(values[0], values[1]), values[2])
    if name in ("min", "max"):
        return min(values) if name == "min" else max(values)
    return abs(values[0]) if name == "abs" else float(getattr(math, name)(values[0]))
