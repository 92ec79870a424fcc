"""Executors: what is lost is begun again, cores, bad addresses; Ray and Slurm where they are installed."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import descant.benchmarks.executors as executors
import descant.benchmarks.executors_local as executors_local
from descant.benchmarks.executors import Executor, Lost, execute
from descant.benchmarks.executors_local import Local
from descant.benchmarks.executors_ray import Ray
from descant.benchmarks.executors_slurm import Slurm
from descant.benchmarks.jobs import run_jobs
from descant.benchmarks.runner import train_all
from descant.benchmarks.specs import runs_of
from descant.benchmarks.work import Done, Job
from descant.benchmarks.worker import pin
from descant.cli import main
from descant.errors import DescantError
from descant.runs import read_metrics

from .tiny_suite import TINY

HERE = "tests.benchmarks.job_work"
ROOT = str(Path(__file__).parents[2])
with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'descant[ray]'"
)
with_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None,
    reason="submitit is not installed: pip install 'descant[slurm]'",
)


def job(name: str, **arguments: Any) -> Job:
    return Job(name, f"{HERE}:{name}", arguments)


@pytest.fixture(scope="module", autouse=True)
def _from_the_checkout() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")]))
        patch.syspath_prepend(ROOT)
        patch.setattr(executors, "POLL_SECONDS", 0.05)
        yield


# What all have in common, with one that does nothing.


class Paper:
    """Carries out nothing; a job titled `n` is lost n times before it ends."""

    def __init__(self, out: Path, workers: int, address: str | None) -> None:
        self.titles: list[str] = []
        self.most = 0
        self.cut: bool | None = None

    def submit(self, job: Job) -> int:
        self.titles.append(job.title)
        return len(self.titles)

    def ready(self, handles: list[int], seconds: float) -> list[int]:
        self.most = max(self.most, len(handles))
        return handles

    def fetch(self, handle: int, job: Job) -> Done:
        if self.titles.count(job.title) <= int(job.title):
            raise Lost("gone")
        return Done(job, int(job.title), 0.0)

    def close(self, cut: bool) -> None:
        self.cut = cut


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Paper:
    made = Paper(Path(), 0, None)
    monkeypatch.setitem(executors.KINDS, "local", f"{__name__}:made")
    monkeypatch.setattr(sys.modules[__name__], "made", lambda *told: made, raising=False)
    return made


def test_what_is_lost_is_begun_again_at_most_twice(paper: Paper) -> None:
    jobs = [Job(str(n), "m:f", {}) for n in range(5)]
    found = {done.job.title: done for done in execute(jobs, Path(), 3) if done}
    assert [found[str(n)].value for n in range(5)] == [0, 1, 2, None, None]
    assert found["3"].error == found["4"].error == "its worker was lost 3 times: gone"
    assert [paper.titles.count(str(n)) for n in range(5)] == [1, 2, 3, 3, 3]
    assert (paper.most, paper.cut) == (3, False)


def test_who_stops_early_cuts_what_is_at_work(paper: Paper) -> None:
    with closing(execute([Job("0", "m:f", {}), Job("0", "m:f", {})], Path(), 1)) as results:
        assert next(results) is not None
    assert paper.cut
    assert list(execute([], Path(), 1)) == []


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (["--executor", "rya"], "Unknown executor 'rya'. Did you mean 'ray'?"),
        (["--address", "auto"], "--address is of a cluster: give --executor ray"),
    ],
)
def test_an_executor_that_there_is_not_is_refused(
    told: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "quick", "--out", str(tmp_path / "out"), *told]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_without_the_library_it_says_how_to_install_it(
    kind: str,
    library: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["bench", "regret", "--seeds", "1", "--out", str(tmp_path), "--executor", kind]) == 2
    said = capsys.readouterr().err
    assert f"pip install 'descant[{kind}]'" in said
    assert said.count("\n") == 1


# Local.


def test_a_worker_that_is_killed_once_loses_nothing(tmp_path: Path) -> None:
    (done,) = run_jobs([job("die_once", path=str(tmp_path / "died"))], tmp_path, workers=1)
    assert (done.value, done.error) == (1, "")


def test_a_worker_is_used_again_until_it_is_lost(tmp_path: Path) -> None:
    """Starting one takes seconds, which a run should not cost."""
    jobs = [Job(str(i), f"{HERE}:process", {}) for i in range(2)]
    jobs += [job("die_once", path=str(tmp_path / "died")), Job("2", f"{HERE}:process", {})]
    found = {done.job.title: done.value for done in execute(jobs, tmp_path, 1) if done}
    assert found["0"] == found["1"] != found["2"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system tells of no process")
def test_a_worker_that_went_while_it_was_idle_gets_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "TRIES", 1)
    results = execute([job("process"), Job("2", f"{HERE}:process", {})], tmp_path, 1)
    first = next(done for done in results if done)
    os.kill(first.value, signal.SIGKILL)
    while Path(f"/proc/{first.value}/stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
    second = next(done for done in results if done)
    assert second.error == ""
    assert second.value != first.value
    assert not [done for done in results if done]


def test_a_worker_that_goes_while_it_answers_is_lost(tmp_path: Path) -> None:
    class Gone:
        stdout = io.StringIO('[1, 2.0, "", ""]')  # without the end of the line

        def wait(self) -> int:
            return self.code

        def __init__(self, code: int) -> None:
            self.code = code

    local, handle = Local(tmp_path, 1, None), Gone(-signal.SIGKILL)
    with pytest.raises(Lost, match=r"it was ended by SIGKILL \(out of memory\?\)"):
        local.fetch(handle, job("count"))  # type: ignore[arg-type]
    assert local.idle == []
    with pytest.raises(Lost, match="it left with exit status 3"):
        local.fetch(Gone(3), job("count"))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["slurm", "ray"])
def test_what_is_at_work_elsewhere_is_taken_back(kind: str) -> None:
    """Whether or not the libraries are here."""
    taken: list[str] = []

    class At:
        def cancel(self, handle: Any = None, force: bool = False) -> None:
            taken.append(handle or "a job")
            assert kind == "slurm" or force

    backend: Any = (Slurm if kind == "slurm" else Ray).__new__(Slurm if kind == "slurm" else Ray)
    backend.at_work = [At()] if kind == "slurm" else ["a job"]
    backend.ray, backend.own = At(), False
    backend.close(cut=True)
    assert taken == ["a job"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no processes")
def test_workers_keep_to_cores_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tempfile.tempdir", str(tmp_path)
    )  # where the locks are: other benchmarks have others
    mine, held, kept = os.sched_getaffinity(0), [], []
    try:
        for _ in range(len(mine) + 1):
            held.append(pin())
            kept.append(os.sched_getaffinity(0))
            os.sched_setaffinity(0, mine)
        assert kept == [*({core} for core in sorted(mine)), mine]  # no core is left for the last
        assert held[-1] is None
        os.close(held[0] or 0)
        held[-1] = pin()
        assert os.sched_getaffinity(0) == kept[0]  # free again
    finally:
        os.sched_setaffinity(0, mine)
        for file in held[1:]:
            os.close(file or 0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no processes")
@pytest.mark.parametrize(("spare", "pinned"), [(0, True), (1, False)])
def test_workers_are_kept_to_cores_only_where_each_core_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: int, pinned: bool
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the locks are
    monkeypatch.setattr(executors_local, "cores", lambda: 1 + spare)
    (done,) = run_jobs([job("cores")], tmp_path, workers=1)
    mine = sorted(os.sched_getaffinity(0))
    assert done.value == (mine[:1] if pinned else mine)


# The same numbers everywhere.


def tiny_runs() -> list[Any]:
    return runs_of(TINY)[:1]


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny suite's run, by the local executor."""
    out = tmp_path_factory.mktemp("local")
    (trained,) = train_all(tiny_runs(), out)
    assert trained.error is None
    return out


