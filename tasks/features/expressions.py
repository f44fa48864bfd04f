"""Parse the entries of `features` and `categories`: expressions over columns, as a tree that is never run as code.

Python's `ast` finds the order of operations. It sees only operators, parentheses and placeholders: names and numbers
are cut out of the text before, so that a column may have any name, and no name means anything to Python.
"""

import ast
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, NoReturn

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.text import CONTROL, end_sentence, plural

Part = Literal["year", "quarter", "month", "weekday", "day", "day_of_year", "hour", "days"]
PARTS: tuple[Part, ...] = ("year", "quarter", "month", "weekday", "day", "day_of_year", "hour", "days")
MANY = 100  # more arguments than an expression can have
FUNCTIONS: dict[str, tuple[int, int]] = {  # name -> least and greatest number of arguments
    **dict.fromkeys(("log", "log1p", "exp", "sqrt", "abs"), (1, 1)),
    **dict.fromkeys(("min", "max"), (2, MANY)),
    "clip": (3, 3),
}
SPLINE, MOST_DEGREES = "spline", 50
OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
DEEPEST, LONGEST, SHOWN = 100, 500, 60  # levels and tokens of an expression, and characters of it that an error shows
TOKEN = re.compile(
    r"(?P<blank>\s+)|(?P<name>`(?:[^`]|``)*`|[^\W0-9]\w*)|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<sign>\*\*|[-+*/(),:])"
)
# What people may write that is not in the language, and what to write instead.
FOREIGN = {
    **dict.fromkeys("'\"", "text cannot be in an expression; put the name of a column into backticks"),
    **dict.fromkeys("<>=!", "a comparison or an assignment cannot be in an expression"),
    **dict.fromkeys(".[]", "an attribute or an index cannot be in an expression; put a name with dots into backticks"),
    **dict.fromkeys("%&|@~", "the operators are + - * / **"),
    "^": "a power is written as **",
    "`": "this backtick is not closed",
}


