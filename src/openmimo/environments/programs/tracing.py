"""A tracing interpreter of a few Python statements: what a program prints, and how one gets there by hand."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

from openmimo.environments.comparing import SIGNS, compared, yes_or_no

__all__ = ["Trace", "run_traced"]

MAX_LINES = 60
_COMPARISONS = {ast.Lt: "<", ast.Gt: ">", ast.LtE: "<=", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_BINARY = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    **{node: (sign, SIGNS[sign]) for node, sign in _COMPARISONS.items()},
}


def _counted(values: list[Any], first: int = 1) -> str:
    """Such as ": 1:8 2:5"."""
    return ": " + " ".join(f"{number}:{value}" for number, value in enumerate(values, first))


def _best_of(best: Callable[[Any, Any], Any], sign: str) -> Callable[[list[Any]], str]:
    """Each value compared with the best before it, and the best of both: ": 8, 5>8 no 8"."""

    def work(values: list[Any]) -> str:
        bests = pairwise(accumulate(values, best))
        steps = [f"{compared(value, sign, old)} {new}" for value, (old, new) in zip(values[1:], bests, strict=True)]
        return ": " + ", ".join([str(values[0]), *steps])

    return work


_WORKINGS = {"len": _counted, "max": _best_of(max, ">"), "min": _best_of(min, "<")}
_FUNCTIONS = {"len": len, "sum": sum, "max": max, "min": min, "range": range}


class Trace:
    """What running a program leaves behind.

    Attributes:
        lines: one for each value that came up, in order: "b=7+5=12", "12>9 yes", "i=2 | 3 4" with what is left of the
            loop, "a=xs[1]: 0:8 1:5=5".
        output: what was printed, without the last line break.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.printed: list[str] = []
        self._values: dict[str, Any] = {}

    @property
    def output(self) -> str:
        """Everything printed, a line for each print."""
        return "\n".join(self.printed)

    def _note(self, line: str) -> None:
        assert len(self.lines) < MAX_LINES, "the program is too long for a trace"
        self.lines.append(line)

    def _run(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            getattr(self, f"_{type(statement).__name__.lower()}")(statement)

    def _assign(self, node: ast.Assign) -> None:
        self._set(node.targets[0], node.value)

    def _augassign(self, node: ast.AugAssign) -> None:
        assert isinstance(node.target, ast.Name)
        self._set(node.target, ast.BinOp(ast.Name(node.target.id), node.op, node.value))

    def _set(self, target: ast.expr, value: ast.expr) -> None:
        shown, result = self._evaluate(value)
        if isinstance(target, ast.Subscript):
            values, (_, index) = self._values[ast.unparse(target.value)], self._evaluate(target.slice)
            values[index] = result
            self._note(f"{ast.unparse(target.value)}={_show(values)}")
        else:
            assert isinstance(target, ast.Name)
            self._values[target.id] = result
            self._note(f"{target.id}={shown}")

    def _for(self, node: ast.For) -> None:
        assert isinstance(node.target, ast.Name)
        values = list(self._evaluate(node.iter)[1])
        for number, value in enumerate(values, 1):
            self._values[node.target.id] = value
            left = " ".join(map(_show, values[number:])) or "end"
            self._note(f"{node.target.id}={_show(value)} | {left}")
            self._run(node.body)

    def _while(self, node: ast.While) -> None:
        while self._holds(node.test):
            self._run(node.body)

    def _if(self, node: ast.If) -> None:
        self._run(node.body if self._holds(node.test) else node.orelse)

    def _holds(self, test: ast.expr) -> bool:
        shown, is_true = self._evaluate(test)
        self._note(f"{shown.rpartition('=')[0]} {yes_or_no(is_true)}")
        return is_true

    def _expr(self, node: ast.Expr) -> None:
        call = node.value
        assert isinstance(call, ast.Call)
        if isinstance(call.func, ast.Attribute):
            name = ast.unparse(call.func.value)
            shown, value = self._evaluate(call.args[0])
            if "=" in shown:
                self._note(shown)
            self._values[name].append(value)
            self._note(f"{name}={_show(self._values[name])}")
            return
        evaluated = [self._evaluate(argument) for argument in call.args]
        for shown, _ in evaluated:
            if "=" in shown:
                self._note(shown)
        self.printed.append(" ".join(str(value) for _, value in evaluated))

    def _evaluate(self, node: ast.expr) -> tuple[str, Any]:
        """How the value comes about, such as "7+5=12" or only "12", and the value."""
        if isinstance(node, ast.Constant):
            return _show(node.value), node.value
        if isinstance(node, ast.Name):
            return _show(self._values[node.id]), self._values[node.id]
        if isinstance(node, ast.List):
            values = [self._evaluate(item)[1] for item in node.elts]
            return _show(values), values
        steps, value = self._operation(node)
        return f"{steps}={_show(value)}", value

    def _operation(self, node: ast.expr) -> tuple[str, Any]:
        if isinstance(node, ast.UnaryOp):
            value = -self._evaluate(node.operand)[1]
            return ast.unparse(node), value
        if isinstance(node, ast.Subscript):
            index = self._evaluate(node.slice)[1]
            values = self._values[ast.unparse(node.value)]
            counted = _counted(values[: index % len(values) + 1], 0)
            return f"{ast.unparse(node.value)}[{index}]{counted}", values[index]
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            arguments = [self._evaluate(argument)[1] for argument in node.args]
            working = _WORKINGS[node.func.id](arguments[0]) if node.func.id in _WORKINGS else ""
            return ast.unparse(node) + working, _FUNCTIONS[node.func.id](*arguments)
        assert isinstance(node, ast.BinOp | ast.Compare)
        left, right, kind = (
            (node.left, node.right, node.op)
            if isinstance(node, ast.BinOp)
            else (node.left, node.comparators[0], node.ops[0])
        )
        sign, apply = _BINARY[type(kind)]
        (_, a), (_, b) = self._evaluate(left), self._evaluate(right)
        return f"{_show(a)}{sign}{_show(b)}", apply(a, b)


def _show(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return str(value)


def run_traced(source: str) -> Trace:
    """Run a program of assignments, ifs, loops, appends and prints.

    Args:
        source: Python that this project's generator wrote; every operand is a name or a constant.
    Returns:
        its trace.
    """
    trace = Trace()
    trace._run(ast.parse(source).body)
    return trace