def assert_same_runs(one: Path, other: Path) -> None:
    for spec in tiny_runs():
        folders = [spec.folder(out) for out in (one, other)]
        first, second = (load_file(f / "checkpoints/last/weights.safetensors") for f in folders)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
        logged = [
            [{k: v for k, v in r.items() if k != "time"} for r in read_metrics(f / "metrics.jsonl")]
            for f in folders
        ]
        assert logged[0] == logged[1]


@with_submitit
def test_slurm_gives_the_same_numbers(at_home: Path, tmp_path: Path) -> None:
    """By submitit's stand-in, a process for each job."""
    (trained,) = train_all(tiny_runs(), tmp_path, 1, Executor("slurm", "local"))
    assert trained.error is None
    assert_same_runs(at_home, tmp_path)


@with_submitit
def test_slurm_runs_studies_and_keeps_what_fails(tmp_path: Path) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    jobs = [job("until", path=str(tmp_path / "never")), job("count", path=str(tmp_path / "calls"), value=3)]
    jobs.append(job("threads"))
    failed, fine, alone = run_jobs(jobs, tmp_path, 1, Executor("slurm", "local"))
    assert alone.value == [1, "1"]
    assert os.environ.get("OMP_NUM_THREADS") == before
    assert fine.value == 3
    assert failed.error == "ValueError: not yet"
    assert failed.trace.startswith("Traceback")


