"""The KFP shell of reward training."""

from kfp import dsl


@dsl.component(base_image="flowmap:train", install_kfp_package=False)
def reward_training(settings: str, data: dsl.Input[dsl.Dataset], reward: dsl.Output[dsl.Model]):
    """Train the preference model."""
    from flowmap.steps.frame import execute

    execute("reward_training", settings, {"data": data}, reward)
