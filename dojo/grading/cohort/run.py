"""Grades the distinct files of a class, in threads here or on a Dask cluster. Each result is stored as soon as it is there."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.grading.cohort.plan import FileKey, Plan, ResultStore, result_from_json, result_to_json
from dojo.grading.grader import Grader
from dojo.grading.results import KataResult
from dojo.grading.scoring.answer_key import POINTS_PER_KATA
from dojo.grading.scoring.seeds import Seed
from dojo.grading.submission.intake import SubmittedFile

OnGraded = Callable[[], None]
SHARD_FILES = 40  # about a minute's work, so that making the answer key once a shard costs little
BATCH_FILES = 500  # files that the policy reads before the first of them is graded


@dataclass(frozen=True)
class GraderSettings:
    """Everything needed to make a grader, as plain data that can be sent to another machine."""

    root: str
    katas: tuple[str, ...]
    secret: bytes
    name_mistakes: bool
    without: tuple[str, ...] = ()
    private: tuple[str, ...] = ()  # paths that no submission may read

    def make_grader(self, jobs: int) -> Grader:
        checkout = Checkout(Path(self.root))
        return Grader(
            checkout, list(self.katas), Seed(self.secret), jobs=jobs, without=self.without, name_mistakes=self.name_mistakes,
            private=tuple(map(Path, self.private)),
        )  # fmt: skip


def ungraded(plan: Plan, store: ResultStore) -> list[FileKey]:
    """The files without a result, in the order of the katas, so that one answer key after the other is needed."""
    return sorted(key for key in plan.sources if store.get(key) is None)


def run_in_threads(grader: Grader, plan: Plan, store: ResultStore, on_graded: OnGraded) -> None:
    """Grades all files without a result on this machine. Calls `on_graded` after each."""
    keys = ungraded(plan, store)
    with ThreadPoolExecutor(grader.jobs) as pool, grader.stop_on_error():
        for start in range(0, len(keys), BATCH_FILES):
            batch = keys[start : start + BATCH_FILES]
            files = [plan.file(key) for key in batch]
            futures = {
                pool.submit(grader.grade_file, file, refusal): key
                for key, file, refusal in zip(batch, files, grader.refusals(files), strict=True)
            }
            try:
                for future in as_completed(futures):
                    store.save(futures[future], future.result())
                    on_graded()
            except BaseException:
                for future in futures:
                    future.cancel()
                raise


def run_on_dask(
    settings: GraderSettings, plan: Plan, store: ResultStore, on_graded: OnGraded, scheduler: str | None, workers: int
) -> None:
    """Grades all files without a result on the Dask cluster at `scheduler`, or else in `workers` processes here.

    If a worker is lost or fails, its shard is graded again by another one.
    """
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError as error:
        raise UserError("--engine dask needs Dask: pip install distributed") from error
    keys = ungraded(plan, store)
    if not keys:
        return
    cluster = None
    if not scheduler:
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)  # type: ignore[no-untyped-call]  # distributed has no types
    try:
        with Client(scheduler or cluster) as client:  # type: ignore[no-untyped-call]
            futures = [
                client.submit(grade_shard, settings, [plan.file(key) for key in shard], pure=False, retries=1)
                for shard in _shards(keys)
            ]
            for future in as_completed(futures):  # type: ignore[no-untyped-call]
                try:
                    results = future.result()
                except Exception:  # also at the second try; `collect_results` reports the files without a result
                    continue
                for text, key in results:
                    store.save(key, result_from_json(text))
                    on_graded()
    finally:
        if cluster is not None:
            cluster.close()


def _shards(keys: list[FileKey]) -> Iterator[list[FileKey]]:
    for _, group in groupby(keys, key=lambda key: key[0]):
        of_kata = list(group)
        yield from (of_kata[start : start + SHARD_FILES] for start in range(0, len(of_kata), SHARD_FILES))


def grade_shard(settings: GraderSettings, files: list[SubmittedFile]) -> list[tuple[str, FileKey]]:
    """Grades some files in a Dask worker. Returns the results as JSON, each with the key of its file."""
    results = []
    with settings.make_grader(1) as grader:
        for file, refusal in zip(files, grader.refusals(files), strict=True):
            results.append((result_to_json(grader.grade_file(file, refusal)), (file.kata, file.sha256 or "")))
    return results


def collect_results(grader: Grader, plan: Plan, store: ResultStore) -> Iterator[tuple[str, tuple[KataResult, ...]]]:
    """Each submission with the results of its files."""
    for submission, files in plan.submissions.items():
        yield submission, tuple(_result(grader, store, file) for file in files.values())


def _result(grader: Grader, store: ResultStore, file: SubmittedFile) -> KataResult:
    if file.status != "ok" or file.sha256 is None:
        return grader.grade_file(file)
    if result := store.get((file.kata, file.sha256)):
        return result
    reason = "The grader failed: it has no result of this file. This is no fault of the submission."
    return KataResult(file.kata, "error", 0.0, POINTS_PER_KATA, (), file.sha256, reason)
