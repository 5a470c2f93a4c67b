"""Where tasks run: processes or threads of this machine, or a Dask or Ray cluster. One switch, all through joblib."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, final

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from gaugeblock.programs.errors import GaugeblockError, UnknownName
from gaugeblock.running.devices import devices_of

BACKENDS = ("loky", "threading", "dask", "ray")
CLUSTERS = {"dask": "distributed", "ray": "ray"}
SECONDS_FOR_SCHEDULER = 10  # to answer
SECONDS_FOR_WORKER = 60  # until the first one of a cluster is there

Task = Callable[[], None]


@final
@dataclass(frozen=True)
class Pool:
    """Workers that are ready for tasks.

    Attributes:
        workers: how many tasks run at a time.
        options: of joblib's `Parallel`.
        deaths: what joblib raises where a worker has died; no task that was under way then has an end.
        alive: whether more tasks can be given.
    """

    workers: int
    options: dict[str, Any]
    deaths: tuple[type[BaseException], ...] = ()
    alive: Callable[[], bool] = lambda: True

    def run(self, tasks: Sequence[Task]) -> Iterator[int]:
        """Run tasks and yield the number of each as it ends. A task whose worker died is never yielded.

        On Ray numbers come when all tasks have ended, and where a worker died, none do.

        Raises what a task raises.
        """
        parallel = Parallel(batch_size=1, **{"return_as": "generator_unordered"} | self.options)
        try:
            yield from (
                i for i in parallel(delayed(_numbered)(i, task) for i, task in enumerate(tasks)) if i is not None
            )
        except self.deaths:
            return


def _numbered(number: int, task: Task) -> int:
    task()
    return number


def checked(backend: str, address: str | None) -> str:
    """The backend. Raises UnknownName or GaugeblockError where it cannot be used."""
    if backend not in BACKENDS:
        raise UnknownName("backend", backend, BACKENDS)
    if address is not None and backend not in CLUSTERS:
        raise GaugeblockError(f"the backend {backend!r} has no address, {address!r} was given; dask and ray have one")
    if (package := CLUSTERS.get(backend)) is not None and find_spec(package) is None:
        raise GaugeblockError(
            f"the backend {backend!r} needs {package}, which is not installed: pip install 'gaugeblock[{backend}]'"
        )
    return backend


@contextmanager
def opened(backend: str, workers: int, address: str | None = None, device: str = "cpu") -> Iterator[Pool]:
    """The workers of a backend: started here, or, with an address, those of a cluster that is there already.

    Args:
        workers: how many to start; a cluster that is there has its own number.
        device: "cpu", or a CUDA device, of which a worker on a cluster has to have one to itself.

    Raises GaugeblockError where the cluster cannot be reached or has no worker.
    """
    if device != "cpu" and address is None:
        workers = min(workers, len(devices_of(device)))
    if backend == "dask":
        with _dask(workers, address, device) as pool:
            yield pool
    elif backend == "ray":
        with _ray(workers, address, device) as pool:
            yield pool
    else:
        yield Pool(workers, {"n_jobs": workers, "backend": backend}, (TerminatedWorkerError,))


@contextmanager
def _dask(workers: int, address: str | None, device: str) -> Iterator[Pool]:
    import dask
    from distributed import Client, LocalCluster

    needs = {} if device == "cpu" else {"GPU": 1}
    # A task that takes two workers down is looked at; a worker that dies is replaced, however often it does so.
    settings = {"distributed.scheduler.allowed-failures": 1, "distributed.deploy.lost-worker-timeout": "1 day"}
    with ExitStack() as stack:
        cluster: Any = address
        try:
            if address is None:
                stack.enter_context(dask.config.set(settings))
                cluster = stack.enter_context(
                    LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, resources=needs)
                )
            client = stack.enter_context(Client(cluster, set_as_default=False, timeout=SECONDS_FOR_SCHEDULER))
        except (OSError, ValueError) as e:
            raise GaugeblockError(f"no Dask scheduler can be reached at {address or 'this machine'}: {e}") from e
        _wait_for_workers(client, address)
        slots = client.nthreads() if not needs else _gpus(client)
        if not (total := sum(slots.values())):
            raise GaugeblockError(
                "no worker of the Dask cluster offers a GPU: start them with --resources 'GPU=1', one per device"
            )
        backend = _dask_backend()(client=client, resources=needs) if needs else _dask_backend()(client=client)
        options = {"n_jobs": total, "backend": backend, "pre_dispatch": "all"}
        yield Pool(total, options, alive=lambda: client.status == "running")


def _wait_for_workers(client: Any, address: str | None) -> None:
    try:
        client.wait_for_workers(1, timeout=SECONDS_FOR_WORKER)
    except TimeoutError:
        raise GaugeblockError(
            f"the Dask cluster at {address} has had no worker for {SECONDS_FOR_WORKER} s; start some"
        ) from None


def _gpus(client: Any) -> dict[str, int]:
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {name: int(about.get("resources", {}).get("GPU", 0)) for name, about in workers.items()}


@cache
def _dask_backend() -> type:
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        """joblib's own never calls back for a task that has taken several workers down, and so waits forever."""

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)
            future.add_done_callback(lambda f: callback(_LOST) if f.exception() is not None else None)
            return future

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, n_jobs)  # with one worker joblib would stay in this process

        def retrieve_result_callback(self, out: Any) -> Any:
            return [None] if out is _LOST else super().retrieve_result_callback(out)

    return Backend


_LOST = object()


@contextmanager
def _ray(workers: int, address: str | None, device: str) -> Iterator[Pool]:
    import ray
    from ray.util.joblib import register_ray

    mine = not ray.is_initialized()
    if mine:
        try:
            if address is None:
                ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, configure_logging=False)
            else:
                ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (OSError, RuntimeError, ValueError) as e:
            raise GaugeblockError(f"no Ray cluster can be reached at {address or 'this machine'}: {e}") from e
    try:
        register_ray()
        kind = "CPU" if device == "cpu" else "GPU"
        total = int(ray.cluster_resources().get(kind, 0))
        if not total:
            raise GaugeblockError(f"the Ray cluster offers no {kind}; start nodes that have some")
        needs = {"num_cpus": 1} if device == "cpu" else {"num_cpus": 0, "num_gpus": 1}
        # with one worker joblib would stay in this process; and its generators cannot be had from Ray
        options = {"n_jobs": max(2, total), "backend": "ray", "ray_remote_args": needs, "return_as": "list"}
        yield Pool(total, options, (ray.exceptions.RayError,), ray.is_initialized)
    finally:
        if mine:
            ray.shutdown()
