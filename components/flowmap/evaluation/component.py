"""The KFP shell of evaluation."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="flowmap:cpu", install_kfp_package=False)
def evaluation(
    settings: str,
    data: dsl.Input[dsl.Dataset],
    base: dsl.Input[dsl.Model],
    reward: dsl.Input[dsl.Model],
    tuned: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
) -> NamedTuple("Outputs", [("verdict", str)]):
    """Measure and decide; the verdict is `promote` or `reject`."""
    from collections import namedtuple

    from flowmap.registry.evaluation_result import read_evaluated, show
    from flowmap.steps.frame import execute, store_from_environment

    inputs = {"data": data, "base": base, "reward": reward, "tuned": tuned}
    manifest = execute("evaluation", settings, inputs, evaluation)
    verdict = show(read_evaluated(store_from_environment(), manifest.digest), metrics, report)
    return namedtuple("Outputs", ["verdict"])(verdict)
