"""Does a method keep the protocol? For whoever writes one, before it meets a benchmark."""

import warnings

import numpy as np

from gaugeblock.compiled.compiler import compile
from gaugeblock.methods.engine.ablation import ABLATIONS
from gaugeblock.methods.registry import Function, Method, UnknownScores, get_method, run_method
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError
from gaugeblock.programs.registry import get


def check_method(given: str | Function | Method) -> None:
    """Run a method on a small compiled model and say what is wrong with it, if anything is.

    Checked: it returns a finite number for every edge (or node) and no unknown names, twice the same under the same
    seed, under every ablation, and it leaves the model's weights, its configuration and its hooks as they were.

    Raises MethodError with the first thing that is wrong.

    >>> def forgetful(task):
    ...     return dict.fromkeys(task.graph.edges[1:], 1.0)
    >>> check_method(forgetful)
    Traceback (most recent call last):
        ...
    gaugeblock.programs.errors.MethodError: method 'forgetful' misses 1 of 19 edges, for example 'embed->a0.h0.q'
    """
    chosen = get_method(given)
    model = compile(get("induction").with_size("abc", 5))
    tokens = model.encode(model.program.sample(np.random.default_rng(0), 24))
    clean, corrupted = tokens[:12], tokens[12:]
    positions = model.real(clean) & model.real(corrupted)
    for ablation in ABLATIONS:
        results = []
        for _ in range(2):
            task = Task.build(
                model.hooked, model.graph, clean, corrupted, positions, ablation, pad_token=model.pad, seed=1
            )
            with warnings.catch_warnings():
                warnings.simplefilter("error", UnknownScores)
                try:
                    results.append(run_method(chosen, task))
                except UnknownScores as warning:
                    raise MethodError(str(warning)) from None
        if results[0] != results[1]:
            edge = next(e for e in results[0] if results[0][e] != results[1][e])
            raise MethodError(
                f"method {chosen.name!r} gives {edge!r} another score in a second run with the same seed; "
                "draw from task.rng"
            )
