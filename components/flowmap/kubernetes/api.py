"""The Kubernetes API, as this pod or this machine's kubeconfig reaches it, with errors that say what to do.

    cluster = connect()
    pods = cluster.call(cluster.core.list_namespaced_pod, cluster.namespace, label_selector="...").items

What a job asks is asked again for as long as it is patient when the API server is away; a person's command
says so at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from flowmap.errors import FlowmapError
from flowmap.retrying import ask_until_there, patience_s
from flowmap.settings import environment

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT_S = 30
_REFUSED_S = 60.0

P = ParamSpec("P")
T = TypeVar("T")


class ClusterError(FlowmapError):
    """The cluster can't be reached, refuses, or did not run what it was given."""


@dataclass
class Cluster:
    """Clients of one cluster, and the namespace that flowmap works in.

    Attributes:
        patience_s: for how many seconds an API server that is away is asked again.
        was_allowed: whether it has answered this account before.
    """

    namespace: str
    core: Any
    custom: Any
    patience_s: float = field(default_factory=patience_s)
    was_allowed: bool = False

    def call(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the API server, again and again while it is away.

        One that has just started again refuses what it allows, for some seconds: who was allowed waits.

        Raises ClusterError; `ApiException` for 404 and 409.
        """
        from kubernetes.client import ApiException

        def answer() -> T:
            # P can't say that a keyword may be added, which every call of this client's takes.
            return ask(*args, **{"_request_timeout": _TIMEOUT_S, **kwargs})  # type: ignore[arg-type]

        def away_or_starting(error: BaseException) -> str | None:
            if self.was_allowed and isinstance(error, ApiException) and error.status in (401, 403):
                return f"answers {error.status} {error.reason}, though it has allowed this account before"
            return _away(error)

        who, refused_s = "the Kubernetes API server", min(self.patience_s, _REFUSED_S)
        try:
            try:
                found = ask_until_there(answer, _away, who, ClusterError, self.patience_s)
            except ApiException as error:
                if away_or_starting(error) is None:
                    raise
                found = ask_until_there(answer, away_or_starting, who, ClusterError, refused_s)
        except ApiException as error:
            if error.status in (404, 409):
                self.was_allowed = True
                raise
            raise ClusterError(self._refused(error)) from None
        self.was_allowed = True
        return found

    def _refused(self, error: Any) -> str:
        said = getattr(error, "body", None) or error.reason
        if error.status == 401:
            return (
                "the Kubernetes API server does not know this account (401): renew the kubeconfig or token; "
                f"{said}"
            )
        if error.status == 403:
            return (
                f"the account may not do this in namespace {self.namespace} (403): use the service account "
                f"of flowmap's chart, or grant what is missing; {said}"
            )
        return f"the Kubernetes API server refused ({error.status}): {said}"


def _away(error: BaseException) -> str | None:
    """What an error says about an API server that will be back."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    if isinstance(error, HTTPError):
        return f"can't be reached ({error})"
    if isinstance(error, ApiException) and (error.status >= 500 or error.status == 429):
        return f"answers {error.status} {error.reason}"
    return None


def connect(namespace: str | None = None, *, patience: float | None = None) -> Cluster:
    """From inside a pod as its service account, elsewhere with KUBECONFIG. Raises ClusterError when there is
    neither.

    An API server that is away is waited for `patience` seconds; None is as long as `retrying.patience_s`
    says. The namespace is the one named, or FLOWMAP_NAMESPACE's, the pod's own, or the kubeconfig's.
    """
    from kubernetes import client, config

    found = namespace or os.environ.get(environment.NAMESPACE)
    try:
        config.load_incluster_config()
        found = found or _OWN_NAMESPACE.read_text().strip()
    except config.ConfigException:
        try:
            config.load_kube_config()
            found = found or config.list_kube_config_contexts()[1]["context"].get("namespace")
        except (config.ConfigException, OSError) as error:
            told = " ".join(str(error).split())
            raise ClusterError(
                f"no Kubernetes: neither in a pod of one nor by KUBECONFIG ({told})"
            ) from None
    configuration = client.Configuration.get_default_copy()
    configuration.retries = False
    api = client.ApiClient(configuration)
    return Cluster(
        found or "default",
        client.CoreV1Api(api),
        client.CustomObjectsApi(api),
        patience_s() if patience is None else patience,
    )
