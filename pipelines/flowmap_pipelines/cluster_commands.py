"""The commands that need a cluster. Heavy modules are imported inside them, so `--help` is immediate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from flowmap.artifacts.store import open_store
from flowmap.errors import ConfigError
from flowmap.settings import load_config
from flowmap_pipelines import options

Command = Callable[..., Any]


def on_kubeflow(command: Command) -> Command:
    """The options of every command that asks Kubeflow Pipelines."""
    return options.KUBEFLOW(options.NAMESPACE(command))


@click.command()
@options.CONFIG
@options.SET
@options.PROFILE
@options.IMAGES
@on_kubeflow
@options.ACCOUNT
@click.option("--wait", is_flag=True, help="Follow the run to its end, and end with its status: 0, 1 or 3.")
@click.option("--idempotency-key", "key", metavar="KEY", help="The same key again finds the same run.")
@click.option(
    "--on-change", is_flag=True, help="Only when the data or CONFIG changed since the last such run."
)
@click.option(
    "--markdown",
    type=options.OutputFile(),
    help="With --wait and --store: write gate, figures and steps to this file, as for a comment.",
)
@options.STORE
@options.JSON
def submit(
    config: Path,
    overrides: tuple[str, ...],
    profile: str,
    images: Path,
    kubeflow: str | None,
    namespace: str | None,
    service_account: str,
    wait: bool,
    key: str | None,
    on_change: bool,
    markdown: Path | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Start a run of CONFIG on Kubeflow Pipelines and print its link.

    What is compiled is uploaded as a version of the pipeline that has the configuration's name, once. With
    --wait the status is 0 when the model was promoted, 3 when the gate rejected it, and 1 when a step
    failed.

    With --on-change the run is the last such one, while CONFIG and data are the same; what failed of it is
    run again, or a new run is started where code or images have changed since.

    \b
        flowmap submit digits.yaml --profile cluster-gpu --wait
        flowmap submit flowmap.yaml --profile cluster-gpu --idempotency-key "$GIT_COMMIT"
    """
    from flowmap_pipelines.image_lock import load_images
    from flowmap_pipelines.kubeflow import submitting
    from flowmap_pipelines.kubeflow.client import Kubeflow
    from flowmap_pipelines.profile import load_profile

    if on_change and key is not None:
        raise click.UsageError(
            "--on-change and --idempotency-key: one of them says when a run is the same, not both"
        )
    if markdown is not None and (not wait or store is None):
        raise click.UsageError(
            "--markdown: only with --wait, and --store or FLOWMAP_STORE to read the outcome from"
        )
    settings, how = load_config(config, overrides), load_profile(profile)
    which = load_images(images, pinned=how.pinned)
    server = Kubeflow(kubeflow, namespace)
    if on_change:
        run, is_new = submitting.submit_on_change(server, settings, how, which, account=service_account)
    else:
        run, is_new = submitting.submit(server, settings, how, which, account=service_account, key=key)
    click.echo(f"{'started' if is_new else 'known already'}: {server.link(run.run_id)}", err=as_json)
    if not is_new and key is not None and run.state in ("failed", "cancelled"):
        click.echo(
            f"that run is {run.state}: `flowmap retry {run.run_id}` runs again what failed of it; another "
            "key starts another run",
            err=True,
        )
    status = _finish(server, run.run_id, namespace, wait, as_json)
    if markdown is not None and store is not None:
        from flowmap_pipelines.summary import ended_markdown

        markdown.write_text(ended_markdown(settings.name, open_store(store), run.run_id))
    return status


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@on_kubeflow
@click.option(
    "-n", "num", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many runs to list."
)
@options.JSON
def status(run_id: str | None, kubeflow: str | None, namespace: str | None, num: int, as_json: bool) -> None:
    """Say how RUN is, step by step, or list the last runs.

    A step that can't start is told from one that runs, with the reason; that needs access to the cluster
    (KUBECONFIG).
    """
    from itertools import islice

    from flowmap_pipelines.kubeflow.client import Kubeflow
    from flowmap_pipelines.kubeflow.status import (
        list_text,
        status_json,
        status_text,
        troubles_of,
        workflow_words,
    )

    server = Kubeflow(kubeflow, namespace)
    if run_id is None:
        runs = list(islice(server.runs(), num))
        click.echo(
            json.dumps([status_json(run) for run in runs], sort_keys=True) if as_json else list_text(runs)
        )
        return
    run = server.run(run_id)
    troubles = troubles_of(run, namespace)
    if as_json:
        click.echo(json.dumps(status_json(run, troubles), sort_keys=True))
    else:
        click.echo(status_text(run, troubles, server.link(run.run_id)))
        if run.state == "failed":
            for line in workflow_words(run, namespace):
                click.echo(f"  {line}")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("step")
