"""Methods against slow and obvious versions of themselves, and the invariants they must keep."""

import inspect
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from gaugeblock.compiled.edges.graph import owner, parse_edge
from gaugeblock.methods import check_method, method_names, run_method
from gaugeblock.methods.circuits.acdc import survivors
from gaugeblock.methods.circuits.gradients import quadrature_points
from gaugeblock.methods.registry import Method, get_method, lift
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import InputError, MethodError, UnknownName
from support.naive import node_patched, patched, writers
from support.tasks import RANDOM, compiled_task, random_model, random_task


def metric(task: Task, logits: torch.Tensor) -> float:
    """The mean of the task's metric, written out position by position."""
    total = 0.0
    clean = task.model(task.clean).detach()
    other = task.model(task.corrupted).detach()
    for i in range(len(logits)):
        values = []
        for p in task.positions[i].nonzero().squeeze(1).tolist():
            if task.numeric:
                values.append(float(logits[i, p, 0] * torch.sign(clean[i, p, 0] - other[i, p, 0])))
            else:
                answer = int(clean[i, p].argmax())
                others = [float(x) for c, x in enumerate(logits[i, p]) if c != answer]
                values.append(float(logits[i, p, answer] - np.logaddexp.reduce(others)))
        total += float(np.mean(values))
    return total / len(logits)


@pytest.mark.parametrize("settings", [{}, RANDOM["layer norm"]], ids=["plain", "layer norm"])
def test_exact_patching_as_with_plain_hooks(settings: dict[str, str]) -> None:
    task = random_task(settings)
    source = writers(task.model, task.corrupted)
    base = metric(task, task.model(task.clean).detach())
    edges, nodes = run_method("edge_patching", task), get_method("activation_patching").function(task)
    for edge in np.random.default_rng(0).choice(task.graph.edges, 25, replace=False):
        expected = base - metric(task, patched(task.model, task.clean, source, [edge]))
        assert edges[edge] == pytest.approx(expected, abs=1e-9)
    for writer in ("embed", "a0.h1", "a1.h0"):
        expected = base - metric(task, node_patched(task.model, task.clean, source, writer))
        assert nodes[writer] == pytest.approx(expected, abs=1e-9)


def test_the_numeric_metric() -> None:
    task = compiled_task("frac_prevs")
    base = metric(task, task.model(task.clean).detach())
    source = writers(task.model, task.corrupted)
    scores = run_method("edge_patching", task)
    edge = max(scores, key=lambda e: abs(scores[e]))
    expected = base - metric(task, patched(task.model, task.clean, source, [edge]))
    assert scores[edge] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["plain", "layer norm", "rms norm", "causal gelu"])
def test_eap_is_the_slope_of_ablating_a_little(name: str) -> None:
    """EAP is minus the derivative of the metric with respect to the mask at 1; central differences by the engine."""
    task = random_task(RANDOM[name])
    scores = run_method("eap", task)
    pairs = torch.arange(len(task.clean))
    for edge in np.random.default_rng(1).choice(task.graph.edges, 12, replace=False):
        masks = torch.ones(2, len(task.graph.edges), dtype=torch.float64)
        masks[:, task.graph.edge_index[edge]] += torch.tensor([1e-6, -1e-6], dtype=torch.float64)
        with torch.no_grad():
            more, less = (float(task.metric(x, pairs).mean()) for x in task.engine.forward(masks))
        assert scores[edge] == pytest.approx((more - less) / 2e-6, rel=1e-5, abs=1e-6)


def test_eap_is_exact_on_a_linear_model() -> None:
    model = random_model({}, torch.float64)
    for block in model.blocks:  # no queries: uniform attention; positive pre-activations: no kink
        block.attn.W_Q.data.zero_()
        block.attn.b_Q.data.zero_()
        block.mlp.b_in.data.fill_(1e4)
    task = random_task({})
    linear = Task.build(model, task.graph, task.clean, task.corrupted, task.positions)
    linear.__dict__["metric"] = lambda logits, pair: logits[:, -1, 0]  # a linear metric
    exact = linear.engine.clean_logits[:, -1, 0].mean() - linear.engine.single_edges(linear.metric).mean(1)
    assert list(run_method("eap", linear).values()) == pytest.approx(exact.tolist(), abs=1e-7)


