"""The `flowmap` command.

Heavy modules are imported inside the commands that need them, so `--help` is immediate.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

import flowmap
from flowmap.errors import ConfigError, FlowmapError
from flowmap.settings import load_config
from flowmap_pipelines import cluster_commands, model_commands, options
from flowmap_pipelines.data_commands import data
from flowmap_pipelines.doctor import how_to_install
from flowmap_pipelines.gc_command import gc
from flowmap_pipelines.keys_commands import keys
from flowmap_pipelines.lineage_commands import lineage
from flowmap_pipelines.schedule_commands import schedule
from flowmap_pipelines.tuning_command import tune_report


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(flowmap.__version__, prog_name="flowmap")
def cli() -> None:
    """Train few-step generators with reinforcement learning, as a pipeline.

    Exit status: 0 done, 1 failed, 2 wrong use or wrong configuration, 3 the gate rejected the candidate.
    """


@cli.command()
@options.CONFIG
@options.ROOT
@options.STORE
@options.SET
@click.option(
    "--github-summary", is_flag=True, help="Add the outcome to the page of this GitHub Actions job."
)
@options.JSON
def run(
    config: Path,
    root: Path,
    store: str | None,
    overrides: tuple[str, ...],
    github_summary: bool,
    as_json: bool,
) -> int:
    """Run the whole pipeline of CONFIG on this machine.

    Steps whose settings, code and inputs have not changed are reused. An interrupted run goes on where it
    was when the same command is given again. Ends with status 0 when the model was promoted (or had been
    before), 3 when the gate rejected it.

    \b
        flowmap run digits.yaml
        flowmap run digits.yaml --set grpo_finetuning.rollouts=20 --set name=digits-short
    """
    from flowmap.reporting.mlflow_run import track
    from flowmap_pipelines.local_run import run_locally, store_of
    from flowmap_pipelines.summary import summarise

    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if github_summary and not page:
        raise ConfigError(
            "--github-summary: GITHUB_STEP_SUMMARY is not set; GitHub Actions sets it for a job's steps"
        )
    settings = load_config(config, overrides)
    done = run_locally(settings, root, store_of(root, store))
    summary = summarise(settings.name, done, root)
    track(done.store, settings, done.run_id, summary.outcome)
    click.echo(json.dumps(summary.to_json(), sort_keys=True) if as_json else summary.to_text())
    if github_summary and page:
        with Path(page).open("a") as file:
            file.write(summary.to_markdown())
    return summary.exit_code


@cli.command()
@options.CONFIG
@options.ROOT
@options.STORE
@options.SET
@click.option("--profile", help="Also whether it fits what this profile gives it, and what it would cost.")
@options.JSON
def plan(
    config: Path,
    root: Path,
    store: str | None,
    overrides: tuple[str, ...],
    profile: str | None,
    as_json: bool,
) -> int:
    """Say what a run of CONFIG would do: which steps would be reused, and how long the others last took.

    Of text-to-image models also GPU memory by part and hours, by a count of what a run keeps and computes.
    With --profile: the same of any model, price by the last runs' times, and what can't work; status 2 when
    something can't.

    \b
        flowmap plan digits.yaml --set grpo_finetuning.rollouts=90
        flowmap plan flowmap.yaml --profile cluster-gpu
    """
    from flowmap_pipelines.capacity import fit, is_large
    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.planning import plan as planned_steps
    from flowmap_pipelines.planning import plan_text
    from flowmap_pipelines.profile import load_profile

    settings, how = load_config(config, overrides), load_profile(profile) if profile else None
    there = store_of(root, store)
    planned = planned_steps(settings, there)
    fitting = fit(settings, how, planned, there) if how is not None or is_large(settings) else None
    if as_json:
        steps = [step.to_json() for step in planned]
        click.echo(
            json.dumps(steps if fitting is None else {"steps": steps, **fitting.to_json()}, sort_keys=True)
        )
    else:
        click.echo(plan_text(planned))
        if fitting is not None:
            click.echo("\n" + fitting.to_text())
    return ConfigError.exit_code if fitting is not None and fitting.problems else 0


@cli.command()
@options.CONFIG
@options.SET
@options.PROFILE
@options.IMAGES
@click.option(
    "--format",
    "form",
    type=click.Choice(["pipeline", "kubernetes"]),
    default="pipeline",
    show_default=True,
    help="`kubernetes`: as Pipeline and PipelineVersion resources, for a Kubeflow that keeps pipelines "
    "in Kubernetes.",
)
@click.option("--namespace", help="With --format kubernetes: the namespace that the resources name.")
@options.YAML_OUTPUT
def compile(
    config: Path,
    overrides: tuple[str, ...],
    profile: str,
    images: Path,
    form: str,
    namespace: str | None,
    output: Path,
) -> None:
    """Write the pipeline of CONFIG as Kubeflow's IR YAML, the same bytes every time.

    CONFIG becomes the default of the pipeline's one parameter, `settings`, so that a run can be given
    another.

    \b
        flowmap compile digits.yaml --profile cluster-gpu -o pipeline.yaml
    """
    from flowmap_pipelines.compiling import compile_pipeline, compile_resources
    from flowmap_pipelines.image_lock import load_images
    from flowmap_pipelines.profile import load_profile

    how = load_profile(profile)
    what = load_config(config, overrides), how, load_images(images, pinned=how.pinned)
    if form == "kubernetes":
        compile_resources(*what, namespace, output)
    elif namespace is not None:
        raise click.UsageError("--namespace: only --format kubernetes names one")
    else:
        compile_pipeline(*what, output)
    click.echo(f"wrote {output}")


@cli.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--preferences", type=click.Path(path_type=Path, exists=True), help="A table: prompt, chosen, rejected."
)
@click.option("--checkpoint", help="With prompts: a model's folder, s3://..., or its name on the hub.")
@options.YAML_OUTPUT
def init(source: Path, preferences: Path | None, checkpoint: str | None, output: Path) -> None:
    """Look at your data and write a configuration for them, with comments; the model is called as its file.

    SOURCE is a folder with a metadata.csv, .jsonl or .parquet (file_name, prompt), or with one folder of
    images for each prompt; an .npz file with the arrays images and prompts; a .csv file with a series to
    forecast (time, value); a file of prompts alone for a model that is there, a .txt with one a line or a
    table with the column prompt; or the name of an example, such as digits or series. A table of
    preferences in the folder is found by its columns.

    \b
        flowmap init my-images -o my-images.yaml
        flowmap run my-images.yaml
        flowmap init prompts.txt --checkpoint black-forest-labs/FLUX.1-schnell -o schnell.yaml
        flowmap init digits -o digits.yaml
    """
    if output.exists():
        raise ConfigError(f"{output} exists; name another file, or remove it first")
    output.parent.mkdir(parents=True, exist_ok=True)
    from flowmap_pipelines.init_config import configuration_for, example_for, example_text

    if not source.exists() and (example := example_for(str(source))):
        output.write_text(example_text(example), encoding="utf-8")
        click.echo(f"wrote {output}, an example. Next: flowmap run {output}")
        return
    text, seen = configuration_for(source, preferences, checkpoint, output.stem)
    output.write_text(text, encoding="utf-8")
    click.echo(f"wrote {output}: {seen}. Next: flowmap run {output}")


@cli.command()
@options.ROOT
@options.STORE
@click.option("--cluster", is_flag=True, help="Look at Kubernetes and Kubeflow instead of this machine.")
@options.KUBEFLOW
@options.NAMESPACE
@options.ACCOUNT
def doctor(
    root: Path,
    store: str | None,
    cluster: bool,
    kubeflow: str | None,
    namespace: str | None,
    service_account: str,
) -> int:
    """Say what is installed, what a run would use, what is missing and how to get it; status 1 when
    something is.

    With --cluster: reachability, versions, clocks, what the account may do, GPU nodes, the store and its
    policy.
    """
    if cluster:
        from flowmap_pipelines.doctor_cluster import examine_cluster

        findings = examine_cluster(namespace, kubeflow, service_account, store)
    else:
        from flowmap_pipelines.doctor import examine

        findings = examine(root, store)
    missing = 0
    for finding in findings:
        mark = {True: "ok     ", False: "MISSING", None: "       "}[finding.ok]
        click.echo(f"{mark}  {finding.what:<20}{finding.told}")
        missing += finding.ok is False
    return 1 if missing else 0


for command in (
    cluster_commands.submit,
    cluster_commands.status,
    cluster_commands.logs,
    cluster_commands.retry,
    cluster_commands.cancel,
    schedule,
    model_commands.sample,
    model_commands.models,
    model_commands.report,
    lineage,
    keys,
    data,
    gc,
    cluster_commands.metrics,
    tune_report,
):
    cli.add_command(command)


def main() -> None:
    """The console script: a user's mistake ends in one message and its exit status, never in a traceback."""
    if sys.getfilesystemencoding() != "utf-8":  # an ASCII locale can't name files, nor print what they hold
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    try:
        sys.exit(cli(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FlowmapError as error:
        click.echo(f"flowmap: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        click.echo(f"flowmap: {error.name} is not installed; {how_to_install(error.name or '')}", err=True)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(f"flowmap: {error.filename}: {error.strerror}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        told = "interrupted; nothing is half-written, and the same command goes on from here"
        click.echo(f"flowmap: {told}", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
