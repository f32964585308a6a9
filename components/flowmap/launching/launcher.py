"""Starts training jobs and waits for them: with torchrun in place, or on other nodes where the profile says
so.

    launch([Job(worker="flowmap.grpo_finetuning.worker", num_processes=2, ...)])

Several jobs run side by side; in place they share the machine's cores.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from flowmap.launching.job import Job
from flowmap.launching.torchrun import run_in_place
from flowmap.settings import environment


def launch(jobs: Sequence[Job]) -> None:
    """Run the jobs side by side. The first that fails ends the others.

    Raises:
        InvariantError: with the worker's own message or traceback, when it left one.
        StoreError: there was no room even for the message.
        ClusterError: the cluster that the jobs were given to did not run them.
    """
    if told := os.environ.get(environment.TRAIN_JOB):
        from flowmap.launching.train_job import run_train_jobs
        from flowmap.launching.train_job_spec import TrainJobSettings

        run_train_jobs(jobs, TrainJobSettings.model_validate_json(told))
    else:
        run_in_place(jobs)
