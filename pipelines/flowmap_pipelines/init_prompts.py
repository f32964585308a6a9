"""`flowmap init` for prompts without data: a model that is there, adapters on it, rewards that need none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flowmap.data.naming import named
from flowmap.data.tables import column_names
from flowmap.data_prep.prompts_alone import read_prompts
from flowmap.errors import DataError
from flowmap.rewards.ocr import wanted_text
from flowmap.settings.yaml_text import write_value

_SUFFIXES = (".txt", ".jsonl", ".csv", ".parquet")
_COLUMNS = ("prompt", "prompts", "caption", "text")
_OF_A_SERIES = {"time", "value"}
_KNOWN = {  # models of the Hugging Face hub, with the commit that is meant
    "black-forest-labs/FLUX.1-schnell": "741f7c3ce8b383c54771c7003378a50191e9efe9",
    "yuvalkirstain/PickScore_v1": "a4e4367c6dfa7288a00c550414478f865b875800",
    "openai/clip-vit-large-patch14": "32bd64288804d66eefd0ccbe215aa642df71cc41",
}
_MODEL, _PICKSCORE, _CLIP = _KNOWN


def holds_prompts(source: Path) -> bool:
    """Whether a file is one of prompts, and no series."""
    if not source.is_file() or source.suffix not in _SUFFIXES:
        return False
    return source.suffix != ".csv" or not set(column_names(source)) >= _OF_A_SERIES


def configuration_for_prompts(name: str, source: Path, checkpoint: str | None) -> tuple[str, str]:
    """A configuration, and what was seen in one sentence.

    Args:
        checkpoint: a folder, an object store's prefix or a name on the hub; FLUX.1-schnell where none is
            named.

    Raises DataError where no column holds prompts.
    """
    column = "prompt" if source.suffix == ".txt" else _column_of(source)
    found, _ = read_prompts(source, column)
    model = checkpoint or _MODEL
    quoted = sum(wanted_text(prompt, facts) is not None for prompt, facts in found.items())
    writes = quoted == len(found)
    judge = ["{kind: ocr}"] if writes else [_pretrained("clip", _CLIP)]
    paid = [*(judge if writes else []), _pretrained("pickscore", _PICKSCORE)]
    lines = [
        f"# {len(found)} prompts without data: {named(map(repr, list(found)))}",
        f"name: {write_value(name)}",
        "data_prep:",
        f"  prompts: {write_value(str(source.absolute()))}",
        *([] if column == "prompt" else [f"  prompt_column: {write_value(column)}"]),
        "  resize: [512, 512]                # of the pictures: height and width",
        "  kept_prompts: {from_grpo: 0.2}    # never drawn by GRPO: what was understood shows on them",
        "base_training:",
        "  checkpoint:",
        f"    source: {write_value(model)}",
        *_revision(model, "    "),
        "    precision: bfloat16",
        "grpo_finetuning:",
        "  grid: [1, 0.75, 0.5, 0.25, 0]     # 4 steps a picture",
        "  window: [0]                       # of which the first is stochastic and trained",
        "  lora: {rank: 32, alpha: 64}",
        "  learning_rate: 3.0e-4",
        "  groups: 12                        # prompts a rollout,",
        "  group_size: 12                    # and pictures of each",
        "  micro_batch: 2                    # pictures at once: halve it where memory runs out",
        "  gradient_checkpointing: true",
        "  rollouts: 100",
        "  rewards:                          # each picture is compared with the others of its prompt",
        *(f"    - {each}" for each in paid),
        "evaluation:",
        "  samples_per_prompt: 4             # of every model: with 20, hours more",
        "  evaluations: [4]",
        "  baseline_evaluations: [28]        # the same model with more steps: what distances are to",
        "  rewards:                          # nothing is trained on these; the first one judges",
        *(f"    - {each}" for each in judge),
    ]
    if writes:
        lines.append("  fulfilled: 1                      # a picture is as asked when every letter is read")
    return "\n".join(lines) + "\n", f"{len(found)} prompts without data, for {model}"


def _column_of(source: Path) -> str:
    names: Sequence[str] = column_names(source)
    found = next((name for wanted in _COLUMNS for name in names if name.lower() == wanted), None)
    if found is None:
        raise DataError(
            f"{source}: none of its columns {', '.join(names)} is called {' or '.join(_COLUMNS)}: rename "
            "the one with the prompts"
        )
    return found


def _pretrained(kind: str, source: str) -> str:
    return f"{{kind: {kind}, source: {source}, revision: {_KNOWN[source]}}}"


def _revision(source: str, indent: str) -> list[str]:
    """The commit, where it is a name on the hub."""
    if source in _KNOWN:
        return [f"{indent}revision: {_KNOWN[source]}"]
    if Path(source).expanduser().is_dir() or source.startswith("s3://"):
        return []
    return [f"{indent}revision: null    # the commit's 40 digits: what a name on the hub points to changes"]
