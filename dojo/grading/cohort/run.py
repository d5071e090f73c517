"""Grades the distinct files of a plan, here in threads or on a Dask cluster. Both write into `Results` as they go."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.grading.cohort.plan import Plan, Results, parse, text
from dojo.grading.grader import Grader
from dojo.grading.results import KataResult
from dojo.grading.scoring.seeds import Seed
from dojo.grading.submission import policy
from dojo.grading.submission.intake import Taken

Done = Callable[[], None]
SHARD = 40  # files of one kata: a minute's work or less, beside which the reference's run weighs little
BATCH = 500  # files that are parsed before the first of them is graded


@dataclass(frozen=True)
class Order:
    """What a worker needs to grade, as plain data that any machine can read."""

    root: str
    katas: tuple[str, ...]
    secret: bytes
    naming: bool
    without: tuple[str, ...] = ()
    private: tuple[str, ...] = ()  # paths that no submission may read

    def grader(self, jobs: int) -> Grader:
        checkout = Checkout(Path(self.root))
        return Grader(
            checkout, list(self.katas), Seed(self.secret), jobs=jobs, without=self.without, naming=self.naming,
            private=tuple(map(Path, self.private)),
        )  # fmt: skip


def waiting(plan: Plan, results: Results) -> list[tuple[str, str]]:
    """The files without a result, kata by kata, so that one kit after another is needed."""
    return sorted(key for key in plan.sources if results.get(*key) is None)


def run_here(grader: Grader, plan: Plan, results: Results, done: Done) -> None:
    """Threads around the grader's cells."""
    keys = waiting(plan, results)
    with ThreadPoolExecutor(grader.jobs) as pool, grader.stopping():
        for at in range(0, len(keys), BATCH):
            part = keys[at : at + BATCH]
            refused = refusals(grader, [_taken(plan, key) for key in part])
            futures = {
                pool.submit(grader.grade_file, key[0], _taken(plan, key), refused.get(key, "")): key for key in part
            }
            try:
                for future in as_completed(futures):
                    results.keep(future.result(), futures[future][1])
                    done()
            except BaseException:
                for future in futures:
                    future.cancel()
                raise


def refusals(grader: Grader, files: list[Taken]) -> dict[tuple[str, str], str]:
    """What the policy says against which file; one child reads them all."""
    if "policy" not in grader.standing.layers:
        return {}
    found: dict[tuple[str, str], str] = {}
    for file, findings in zip(files, policy.review_each(grader.checkout, files), strict=True):
        said = " ".join(f.sentence(f"katas/{file.kata}.py") for f in findings if f.refuses)
        if said:
            found[file.kata, file.sha256 or ""] = said
    return found


def _taken(plan: Plan, key: tuple[str, str]) -> Taken:
    return Taken(key[0], plan.sources[key], key[1], "ok")


def run_on_dask(order: Order, plan: Plan, results: Results, done: Done, scheduler: str | None, workers: int) -> None:
    """Shards on a Dask cluster: on the one at `scheduler`, else on `workers` processes here.

    A shard whose worker is lost goes to another one; what it had finished is done again.
    """
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError as error:
        raise UserError("--engine dask needs Dask: pip install distributed") from error
    keys = waiting(plan, results)
    if not keys:
        return
    cluster = None if scheduler else LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    try:
        with Client(scheduler or cluster) as client:
            futures = [
                client.submit(
                    grade_shard, order, [(kata, sha, plan.sources[kata, sha]) for kata, sha in shard], pure=False
                )
                for shard in _shards(keys)
            ]
            for future in as_completed(futures):
                for line, sha256 in future.result():
                    results.keep(parse(line), sha256)
                    done()
    finally:
        if cluster is not None:
            cluster.close()


def _shards(keys: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    for _, group in groupby(keys, key=lambda key: key[0]):
        files = list(group)
        yield from (files[at : at + SHARD] for at in range(0, len(files), SHARD))


def grade_shard(order: Order, files: list[tuple[str, str, bytes]]) -> list[tuple[str, str]]:
    """Runs on a worker: files in, results as JSON text out."""
    taken = [Taken(kata, source, sha256, "ok") for kata, sha256, source in files]
    with order.grader(1) as grader:
        refused = refusals(grader, taken)
        graded: Any = [(grader.grade_file(f.kata, f, refused.get((f.kata, f.sha256 or ""), "")), f) for f in taken]
    return [(text(result), file.sha256 or "") for result, file in graded]


def together(grader: Grader, plan: Plan, results: Results) -> Iterator[tuple[str, tuple[KataResult, ...]]]:
    """Each submission with the results of its files, from what lies on disk."""
    for name, taken in plan.handed_in.items():
        found = []
        for kata, file in taken.items():
            known = results.get(kata, file.sha256) if file.status == "ok" and file.sha256 else None
            found.append(known or grader.grade_file(kata, file))
        yield name, tuple(found)
