"""The KFP shell of GRPO fine-tuning."""

from kfp import dsl


@dsl.component(base_image="flowmap:train", install_kfp_package=False)
def grpo_finetuning(
    settings: str, base: dsl.Input[dsl.Model], reward: dsl.Input[dsl.Model], tuned: dsl.Output[dsl.Model]
):
    """Fine-tune the flow map against the reward."""
    from flowmap.steps.frame import execute

    execute("grpo_finetuning", settings, {"base": base, "reward": reward}, tuned)
