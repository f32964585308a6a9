"""The command that says what GRPO should train."""

from __future__ import annotations

import json
from pathlib import Path

import click

from flowmap.settings import load_config
from flowmap_pipelines import options


@click.command("tune-report")
@options.CONFIG
@options.ROOT
@options.STORE
@options.SET
@click.option(
    "--rollouts", type=click.IntRange(2, 1000), default=8, show_default=True, help="What to measure on."
)
@options.JSON
def tune_report(
    config: Path, root: Path, store: str | None, overrides: tuple[str, ...], rollouts: int, as_json: bool
) -> None:
    """Say which transitions of CONFIG's grid carry signal, so that GRPO trains those (`window`).

    Measured on the base and the rewards that CONFIG has trained, which must be there; nothing is trained.
    docs/tuning.md says how to read it.

    \b
        flowmap tune-report digits.yaml
        flowmap tune-report digits.yaml --set grpo_finetuning.composed=false
    """
    from dataclasses import asdict

    from flowmap_pipelines.local_run import store_of
    from flowmap_pipelines.tuning import measure, tuning_text

    settings = load_config(config, overrides)
    signals = measure(settings, store_of(root, store), rollouts)
    click.echo(json.dumps([asdict(each) for each in signals]) if as_json else tuning_text(settings, signals))
