"""Small faults that can be made in a module: where, which, and the module with one of them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["Mutation", "mutations", "with_mutation"]

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
PAIRS = (
    ("min", "max"),
    ("amin", "amax"),
    ("minimum", "maximum"),
    ("floor", "ceil"),
    ("any", "all"),
)
NAMES = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Args:
        number: which of those of its module.
        line: where it is.
        within: the class and the function.
        kind: what is changed.
        before: the code that is changed.
        after: what it becomes.
    """

    number: int
    line: int
    within: str
    kind: str
    before: str
    after: str


def mutations(source: str) -> list[Mutation]:
    """All faults that can be made in the functions of a module, in their order."""
    return [
        Mutation(number, getattr(node, "lineno", 0), place, kind, *map(ast.unparse, (node, made())))
        for number, (node, place, kind, made) in enumerate(_faults(ast.parse(source)))
    ]


def with_mutation(source: str, number: int) -> str:
    """The module with the fault of this number; its layout is lost."""
    tree = ast.parse(source)
    node, _, _, made = list(_faults(tree))[number]
    return ast.unparse(ast.fix_missing_locations(_Put(node, made()).visit(tree)))


class _Put(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


Fault = tuple[ast.AST, str, str, Callable[[], ast.AST]]


def _faults(tree: ast.Module) -> Iterator[Fault]:
    for node in ast.iter_child_nodes(tree):
        yield from _within(node, "", inside=False)


def _within(node: ast.AST, place: str, inside: bool) -> Iterator[Fault]:
    if inside:
        yield from ((node, place, kind, made) for kind, made in _of(node))
    inside = inside or isinstance(node, ast.FunctionDef)
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        place = f"{place}.{node.name}".lstrip(".")
    for name, value in ast.iter_fields(node):
        # What is written of types and at the door of a command is no code of the function.
        if name in ("annotation", "returns", "decorator_list", "args") and not _called(node, name):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_text(child):
                yield from _within(child, place, inside)


def _called(node: ast.AST, field: str) -> bool:
    return field == "args" and isinstance(node, ast.Call)


def _is_text(node: ast.AST) -> bool:
    # Messages and docstrings.
    return (
        isinstance(node, ast.JoinedStr | ast.Raise)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    )


def _of(node: ast.AST) -> Iterator[tuple[str, Callable[[], ast.AST]]]:
    for kind, maker in MAKERS.items():
        made = maker(node)
        if made is not None:
            yield kind, made


Maker = Callable[[ast.AST], Callable[[], ast.AST] | None]


def _compared(node: ast.AST) -> Callable[[], ast.AST] | None:
    if not isinstance(node, ast.Compare):
        return None
    flipped: list[ast.cmpop] = [COMPARISONS[type(node.ops[0])](), *node.ops[1:]]
    return lambda: ast.Compare(node.left, flipped, node.comparators)


def _computed(node: ast.AST) -> Callable[[], ast.AST] | None:
    if not isinstance(node, ast.BinOp) or type(node.op) not in OPERATORS:
        return None
    other = OPERATORS[type(node.op)]()
    return lambda: ast.BinOp(node.left, other, node.right)


def _signed(node: ast.AST) -> Callable[[], ast.AST] | None:
    if not isinstance(node, ast.UnaryOp) or not isinstance(node.op, ast.Not | ast.USub):
        return None
    return lambda: node.operand


def _joined(node: ast.AST) -> Callable[[], ast.AST] | None:
    if not isinstance(node, ast.BoolOp):
        return None
    other: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return lambda: ast.BoolOp(other, node.values)


def _renamed(node: ast.AST) -> Callable[[], ast.AST] | None:
    if isinstance(node, ast.Name) and node.id in NAMES:
        return lambda: ast.Name(NAMES[node.id], node.ctx)
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        return lambda: ast.Attribute(node.value, NAMES[node.attr], node.ctx)
    return None


def _counted(node: ast.AST) -> Callable[[], ast.AST] | None:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, int | float):
        return None
    value = node.value
    if isinstance(value, bool):
        return lambda: ast.Constant(not value)
    return lambda: ast.Constant(value + 1 if isinstance(value, int) else 2 * value or 1.0)


def _never(node: ast.AST) -> Callable[[], ast.AST] | None:
    if not isinstance(node, ast.If):
        return None
    return lambda: ast.If(ast.Constant(False), node.body, node.orelse)


def _dropped(node: ast.AST) -> Callable[[], ast.AST] | None:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return None
    return ast.Pass


def _empty(node: ast.AST) -> Callable[[], ast.AST] | None:
    if not isinstance(node, ast.Return) or node.value is None:
        return None
    return lambda: ast.Return(ast.Constant(None))


MAKERS: dict[str, Maker] = {
    "comparison": _compared,
    "operator": _computed,
    "sign or not": _signed,
    "and or or": _joined,
    "function": _renamed,
    "constant": _counted,
    "branch never taken": _never,
    "statement dropped": _dropped,
    "nothing returned": _empty,
}