def test_integrated_gradients_add_up_to_the_difference() -> None:
    """Completeness: along the path of the embeddings, the scores of all edges out of them add up to m(1) - m(0)."""
    task = random_task(RANDOM["causal gelu"])
    pairs = torch.arange(len(task.clean))
    leaves = [w for w in ("embed", "pos") if w in task.graph.writers]
    clean, corrupted = (task.engine.clean_run, task.engine.corrupted_run)
    total = 0.0
    points, weights = quadrature_points(30, "gauss")
    from gaugeblock.methods.circuits.gradients import reader_gradients

    index = task.graph.writer_index
    for x, weight in zip(points, weights, strict=True):
        path = [
            corrupted.writers[index[w]] + x * (clean.writers[index[w]] - corrupted.writers[index[w]]) for w in leaves
        ]
        change = clean.writers[index["embed"]] - corrupted.writers[index["embed"]]
        # what embed feeds directly: every reader's gradient at its own input
        total += weight * sum(float((g * change).sum()) for _, g in reader_gradients(task, path))
    expected = task.metric(clean.logits, pairs) - task.metric(corrupted.logits, pairs)
    assert total == pytest.approx(float(expected.sum()), abs=1e-3)


def test_quadratures_integrate_what_they_should() -> None:
    for name, exact in (("riemann", lambda x: x**0), ("midpoint", lambda x: x), ("gauss", lambda x: x**9)):
        points, weights = quadrature_points(5, name)
        integral = {"riemann": 1.0, "midpoint": 0.5, "gauss": 0.1}[name]
        assert sum(w * exact(p) for p, w in zip(points, weights, strict=True)) == pytest.approx(integral)
    with pytest.raises(MethodError, match="possible: riemann, midpoint, gauss"):
        quadrature_points(5, "simpson")


def textbook_acdc(task: Task, threshold: float) -> set[str]:
    """Conmy et al. (2023), one hooked forward per decision."""
    source = writers(task.model, task.corrupted)
    clean = task.model(task.clean).detach().log_softmax(-1)

    def divergence(removed: list[str]) -> float:
        logits = patched(task.model, task.clean, source, removed).log_softmax(-1)
        per_position = (clean.exp() * (clean - logits)).sum(-1)
        return float(np.mean([float(row[keep].mean()) for row, keep in zip(per_position, task.positions, strict=True)]))

    removed: list[str] = []
    value = 0.0
    for reader in reversed(task.graph.readers):
        for edge in reversed(task.graph.incoming(reader)):
            tried = divergence([*removed, edge])
            if tried - value < threshold:
                removed.append(edge)
                value = tried
    return set(task.graph.edges) - set(removed)


@pytest.mark.parametrize("threshold", [1e-3, 0.05])
def test_acdc_keeps_the_textbook_circuit(threshold: float) -> None:
    for task in (random_task({}), compiled_task("sort")):
        assert set(survivors(task, threshold)) == textbook_acdc(task, threshold)


def test_every_method_keeps_the_protocol() -> None:
    for name in method_names():
        chosen = get_method(name)
        steps = inspect.signature(chosen.function).parameters.get("steps")
        if steps is not None and steps.default > 20:  # training: a few steps will do
            chosen = replace(chosen, function=partial(chosen.function, steps=3))
        check_method(chosen)


def good(task: Task) -> dict[str, float]:
    return dict.fromkeys(task.graph.edges, 1.0)


def misses_one(task: Task) -> dict[str, float]:
    return dict.fromkeys(task.graph.edges[1:], 1.0)


def gives_nan(task: Task) -> dict[str, float]:
    return good(task) | {task.graph.edges[3]: float("nan")}


def gives_text(task: Task) -> dict[str, float]:
    return good(task) | {task.graph.edges[3]: "high"}  # type: ignore[dict-item]


def gives_a_list(task: Task) -> dict[str, float]:
    return [1.0]  # type: ignore[return-value]


def invents(task: Task) -> dict[str, float]:
    return good(task) | {"a9.h9->logits": 1.0}


