"""The KFP shells of both branches behind the gate."""

from kfp import dsl


@dsl.component(base_image="flowmap:cpu", install_kfp_package=False)
def registry_push(
    settings: str,
    base: dsl.Input[dsl.Model],
    tuned: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    published: dsl.Output[dsl.Artifact],
):
    """Publish the candidate and move the alias."""
    from flowmap.reporting.summary import end_again
    from flowmap.steps.frame import execute

    inputs = {"base": base, "tuned": tuned, "evaluation": evaluation}
    execute("registry_push", settings, inputs, published, function="promote")
    end_again(settings)


@dsl.component(base_image="flowmap:cpu", install_kfp_package=False)
def record_rejection(
    settings: str,
    base: dsl.Input[dsl.Model],
    tuned: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    rejected: dsl.Output[dsl.Artifact],
):
    """Record that the candidate was rejected, and why."""
    from flowmap.reporting.summary import end_again
    from flowmap.steps.frame import execute

    inputs = {"base": base, "tuned": tuned, "evaluation": evaluation}
    execute("registry_push", settings, inputs, rejected, function="reject")
    end_again(settings)
