"""Training on other nodes: a TrainJob of Kubeflow Trainer for each job, followed to its end.

    run_train_jobs(jobs, TrainJobSettings(nodes=2, image="repository@sha256:...", ...))

The name follows from the step digest, so a launcher that was lost and started again finds its TrainJob and
goes on with it. It is deleted when it has ended, however that was, and by `flowmap gc` when nobody follows
it any more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flowmap.artifacts.manifest import MANIFEST_NAME, parse_manifest
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import fetch
from flowmap.errors import StoreError
from flowmap.kubernetes.api import Cluster, ClusterError, connect
from flowmap.kubernetes.labels import GROUP, JOB_LABEL, PLURAL, RUN_LABEL, SEEN, VERSION
from flowmap.launching.followed import following
from flowmap.launching.job import Failure, Job, first_failure, raise_failure
from flowmap.launching.train_job_pods import Pods, owners_of_this_pod
from flowmap.launching.train_job_spec import (
    TrainJobSettings,
    check_as_asked,
    has_condition,
    train_job,
    train_job_name,
)
from flowmap.progress import say
from flowmap.retrying import ask_until_there, patience_s

_POLL_S = 2.0
_SEEN_EVERY_S = 60.0
_STUCK_S = 45.0


def run_train_jobs(jobs: Sequence[Job], settings: TrainJobSettings) -> None:
    """Run the jobs side by side and leave each one's results in its `out`; no TrainJob is left behind.

    Raises:
        InvariantError: a process failed; the message or traceback of the first.
        ClusterError: a TrainJob can't start, took too long, or is gone.
    """
    cluster = connect()
    launched = [_Following(cluster, job, settings) for job in jobs]
    try:
        with following(launched[0].store, list(jobs)):
            for each in launched:
                each.start()
            while following_still := [each for each in launched if not each.done]:
                for each in following_still:
                    each.look()
                time.sleep(_POLL_S)
    finally:
        for each in launched:
            if each.is_ours:
                each.delete()


class _Following:
    """One TrainJob, from its creation to its end."""

    def __init__(self, cluster: Cluster, job: Job, settings: TrainJobSettings) -> None:
        settings.check(job.num_processes)
        self.job, self.settings, self.cluster = job, settings, cluster
        self.is_ours = self.done = False
        self.store: ObjectStore = open_store(job.store)
        self.name = train_job_name(job)
        self.pods = Pods(cluster, self.name)
        self._told = ""
        self._seen_s = self._stuck_since_s = 0.0
        self._ran_s, self._looked_s = 0.0, time.monotonic()

    def start(self) -> None:
        """Create the TrainJob, or go on with the one that a launcher before this one made."""
        body = train_job(self.job, self.settings, owners_of_this_pod(self.cluster))
        while True:
            found = self._read()
            if found is None:
                self._forget()
                if self._make(body):
                    return
            elif found["metadata"].get("labels", {}).get(JOB_LABEL) != body["metadata"]["labels"][JOB_LABEL]:
                raise ClusterError(
                    f"TrainJob {self.name} in namespace {self.cluster.namespace} is another job's of that "
                    "name; when nobody needs it, delete it"
                )
            elif "deletionTimestamp" in found["metadata"] or self._is_over(found):
                self.delete()
                time.sleep(_POLL_S)
            else:
                self.is_ours = found["metadata"]["labels"].get(RUN_LABEL) == body["metadata"]["labels"].get(
                    RUN_LABEL
                )
                say(f"{self.job.worker}: goes on with TrainJob {self.name}, which was there already")
                return

    def look(self) -> None:
        """See how it is, tell what is new, and take the results when it has finished."""
        found = self._read()
        if found is None:
            self._gone()
            return
        self._say_seen()
        self.pods.refresh()
        self.pods.print_first()
        if has_condition(found, "Complete"):
            self.pods.print_first()
            if self._is_over(found):  # nobody had followed it when it ended
                self._again(self.settings)
            else:
                self._take_results()
            return
        # Any other cause is one that the cluster starts all nodes again for, until it says Failed.
        failures = self._failures()
        first = first_failure(failures)
        if self._lacked_memory(first):
            return
        if first is not None and first.cause == "own":
            say(self.pods.summary())
            raise_failure(self.job, failures, "")
        if has_condition(found, "Failed"):
            told = [first.text] if first is not None else []
            raise ClusterError("\n".join([f"TrainJob {self.name} failed", *told, self.pods.summary()]))
        self._check_times(suspended=has_condition(found, "Suspended"))

    def _is_over(self, found: dict[str, Any]) -> bool:
        """Whether a TrainJob has ended and left nothing that could be taken."""
        return has_condition(found, "Failed") or self.store.exists(self.job.stopped_name)

    def _lacked_memory(self, first: Failure | None) -> bool:
        """Where nodes did not have enough memory, begin again with more, if the profile says so."""
        can = self.is_ours and self.settings.memory_factor > 1 and self.settings.attempts > 0
        if not can or not (self.pods.lacked_memory() or (first is not None and first.cause == "memory")):
            return False
        more = self.settings.with_more_memory()
        say(
            f"{self.job.worker}: the nodes of TrainJob {self.name} need more memory than "
            f"{self.settings.limits['memory']}; it is made again with {more.limits['memory']}"
        )
        self._again(more)
        return True

    def _again(self, settings: TrainJobSettings) -> None:
        """Delete it, and begin again from the newest checkpoint."""
        self.settings = settings
        self.delete()
        self.start()

    def _gone(self) -> None:
        """Another run with the same work may have made it, and deletes it at its own end, whatever that
        is."""
        if self._has_results():
            self._take_results()
        elif self.is_ours:
            raise ClusterError(
                f"TrainJob {self.name} was deleted by somebody while it ran; run the step again"
            )
        else:
            say(
                f"{self.job.worker}: TrainJob {self.name} was deleted by the run that had made it; it is "
                "made again"
            )
            self.start()

    def delete(self) -> None:
        """Delete it and its pods; one that is gone is gone."""
        # In the background: with the foreground policy it is started once more for a moment.
        try:
            self._ask("delete_namespaced_custom_object", self.name, propagation_policy="Background")
        except _api_exception():
            return
        except ClusterError as error:
            say(
                f"{self.job.worker}: TrainJob {self.name} was not deleted: {error}; `flowmap gc --cluster` "
                "does it"
            )

    def _make(self, body: dict[str, Any]) -> bool:
        """Create it; False when another launcher was faster."""
        try:
            made = self._ask("create_namespaced_custom_object", body)
        except _api_exception() as error:
            if error.status == 409:
                return False
            raise ClusterError(
                f"the cluster has no TrainJobs ({error.status}): install Kubeflow Trainer 2.0 or newer, or "
                "leave `trainjob` out of the profile to train inside the step's own pod"
            ) from None
        self.is_ours = True
        check_as_asked(body, made, self.cluster.namespace)
        say(f"{self.job.worker}: TrainJob {self.name} of {self.settings.nodes} nodes is made")
        return True

    def _forget(self) -> None:
        """Remove what an attempt before this one left in the store, its checkpoints excepted."""
        for prefix in (self.job.failures_prefix, self.job.result_prefix):
            for name in list(self.store.names(prefix)):
                self.store.delete(name)
        self.store.delete(self.job.stopped_name)

    def _check_times(self, *, suspended: bool) -> None:
        """Raise when it can't start, or runs too long; time in a queue counts for neither."""
        now_s = time.monotonic()
        since_s, self._looked_s = now_s - self._looked_s, now_s
        stuck = self.pods.stuck()
        if stuck and not suspended:
            self._tell(stuck)
            self._stuck_since_s = self._stuck_since_s or now_s
            if now_s - self._stuck_since_s > _STUCK_S:
                raise ClusterError(f"TrainJob {self.name} can't start: {stuck}\n{self.pods.summary()}")
            return
        self._stuck_since_s = 0.0
        if suspended:
            self._tell("it waits in its queue")
        elif waits := self.pods.waiting_for_room() or self.pods.refused(self.settings.nodes):
            self._tell(waits)
        elif self.pods.are_running(self.settings.nodes):
            self._tell(f"runs on {', '.join(self.pods.nodes())}")
            self._ran_s += since_s
        if self._ran_s > self.settings.deadline_s:
            raise ClusterError(
                f"TrainJob {self.name} has run for longer than the profile's trainjob.deadline_s, "
                f"{self.settings.deadline_s:g} s; its checkpoints are kept, and another run goes on from "
                "them"
            )

    def _has_results(self) -> bool:
        return self.store.exists(f"{self.job.result_prefix}/{MANIFEST_NAME}")

    def _take_results(self) -> None:
        where = self.job.result_prefix
        try:
            manifest = parse_manifest(self.store.get(f"{where}/{MANIFEST_NAME}"), where=where)
        except KeyError:
            raise ClusterError(f"TrainJob {self.name} says Complete, but {where} has no results") from None
        fetch(self.store, manifest, self.job.out, where)
        self.done = True

    def _failures(self) -> list[Failure]:
        """What nodes left. A store that is away for a while is no reason to end training that goes on."""
        return ask_until_there(self._read_failures, _store_is_away, "the store", StoreError, patience_s())

    def _read_failures(self) -> list[Failure]:
        found = []
        for name in list(self.store.names(self.job.failures_prefix)):
            with contextlib.suppress(KeyError):  # its node is starting again just now
                found.append(Failure.model_validate_json(self.store.get(name)))
        return found

    def _say_seen(self) -> None:
        now_s = time.monotonic()
        if now_s - self._seen_s > _SEEN_EVERY_S or not self._seen_s:
            self._seen_s = now_s
            seen = {"metadata": {"annotations": {SEEN: datetime.now(UTC).isoformat(timespec="seconds")}}}
            with contextlib.suppress(_api_exception()):  # it is gone: the next look says so
                self._ask("patch_namespaced_custom_object", self.name, seen)

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            say(f"{self.job.worker}: TrainJob {self.name}: {text}")

    def _read(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._ask("get_namespaced_custom_object", self.name)
        except _api_exception():
            return None
        return found

    def _ask(self, verb: str, *arguments: Any, **options: Any) -> Any:
        ask = getattr(self.cluster.custom, verb)
        return self.cluster.call(ask, GROUP, VERSION, self.cluster.namespace, PLURAL, *arguments, **options)


def _store_is_away(error: BaseException) -> str | None:
    return f"can't be used ({error})" if isinstance(error, StoreError) else None


def _api_exception() -> Any:
    from kubernetes.client import ApiException

    return ApiException
