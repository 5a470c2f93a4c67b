"""Random programs, compiled and compared with the interpreter; whatever fails is made as small as possible."""

import json
import math
import re
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np

from gaugeblock.compiled.writing import write_text
from gaugeblock.programs.errors import CompileError, FileError, GaugeblockError
from gaugeblock.programs.generation.coverage import CONSTRUCTS, check_constructs, constructs
from gaugeblock.programs.generation.generator import generate
from gaugeblock.programs.generation.shrinking import shrink
from gaugeblock.programs.program import Program
from gaugeblock.running.threads import JobTimeout, one_thread, time_limit

MAX_INPUTS_ENUMERATED: Final = 3_000
"""Spaces of up to so many inputs are compared in full."""

INPUTS_SAMPLED: Final = 300
"""How many inputs are drawn of larger spaces."""

PROGRAMS_PER_TASK: Final = 10

TIME_LIMIT: Final = 60
"""Seconds after which compiling and running a program counts as a crash. Unix only."""

Kind = Literal["ok", "float64", "refused", "mismatch", "crash"]
"""float64: exact, but what float32 could do to it cannot be bounded well enough."""

EXACT_KINDS: Final[tuple[Kind, ...]] = ("ok", "float64")


@final
@dataclass(frozen=True)
class Failure:
    """A minimal program that fails, and an input on which it does (None where it does not compile)."""

    seed: int
    kind: Kind
    message: str
    source: str
    input: str | None
    expected: str | None
    got: str | None


@final
@dataclass(frozen=True)
class Outcome:
    """What became of one program: `message` is the error of a refusal or a failure."""

    seed: int
    kind: Kind
    message: str
    constructs: tuple[str, ...]
    inputs: int
    compile_seconds: float
    failure: Failure | None = None


