"""Kubeflow Pipelines' API server, with answers in this project's terms and errors that say what to do.

    kubeflow = Kubeflow("http://ml-pipeline.kubeflow:8888", namespace="ml")
    kubeflow.run(run_id).state          # "running"

What a run, a step or a schedule is, is in resources.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowmap.errors import ConfigError
from flowmap.retrying import ask_until_there, patience_s
from flowmap.settings import environment
from flowmap_pipelines.kubeflow.refusals import (
    ConflictError,
    KubeflowError,
    away,
    is_conflict,
    refusal,
    there_or_made,
)
from flowmap_pipelines.kubeflow.resources import Run, Schedule, run_of, schedule_of

_POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
_EXPERIMENT = "flowmap"
_MARK = "flowmap: "
_PAGE = 100
_TIMEOUT_S = 30


class Kubeflow:
    """One API server, as one account sees it.

    `version` and `is_multi_user` are what the server says of itself.

    Args:
        host: its URL; without it FLOWMAP_KFP_HOST.
        namespace: of a multi-user Kubeflow; in a single-user one there is nothing to choose.
        token: for a server behind a log-in; without it FLOWMAP_KFP_TOKEN, or the token that a pod has for
            this.
    """

    def __init__(self, host: str | None, namespace: str | None = None, token: str | None = None) -> None:
        host = host or os.environ.get(environment.KUBEFLOW_HOST)
        if not host:
            raise ConfigError(
                f"where is Kubeflow Pipelines? Give --kubeflow URL or set {environment.KUBEFLOW_HOST}, such "
                "as http://localhost:8888 after `kubectl -n kubeflow port-forward service/ml-pipeline 8888`"
            )
        if not host.startswith(("http://", "https://")):
            raise ConfigError(f"--kubeflow {host}: expected a URL that begins with http:// or https://")
        import kfp_server_api as api

        configuration = api.Configuration(host=host.rstrip("/"))
        configuration.retries = False
        token = (
            token
            or os.environ.get(environment.KUBEFLOW_TOKEN)
            or (_POD_TOKEN.read_text() if _POD_TOKEN.exists() else None)
        )
        if token:
            configuration.api_key["authorization"] = token.strip()
            configuration.api_key_prefix["authorization"] = "Bearer"
        self.host = configuration.host
        self._client = api.ApiClient(configuration)
        self._api = api
        self._runs, self._schedules = (
            api.RunServiceApi(self._client),
            api.RecurringRunServiceApi(self._client),
        )
        self._pipelines = api.PipelineServiceApi(self._client)
        self._experiments = api.ExperimentServiceApi(self._client)
        # As JSON: the client's own model of the answer leaves the version out.
        get_health = api.HealthzServiceApi(self._client).healthz_service_get_healthz
        health = json.loads(self._ask(get_health, patient=False, _preload_content=False).data)
        self.is_multi_user = bool(health.get("multi_user"))
        if self.is_multi_user and not namespace:
            raise ConfigError("this Kubeflow serves several users: say whose namespace with --namespace")
        self.version = str(health.get("tag_name") or "unknown")
        self._where: dict[str, Any] = {"namespace": namespace} if self.is_multi_user else {}

    def link(self, run_id: str) -> str:
        """The run's page."""
        return f"{self.host}/#/runs/details/{run_id}"

    def upload(self, name: str, version: str, package: Path) -> tuple[str, str]:
        """The ids of pipeline `name` and of its version `version`, which is uploaded unless it is there."""
        pipeline_id = self._pipeline(name)
        found = there_or_made(
            lambda: self._version(pipeline_id, version),
            lambda: self._upload(pipeline_id, version, package),
        )
        return pipeline_id, found

    def claim(self, name: str, claim: str, package: Path) -> bool:
        """Make a version of pipeline `name` that is called `claim`: of many who try, exactly one is told
        True.

        Kubeflow has nothing else that can be made only once.
        """
        try:
            self._upload(self._pipeline(name), claim, package)
        except ConflictError:
            return False
        return True

    def is_claimed(self, name: str, claim: str) -> bool:
        """Whether somebody has made that claim."""
        return self._version(self._pipeline(name), claim) is not None

    def give_up_claim(self, name: str, claim: str) -> None:
        """Let others make it."""
        pipeline_id = self._pipeline(name)
        if (version := self._version(pipeline_id, claim)) is not None:
            self._ask(self._pipelines.pipeline_service_delete_pipeline_version, pipeline_id, version)

    def start(
        self, name: str, description: str, version: tuple[str, str], settings: str, account: str | None
    ) -> Run:
        """Start a run of an uploaded version."""
        body = self._api.V2beta1Run(
            experiment_id=self._experiment(),
            display_name=name,
            description=description,
            service_account=account,
            **self._what(version, settings),
        )
        return run_of(self._ask(self._runs.run_service_create_run, body, patient=False))

    def run(self, run_id: str) -> Run:
        """How a run is. Raises KubeflowError when there is none of that id."""
        return run_of(self._ask(self._runs.run_service_get_run, run_id))

    def runs(self, name: str | None = None) -> Iterator[Run]:
        """Runs of flowmap, the newest first, without their tasks; or only those of one name."""
        told: dict[str, Any] = {
            "page_size": _PAGE,
            "sort_by": "created_at desc",
            "experiment_id": self._experiment(),
        }
        if name is not None:
            told["filter"] = _is("name", name)
        return map(run_of, self._pages(self._runs.run_service_list_runs, "runs", told))

    def retry(self, run_id: str) -> None:
        """Run again what failed of a run, under the same id."""
        self._ask(self._runs.run_service_retry_run, run_id)

    def cancel(self, run_id: str) -> None:
        """End a run; it takes some seconds."""
        self._ask(self._runs.run_service_terminate_run, run_id)

    def schedule(
        self,
        name: str,
        description: str,
        cron: str,
        version: tuple[str, str],
        settings: str,
        account: str | None,
        *,
        catch_up: bool,
    ) -> Schedule:
        """Make a schedule, which starts nothing before it is enabled, and never two runs at once."""
        api = self._api
        body = api.V2beta1RecurringRun(
            experiment_id=self._experiment(),
            display_name=name,
            description=description,
            service_account=account,
            trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron)),
            mode=api.RecurringRunMode.DISABLE,
            max_concurrency="1",
            no_catchup=not catch_up,
            **self._what(version, settings),
        )
        return schedule_of(
            self._ask(self._schedules.recurring_run_service_create_recurring_run, body, patient=False)
        )

    def schedules(self) -> list[Schedule]:
        """The schedules of flowmap."""
        list_schedules = self._schedules.recurring_run_service_list_recurring_runs
        told = {"page_size": _PAGE, "experiment_id": self._experiment()}
        return list(map(schedule_of, self._pages(list_schedules, "recurring_runs", told)))

    def enable(self, schedule_id: str, *, on: bool) -> None:
        """Let a schedule start runs, or not."""
        schedules = self._schedules
        ask = schedules.recurring_run_service_enable_recurring_run
        self._ask(ask if on else schedules.recurring_run_service_disable_recurring_run, schedule_id)

    def delete_schedule(self, schedule_id: str) -> None:
        """Delete it; runs of it that are still going on would never end, so there must be none."""
        self._ask(self._schedules.recurring_run_service_delete_recurring_run, schedule_id)

    def log(self, run_id: str, pod: str) -> str:
        """What one of `Run.pods` printed, also when it is gone; empty when nothing is kept."""
        path = f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log"
        try:
            told = self._ask(
                self._client.call_api, path, "GET", auth_settings=["Bearer"], _preload_content=False
            )
        except KubeflowError:
            return ""
        return str(told.data.decode(errors="replace"))

    def _pipeline(self, name: str) -> str:
        """The id of the pipeline, made when there is none."""

        def find() -> Any:
            list_pipelines = self._pipelines.pipeline_service_list_pipelines
            found = self._ask(list_pipelines, filter=_is("name", name), **self._where).pipelines
            return found[0] if found else None

        def make() -> Any:
            body = self._api.V2beta1Pipeline(
                name=name, display_name=name, description=f"{_MARK}trains few-step generators", **self._where
            )
            return self._ask(self._pipelines.pipeline_service_create_pipeline, body)

        pipeline = there_or_made(find, make)
        if not (pipeline.description or "").startswith(_MARK):
            raise ConfigError(
                f"Kubeflow has a pipeline named {name} that flowmap did not make; give the configuration "
                "another `name`"
            )
        return str(pipeline.pipeline_id)

    def _version(self, pipeline_id: str, version: str) -> str | None:
        """The id of a version of a pipeline, by its name."""
        list_versions = self._pipelines.pipeline_service_list_pipeline_versions
        answer = self._ask(list_versions, pipeline_id, page_size=_PAGE, filter=_is("name", version))
        found = answer.pipeline_versions
        return str(found[0].pipeline_version_id) if found else None

    def _upload(self, pipeline_id: str, version: str, package: Path) -> str:
        upload = self._api.PipelineUploadServiceApi(self._client).upload_pipeline_version
        made = self._ask(upload, str(package), name=version, display_name=version, pipelineid=pipeline_id)
        return str(made.pipeline_version_id)

    def _experiment(self) -> str:
        api = self._experiments

        def find() -> str | None:
            list_experiments = api.experiment_service_list_experiments
            found = self._ask(list_experiments, filter=_is("name", _EXPERIMENT), **self._where).experiments
            return str(found[0].experiment_id) if found else None

        def make() -> str:
            body = self._api.V2beta1Experiment(display_name=_EXPERIMENT, **self._where)
            return str(self._ask(api.experiment_service_create_experiment, body).experiment_id)

        return there_or_made(find, make)

    def _what(self, version: tuple[str, str], settings: str) -> dict[str, Any]:
        """What to run, as runs and schedules say it."""
        pipeline_id, version_id = version
        reference = self._api.V2beta1PipelineVersionReference(
            pipeline_id=pipeline_id, pipeline_version_id=version_id
        )
        parameters = self._api.V2beta1RuntimeConfig(parameters={"settings": settings})
        return {"pipeline_version_reference": reference, "runtime_config": parameters}

    def _pages(self, ask: Any, items: str, told: dict[str, Any]) -> Iterator[Any]:
        """All of what is listed, a page at a time."""
        page = ""
        while True:
            answer = self._ask(ask, page_token=page, **told)
            yield from getattr(answer, items) or []
            page = answer.next_page_token
            if not page:
                return

    def _ask(self, ask: Any, *args: Any, patient: bool = True, **kwargs: Any) -> Any:
        who = f"Kubeflow Pipelines at {self.host}"
        try:
            return ask_until_there(
                lambda: ask(*args, _request_timeout=_TIMEOUT_S, **kwargs),
                away,
                who,
                KubeflowError,
                patience_s() if patient else 0.0,
            )
        except self._api.ApiException as error:
            kind = ConflictError if is_conflict(error) else KubeflowError
            raise kind(f"{who} {refusal(error)}") from None


def _is(key: str, value: str) -> str:
    """A filter for what has exactly this value."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "stringValue": value}]})
