"""The KFP shell of base training."""

from kfp import dsl


@dsl.component(base_image="flowmap:train", install_kfp_package=False)
def base_training(settings: str, data: dsl.Input[dsl.Dataset], base: dsl.Output[dsl.Model]):
    """Train the flow map and the many-step baseline."""
    from flowmap.steps.frame import execute

    execute("base_training", settings, {"data": data}, base)