@final
@dataclass(frozen=True)
class Report:
    """What a run of the fuzzer found.

    Attributes:
        n, seed: how many programs, and from where; program i is `generate(seed * 1_000_000 + i)`.
        outcomes: kind -> programs.
        refusals: reason, without names and numbers -> programs.
        coverage: construct -> programs that use it and were compared.
        inputs: how many inputs were compared in all.
        compile_seconds: the median.
        seconds: of the whole run.
        failures: one for each program that failed.
    """

    n: int
    seed: int
    outcomes: dict[str, int]
    refusals: dict[str, int]
    coverage: dict[str, int]
    inputs: int
    compile_seconds: float
    seconds: float
    failures: tuple[Failure, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed; a refusal is no failure."""
        return not self.failures

    def save(self, path: str | Path) -> None:
        """Write the report as JSON. Raises FileError."""
        try:
            write_text(path, json.dumps(asdict(self), indent=1, ensure_ascii=False))
        except OSError as error:
            raise FileError(f"cannot write the report to {path}: {error.strerror or error}") from error


@final
@dataclass(frozen=True)
class _Result:
    """The result of one comparison; `example` is an input, what is expected and what came out."""

    kind: Kind
    message: str = ""
    inputs: int = 0
    compile_seconds: float = math.nan
    example: tuple[Any, Any, Any] | None = None


def fuzz(
    n: int,
    seed: int = 0,
    *,
    workers: int = 1,
    without: Sequence[str] = (),
    progress: bool = False,
) -> Report:
    """Compile n generated programs, in float32 where it can hold them, and compare each with the interpreter.

    Args:
        n: how many programs.
        seed: of the run; another one gives other programs.
        workers: processes.
        without: constructs to leave out.
        progress: show a progress bar.
    """
    if n < 1 or seed < 0 or workers < 1:
        raise GaugeblockError(f"n={n}, seed={seed}, workers={workers} is impossible: at least 1, 0 and 1")
    check_constructs(without)
    start = time.perf_counter()
    seeds = [seed * 1_000_000 + i for i in range(n)]
    outcomes = sorted(_outcomes(seeds, workers, tuple(without), progress), key=lambda o: o.seed)
    compared = [o for o in outcomes if o.kind in (*EXACT_KINDS, "mismatch")]
    used = Counter(name for o in compared for name in o.constructs)
    kinds = Counter(o.kind for o in outcomes)
    return Report(
        n=n,
        seed=seed,
        outcomes={kind: kinds[kind] for kind in ("ok", "float64", "refused", "mismatch", "crash")},
        refusals=dict(Counter(_reason(o.message) for o in outcomes if o.kind == "refused").most_common()),
        coverage={name: used[name] for name in CONSTRUCTS},
        inputs=sum(o.inputs for o in outcomes),
        compile_seconds=statistics.median([o.compile_seconds for o in compared] or [math.nan]),
        seconds=time.perf_counter() - start,
        failures=tuple(o.failure for o in outcomes if o.failure is not None),
    )


def _outcomes(seeds: list[int], workers: int, without: tuple[str, ...], progress: bool) -> Iterator[Outcome]:
    from joblib import Parallel, delayed
    from tqdm import tqdm

    chunks = [seeds[i : i + PROGRAMS_PER_TASK] for i in range(0, len(seeds), PROGRAMS_PER_TASK)]
    parallel = Parallel(n_jobs=workers, return_as="generator_unordered")
    with tqdm(total=len(seeds), disable=not progress, unit="program") as bar:
        for done in parallel(delayed(_chunk)(chunk, without) for chunk in chunks):
            bar.update(len(done))
            yield from done


def _chunk(seeds: list[int], without: tuple[str, ...]) -> list[Outcome]:
    with one_thread():
        return [_outcome(seed, without) for seed in seeds]


def _outcome(seed: int, without: tuple[str, ...]) -> Outcome:
    try:
        program = generate(seed, without=without)
    except Exception as error:
        message = f"generate({seed}) raised {_error_text(error)}"
        return Outcome(seed, "crash", message, (), 0, math.nan, Failure(seed, "crash", message, "", *[None] * 3))
    result = compare(program)
    failure = None
    if result.kind in ("mismatch", "crash"):
        failure = _minimal(seed, program, result)
    used = tuple(sorted(constructs(program)))
    return Outcome(seed, result.kind, result.message, used, result.inputs, result.compile_seconds, failure)


def report_text(report: Report) -> str:
    """The report as text: coverage, outcomes, reasons of refusals, and each minimal program that fails."""
    compared = max(1, sum(report.outcomes[kind] for kind in (*EXACT_KINDS, "mismatch")))
    lines = [f"{'construct':24}{'programs':>10}{'share':>8}"]
    lines += [f"{name:24}{used:10,}{used / compared:8.1%}" for name, used in report.coverage.items()]
    lines += ["", f"{report.n:,} programs of seed {report.seed}, {report.inputs:,} inputs, {report.seconds:.0f} s"]
    lines += [f"{kind:24}{programs:10,}" for kind, programs in report.outcomes.items()]
    lines += [f"median compile time     {1000 * report.compile_seconds:7.1f} ms"]
    lines += [f"refused {programs:,}: {reason}" for reason, programs in report.refusals.items()]
    for failure in report.failures:
        lines += ["", f"{failure.kind} of generate({failure.seed}): {failure.message}", failure.source]
        if failure.input is not None:
            lines += [f"input     {failure.input}", f"expected  {failure.expected}", f"got       {failure.got}"]
    return "\n".join(lines)


def compare(program: Program, seconds: float | int | None = TIME_LIMIT) -> _Result:
    """Compile the program and run model and interpreter on the same inputs: all where they are few."""
    try:
        with time_limit(seconds if hasattr(signal, "setitimer") else None):
            return _compare(program)
    except JobTimeout:
        return _Result("crash", f"compiling and running took more than {seconds} s")


def _compare(program: Program) -> _Result:
    import torch

    from gaugeblock.compiled.compiler import compile

    inputs = inputs_of(program)
    try:
        expected = program.batch(inputs)
    except Exception as error:
        return _Result("crash", f"the interpreter raised {_error_text(error)}")
    start = time.perf_counter()
    try:
        model = compile(program)
    except CompileError as error:
        return _Result("refused", str(error))
    except Exception as error:
        return _Result("crash", f"compile raised {_error_text(error)}")
    seconds = time.perf_counter() - start
    try:
        outputs = model.batch(inputs)
    except Exception as error:
        return _Result("crash", f"the model raised {_error_text(error)}")
    for xs, want, got in zip(inputs, expected, outputs, strict=True):
        if not _equal(want, got):
            return _Result("mismatch", "model and interpreter differ", len(inputs), seconds, (xs, want, got))
    return _Result("ok" if model.dtype is torch.float32 else "float64", "", len(inputs), seconds)


def inputs_of(program: Program) -> list[list[Any]]:
    """Every input, shortest first, or a sample that holds short, long and uniform ones, sorted by length."""
    every = program.domain.enumerate(program.vocab, program.max_len, MAX_INPUTS_ENUMERATED)
    if every is not None:
        return list(every)
    rng = np.random.default_rng(0)
    inputs = program.sample(rng, INPUTS_SAMPLED)
    if not program.graph:
        inputs += [[x] * n for x in program.vocab for n in (1, program.max_len)]
        picks = rng.integers(len(program.vocab), size=(20, program.max_len))
        inputs += [[program.vocab[i] for i in row] for row in picks]
    return sorted(inputs, key=len)


def _equal(a: Any, b: Any) -> bool:
    """Whether two outputs are the same: True is not 1, and numbers may differ by 1e-5 of their size."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, bool) or isinstance(b, bool) or not (_is_number(a) and _is_number(b)):
        return type(a) is type(b) and a == b
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-9)


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float))


def _minimal(seed: int, program: Program, result: _Result) -> Failure:
    if "took more than" in result.message:  # each step of shrinking would take as long
        return Failure(seed, result.kind, result.message, program.source, None, None, None)

    def fails(candidate: Program) -> bool:
        again = compare(candidate)
        return again.kind == result.kind and _reason(again.message) == _reason(result.message)

    smallest = shrink(program, fails)
    again = compare(smallest)
    example = [None if x is None else repr(x) for x in again.example or (None, None, None)]
    return Failure(seed, again.kind, again.message, smallest.source, *example)


def _reason(message: str) -> str:
    """A message without its names and numbers, so that like ones are counted together."""
    message = re.sub(r"'[^']*'|an unnamed \w+", "…", message.splitlines()[0] if message else "")
    message = re.sub(r"[\d.,]*\d(e[-+]?\d+)?", "N", message)
    return re.sub(r"N( x N)+", "N x … x N", message)


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
