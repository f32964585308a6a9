"""The DAG: wiring only."""

from kfp import dsl

from flowmap.base_training.component import base_training
from flowmap.data_prep.component import data_prep
from flowmap.evaluation.component import evaluation
from flowmap.grpo_finetuning.component import grpo_finetuning
from flowmap.registry_push.component import record_rejection, registry_push
from flowmap.reward_training.component import reward_training


@dsl.pipeline(name="flowmap", description="Train a few-step generator with reinforcement learning")
def training_pipeline(settings: str):
    """Every step's own reuse decides whether it runs, so Kubeflow's cache is off for all of them."""
    data = data_prep(settings=settings).set_caching_options(False).outputs["data"]
    base = base_training(settings=settings, data=data).set_caching_options(False).outputs["base"]
    reward = reward_training(settings=settings, data=data).set_caching_options(False).outputs["reward"]
    tuned = grpo_finetuning(settings=settings, base=base, reward=reward).set_caching_options(False).outputs["tuned"]
    judged = evaluation(settings=settings, data=data, base=base, reward=reward, tuned=tuned)
    judged.set_caching_options(False)
    evaluated = judged.outputs["evaluated"]
    with dsl.If(judged.outputs["verdict"] == "promote"):
        registry_push(settings=settings, tuned=tuned, evaluated=evaluated).set_caching_options(False)
    with dsl.Else():
        record_rejection(settings=settings, tuned=tuned, evaluated=evaluated).set_caching_options(False)
