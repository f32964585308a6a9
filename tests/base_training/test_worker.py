"""Base training by several processes, and from a checkpoint."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from flowmap.base_training.batches import encoded
from flowmap.base_training.sizes import with_sizes
from flowmap.base_training.worker import _Draws
from flowmap.data.dataset import write_dataset
from flowmap.data.facts import DataFacts
from flowmap.launching.job import Job
from flowmap.launching.launcher import launch
from flowmap.models import MlpFacts
from flowmap.models.storing import write_model_facts
from flowmap.settings import BaseTraining

SHAPE, PROMPTS = (1, 4, 4), ("a", "b")
NUM = 64


def write_data(folder: Path) -> None:
    folder.mkdir()
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"label": np.arange(NUM) % 2, "split": "base"})
    facts = DataFacts(
        modality="images",
        prompts=PROMPTS,
        shape=SHAPE,
        num_read=NUM,
        num_duplicates=0,
        splits={"base": NUM},
        counts={},
        expectations=(),
    )
    data = generator.normal(0, 0.5, (NUM, *SHAPE)).astype(np.float32)
    write_dataset(folder, table.assign(caption=table["label"]), data, facts)


def job_of(folder: Path, name: str, store: str, **changes: Any) -> Job:
    section = BaseTraining(width=32, depth=2, updates=220, batch_size=16, **changes)
    job = Job(
        worker="flowmap.base_training.worker",
        section=section.model_dump_json(),
        name="map",
        inputs={"data": folder / "data"},
        out=folder / name,
        scratch=folder / f"{name}-scratch",
        store=str(folder / "store"),
        checkpoints=f"checkpoints/{store}",
        num_processes=section.processes or 1,
    )
    job.out.mkdir()
    write_model_facts(job.out, MlpFacts(shape=SHAPE, prompts=PROMPTS, width=32, depth=2, max_frequency=3.0))
    return job


def test_two_processes_go_on_from_a_checkpoint_to_the_same_bytes(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    whole, gone_on = (job_of(tmp_path, name, "two", processes=2) for name in ("whole", "gone_on"))
    alone = job_of(tmp_path, "alone", "one")
    for job in (whole, gone_on, alone):  # the second one finds the first one's checkpoint of update 200
        launch([job])
    weights = [(job.out / "map.safetensors").read_bytes() for job in (whole, gone_on)]
    assert weights[0] == weights[1]
    curves = [json.loads((job.out / "map.json").read_text())["curve"] for job in (whole, gone_on, alone)]
    assert curves[0] == curves[1]
    errors = [curve[-1]["error"] for curve in (curves[0], curves[2])]
    assert errors[0] == pytest.approx(errors[1], rel=0.3)
    one, two = (load_file(job.out / "map.safetensors") for job in (alone, whole))
    assert any(not torch.equal(one[name], two[name]) for name in one)


def test_each_process_draws_for_itself_and_one_alone_goes_through_one_stream() -> None:
    section = BaseTraining()

    def first(rank: int, update: int, num: int = 2) -> float:
        engine = cast(Any, SimpleNamespace(rank=rank, num_processes=num))
        return float(torch.rand((), generator=_Draws(section, "map", engine).of(update)))

    assert len({first(0, 0), first(1, 0), first(0, 1), first(1, 1)}) == 4
    assert first(1, 7) == first(1, 7)
    assert first(0, 0, num=1) == first(0, 5, num=1)


def test_data_are_encoded_once_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def encode(data: torch.Tensor) -> torch.Tensor:
        sizes.append(len(data))
        return data * 2

    model = cast(Any, SimpleNamespace(codec=SimpleNamespace(encode=encode), device=torch.device("cpu")))
    data = torch.randn(600, 2)
    torch.testing.assert_close(encoded(model, data), data * 2)
    assert sizes == [256, 256, 88]


def test_a_batch_is_shared_evenly() -> None:
    with pytest.raises(ValidationError, match=r"batch_size \(9\) must be a multiple of processes \(2\)"):
        BaseTraining(batch_size=9, processes=2)
    assert with_sizes(BaseTraining(processes=3), "images", (1, 8, 8), 900).batch_size == 255
