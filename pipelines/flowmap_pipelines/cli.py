"""The `flowmap` command. Heavy modules are imported inside the commands that need them, so `--help` is immediate."""

from __future__ import annotations

import sys

import click

import flowmap
from flowmap.errors import FlowmapError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(flowmap.__version__, prog_name="flowmap")
def cli() -> None:
    """Train few-step generators with reinforcement learning, as a pipeline.

    Exit status: 0 done, 1 failed, 2 wrong use or wrong configuration, 3 the gate rejected the candidate.
    """


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
