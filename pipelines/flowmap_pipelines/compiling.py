"""The pipeline as Kubeflow's IR YAML."""

from __future__ import annotations

from pathlib import Path

from flowmap.config import RunConfig


def compile_pipeline(config: RunConfig, output: Path) -> None:
    """Write the pipeline with `config` as the default of its parameter `settings`; equal input, equal bytes."""
    from kfp import compiler

    from flowmap_pipelines.training_pipeline import training_pipeline

    output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(training_pipeline, str(output), pipeline_parameters={"settings": config.to_json()})
