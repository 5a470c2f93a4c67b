"""The rules by which random programs grow: each writes one typed expression over the values there are so far.

What is written has a value on every input by construction: divisors are never 0, a `.get` selects one key or keys
that agree, and a reduction that may select nothing has a default.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from gaugeblock.programs.generation.draw import (
    LARGEST_NUMBER,
    NUMBERS,
    ORDERED,
    UNDEFINED,
    Draw,
    Impossible,
    Kind,
    Number,
    Value,
    number,
)


def elementwise(
    draw: Draw,
    text: str,
    kind: Kind,
    operands: Sequence[Value],
    bounds: tuple[Number, Number] = (0, 1),
    symbols: tuple[str, ...] = (),
    **facts: Any,
) -> Value:
    """A function of the operands, with what is known of it."""
    reads = frozenset().union(*(v.reads or () for v in operands))
    entries = math.prod(size for _, size in reads)
    low, high = bounds
    if not reads or entries > draw.entries or max(abs(low), abs(high)) > LARGEST_NUMBER or len(symbols) > 12:
        raise Impossible
    size = min(entries, math.prod(v.size for v in operands))
    if kind in ("int", "bool"):
        size = min(size, int(high - low) + 1)
    variables = {v.text: v for v in operands if not v.constant}
    sources: tuple[str, ...] = ()
    if len(variables) == 1:
        (only,) = variables.values()
        sources = (only.text, *only.function_of)
    known = {
        "low": low,
        "high": high,
        "symbols": symbols,
        "size": len(symbols) or size,
        "reads": reads,
        "depth": max(v.depth for v in operands),
        "undefined": any(v.undefined for v in operands),
        "function_of": sources,
        "uniform": all(v.uniform for v in operands),
    }
    return Value(text, kind, **{**known, **facts})


def _integral(*values: Value) -> Kind:
    return "int" if all(v.kind in ("bool", "int") for v in values) else "num"


def _corners(f: Callable[[Any, Any], Number], a: Value, b: Value) -> tuple[Number, Number]:
    ends = [f(x, y) for x, y in itertools.product((a.low, a.high), (b.low, b.high))]
    return min(ends), max(ends)


def _arithmetic(draw: Draw) -> Value:
    a = draw.pick(NUMBERS)
    b = draw.other(a)
    sign = draw.one("+-*")
    f = {"+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y}[sign]
    distinct = (a.distinct and b.constant) and (sign != "*" or b.low != 0)
    if draw.chance(0.4):
        a, b = b, a
    return elementwise(
        draw, f"({a.text}) {sign} ({b.text})", _integral(a, b), (a, b), _corners(f, a, b), distinct=distinct
    )


def _positive(draw: Draw) -> Value:
    """A value above 0 to divide by."""
    positive = [v for v in draw.values if v.kind in NUMBERS and v.low > 0]
    if positive and draw.chance(0.6):
        return draw.one(positive)
    a = draw.pick(NUMBERS)
    most = 1 + max(abs(a.low), abs(a.high))
    return elementwise(draw, f"abs({a.text}) + 1", _integral(a), (a,), (1, most))


def _division(draw: Draw) -> Value:
    sign = draw.one(["/", "//", "%"])
    if draw.chance(0.5):
        b = _positive(draw)
        a = draw.other(b, 0.7)
    else:
        a, b = draw.pick(NUMBERS), number(draw.one([2, 3, 4, 5, -2] if sign != "%" else [2, 3, 4]))
    kind: Kind = "num" if sign == "/" else _integral(a, b)
    f = {"/": lambda x, y: x / y, "//": lambda x, y: x // y, "%": lambda x, y: 0}[sign]
    bounds = (0, b.high) if sign == "%" else _corners(f, a, b)
    if sign == "%" and kind == "int":
        bounds = (0, b.high - 1)
    position = a.position and b.constant and b.low > 0 and sign != "/"
    distinct = a.distinct and b.constant and sign == "/"
    text = f"({a.text}) {sign} ({b.text})"
    return elementwise(draw, text, kind, (a, b), bounds, position=position, distinct=distinct)


def _power(draw: Draw) -> Value:
    if draw.chance(0.5):
        a = draw.pick(NUMBERS, lambda v: v.high < 6 and v.low > -6)
        n = draw.one([2, 3])
        low, high = min(a.low**n, 0), max(a.high**n, a.low**n)
        return elementwise(draw, f"{a.text} ** {n}", _integral(a), (a,), (low, high))
    a = draw.pick(("bool", "int"), lambda v: v.low >= 0 and v.high <= 7)
    base = draw.one([2, 3] if a.high <= 4 else [2])
    return elementwise(draw, f"{base} ** {a.text}", "int", (a,), (1, base**a.high), distinct=a.distinct)


def _unary(draw: Draw) -> Value:
    a = draw.pick(NUMBERS)
    which = draw.one(["-", "+", "abs", "round", "round to"])
    kind: Kind = "num" if a.kind == "num" else "int"
    match which:
        case "-":
            return elementwise(draw, f"-{a.text}", kind, (a,), (-a.high, -a.low), distinct=a.distinct)
        case "+":
            bounds = a.low, a.high
            return elementwise(draw, f"+{a.text}", a.kind, (a,), bounds, distinct=a.distinct, position=a.position)
        case "abs":
            low = 0 if a.low < 0 < a.high else min(abs(a.low), abs(a.high))
            return elementwise(draw, f"abs({a.text})", kind, (a,), (low, max(abs(a.low), abs(a.high))))
        case "round":
            return elementwise(draw, f"round({a.text})", "int", (a,), (math.floor(a.low), math.ceil(a.high)))
    return elementwise(draw, f"round({a.text}, 1)", kind, (a,), (math.floor(a.low), math.ceil(a.high)))


def _comparison(draw: Draw) -> Value:
    a = draw.pick()
    b = draw.other(a, 0.6)
    sign = draw.one(["==", "!=", "<", "<=", ">", ">="])
    if draw.chance(0.3):
        a, b = b, a
    return elementwise(draw, f"({a.text}) {sign} ({b.text})", "bool", (a, b))


def _logic(draw: Draw) -> Value:
    a = draw.pick(("bool",))
    if draw.chance(0.35):
        return elementwise(draw, f"~{a.text}", "bool", (a,))
    b = draw.pick(("bool",), lambda v: v.text != a.text)
    return elementwise(draw, f"{a.text} {draw.one('&|')} {b.text}", "bool", (a, b))


def _bits(draw: Draw) -> Value:
    a = draw.pick(("int",), lambda v: v.low >= 0 and v.high < 64)
    top = 2 ** int(max(a.high, 3)).bit_length() - 1
    return elementwise(draw, f"{a.text} {draw.one('&|')} {draw.one([1, 2, 3])}", "int", (a,), (0, top))


Function = tuple[str, Kind, tuple[Number, Number], tuple[str, ...], bool]
"""A function as text, the kind, bounds and symbols of its results, and whether it may give None."""


def _mapped(draw: Draw) -> Value:
    a = draw.pick((*ORDERED, "any"))
    options: list[Function]
    if a.kind == "sym":
        c = draw.one(a.symbols)
        rest = sorted({*a.symbols} - {c})
        numbers = {x: int(draw.rng.integers(-2, 6)) for x in a.symbols}
        some = {x: n for x, n in numbers.items() if draw.chance(0.6)} or numbers
        low, high = min(numbers.values()), max(numbers.values())
        options = [
            (f"lambda x: x in {a.symbols[::2]!r}", "bool", (0, 1), (), False),
            (f"{numbers!r}.get", "int", (low, high), (), False),
            (f"{some!r}.get", "int", (low, high), (), True),
            (f"lambda x: x if x != {c!r} else None", "sym", (0, 1), tuple(rest) or (c,), True),
            ("str.upper", "sym", (0, 1), tuple(sorted({x.upper() for x in a.symbols})), False),
        ]
    elif a.kind in NUMBERS:
        c = draw.constant(a).text
        options = [
            (f"lambda x: 'high' if x > {c} else 'low'", "sym", (0, 1), ("high", "low"), False),
            (f"lambda x: None if x == {c} else x", a.kind, (a.low, a.high), (), True),
            (f"lambda x: x if x >= {c} else None", a.kind, (a.low, a.high), (), True),
            (f"lambda x: x * x <= {abs(float(draw.constant(a).low))}", "bool", (0, 1), (), False),
            (f"lambda x: x != {c}", "bool", (0, 1), (), False),
        ]
        if a.kind != "num":
            options.append(("lambda x: 'even' if x % 2 == 0 else 'odd'", "sym", (0, 1), ("even", "odd"), False))
            options.append(("lambda x: (3 * x + 1) % 5", "int", (0, 4), (), False))
    else:
        options = [("lambda x: isinstance(x, bool)", "bool", (0, 1), (), False)]
    text, kind, bounds, symbols, undefined = draw.one(options)
    undefined = undefined or a.undefined
    return elementwise(draw, f"{a.text}.map({text})", kind, (a,), bounds, symbols, undefined=undefined)


def _map_n(draw: Draw) -> Value:
    n = draw.weighted([(1, 1), (3, 2), (3, 3), (2, 4)])
    operands = [draw.pick() if draw.chance(0.85) else draw.constant(draw.values[0]) for _ in range(n)]
    names = ", ".join("abcd"[:n])
    numeric = [name for name, v in zip("abcd", operands, strict=False) if v.kind in NUMBERS]
    weights = draw.rng.integers(1, 4, size=4).tolist()
    amount = " + ".join(f"{w} * {x}" for w, x in zip(weights, numeric, strict=False)) or f"({names},).count('a')"
    integral = all(v.kind != "num" for v in operands)
    c = int(draw.rng.integers(0, 4))
    options: list[Function] = [
        (f"{amount} > {c}", "bool", (0, 1), (), False),
        (f"'up' if {amount} > {c} else 'down'", "sym", (0, 1), ("down", "up"), False),
        (f"{c} if {amount} == {c} else None", "int", (c, c), (), True),
        (f"({names},)", "any", (0, 1), (), False),
    ]
    if integral:
        remainder: Function = f"({amount}) % {c + 2}", "int", (0, c + 1), (), False
        options += [remainder, remainder]
    text, kind, bounds, symbols, undefined = draw.one(options)
    arguments = ", ".join(v.text for v in operands)
    undefined = undefined or any(v.undefined for v in operands)
    return elementwise(
        draw, f"map_n(lambda {names}: {text}, {arguments})", kind, operands, bounds, symbols, undefined=undefined
    )


def _where(draw: Draw) -> Value:
    condition = draw.pick(("bool",))
    a = draw.pick((*ORDERED, "any"))
    if draw.chance(0.25):
        b = UNDEFINED
    elif a.kind in ("any", "bool"):
        b = draw.pick((a.kind,))
    else:
        b = draw.other(a)
        if b.kind == "bool":
            raise Impossible
    if "bool" in (a.kind, b.kind) and a.kind != b.kind and b is not UNDEFINED:
        raise Impossible
    kind = a.kind if b is UNDEFINED or a.kind == b.kind else "num"
    bounds = (a.low, a.high) if b is UNDEFINED else (min(a.low, b.low), max(a.high, b.high))
    symbols = tuple(dict.fromkeys((*a.symbols, *b.symbols)))
    position = a.position and b.position
    if draw.chance(0.4):
        a, b = b, a
    text = f"where({condition.text}, {a.text}, {b.text})"
    return elementwise(draw, text, kind, (condition, a, b), bounds, symbols, position=position, size=a.size + b.size)


def _isin(draw: Draw) -> Value:
    a = draw.pick(ORDERED)
    members = {draw.constant(a).text: None for _ in range(int(draw.rng.integers(1, 4)))}
    return elementwise(draw, f"{a.text}.isin([{', '.join(members)}])", "bool", (a,))


def _defined(draw: Draw) -> Value:
    a = draw.pick((*ORDERED, "any"), lambda v: v.undefined)
    return elementwise(draw, f"{a.text}.defined()", "bool", (a,), undefined=False)


def _loop_of_numbers(draw: Draw) -> Value:
    a, b = draw.pick(("bool", "int")), draw.pick(("bool", "int"))
    n, c, m = draw.one([1, 2, 3]), draw.one([1, 2, 3]), draw.one([2, 3, 5])
    return elementwise(draw, f"loop({n}, lambda x: ({c} * x + {b.text}) % {m}, {a.text})", "int", (a, b), (0, m - 1))


ELEMENTWISE: Final[tuple[tuple[Number, Callable[[Draw], Value]], ...]] = (
    (5, _arithmetic),
    (4, _division),
    (1.5, _power),
    (3, _unary),
    (5, _comparison),
    (3, _logic),
    (0.5, _bits),
    (2.5, _mapped),
    (3, _map_n),
    (3, _where),
    (1.2, _isin),
    (1.5, _defined),
    (0.5, _loop_of_numbers),
)