@with_submitit
def test_a_slurm_job_that_is_killed_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (done,) = run_jobs(
        [job("die_once", path=str(tmp_path / "died"))], tmp_path, 1, Executor("slurm", "local")
    )
    assert (done.value, done.error) == (1, "")


@with_submitit
@pytest.mark.parametrize(
    ("address", "message"),
    [("nowhere", "for slurm it is slurm, local, debug"), ("slurm", "There is no Slurm here")],
)
def test_without_slurm_it_says_so(
    address: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DescantError, match=message):
        list(execute([job("odd")], tmp_path, 1, Executor("slurm", address)))


# Ray.


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes of one core each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 10**8},
    )
    made.add_node(num_cpus=1, object_store_memory=10**8)
    yield made
    made.shutdown()


@with_ray
def test_ray_gives_the_same_numbers(at_home: Path, tmp_path: Path, cluster: Any) -> None:
    specs = tiny_runs()
    assert [t.error for t in train_all(specs, tmp_path, 2, Executor("ray", cluster.address))] == [None]
    assert_same_runs(at_home, tmp_path)
    assert list((tmp_path / "logs").iterdir())


@with_ray
def test_ray_works_on_every_node_in_folders_that_are_not_ours(tmp_path: Path, cluster: Any) -> None:
    jobs = [
        Job(str(i), f"{HERE}:leave", {"value": i, "seconds": 1.0}, shares="made", files=(f"notes/{i}",))
        for i in range(2)
    ]
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "given").write_text("given")
    found = run_jobs(jobs, tmp_path, 2, Executor("ray", cluster.address))
    assert [done.error for done in found] == ["", ""]
    assert len({done.value["node"] for done in found}) == 2
    assert [done.value["given"] for done in found] == ["given", "given"]
    assert not any(done.value["folder"].startswith(str(tmp_path)) for done in found)
    for i in range(2):
        assert (tmp_path / "made" / str(i)).read_text() == (tmp_path / "notes" / str(i)).read_text() == str(i)


@with_ray
def test_a_ray_worker_that_is_killed_loses_no_run(tmp_path: Path, cluster: Any) -> None:
    jobs = [
        job("die_once", path=str(tmp_path / "died")),
        job("die"),
        job("until", path=str(tmp_path / "never")),
        *(job("count", path=str(tmp_path / "calls"), value=i) for i in range(4)),
    ]
    once, always, failed, *others = run_jobs(jobs, tmp_path, 2, Executor("ray", cluster.address))
    assert (once.value, once.error) == (1, "")
    assert always.error.startswith("its worker was lost 3 times: WorkerCrashedError")
    assert failed.error == "ValueError: not yet"
    assert [done.value for done in others] == [0, 1, 2, 3]


@with_ray
def test_a_machine_with_another_descant_is_refused(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("descant.benchmarks.executors_ray.__version__", "9.9")
    (done,) = [d for d in execute([job("odd")], tmp_path, 1, Executor("ray", cluster.address)) if d]
    assert "the benchmark 9.9: install the same" in done.error


@with_ray
@pytest.mark.parametrize(
    "address", ["127.0.0.1:{closed}", "127.0.0.1:{mute}", "ray://127.0.0.1:{closed}", "nonsense", "a:b"]
)
def test_an_address_without_a_cluster_is_refused_within_seconds(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("descant.benchmarks.executors_ray.HEALTH_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as mute, socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
        other.close()
        told = address.format(closed=closed, mute=mute.getsockname()[1])
        out = str(tmp_path / "out")
        begin = time.monotonic()
        assert (
            main(["bench", "regret", "--seeds", "1", "--out", out, "--executor", "ray", "--address", told])
            == 2
        )
        assert time.monotonic() - begin < 60
    said = capsys.readouterr().err
    assert "There is no Ray cluster at" in said or "is no address of a Ray cluster" in said
    assert said.count("\n") == 1
