"""The compiled pipeline, as Kubeflow gets it."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowmap.errors import ConfigError
from flowmap.settings import RunConfig
from flowmap_pipelines.compiling import compile_pipeline, compile_resources, package_digest
from flowmap_pipelines.image_lock import Images, load_images
from flowmap_pipelines.profile import load_profile, shipped_profiles
from tests.cli import flowmap as cli

GOLDEN = Path(__file__).with_name("golden")
IMAGES = Images(cpu=f"r.example.com/cpu@sha256:{'c' * 64}", train=f"r.example.com/train@sha256:{'7' * 64}")
STEPS = {"data-prep", "base-training", "reward-training", "grpo-finetuning", "evaluation"}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_pipeline(RunConfig(name="digits"), load_profile("cluster-cpu"), IMAGES, path)
    return next(yaml.safe_load_all(path.read_text()))


def tasks_of(compiled: Any) -> dict[str, Any]:
    """Every task of the DAG and of its branches, by name."""
    found = dict(compiled["root"]["dag"]["tasks"])
    for component in compiled["components"].values():
        found |= component.get("dag", {}).get("tasks", {})
    return found


def test_the_same_configuration_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    for path in (first, second):
        compile_pipeline(RunConfig(name="digits"), load_profile("cluster-gpu"), IMAGES, path)
    assert first.read_bytes() == second.read_bytes()


def test_base_and_reward_training_run_side_by_side(compiled: Any) -> None:
    tasks = tasks_of(compiled)
    assert set(tasks) >= STEPS
    assert tasks["base-training"]["dependentTasks"] == ["data-prep"]
    assert tasks["reward-training"]["dependentTasks"] == ["data-prep"]
    assert tasks["grpo-finetuning"]["dependentTasks"] == ["base-training", "reward-training"]


def test_kubeflows_own_cache_is_off_for_every_step(compiled: Any) -> None:
    around = ("condition", "exit-handler")
    steps = {name: task for name, task in tasks_of(compiled).items() if not name.startswith(around)}
    assert set(steps) == STEPS | {"registry-push", "record-rejection", "run-end"}
    for name, task in steps.items():
        assert not task["cachingOptions"].get("enableCache"), name


def test_both_branches_of_the_gate_exist_and_exclude_each_other(compiled: Any) -> None:
    conditions = {
        next(iter(compiled["components"][task["componentRef"]["name"]]["dag"]["tasks"])): task[
            "triggerPolicy"
        ]
        for task in tasks_of(compiled).values()
        if "condition" in task.get("triggerPolicy", {})
    }
    assert set(conditions) == {"registry-push", "record-rejection"}
    promote, reject = conditions["registry-push"]["condition"], conditions["record-rejection"]["condition"]
    assert promote.endswith("== 'promote'")
    assert reject == f"!({promote})"


def test_nothing_is_installed_when_a_step_runs(compiled: Any) -> None:
    for name, executor in compiled["deploymentSpec"]["executors"].items():
        assert "pip" not in " ".join(executor["container"]["command"]), name


def test_the_settings_are_the_only_parameter(compiled: Any) -> None:
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    assert list(parameters) == ["settings"]
    assert RunConfig.model_validate_json(parameters["settings"]["defaultValue"]) == RunConfig(name="digits")


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_profile_gives_pods_what_its_golden_file_says(name: str, tmp_path: Path) -> None:
    """What the pods of every step get; FLOWMAP_UPDATE_GOLDEN=1 writes the files anew, for a look at the
    difference."""
    path, golden = tmp_path / "pipeline.yaml", GOLDEN / f"{name}.yaml"
    config = RunConfig.model_validate(
        {"name": "digits", "grpo_finetuning": {"processes": 2, "zero_stage": 1}}
    )
    compile_pipeline(config, load_profile(name), IMAGES, path)
    pipeline, platform = yaml.safe_load_all(path.read_text())
    executors = {}
    for executor, found in pipeline["deploymentSpec"]["executors"].items():
        container = {
            key: value for key, value in found["container"].items() if key not in ("command", "args")
        }
        pod = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][executor]
        executors[executor] = {"container": container, "pod": pod}
    if os.environ.get("FLOWMAP_UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(yaml.safe_dump(executors))
    assert executors == yaml.safe_load(golden.read_text())


def test_rewards_that_are_too_large_to_travel_are_refused(tmp_path: Path) -> None:
    reward = {"kind": "python", "function": "mine:bright", "source": "x" * 100_000}
    config = RunConfig.model_validate({"name": "x", "grpo_finetuning": {"rewards": [reward]}})
    with pytest.raises(ConfigError, match="install the reward's module in the image instead"):
        compile_pipeline(config, load_profile("cluster-cpu"), IMAGES, tmp_path / "pipeline.yaml")


def test_nodes_that_can_not_share_the_processes_evenly_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"trainjob.nodes is 2, which does not divide grpo_finetuning.processes, 1"
    ):
        compile_pipeline(
            RunConfig(name="digits"), load_profile("cluster-multinode"), IMAGES, tmp_path / "p.yaml"
        )


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_pod_is_pinned_bounded_and_unprivileged(name: str) -> None:
    for executor, found in yaml.safe_load((GOLDEN / f"{name}.yaml").read_text()).items():
        container, pod = found["container"], found["pod"]
        assert "@sha256:" in container["image"], executor
        assert {"cpuLimit", "memoryLimit", "cpuRequest", "memoryRequest"} <= set(container["resources"]), (
            executor
        )
        assert pod["securityContext"]["runAsNonRoot"] is True, executor
        assert int(pod["activeDeadlineSeconds"]) > 0, executor
        secrets = {secret["secretName"] for secret in pod["secretAsEnv"]}
        publishes = executor in ("exec-registry-push", "exec-record-rejection")
        tells = publishes or executor == "exec-run-end"
        webhook = {"flowmap-webhook"} if tells else set()
        if publishes:
            webhook |= {"flowmap-signing"}
        if executor in ("exec-grpo-finetuning", "exec-evaluation"):
            webhook |= {"flowmap-vlm"}
        if executor in ("exec-data-prep", "exec-base-training", "exec-grpo-finetuning", "exec-evaluation"):
            webhook |= {"flowmap-hub"}
        for each in (*pod["secretAsEnv"], *pod["configMapAsEnv"]):  # nothing keeps the exit handler down
            assert each.get("optional") or executor != "exec-run-end", executor
        assert secrets == {"flowmap-registry" if publishes else "flowmap-store"} | webhook, executor


PROFILE: dict[str, Any] = {
    "description": "mine",
    "defaults": {
        "image": "cpu",
        "requests": {"cpu": 1, "memory": "1Gi"},
        "limits": {"cpu": "1500m", "memory": "2Gi"},
        "timeout_s": 60,
    },
}


def of_evaluation(**settings: Any) -> dict[str, Any]:
    return {"steps": {"evaluation": settings}}


def test_a_profile_of_ones_own_reaches_the_pods(tmp_path: Path) -> None:
    own = {
        "gpu": {"type": "amd.com/gpu", "count": 2},
        "node_selector": {"pool": "fast"},
        "tolerations": [{"key": "reserved", "operator": "Equal", "value": "us", "effect": "NoExecute"}],
        "queue": "night",
        "limits": {"memory": "8Gi"},
    }
    mine, path = tmp_path / "mine.yaml", tmp_path / "pipeline.yaml"
    mine.write_text(
        yaml.safe_dump({**PROFILE, "steps": {"grpo_finetuning": own}, "image_pull_secrets": ["pull"]})
    )
    compile_pipeline(RunConfig(name="digits"), load_profile(str(mine)), IMAGES, path)
    pipeline, platform = yaml.safe_load_all(path.read_text())
    resources = pipeline["deploymentSpec"]["executors"]["exec-grpo-finetuning"]["container"]["resources"]
    assert resources["accelerator"]["resourceType"] == "amd.com/gpu"
    assert resources["accelerator"]["resourceCount"] == "2"
    assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == ("1500m", "8Gi")
    pod = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-grpo-finetuning"]
    assert pod["nodeSelector"]["labels"] == {"pool": "fast"}
    assert pod["tolerations"] == [
        {"key": "reserved", "operator": "Equal", "value": "us", "effect": "NoExecute"}
    ]
    assert pod["podMetadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "night"
    assert pod["imagePullSecret"][0]["secretName"] == "pull"


def test_a_cluster_of_other_ways_is_a_profile_too(tmp_path: Path) -> None:
    """Identities instead of keys, users that the cluster gives out, an authority of its own, patience."""
    mine, path = tmp_path / "mine.yaml", tmp_path / "pipeline.yaml"
    defaults = {**PROFILE["defaults"], "run_as_user": None, "store_secret": None}
    ways = {"ca_config_map": "authority", "patience_s": 1800, "defaults": defaults}
    mine.write_text(yaml.safe_dump({**PROFILE, **ways}))
    compile_pipeline(RunConfig(name="digits"), load_profile(str(mine)), IMAGES, path)
    pipeline, platform = yaml.safe_load_all(path.read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, pod in executors.items():
        assert pod["securityContext"] == {"runAsNonRoot": True}, name
        secrets = {each["secretName"] for each in pod.get("secretAsEnv", [])}
        assert secrets <= {"flowmap-webhook", "flowmap-signing", "flowmap-vlm", "flowmap-hub"}, name
        (authority,) = pod["configMapAsVolume"]
        assert (authority["configMapName"], authority["mountPath"]) == (
            "authority",
            "/etc/flowmap/authority",
        )
        read = {
            key["envVar"]: each.get("optional") for each in pod["configMapAsEnv"] for key in each["keyToEnv"]
        }
        assert all(read[variable] for variable in ("AWS_REGION", "HTTPS_PROXY", "NO_PROXY")), name
        container = pipeline["deploymentSpec"]["executors"][name]["container"]
        variables = {each["name"]: each["value"] for each in container["env"]}
        assert variables["FLOWMAP_PATIENCE_S"] == "1800"
        assert variables["AWS_CA_BUNDLE"] == "/etc/flowmap/authority/ca.crt"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"defaults": {**PROFILE["defaults"], "image": "gpu"}},
            "defaults.image: input should be 'cpu' or 'train'",
        ),
        ({"steps": {"grpo": {}}}, "steps.grpo: no such step; there is data_prep,"),
        (of_evaluation(gpus={}), "steps.evaluation.gpus: unknown key; did you mean `gpu`?"),
        (of_evaluation(gpu={"type": "H 100"}), "steps.evaluation.gpu.type: a label's key"),
        (of_evaluation(requests={"memory": "2Gb"}), "a quantity is such as 500m, 2 or 4Gi (got '2Gb')"),
        (of_evaluation(requests={"cpu": 8}), "requests.cpu (8) is more than limits.cpu (1500m)"),
        (of_evaluation(shared_memory="2Gi"), "shared_memory (2Gi) counts as memory"),
        (of_evaluation(tolerations=[{"key": "a", "value": "b"}]), "exactly when its operator is Equal"),
        ({"description": None}, "description: input should be a valid string"),
        ({"defaults": {}}, "defaults.image: missing; it is required"),
        ({"steps": ["x"]}, "`defaults` and `steps` hold settings by name"),
    ],
)
def test_a_wrong_profile_is_told_with_its_key(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({**PROFILE, **change}))
    with pytest.raises(ConfigError) as stopped:
        load_profile(str(mine))
    assert told in str(stopped.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cpu: r.example.com/cpu:latest\ntrain: x", "cpu: an image is named by its digest"),
        (f"cpu: r.example.com/cpu@sha256:{'c' * 64}", "train: missing; it is required"),
        ("- 1", "expected `cpu: repository@sha256:...`"),
        ("cpu: [", "can't be read"),
        (None, "it names the images that pods run, by digest"),
    ],
)
def test_a_lock_without_digests_is_refused(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "images.lock"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as stopped:
        load_images(path)
    assert told in str(stopped.value)


def test_tags_pass_on_ones_own_machine_alone(tmp_path: Path) -> None:
    path = tmp_path / "images.lock"
    path.write_text("cpu: localhost/flowmap-cpu:dev\ntrain: localhost/flowmap-train:dev\n")
    assert load_images(path, pinned=load_profile("local").pinned).cpu == "localhost/flowmap-cpu:dev"
    for name in shipped_profiles():
        assert load_profile(name).pinned is (name != "local")


def test_the_command_names_an_unknown_profile_and_writes_a_pipeline(tmp_path: Path) -> None:
    lock, path = tmp_path / "images.lock", tmp_path / "new" / "pipeline.yaml"
    lock.write_text(yaml.safe_dump(IMAGES.model_dump()))
    common = ["compile", "examples/digits.yaml", "--images", str(lock), "-o", str(path)]
    wrong = cli(*common, "--profile", "cluster-tpu")
    assert wrong.returncode == 2
    assert "the known profiles are cluster-cpu, cluster-gpu, cluster-multinode, local" in wrong.stderr
    assert cli(*common, "--profile", "cluster-gpu").returncode == 0
    assert path.is_file()


def test_as_kubernetes_resources_it_is_the_same_pipeline_by_its_digest(tmp_path: Path) -> None:
    config, profile = RunConfig(name="my_digits.v2"), load_profile("cluster-cpu")
    compile_pipeline(config, profile, IMAGES, tmp_path / "pipeline.yaml")
    compile_resources(config, profile, IMAGES, "ml", tmp_path / "resources.yaml")
    pipeline, version = yaml.safe_load_all((tmp_path / "resources.yaml").read_text())
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert pipeline["metadata"] == {"name": "my-digits-v2", "namespace": "ml"}
    digest = package_digest(tmp_path / "pipeline.yaml")
    assert version["metadata"] == {"name": f"my-digits-v2-{digest}", "namespace": "ml"}
    spec, platform = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())
    assert version["spec"]["pipelineSpec"] == spec
    assert version["spec"]["platformSpec"] == platform
    assert version["spec"]["pipelineName"] == "my-digits-v2"