class TermError(UserError):
    """An entry that cannot be understood: one sentence, and below it the entry with a caret at the position."""

    def __init__(self, sentence: str, text: str, position: int) -> None:
        start = max(0, position - SHOWN // 2)
        shown = re.sub(CONTROL.pattern.rstrip("+"), " ", text[start : start + SHOWN])
        before = "..." if start else ""
        after = "..." if len(text) > start + SHOWN else ""
        caret = " " * (len(before) + position - start) + "^"
        super().__init__(f"{sentence}\n  {before}{shown}{after}\n  {caret}")


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    name: str


@dataclass(frozen=True)
class Number:
    """A number in the text."""

    value: float


@dataclass(frozen=True)
class Negative:
    """Minus a value."""

    of: "Node"


@dataclass(frozen=True)
class Binary:
    """Two values with one of + - * / ** between them."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True)
class Call:
    """One of FUNCTIONS and its arguments."""

    name: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True)
class TimePart:
    """A part of a time, in UTC: Monday is weekday 1, and `days` counts those since 1970-01-01, with their fraction."""

    part: Part
    column: Column


Node = Column | Number | Negative | Binary | Call | TimePart


@dataclass(frozen=True)
class Spline:
    """A curve over a value, with its degrees of freedom."""

    value: Node
    degrees: int


@dataclass(frozen=True)
class Slopes:
    """A value with a slope for each level of a category."""

    value: Node
    label: Column | TimePart


def parse(text: str, columns: Collection[str] | None = None) -> Node:
    """Parse an expression over columns.

    Args:
        text: the name of a column as it is; or an expression, in which backticks go around a name that is no word, and
            a backtick within them is doubled.
        columns: those of the table; with None, as for texts of `write`, a column may have any name.

    Raises:
        TermError: the text is no expression, or names a column that the table does not have.
    """
    return _Entry(text, columns).parse_value(0, len(text))


def parse_feature(text: str, columns: Collection[str], numbers: Collection[str] = ()) -> Node | Spline | Slopes:
    """Parse an entry of `features`: an expression, `spline(EXPRESSION, DEGREES)` or `EXPRESSION:CATEGORY`.

    Args:
        text: the entry.
        columns: those of the table.
        numbers: those of them that are known to be numbers, so that none is a category.

    Raises:
        TermError: as `parse`; or the entry has no column, or is an interaction of two numbers.
    """
    entry = _Entry(text, columns)
    colons = entry.find_colons()
    if not colons:
        return entry.parse_curve(0, len(text))
    if len(colons) > 1:
        entry.fail("an interaction has two sides, with one colon between them", colons[1])
    (colon,) = colons
    value = entry.parse_value(*entry.strip(0, colon))
    label = entry.parse_value(*entry.strip(colon + 1, len(text)))
    if not isinstance(label, Column | TimePart) or (isinstance(label, Column) and label.name in numbers):
        product = " * ".join(side.strip() for side in (text[:colon], text[colon + 1 :]))
        entry.fail(f"both sides of this interaction are numbers; write their product, {product}", colon)
    return Slopes(entry.require_columns(value, 0), label)


def parse_category(text: str, columns: Collection[str]) -> Column | TimePart:
    """Parse an entry of `categories`: a column or a part of a time.

    Raises:
        TermError: as `parse`; or the entry is another expression.
    """
    entry = _Entry(text, columns)
    node = entry.parse_value(0, len(text))
    if not isinstance(node, Column | TimePart):
        entry.fail("a category is a column, or a part of a time such as month(COLUMN)", 0)
    return node


def write(node: Node) -> str:
    """Write an expression so that `parse` gives the same one again without the table's columns."""
    match node:
        case Column(name):
            return f"`{name.replace('`', '``')}`"
        case Number(value):
            return str(int(value)) if value.is_integer() and value < 1e15 else repr(value)
        case Negative(of):
            return f"-{_enclose(of)}"
        case Binary(operator, left, right):
            return f"{_enclose(left)} {operator} {_enclose(right)}"
        case Call(name, arguments):
            return f"{name}({', '.join(map(write, arguments))})"
        case TimePart(part, column):
            return f"{part}({write(column)})"


def _enclose(node: Node) -> str:
    text = write(node)
    return f"({text})" if isinstance(node, Binary | Negative) else text


def find_columns(node: Node) -> list[str]:
    """Find the columns of an expression, each once, in the order of the text."""
    return list(find_kinds(node))


def find_kinds(node: Node) -> dict[str, Literal["number", "time"]]:
    """Find the columns of an expression, and whether it reads each as a number or as a time.

    Raises:
        UserError: it reads one as both.
    """
    found: dict[str, Literal["number", "time"]] = {}
    for name, kind in _walk(node):
        if found.setdefault(name, kind) != kind:
            raise UserError(
                f"column {name!r} is read as a number and as a time in {write(node)}; it can be one of them"
            )
    return found


def _walk(node: Node) -> Iterator[tuple[str, Literal["number", "time"]]]:
    match node:
        case Column(name):
            yield name, "number"
        case TimePart(_, column):
            yield column.name, "time"
        case Negative(of):
            yield from _walk(of)
        case Binary(_, left, right):
            yield from _walk(left)
            yield from _walk(right)
        case Call(_, arguments):
            for argument in arguments:
                yield from _walk(argument)
        case Number():
            pass


class _Entry:
    """The text of an entry, and the columns that it may name."""

    def __init__(self, text: str, columns: Collection[str] | None) -> None:
        self.text, self.columns = text, columns

    def fail(self, sentence: str, position: int) -> NoReturn:
        """Refuse the entry with a sentence and the position."""
        raise TermError(end_sentence(f"{_show(self.text)} is no term: {sentence}"), self.text, position)

    def is_column(self, start: int, stop: int) -> bool:
        """Whether a range of the text is the name of a column as it is."""
        return self.columns is not None and self.text[start:stop] in self.columns

    def strip(self, start: int, stop: int) -> tuple[int, int]:
        """Leave out the blanks around a range, if there is more."""
        side = self.text[start:stop]
        return (stop - len(side.lstrip()), start + len(side.rstrip())) if side.strip() else (start, stop)

    def find_colons(self) -> list[int]:
        """Find the colons outside of names and parentheses; none where the whole text names a column."""
        if self.is_column(0, len(self.text)):
            return []
        depth, found = 0, []
        for token in self.scan(0, len(self.text)):
            depth += {"(": 1, ")": -1}.get(token[0], 0)
            if token[0] == ":" and depth == 0:
                found.append(token.start())
        return found

    def scan(self, start: int, stop: int) -> Iterator[re.Match[str]]:
        """Cut a range of the text into tokens."""
        position = start
        while position < stop:
            token = TOKEN.match(self.text, position, stop)
            if token is None:
                character = self.text[position]
                self.fail(FOREIGN.get(character, f"{character!r} has no meaning here"), position)
            if token.lastgroup != "blank":
                yield token
            position = token.end()

    def parse_curve(self, start: int, stop: int) -> Node | Spline:
        """Parse a range as an expression, or as a spline over one."""
        if self.is_column(start, stop):
            return Column(self.text[start:stop])
        tree = self.parse_tree(start, stop)
        if isinstance(tree, ast.Call) and self.name_function(tree) == SPLINE:
            return self.build_spline(tree)
        return self.require_columns(self.build(tree), start)

    def build_spline(self, tree: ast.Call) -> Spline:
        """Build a spline of a call with an expression and the degrees of freedom."""
        position = _find(tree)
        if len(tree.args) != 2:
            self.fail(f"{SPLINE} has an expression and degrees of freedom, as in {SPLINE}(area, 4)", position)
        value, degrees = map(self.build, tree.args)
        if not isinstance(degrees, Number) or not degrees.value.is_integer() or not 2 <= degrees.value <= MOST_DEGREES:
            self.fail(f"the degrees of freedom are a whole number from 2 to {MOST_DEGREES}", _find(tree.args[1]))
        return Spline(self.require_columns(value, position), int(degrees.value))

    def require_columns(self, node: Node, position: int) -> Node:
        """Refuse an expression without a column, which is the same in all rows."""
        if not find_columns(node):
            self.fail("it has no column, so it is the same in all rows", position)
        return node

    def parse_value(self, start: int, stop: int) -> Node:
        """Parse a range as an expression."""
        if self.is_column(start, stop):
            return Column(self.text[start:stop])
        return self.build(self.parse_tree(start, stop))

    def parse_tree(self, start: int, stop: int) -> ast.expr:
        """Let Python find the order of operations; each name or number is a placeholder of the same length."""
        masked, opened, operand = list(" " * len(self.text)), list[int](), False
        count = 0
        for count, token in enumerate(self.scan(start, stop), 1):
            position, is_operand = token.start(), token.lastgroup != "sign"
            if count > LONGEST:
                self.fail(f"it has more than {LONGEST} parts", position)
            if operand and is_operand:
                self.fail(f"an operator is missing before {_show(token[0])}", position)
            self.track_parentheses(token, opened)
            masked[position : token.end()] = "_" * len(token[0]) if is_operand else token[0]
            operand = is_operand or token[0] == ")"
        if opened:
            self.fail("this parenthesis is not closed", opened[-1])
        if not count:
            self.fail("it is empty", start)
        try:
            return ast.parse(f"({''.join(masked)})", mode="eval").body
        except (SyntaxError, MemoryError, RecursionError) as error:
            offset = getattr(error, "offset", None) or start + 2
            self.fail("a value is missing, or there is an operator too many", max(start, min(offset - 2, stop - 1)))

    def track_parentheses(self, token: re.Match[str], opened: list[int]) -> None:
        """Keep the positions of the parentheses that are open."""
        if token[0] == "(":
            opened.append(token.start())
            if len(opened) > DEEPEST:
                self.fail(f"it is nested more than {DEEPEST} levels deep", token.start())
        elif token[0] == ")":
            if not opened:
                self.fail("this parenthesis was never opened", token.start())
            opened.pop()
        elif token[0] == ":":
            self.fail("an interaction is a whole feature, as in carat:cut, and no part of one", token.start())

    def build(self, tree: ast.expr, depth: int = 0) -> Node:
        """Build the nodes of a tree, of which only a few kinds are allowed."""
        if depth > DEEPEST:
            self.fail(f"it is nested more than {DEEPEST} levels deep", _find(tree))
        match tree:
            case ast.Name():
                return self.build_operand(_find(tree))
            case ast.UnaryOp(ast.USub(), operand):
                return Negative(self.build(operand, depth + 1))
            case ast.UnaryOp(ast.UAdd(), operand):
                return self.build(operand, depth + 1)
            case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
                sides = (self.build(side, depth + 1) for side in (left, right))
                return Binary(OPERATORS[type(operator)], *sides)
            case ast.Call():
                return self.build_call(tree, depth)
            case _:
                return self.fail("here is no expression of columns, numbers, + - * / ** and functions", _find(tree))

    def build_operand(self, position: int) -> Column | Number:
        """Build the column or the number at a position."""
        token = TOKEN.match(self.text, position)
        assert token  # noqa: S101 - the tree has a name where a token is
        if token.lastgroup == "number":
            if math.isinf(value := float(token[0])):
                self.fail("this number is too great", position)
            return Number(value)
        name = token[0][1:-1].replace("``", "`") if token[0].startswith("`") else token[0]
        if self.columns is not None and name not in self.columns:
            self.fail(f"there is no column {_show(name)}{_suggest(name, self.columns)}", position)
        return Column(name)

    def name_function(self, tree: ast.Call) -> str:
        """Name the function of a call; what is in backticks is a column."""
        if not isinstance(tree.func, ast.Name):
            self.fail("an operator is missing before this parenthesis", self.text.index("(", _find(tree.func)))
        token = TOKEN.match(self.text, _find(tree.func))
        assert token  # noqa: S101 - the tree has a name where a token is
        return token[0]

    def build_call(self, tree: ast.Call, depth: int) -> Call | TimePart:
        """Build a call of one of the functions, or a part of a time."""
        name, position = self.name_function(tree), _find(tree)
        if tree.keywords or any(isinstance(argument, ast.Starred) for argument in tree.args):
            self.fail("an operator has no value on its left", position)
        if name in PARTS:
            return self.build_part(tree, PARTS[PARTS.index(name)])
        if name == SPLINE:
            self.fail(f"{SPLINE} is a whole feature, and no part of one", position)
        if name not in FUNCTIONS:
            known = [*FUNCTIONS, *PARTS, SPLINE]
            hint = _suggest(name, known) or f"; there are {', '.join(known)}"
            self.fail(f"there is no function {_show(name)}{hint}", position)
        least, most = FUNCTIONS[name]
        if not least <= len(tree.args) <= most:
            wanted = plural(least, "argument") + (" or more" if most == MANY else "")
            self.fail(f"{name} has {wanted}, not {len(tree.args)}", position)
        return Call(name, tuple(self.build(argument, depth + 1) for argument in tree.args))

    def build_part(self, tree: ast.Call, part: Part) -> TimePart:
        """Build a part of the time in a column."""
        if len(tree.args) != 1:
            self.fail(f"{part} has 1 argument, not {len(tree.args)}", _find(tree))
        column = self.build(tree.args[0])
        if not isinstance(column, Column):
            self.fail(f"{part} is a part of a time, so a column must be in its parentheses", _find(tree.args[0]))
        return TimePart(part, column)


def _find(tree: ast.expr) -> int:
    """Find where in the text a tree begins; Python saw one parenthesis more."""
    return tree.col_offset - 1


def _show(name: str) -> str:
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}...")


def _suggest(name: str, known: Collection[str]) -> str:
    """Suggest the known name that is nearest; empty where none is near."""
    alike = [other for other in known if other.lower() == name.lower()] or get_close_matches(name, list(known), 1)
    return f"; did you mean {alike[0]!r}?" if alike else ""
