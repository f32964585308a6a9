"""The KFP shell of the exit handler."""

from kfp import dsl


@dsl.component(base_image="flowmap:cpu", install_kfp_package=False)
def run_end(settings: str, status: dsl.PipelineTaskFinalStatus):
    """Write the run's summary, end its training jobs, notify whoever wants to know."""
    from flowmap.run_end.ending import end_run

    end_run(settings, status.state)