def gives_too_much(task: Task) -> dict[str, float]:
    return good(task) | {task.graph.edges[3]: 10**5000}


def gives_complex(task: Task) -> dict[str, float]:
    return good(task) | {task.graph.edges[3]: 1j}  # type: ignore[dict-item]


def gives_none(task: Task) -> dict[str, float]:
    return good(task) | {task.graph.edges[3]: None}  # type: ignore[dict-item]


def gives_a_number_as_text(task: Task) -> dict[str, float]:
    return good(task) | {task.graph.edges[3]: "0.5"}  # type: ignore[dict-item]


def gives_vectors(task: Task) -> dict[str, float]:
    return dict.fromkeys(task.graph.edges, torch.ones(2))  # type: ignore[arg-type]


def other_arrows(task: Task) -> dict[str, float]:
    return {edge.replace("->", " -> "): 1.0 for edge in task.graph.edges}


def pairs_of_names(task: Task) -> dict[str, float]:
    return {parse_edge(edge): 1.0 for edge in task.graph.edges}  # type: ignore[misc]


def nodes_undeclared(task: Task) -> dict[str, float]:
    return dict.fromkeys(task.graph.writers, 1.0)


def nothing(task: Task) -> dict[str, float]:
    return {}


def raises(task: Task) -> dict[str, float]:
    raise ZeroDivisionError("oops")


def draws_elsewhere(task: Task) -> dict[str, float]:
    return {edge: float(np.random.default_rng().random()) for edge in task.graph.edges}


def changes_the_model(task: Task) -> dict[str, float]:
    task.model.W_U.data *= 1.5
    return good(task)


def leaves_a_flag(task: Task) -> dict[str, float]:
    task.model.set_use_attn_result(True)
    return good(task)


def leaves_a_hook(task: Task) -> dict[str, float]:
    task.model.add_hook("blocks.0.hook_resid_pre", lambda value, hook: value * 0)
    return good(task)


def halves_logits(task: Task) -> dict[str, float]:
    task.engine.clean_logits.div_(2)
    return good(task)


def negates_the_difference(task: Task) -> dict[str, float]:
    task.engine.difference = -task.engine.difference
    return good(task)


def writes_a_stream(task: Task) -> dict[str, float]:
    task.engine.clean_run.stream[1][0] = 0
    return good(task)


def writes_tokens(task: Task) -> dict[str, float]:
    task.corrupted[:] = task.clean
    return good(task)


def grades_nothing(task: Task) -> dict[str, float]:
    task.positions.zero_()
    return good(task)


