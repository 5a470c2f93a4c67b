"""A bench without models: made-up cases and methods in the place of the real ones, so that the runner is tested as it
is, with real processes, and no test waits for a compiler.

With STAND_INS set, importing this is enough; a worker does so when it unpickles a job with one of the methods below.
"""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

from gaugeblock.compiled.writing import write_text
from gaugeblock.programs.errors import MethodError, UnknownName
from gaugeblock.results.provenance import versions
from gaugeblock.results.records import CaseRecord, Result

CASES = ("alpha", "beta", "gamma", "unbuildable", "deadly")
EDGES = ["embed->a0.h0.q", "embed->a0.h0.k", "embed->a0.h0.v", "a0.h0->logits", "embed->logits"]


def score(task, pace=0.0):
    """A well-behaved method; draws from the task's seed."""
    time.sleep(float(os.environ.get("PACE", pace)))
    log = os.environ.get("LOG")
    if log:
        with Path(log).open("a") as file:
            file.write(f"{task.case} {task.seed}\n")
    digest = hashlib.sha256(f"{task.case} {task.seed}".encode()).digest()
    return {edge: float(byte) for edge, byte in zip(EDGES, digest)}


def steady(task):
    return dict.fromkeys(EDGES, 1.0)


def raises(task):
    raise ValueError("what is [bold]this[/]?")


def wrong(task):
    raise MethodError("method 'wrong' gave NaN for 1 edge: 'embed->logits'")


def hangs(task):
    while True:
        try:
            time.sleep(60)
        except Exception:  # a method may well have handlers as broad as this
            continue


def dies(task):
    os.kill(os.getpid(), signal.SIGKILL)


def dies_writing(task):
    """Leaves half a file, as a worker does that is killed while it writes."""
    Path(os.environ["HALF"]).write_text("{")
    os.kill(os.getpid(), signal.SIGKILL)


def dies_on_beta(task):
    if task.case == "beta":
        os.kill(os.getpid(), signal.SIGKILL)
    return steady(task)


METHODS = {f.__name__: f for f in (score, steady, raises, wrong, hangs, dies, dies_writing, dies_on_beta)}


def load_case(name):
    if name == "unbuildable":
        raise RuntimeError("no such luck")
    if name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    certificate = SimpleNamespace(write=lambda path: write_text(path, "{}"))
    version = f"{name} {os.environ.get('CASE_VERSION', '1')}"
    return SimpleNamespace(id=name, hash=version, certify=lambda ablations: certificate)


def evaluate(method, case, ablation, seed, resamples):
    chosen = entrant(method)
    start = time.perf_counter()
    scores = chosen.function(SimpleNamespace(case=case.id, seed=seed))
    return Result(
        status="ok",
        method=chosen.name,
        method_source=chosen.source,
        params=chosen.params({}),
        case=case.id,
        case_hash=case.hash,
        ablation=ablation,
        seed=seed,
        scores={"skill": scores[EDGES[0]] / 255},
        edge_scores=scores,
        seconds=time.perf_counter() - start,
        versions=versions(),
    )


def entrant(given):
    function = METHODS.get(given, given)
    if isinstance(function, str):
        raise UnknownName("method or control", given, METHODS)
    source = os.environ.get("METHOD_VERSION", "1")
    name = function.__name__
    return SimpleNamespace(name=name, control=False, source=source, function=function, params=lambda given: {"p": 1})


def case_record(case, ablation, certificate):
    return CaseRecord(
        id=case.id,
        hash=case.hash,
        program=case.id,
        description="",
        source="",
        variant="",
        seed=0,
        ablation=ablation,
        vocab_size=1,
        max_len=1,
        layers=1,
        heads=[1],
        d_model=1,
        d_mlp=1,
        parameters=1,
        pairs=1,
        writers=["embed", "a0.h0"],
        positives=EDGES[:2],
        negatives=EDGES[2:],
        ignored=[],
        edge_variables={},
        comparators=1.0,
        certified=True,
        claims=[],
    )


def check_ablation(name):
    if name not in ("resample", "donor"):
        raise UnknownName("ablation", name, ("resample", "donor"))


MODULES = {
    "gaugeblock.cases.case": {"case": load_case},
    "gaugeblock.evaluation.evaluate": {"evaluate": evaluate},
    "gaugeblock.evaluation.case_record": {"case_record": case_record},
    "gaugeblock.evaluation.entrants": {"entrant": entrant},
    "gaugeblock.methods.engine.ablation": {"check_ablation": check_ablation},
    "gaugeblock.running.pictures": {"write_pictures": lambda case, out: []},
}


def stand_in(name: str) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(MODULES[name])
    return module


if os.environ.get("STAND_INS"):
    sys.modules.update({name: stand_in(name) for name in MODULES})
    sys.modules["torch"] = ModuleType("torch")  # takes seconds to import, in every worker
    vars(sys.modules["torch"]).update(get_num_threads=lambda: 1, set_num_threads=lambda n: None)
    import gaugeblock.running.jobs
    import gaugeblock.running.runner
    import gaugeblock.running.workers

    gaugeblock.running.runner.case_ids = list
    gaugeblock.running.jobs.is_ours = lambda case: True
    gaugeblock.running.jobs.versions = gaugeblock.running.workers.versions = versions = lambda: {"gaugeblock": "0"}
