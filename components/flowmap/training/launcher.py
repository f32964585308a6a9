"""Starts training jobs and waits for them: with torchrun in place, or on other nodes where the profile says so.

    launch([Job(module="flowmap.grpo_finetuning.worker", num_processes=2, ...)])      # in a step

Several jobs run side by side; in place they share the machine's cores.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from flowmap.training.in_place import run_in_place
from flowmap.training.job import TRAINJOB_VARIABLE, Job


def launch(jobs: Sequence[Job]) -> None:
    """Run the jobs side by side. The first that fails ends the others.

    Raises:
        InvariantError: with the worker's own message or traceback, when it left one.
        StoreError: there was no room even for the message.
        ClusterError: the cluster that the jobs were given to did not run them.
    """
    if told := os.environ.get(TRAINJOB_VARIABLE):
        from flowmap.training.train_job_spec import TrainJobSettings
        from flowmap.training.trainjob import run_train_jobs

        run_train_jobs(jobs, TrainJobSettings.model_validate_json(told))
    else:
        run_in_place(jobs)