def exits(task: Task) -> dict[str, float]:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (misses_one, "misses 1 of"),
        (gives_nan, "gave 1 edges NaN or infinity, for example"),
        (gives_text, "the score 'high', which is not a number"),
        (gives_a_list, "returned list; a method returns a dict"),
        (invents, r"scored 1 unknown names, for example 'a9.h9->logits'"),
        (gives_too_much, "a score that is too large for a float"),
        (gives_complex, "the score 1j, which is not a number"),
        (gives_none, "the score None, which is not a number"),
        (gives_a_number_as_text, "the score '0.5', which is not a number"),
        (gives_vectors, r"the score tensor\(\[1., 1.\]\), which is not a number"),
        (other_arrows, r"misses (\d+) of \1 edges, for example '(\w+)->(.*)'; it scored \1 .* nearest '\2 -> \3'$"),
        (pairs_of_names, r"misses .* unknown names, the nearest \('embed', 'a0.h0.q'\)$"),
        (nodes_undeclared, r"the nearest '.*': they are nodes, so declare it with @method\(level='nodes'\)"),
        (nothing, r"misses (\d+) of \1 edges, for example '\S+'$"),
        (raises, "raised ZeroDivisionError: oops"),
        (draws_elsewhere, "another score in a second run with the same seed"),
        (changes_the_model, "leaves the model changed"),
        (leaves_a_flag, "leaves the model changed: cfg.use_attn_result"),
        (leaves_a_hook, "leaves the model changed: 1 hooks left behind"),
        (halves_logits, "leaves the task changed: engine.clean_run; work on a clone"),
        (negates_the_difference, "leaves the task changed: engine.difference"),
        (writes_a_stream, "leaves the task changed: engine.clean_run"),
        (writes_tokens, "leaves the task changed: corrupted"),
        (grades_nothing, "leaves the task changed: positions"),
        (exits, "raised SystemExit: 3"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_check_method_says_what_is_wrong(function, says: str) -> None:  # type: ignore[no-untyped-def]
    check_method(good)
    with pytest.raises(MethodError, match=says):
        check_method(function)


def numpy_scalars(task: Task) -> dict[str, float]:
    return dict.fromkeys(task.graph.edges, np.float32(0.5))  # type: ignore[arg-type]


def tensors(task: Task) -> dict[str, float]:
    return dict(zip(task.graph.edges, torch.ones(len(task.graph.edges), requires_grad=True), strict=True))  # type: ignore[arg-type]


def warns(task: Task) -> dict[str, float]:
    for kind in (UserWarning, DeprecationWarning, FutureWarning, RuntimeWarning):
        warnings.warn("as torch and numpy do", kind, stacklevel=1)
    np.float64(1) / np.float64(0)
    return good(task)


@pytest.mark.parametrize("function", [numpy_scalars, tensors, warns])
def test_check_method_accepts_what_run_accepts(function) -> None:  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_method(function, random_task({}))
        check_method(function)


@pytest.mark.parametrize("function", [changes_the_model, leaves_a_flag, leaves_a_hook])
def test_what_a_method_changes_is_put_back(function) -> None:  # type: ignore[no-untyped-def]
    """Also where it fails at last."""

    def fails(task: Task) -> dict[str, float]:
        function(task)
        raise ValueError("at last")

    task = random_task({})
    before, flag = task.model(task.clean).detach(), task.model.cfg.use_attn_result
    for method, says in ((function, "leaves the model changed"), (fails, "raised ValueError: at last")):
        with pytest.raises(MethodError, match=says):
            run_method(method, task)
        assert torch.equal(task.model(task.clean), before)
        assert task.model.cfg.use_attn_result == flag
        assert not any(point.fwd_hooks or point._forward_hooks for point in task.model.hook_points())


@pytest.mark.parametrize(
    "function", [halves_logits, negates_the_difference, writes_a_stream, writes_tokens, grades_nothing]
)
def test_what_a_method_changes_in_its_task_is_put_back(function) -> None:  # type: ignore[no-untyped-def]
    task = random_task({})
    with pytest.raises(MethodError, match="leaves the task changed"):
        run_method(function, task)
    assert run_method("edge_patching", task) == run_method("edge_patching", random_task({}))


def test_methods_by_name_file_and_function(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert get_method("eap").function is get_method(get_method("eap").function).function
    with pytest.raises(UnknownName, match="no method is named 'epa'; did you mean eap"):
        get_method("epa")
    file = tmp_path / "mine.py"
    file.write_text("def flat(task):\n    return dict.fromkeys(task.graph.edges, 0.5)\n")
    assert set(run_method(f"{file}:flat", random_task({})).values()) == {0.5}
    with pytest.raises(UnknownName, match="did you mean flat"):
        get_method(f"{file}:falt")
    with pytest.raises(MethodError, match="there is no file"):
        get_method("nowhere.py:f")
    file.write_text("import nonsense_that_is_not_there")
    with pytest.raises(MethodError, match="could not be imported: ModuleNotFoundError"):
        get_method(f"{file}:f")


def test_node_scores_are_lifted_by_the_smaller_end() -> None:
    task = random_task({})
    nodes = {w: float(i) - 2 for i, w in enumerate(task.graph.writers)}
    lifted = lift(nodes, task.graph.edges)
    for edge in task.graph.edges:
        writer, reader = parse_edge(edge)
        ends = [abs(nodes[writer])] + ([abs(nodes[owner(reader)])] if reader != "logits" else [])
        assert lifted[edge] == min(ends)
    assert run_method(Method("nodes", "nodes", False, lambda _: nodes), task) == lifted


def test_a_task_needs_something_to_grade() -> None:
    task = random_task({})
    with pytest.raises(InputError, match="at least one graded position in every pair"):
        Task.build(task.model, task.graph, task.clean, task.corrupted, torch.zeros_like(task.positions))
