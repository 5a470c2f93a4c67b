"""The rules by which random programs grow, continued: selectors and reductions."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from gaugeblock.programs.generation.draw import (
    NUMBERS,
    ORDERED,
    UNDEFINED,
    Draw,
    Impossible,
    Kind,
    Number,
    Value,
    WrittenSelector,
    number,
    symbol,
)

MAX_VALUES_OF_A_REDUCTION: Final = 150
"""Reductions with more values than this are not written."""

MAX_SELECTOR_NESTING: Final = 3
"""Selectors are combined to this depth."""


def selector(draw: Draw, nesting: int | None = None) -> WrittenSelector:
    """A selector: one there is already, a new one, or several combined."""
    nesting = draw.one([0, 1, 1, 2, MAX_SELECTOR_NESTING]) if nesting is None else nesting
    if draw.selectors and draw.chance(0.25):
        fitting = [s for s in draw.selectors if s.depth < draw.deepest]
        return draw.one(fitting)
    if nesting == 0 or draw.chance(0.35):
        return draw.weighted(SELECTORS)(draw)
    a = selector(draw, nesting - 1)
    sign = draw.one("&&||~")
    if sign == "~":
        return WrittenSelector(f"~({a.text})", a.depth)
    b = selector(draw, nesting - 1)
    if a.text == b.text:
        raise Impossible
    both, either = a.itself and b.itself, a.itself or b.itself
    some = both if sign == "&" else (a.some or b.some)
    return WrittenSelector(
        f"({a.text}) {sign} ({b.text})", max(a.depth, b.depth), both if sign == "&" else either, some or both
    )


def _below(draw: Draw) -> Callable[[Value], bool]:
    """The test of whether a reduction may still read a value."""
    return lambda v: v.depth < draw.deepest


def _compared(draw: Draw) -> WrittenSelector:
    a = draw.pick(ORDERED, _below(draw))
    b = draw.pick(NUMBERS if a.kind in NUMBERS else (a.kind,), _below(draw)) if draw.chance(0.6) else a
    sign = draw.one(["==", "==", "!=", "<", "<=", ">", ">="])
    itself = a.text == b.text and sign in ("==", "<=", ">=") and not a.undefined
    sides = [f"key({a.text})", f"query({b.text})"]
    if draw.chance(0.3):
        sides.reverse()
    return WrittenSelector(f"{sides[0]} {sign} {sides[1]}", max(a.depth, b.depth), itself, itself)


def _compared_with_constant(draw: Draw) -> WrittenSelector:
    a = draw.pick(ORDERED, _below(draw))
    sign = draw.one(["==", "!=", "<", "<=", ">", ">="])
    return WrittenSelector(f"{draw.one(['key', 'key', 'query'])}({a.text}) {sign} {draw.constant(a).text}", a.depth)


def _alone(draw: Draw) -> WrittenSelector:
    a = draw.pick(("bool",), _below(draw))
    return WrittenSelector(f"{draw.one(['key', 'query'])}({a.text})", a.depth)


def _predicate(draw: Draw) -> WrittenSelector:
    a, b = draw.pick(ORDERED, _below(draw)), draw.pick(ORDERED, _below(draw))
    c = draw.constant(a).text
    options = [f"(k == {c}) == (q == {draw.constant(b).text})", f"k != {c} or q == {draw.constant(b).text}"]
    if a.kind in NUMBERS and b.kind in NUMBERS:
        options += ["abs(k - q) <= 1", "(k + q) % 2 == 0", "k * q > 2", "k > q + 1", "2 * k == q"]
    if a.kind == b.kind:
        options += [f"k != q and k != {c}", f"k == q or k == {c}"]
    return WrittenSelector(f"select({a.text}, {b.text}, lambda k, q: {draw.one(options)})", max(a.depth, b.depth))


def _named(text: str) -> Callable[[Draw], WrittenSelector]:
    return lambda draw: WrittenSelector(text, 0, itself=True, some=True)


def _sized(name: str, least: int) -> Callable[[Draw], WrittenSelector]:
    def rule(draw: Draw) -> WrittenSelector:
        return WrittenSelector(f"{name}({int(draw.rng.integers(least, 4))})", 0, itself=True, some=True)

    return rule


def _edges(draw: Draw) -> WrittenSelector:
    if not draw.graph:
        raise Impossible
    return WrittenSelector("edges", 0)


SELECTORS: Final[tuple[tuple[Number, Callable[[Draw], WrittenSelector]], ...]] = (
    (6, _compared),
    (1.5, _compared_with_constant),
    (2, _alone),
    (1.5, _predicate),
    (1, _named("everything")),
    (1.2, _named("causal")),
    (0.8, _sized("local", 0)),
    (0.8, _sized("strided", 1)),
    (0.8, _sized("same_block", 1)),
    (2, _edges),
)


def _reduction(
    draw: Draw, text: str, kind: Kind, operands: tuple[Value | WrittenSelector, ...], size: int, **facts: Any
) -> Value:
    """A reduction of these operands, with what is known of it."""
    depth = 1 + max(x.depth for x in operands)
    if depth > draw.deepest or size > MAX_VALUES_OF_A_REDUCTION:
        raise Impossible
    return Value(text, kind, size=size, reads=None, depth=depth, **facts)


def _default(draw: Draw, value: Value) -> Value:
    """A default for a reduction of the value, where nothing is selected."""
    if draw.chance(0.35):
        return UNDEFINED
    if value.kind == "sym":
        return symbol(draw.one([*value.symbols, "?"]))
    if value.kind == "bool":
        return number(draw.chance(0.3))
    if value.kind == "num" and draw.chance(0.3):
        return number(0.5)
    return number(draw.one([0, 0, -1, 1, 5]))


def _taken(
    draw: Draw,
    chosen: WrittenSelector,
    before: str,
    value: Value,
    needs: bool,
    unique: bool = False,
    method: str = "get",
) -> Value:
    """`before`.get(value), with a default if it needs one: a value of the same kind."""
    options, size = value.text, value.size
    facts: dict[str, Any] = {"low": value.low, "high": value.high, "symbols": value.symbols}
    facts["undefined"] = value.undefined
    if needs or draw.chance(0.15):
        default = UNDEFINED if value.kind == "any" else _default(draw, value)
        options += f", default={default.text}"
        size += 1
        if default is UNDEFINED:
            facts["undefined"] = True
        else:
            facts |= {"low": min(value.low, default.low), "high": max(value.high, default.high)}
            facts["symbols"] = tuple(dict.fromkeys((*value.symbols, *default.symbols)))
    if unique and draw.chance(0.1):
        options += ", unique=True"
    return _reduction(draw, f"{before}.{method}({options})", value.kind, (chosen, value), size, **facts)


def _at_position(draw: Draw) -> Value:
    """The value at a computed place: no two keys hold the same one."""
    places = draw.pick(("int", "num"), lambda v: v.distinct and not v.undefined and v.depth < draw.deepest)
    wanted = draw.pick(("int",), lambda v: v.depth < draw.deepest and v.size <= 40)
    value = draw.pick((*ORDERED, "any"), _below(draw))
    text = f"key({places.text}) == query({wanted.text})"
    if wanted.constant:
        raise Impossible
    certain = places.position and wanted.position and not wanted.undefined
    depth = max(places.depth, wanted.depth)
    if draw.chance(0.3):
        also = selector(draw, 1)
        text, depth, certain = f"({text}) & ({also.text})", max(depth, also.depth), False
    return _taken(draw, WrittenSelector(text, depth), f"({text})", value, not certain, unique=True)


def _neighbour(draw: Draw) -> Value:
    value = draw.pick((*ORDERED, "any"), _below(draw))
    where = draw.one(["indices - 1", "indices + 1", "indices - 2"])
    text = f"key(indices) == query({where})"
    return _taken(draw, WrittenSelector(text, 0), f"({text})", value, True, unique=True)


def _first(draw: Draw) -> Value:
    value = draw.pick((*ORDERED, "any"), _below(draw))
    taken = _taken(draw, WrittenSelector("", 0), "(key(indices) == 0)", value, False)
    return replace(taken, uniform=True)


def _of_equal_keys(draw: Draw) -> Value:
    """A function of what the selected keys are equal in."""
    a = draw.pick(ORDERED, _below(draw))
    b = draw.pick(NUMBERS if a.kind in NUMBERS else (a.kind,), _below(draw)) if draw.chance(0.7) else a
    value = draw.pick((*ORDERED, "any"), lambda v: v.text == a.text or a.text in v.function_of)
    if value.depth >= draw.deepest:
        raise Impossible
    text = f"key({a.text}) == query({b.text})"
    certain = a.text == b.text and not a.undefined
    if draw.chance(0.3):
        also = selector(draw, 1)
        text, certain = f"({text}) & ({also.text})", certain and also.itself
        return _taken(draw, WrittenSelector(text, max(a.depth, b.depth, also.depth)), f"({text})", value, not certain)
    return _taken(draw, WrittenSelector(text, max(a.depth, b.depth)), f"({text})", value, not certain)


def _of_all_alike(draw: Draw) -> Value:
    """A value that is the same everywhere in an input, from any keys."""
    value = draw.pick((*ORDERED, "any"), lambda v: v.uniform and v.depth < draw.deepest)
    chosen = selector(draw)
    return _taken(draw, chosen, f"({chosen.text})", value, not chosen.some)


def _best(draw: Draw) -> Value:
    """The value at the best-scoring key: at the only one, or of a function of the score."""
    chosen = selector(draw)
    score = draw.pick(ORDERED, _below(draw))
    if not score.distinct:
        fits = lambda v: v.text == score.text or score.text in v.function_of  # noqa: E731
        if draw.chance(0.6):
            score = draw.pick(ORDERED, lambda v: v.distinct and v.depth < draw.deepest)
    value = draw.pick((*ORDERED, "any"), _below(draw) if score.distinct else fits)
    if value.depth >= draw.deepest:
        raise Impossible
    smallest = ", largest=False" if draw.chance(0.5) else ""
    needs = not chosen.some or score.undefined
    operands = WrittenSelector(chosen.text, max(chosen.depth, score.depth))
    return _taken(draw, operands, f"({chosen.text}).best({score.text}{smallest})", value, needs)


def _extreme(draw: Draw) -> Value:
    chosen = selector(draw)
    value = draw.pick(ORDERED, _below(draw))
    needs = not chosen.some or value.undefined
    return _taken(draw, chosen, f"({chosen.text})", value, needs, method=draw.one(["max", "min"]))


def _summand(draw: Draw) -> Value:
    """A number, sometimes one that may be undefined."""
    if draw.chance(0.6) and any(v.undefined and v.kind in NUMBERS for v in draw.values):
        return draw.pick(NUMBERS, lambda v: v.undefined and v.depth < draw.deepest)
    return draw.pick(NUMBERS, _below(draw))


def _mean(draw: Draw) -> Value:
    chosen, value = selector(draw), _summand(draw)
    n = draw.max_len
    if value.kind == "num":
        size = math.comb(value.size + n, n)
    else:
        size = round(sum(m * (value.high - value.low) for m in range(1, n + 1)) * 0.7) + 1
    facts = {"low": value.low, "high": value.high, "undefined": value.undefined}
    text = f"({chosen.text}).mean({value.text}"
    if not chosen.some or draw.chance(0.1):
        default = _default(draw, replace(value, kind="num"))
        text += f", default={default.text}"
        if default is UNDEFINED:
            facts["undefined"] = True
        else:
            facts |= {"low": min(value.low, default.low), "high": max(value.high, default.high)}
    uniform = chosen.text == "everything"
    return _reduction(draw, f"{text})", "num", (chosen, value), size, uniform=uniform, **facts)


def _sum(draw: Draw) -> Value:
    chosen, value = selector(draw), _summand(draw)
    n = draw.max_len
    low, high = min(0, value.low) * n, max(0, value.high) * n
    size = math.comb(value.size + n, n) if value.kind == "num" else int(high - low) + 1
    kind: Kind = "num" if value.kind == "num" else "int"
    facts = {"low": low, "high": high, "undefined": value.undefined, "uniform": chosen.text == "everything"}
    return _reduction(draw, f"({chosen.text}).sum({value.text})", kind, (chosen, value), size, **facts)


def _count(draw: Draw) -> Value:
    chosen, n = selector(draw), draw.max_len
    facts = {"low": int(chosen.some), "high": n, "uniform": chosen.text == "everything"}
    return _reduction(draw, f"({chosen.text}).count()", "int", (chosen,), n + 1, **facts)


def _any_or_all(draw: Draw) -> Value:
    chosen = selector(draw)
    if draw.chance(0.2):
        return _reduction(draw, f"({chosen.text}).any()", "bool", (chosen,), 2, high=1)
    value = draw.pick(("bool",), _below(draw))
    name = draw.one(["any", "all"])
    return _reduction(draw, f"({chosen.text}).{name}({value.text})", "bool", (chosen, value), 2, high=1)


def _rank(draw: Draw) -> Value:
    """The place of each position in sorted order; equal ones keep theirs."""
    a = draw.pick(ORDERED, lambda v: not v.undefined and v.depth < draw.deepest)
    sign = draw.one("<>")
    ties = f"(key({a.text}) == query({a.text})) & (key(indices) < query(indices))"
    text = f"((key({a.text}) {sign} query({a.text})) | ({ties})).count()"
    facts = {"high": draw.max_len - 1, "distinct": True, "position": True}
    return _reduction(draw, text, "int", (a,), draw.max_len, **facts)


def _reversed(draw: Draw) -> Value:
    facts = {"high": draw.max_len - 1, "distinct": True, "position": True}
    return _reduction(draw, "everything.count() - 1 - indices", "int", (number(0),), draw.max_len, **facts)


def _last(draw: Draw) -> Value:
    facts = {"high": draw.max_len - 1, "position": True, "uniform": True}
    return _reduction(draw, "everything.count() - 1", "int", (number(0),), draw.max_len, **facts)


def _repeated(draw: Draw, step: str, start: Value, n: int, kind: Kind, size: int, **facts: Any) -> Value:
    """A loop of n reductions, each of the result of the one before."""
    text = f"loop({n}, lambda x: {step}, {start.text})"
    return _reduction(draw, text, kind, (WrittenSelector("", start.depth + n - 1),), size, **facts)


def _spread(draw: Draw) -> Value:
    n = draw.one([2, 2, 3])
    a = draw.pick(("bool",), lambda v: v.depth + n <= draw.deepest)
    among = draw.one(["edges"] if draw.graph else ["local(1)", "(key(indices) == query(indices - 1))"])
    return _repeated(draw, f"x {draw.one('&|')} {among}.any(x)", a, n, "bool", 2, high=1, undefined=a.undefined)


def _shift(draw: Draw) -> Value:
    n = draw.one([2, 2, 3])
    a = draw.pick(("int", "sym"), lambda v: v.depth + n <= draw.deepest)
    default = a.symbols[0] if a.kind == "sym" else int(a.low)
    step = f"(key(indices) == query(indices {draw.one('+-')} 1)).get(x, default={default!r})"
    facts = {"low": a.low, "high": a.high, "symbols": a.symbols, "undefined": a.undefined}
    return _repeated(draw, step, a, n, a.kind, a.size, **facts)


def _recount(draw: Draw) -> Value:
    n = draw.one([2, 2, 3])
    a = draw.pick(ORDERED, lambda v: v.depth + n <= draw.deepest)
    step = f"(key(x) {draw.one(['==', '<', '>='])} query(x)).count()"
    return _repeated(draw, step, a, n, "int", draw.max_len + 1, high=draw.max_len)


REDUCTIONS: Final[tuple[tuple[Number, Callable[[Draw], Value]], ...]] = (
    (3, _mean),
    (2.5, _sum),
    (2.5, _count),
    (2.5, _any_or_all),
    (3.5, _extreme),
    (2.5, _best),
    (2, _at_position),
    (1, _neighbour),
    (0.5, _first),
    (2, _of_equal_keys),
    (0.6, _of_all_alike),
    (1, _rank),
    (0.5, _reversed),
    (0.3, _last),
    (0.5, _spread),
    (0.3, _shift),
    (0.4, _recount),
)
