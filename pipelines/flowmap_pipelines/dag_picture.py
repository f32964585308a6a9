"""The DAG as a picture for the documentation: `python -m flowmap_pipelines.dag_picture` prints it as
Mermaid."""

from __future__ import annotations

from flowmap.steps.dag import PIPELINE, PROMOTE, REJECT, sources_of

_GATE = "gate"


def mermaid() -> str:
    """A flowchart: a box for each step, an arrow for each artifact that one reads, and the gate before the
    branches."""
    lines = ["flowchart LR"]
    for step in PIPELINE:
        lines.append(f"    {step.task}[{step.name}<br>{step.says}]")
    lines.append(f"    {_GATE}{{{_GATE}}}")
    for step in PIPELINE:
        if step.when is None:
            lines += [f"    {source.task} -- {source.output} --> {step.task}" for source in sources_of(step)]
    judged = next(step for step in PIPELINE if step.name == "evaluation")
    lines.append(f"    {judged.task} --> {_GATE}")
    for verdict in (PROMOTE, REJECT):
        lines += [f"    {_GATE} -- {verdict} --> {step.task}" for step in PIPELINE if step.when == verdict]
    return "\n".join(lines)


if __name__ == "__main__":
    print(mermaid())
