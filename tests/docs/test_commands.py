"""Every `flowmap` command in the documents exists with its options, and every value of the chart that they
set."""

import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from flowmap.settings import load_config
from flowmap_pipelines.cli import cli
from flowmap_pipelines.options import OrElse

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(path: Path, program: str) -> list[list[str]]:
    """What the blocks of a document call, comments and what is piped elsewhere left out."""
    text = re.sub(r"\\\n\s*", " ", path.read_text())
    found = []
    for line in re.findall(rf"^(?:    )?({program} .*)$", "\n".join(blocks(text)), re.MULTILINE):
        lexer = shlex.shlex(re.sub(r"\$\([^)]*\)", "X", line), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        found.append(
            words[: next((i for i, word in enumerate(words) if word in (";", "|", "&", "&&", ">")), None)]
        )
    return found


def blocks(text: str, language: str = "") -> list[str]:
    """Those that are indented, and those between fences."""
    fenced = re.findall(rf"^```{language}\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return fenced + re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_configurations_load(path: Path, tmp_path: Path) -> None:
    """What stands in <> is for the reader to fill in."""
    for index, block in enumerate(blocks(path.read_text(), "yaml")):
        text = textwrap.dedent(block)
        if not re.match(r"name: \w+\n\w+:", text):
            continue
        config = tmp_path / f"{index}.yaml"
        config.write_text(re.sub(r"<[^>]*>", "a" * 40, text))
        load_config(config)


def option_of(command: click.Command, word: str) -> bool:
    return any(word in each.opts for each in command.params if isinstance(each, click.Option))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(path: Path) -> None:
    for _, *words in commands(path, "flowmap"):
        name, *rest = words
        command: Any = cli.commands.get(name)
        assert command is not None, words
        if isinstance(command, OrElse):
            command = command.commands.get(rest[0] if rest else "", command.commands[command.default])
        elif isinstance(command, click.Group):
            command = command.commands[rest[0]]
        for word in rest:
            if word.startswith("-"):
                assert option_of(command, word.partition("=")[0]), words


def test_values_that_documents_set_are_the_charts() -> None:
    values = yaml.safe_load((ROOT / "charts" / "flowmap" / "values.yaml").read_text())
    names = [
        word.partition("=")[0] for path in DOCUMENTS for words in commands(path, "helm") for word in words
    ]
    told = [name for name in names if re.fullmatch(r"[a-z][A-Za-z]+\.[A-Za-z.]+", name)]
    assert len(told) > 5
    for name in told:
        found = values
        for part in name.split("."):
            assert part in found, name
            found = found[part]


def test_the_documents_have_commands_at_all() -> None:
    assert sum(len(commands(path, "flowmap")) for path in DOCUMENTS) > 20
