"""The KFP shell of data preparation."""

from kfp import dsl


@dsl.component(base_image="flowmap:cpu", install_kfp_package=False)
def data_prep(settings: str, data: dsl.Output[dsl.Dataset]):
    """Read, check and split the images."""
    from flowmap.steps.frame import execute

    execute("data_prep", settings, {}, data)
