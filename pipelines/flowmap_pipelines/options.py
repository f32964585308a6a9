"""Options and arguments that several commands have in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class OutputFile(click.ParamType[Path]):
    """A file to be written: refused before any work when its name or its place is not right.

    Args:
        endings: what the name may end with; empty for anything.
    """

    name = "file"

    def __init__(self, *endings: str) -> None:
        self.endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if self.endings and path.suffix not in self.endings:
            self.fail(f"{path}: name a file that ends with {' or '.join(self.endings)}", param, ctx)
        if path.is_dir():
            self.fail(f"{path} is a folder; name a file", param, ctx)
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            self.fail(f"{path}: {above} is no folder that you may write to", param, ctx)
        return path


class OrElse(click.Group):
    """A group that means its command `default` where its first word names none."""

    def __init__(self, *arguments: Any, default: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if is_named else [self.default, *args])


CONFIG = click.argument("config", type=click.Path(path_type=Path))
ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".flowmap"),
    show_default=True,
    help="Where the local state lives: store, logs, checkpoints.",
)
STORE = click.option(
    "--store",
    metavar="URL",
    envvar="FLOWMAP_STORE",
    help="The store, instead of the one below --root: a path, or "
    "s3://bucket/prefix?endpoint=http://host:port with the "
    "credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.  [env: FLOWMAP_STORE]",
)
SIGNING_KEY = click.option(
    "--key",
    envvar="FLOWMAP_SIGNING_KEY",
    help="A private key (PEM, no password) to sign with.  [env: FLOWMAP_SIGNING_KEY]",
)
YAML_OUTPUT = click.option(
    "-o", "--output", type=OutputFile(".yaml", ".yml"), required=True, help="The YAML file."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for programs.")
SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Override a setting; may be repeated.",
)
PROFILE = click.option(
    "--profile",
    default="cluster-cpu",
    show_default=True,
    help="What each step's pod gets: local, cluster-cpu, cluster-gpu, cluster-multinode, or a file like "
    "those.",
)
IMAGES = click.option(
    "--images",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("images/images.lock"),
    show_default=True,
    help="The images by digest: a YAML file with `cpu:` and `train:`.",
)
NAMESPACE = click.option(
    "--namespace",
    envvar="FLOWMAP_NAMESPACE",
    help="The namespace that runs' pods are in.  [env: FLOWMAP_NAMESPACE; default: the pod's own or the "
    "kubeconfig's]",
)
KUBEFLOW = click.option(
    "--kubeflow",
    metavar="URL",
    envvar="FLOWMAP_KFP_HOST",
    help="Kubeflow Pipelines' API; a token for it goes into FLOWMAP_KFP_TOKEN.  [env: FLOWMAP_KFP_HOST]",
)
ACCOUNT = click.option(
    "--service-account",
    default="flowmap",
    show_default=True,
    help="What the steps' pods run as; the chart makes it.",
)