@on_kubeflow
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the step has ended.")
@click.option(
    "--node", type=click.IntRange(0), help="What this node of the step's training job printed, from 0."
)
@options.ROOT
@options.STORE
def logs(
    run_id: str,
    step: str,
    kubeflow: str | None,
    namespace: str | None,
    follow: bool,
    node: int | None,
    root: Path,
    store: str | None,
) -> None:
    """Print what STEP of RUN printed, also when its pod is gone.

    Node 0 of a training job speaks through the step. What each node printed is kept in the store.

    \b
        flowmap logs 5f0c... grpo_finetuning -f
        flowmap logs 5f0c... grpo_finetuning --node 1
    """
    from flowmap_pipelines.kubeflow.client import Kubeflow
    from flowmap_pipelines.kubeflow.logs import print_log, print_node_log

    if node is not None:
        from flowmap_pipelines.local_run import store_of

        print_node_log(run_id, step, node, namespace, lambda: store_of(root, store), follow=follow)
        return
    print_log(Kubeflow(kubeflow, namespace), run_id, step, namespace, follow=follow)


@click.command()
@click.argument("run_id", metavar="RUN")
@on_kubeflow
@click.option("--wait", is_flag=True, help="Follow the run to its end, and end with its status: 0, 1 or 3.")
@options.JSON
def retry(run_id: str, kubeflow: str | None, namespace: str | None, wait: bool, as_json: bool) -> int:
    """Run again what failed of RUN, under the same id; what it had finished is kept."""
    from flowmap_pipelines.kubeflow.client import Kubeflow

    server = Kubeflow(kubeflow, namespace)
    run = server.run(run_id)
    if run.state not in ("failed", "cancelled"):
        raise ConfigError(
            f"run {run_id} is {run.state}: nothing of it has failed; `flowmap submit` starts another"
        )
    server.retry(run_id)
    click.echo(f"retried: {server.link(run_id)}", err=as_json)
    return _finish(server, run_id, namespace, wait, as_json)


@click.command()
@click.argument("run_id", metavar="RUN")
@on_kubeflow
def cancel(run_id: str, kubeflow: str | None, namespace: str | None) -> None:
    """End RUN, and its training jobs where KUBECONFIG gives access to them; checkpoints are kept."""
    from flowmap_pipelines.kubeflow.cancelling import cancel as end
    from flowmap_pipelines.kubeflow.client import Kubeflow

    for line in end(Kubeflow(kubeflow, namespace), run_id, namespace):
        click.echo(line)


def _finish(server: Any, run_id: str, namespace: str | None, wait: bool, as_json: bool) -> int:
    """Wait for the run where that is wanted, say what came of it, and return the status to end with."""
    from flowmap_pipelines.kubeflow.following import exit_code_of, follow, outcome_of, why_failed
    from flowmap_pipelines.kubeflow.status import status_json, troubles_of, workflow_words

    run = (
        follow(server, run_id, lambda run: troubles_of(run, namespace) or {}) if wait else server.run(run_id)
    )
    if as_json:
        click.echo(json.dumps({**status_json(run), "link": server.link(run_id)}, sort_keys=True))
    elif wait:
        click.echo(f"the run {run.name} is {outcome_of(run)}")
    if wait and run.state == "failed":
        click.echo(why_failed(server, run, lambda: workflow_words(run, namespace)), err=True)
    return exit_code_of(run) if wait else 0


@click.command()
@options.ROOT
@options.STORE
@click.option(
    "--serve", type=click.IntRange(1, 65535), metavar="PORT", help="Serve them at /metrics instead."
)
def metrics(root: Path, store: str | None, serve: int | None) -> None:
    """Print what the runs on a cluster came to, as metrics for Prometheus; or serve them, as the chart
    does."""
    from prometheus_client import generate_latest, start_http_server

    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.prometheus import registry_of

    registry = registry_of(store_of(root, store))
    if serve is None:
        click.echo(generate_latest(registry).decode(), nl=False)
        return
    _, thread = start_http_server(serve, registry=registry)
    click.echo(f"serving http://0.0.0.0:{serve}/metrics")
    thread.join()
