"""The `flowmap` command. Heavy modules are imported inside the commands that need them, so `--help` is immediate."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import flowmap
from flowmap.config import load_config
from flowmap.errors import FlowmapError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(flowmap.__version__, prog_name="flowmap")
def cli() -> None:
    """Train few-step generators with reinforcement learning, as a pipeline.

    Exit status: 0 done, 1 failed, 2 wrong use or wrong configuration, 3 the gate rejected the candidate.
    """


_ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".flowmap"),
    show_default=True,
    help="Where the local state lives: store, logs, checkpoints.",
)
_CONFIG = click.argument("config", type=click.Path(path_type=Path))
_SET = click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override a setting; may be repeated."
)


@cli.command()
@_CONFIG
@_ROOT
@_SET
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON on standard output.")
def run(config: Path, root: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Run the whole pipeline of CONFIG on this machine.

    Steps whose settings, code and inputs have not changed are reused. An interrupted run goes on where it was when
    the same command is given again.
    """
    from flowmap_pipelines.local_run import run_locally

    settings = load_config(config, overrides)
    done = run_locally(settings, root)
    click.echo(str({name: record.output[:12] for name, record in done.records.items()}))


def main() -> None:
    """The console script: a user's mistake ends in one message and its exit status, never in a traceback."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FlowmapError as error:
        click.echo(f"flowmap: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("flowmap: interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
