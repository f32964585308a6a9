"""The pipeline as Kubeflow's IR YAML, with what a profile gives each step's pod."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

from flowmap.errors import ConfigError
from flowmap.kubernetes.quantities import amount
from flowmap.launching.train_job_spec import TrainJobSettings
from flowmap.settings import RunConfig, environment
from flowmap_pipelines.image_lock import Images
from flowmap_pipelines.profile import Profile, Resources, Retries, StepProfile, TrainJob
from flowmap_pipelines.training_pipeline import RUN_END, make_pipeline

_SCRATCH = "/scratch"
_MOST_SETTINGS = 100_000
_END_S = 300  # its image is there already; where it is not, nobody waits for it longer
_SECRET_KEYS = {"access-key": "AWS_ACCESS_KEY_ID", "secret-key": "AWS_SECRET_ACCESS_KEY"}
_NETWORK_KEYS = {
    "region": "AWS_REGION",
    "http-proxy": "HTTP_PROXY",
    "https-proxy": "HTTPS_PROXY",
    "no-proxy": "NO_PROXY",
}
_AUTHORITY = "/etc/flowmap/authority"
_AUTHORITY_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_WEBHOOK_SECRET = "flowmap-webhook"
_SIGNING_SECRET = "flowmap-signing"
_MLFLOW_CONFIG_MAP = "flowmap-mlflow"
_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def compile_pipeline(config: RunConfig, profile: Profile, images: Images, output: Path) -> None:
    """Write the pipeline with `config` as the default of its parameter `settings`; equal input, equal
    bytes."""
    _compile(config, profile, images, output)


def compile_resources(
    config: RunConfig, profile: Profile, images: Images, namespace: str | None, output: Path
) -> None:
    """Write the same as Kubernetes resources, Pipeline and PipelineVersion, for those who apply from a
    repository.

    The version's name holds the digest of what was compiled, for its spec can't be changed once it is there.
    """
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    with tempfile.TemporaryDirectory(prefix="flowmap-") as folder:
        package = Path(folder) / "pipeline.yaml"
        _compile(config, profile, images, package)
        digest = package_digest(package)
    name = re.sub(r"[._]+", "-", config.name).strip("-")  # Kubernetes' names have neither
    options = KubernetesManifestOptions(
        pipeline_name=name,
        pipeline_display_name=config.name,
        pipeline_version_name=f"{name}-{digest}",
        pipeline_version_display_name=digest,
        namespace=namespace,
        include_pipeline_manifest=True,
    )
    _compile(
        config, profile, images, output, kubernetes_manifest_format=True, kubernetes_manifest_options=options
    )


def package_digest(package: Path) -> str:
    """What a version of the pipeline is named by."""
    return hashlib.sha256(package.read_bytes()).hexdigest()[:16]


def _compile(config: RunConfig, profile: Profile, images: Images, output: Path, **options: Any) -> None:
    from kfp import compiler

    grpo = profile.step("grpo_finetuning")
    if grpo.trainjob is not None:
        _train_job(grpo.trainjob, images.train, grpo.retries).check(config.grpo_finetuning.processes)
    settings = config.to_json()
    if len(settings) > _MOST_SETTINGS:
        raise ConfigError(
            f"the settings with the files of rewards are {len(settings)} characters, and Kubeflow carries "
            f"{_MOST_SETTINGS}: install the reward's module in the image instead"
        )
    pipeline = make_pipeline(lambda section, task: apply_profile(task, section, profile, images))
    output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline, str(output), pipeline_parameters={"settings": settings}, **options)


def apply_profile(task: Any, section: str, profile: Profile, images: Images) -> None:
    """Give a step's task all that the profile says; nothing else in this project touches a task."""
    from kfp import kubernetes

    step = run_end_profile(profile) if section == RUN_END else profile.step(section)
    task.set_container_image(images.of(step.image))
    _set_resources(task, step)
    retries = step.retries
    task.set_retry(retries.attempts, retries.backoff, retries.factor, retries.longest)
    kubernetes.set_timeout(task, step.timeout_s)
    user = step.run_as_user
    kubernetes.set_security_context(task, run_as_user=user, run_as_group=user, run_as_non_root=True)
    kubernetes.set_image_pull_policy(task, profile.image_pull_policy)
    if profile.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(profile.image_pull_secrets))
    for key, value in step.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in step.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
    labels = {"app.kubernetes.io/part-of": "flowmap", "flowmap/step": section, **step.labels}
    for key, value in labels.items() if step.queue is None else {**labels, _QUEUE_LABEL: step.queue}.items():
        kubernetes.add_pod_label(task, key, value)
    kubernetes.empty_dir_mount(
        task, "shared-memory", "/dev/shm", medium="Memory", size_limit=step.shared_memory
    )
    kubernetes.empty_dir_mount(task, "scratch", _SCRATCH, size_limit=step.scratch)
    # The image's root may be read-only: all that libraries write goes to the scratch directory.
    for variable in ("TMPDIR", "HOME", "MPLCONFIGDIR"):
        task.set_env_variable(variable, _SCRATCH)
    task.set_env_variable(environment.LOG_FORMAT, "json")
    if section in (RUN_END, "registry_push"):  # who tells what a run came to
        kubernetes.use_config_map_as_env(
            task, _MLFLOW_CONFIG_MAP, {"uri": environment.MLFLOW_URI}, optional=True
        )
        kubernetes.use_secret_as_env(task, _WEBHOOK_SECRET, {"url": environment.WEBHOOK}, optional=True)
    if section == "registry_push":
        named = {"key.pem": environment.SIGNING_KEY}
        kubernetes.use_secret_as_env(task, _SIGNING_SECRET, named, optional=True)
    if section in ("data_prep", "base_training", "grpo_finetuning", "evaluation"):  # who fetches models
        kubernetes.use_secret_as_env(
            task, environment.HUB_SECRET, {"token": environment.HUB_TOKEN}, optional=True
        )
    if section in ("grpo_finetuning", "evaluation"):  # who asks rewards
        kubernetes.use_secret_as_env(
            task, environment.VLM_SECRET, {"key": environment.VLM_KEY}, optional=True
        )
    if step.trainjob is not None:
        task.set_env_variable(
            environment.TRAIN_JOB,
            _train_job(step.trainjob, images.of(step.image), step.retries).model_dump_json(),
        )
        kubernetes.use_field_path_as_env(task, environment.POD, "metadata.name")
    task.set_env_variable(environment.GPUS, str(_gpus(step)))
    task.set_env_variable(environment.IMAGE, images.of(step.image))
    kubernetes.use_field_path_as_env(task, environment.RUN_ID, "metadata.labels['pipeline/runid']")
    # The exit handler starts without them too, to tell what the other steps then failed of.
    optional = section == RUN_END
    kubernetes.use_config_map_as_env(
        task, profile.store_config_map, {"url": environment.STORE}, optional=optional
    )
    kubernetes.use_config_map_as_env(task, profile.store_config_map, _NETWORK_KEYS, optional=True)
    if step.store_secret is not None:
        kubernetes.use_secret_as_env(task, step.store_secret, _SECRET_KEYS, optional=optional)
    if profile.ca_config_map is not None:
        kubernetes.use_config_map_as_volume(task, profile.ca_config_map, _AUTHORITY, optional=optional)
        for variable in _AUTHORITY_VARIABLES:
            task.set_env_variable(variable, f"{_AUTHORITY}/ca.crt")
    if profile.patience_s is not None:
        task.set_env_variable(environment.PATIENCE, f"{profile.patience_s:g}")


def run_end_profile(profile: Profile) -> StepProfile:
    """What the exit handler gets: little, for it is lost where its pod can't start at once."""
    like = profile.step("data_prep")
    small = {"requests": Resources(cpu="50m", memory="256Mi"), "limits": Resources(cpu="1", memory="1Gi")}
    trainjob = profile.step("grpo_finetuning").trainjob
    return like.model_copy(
        update={**small, "gpu": None, "queue": None, "timeout_s": _END_S, "trainjob": trainjob}
    )


def _train_job(profile: TrainJob, image: str, retries: Retries) -> TrainJobSettings:
    gpu = {} if profile.gpu is None else {profile.gpu.type: str(profile.gpu.count)}
    return TrainJobSettings(
        nodes=profile.nodes,
        runtime=profile.runtime,
        image=image,
        requests={**profile.requests.model_dump(), **gpu},
        limits={**profile.limits.model_dump(), **gpu},
        cpus=int(amount(profile.limits.cpu)),
        deadline_s=profile.deadline_s,
        memory_factor=retries.memory_factor,
        attempts=retries.attempts,
        labels={} if profile.queue is None else {_QUEUE_LABEL: profile.queue},
    )


def _gpus(step: StepProfile) -> int:
    """How many GPUs a step holds, on all its nodes."""
    if step.trainjob is not None:
        return step.trainjob.nodes * (step.trainjob.gpu.count if step.trainjob.gpu else 0)
    return step.gpu.count if step.gpu else 0


def _set_resources(task: Any, step: StepProfile) -> None:
    task.set_cpu_request(step.requests.cpu).set_cpu_limit(step.limits.cpu)
    task.set_memory_request(step.requests.memory).set_memory_limit(step.limits.memory)
    if step.gpu is not None:
        task.set_accelerator_type(step.gpu.type).set_accelerator_limit(step.gpu.count)
