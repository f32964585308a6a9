"""The chart: lints strictly, renders what its golden files say, refuses wrong values, holds no secret."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from flowmap.artifacts.local_store import LocalStore
from flowmap_pipelines.profile import load_profile, shipped_profiles
from flowmap_pipelines.prometheus import registry_of
from tests.go_programs import HELM, go_program

CHART = Path(__file__).parents[2] / "charts" / "flowmap"
GOLDEN = Path(__file__).with_name("golden")
IMAGE = f"r.example.com/cpu@sha256:{'c' * 64}"
ENDPOINT = {"endpoint": "http://minio.storage:9000"}
SMALLEST: dict[str, Any] = {"store": ENDPOINT, "image": IMAGE}
EVERYTHING: dict[str, Any] = {
    "store": {
        "endpoint": "https://s3.example.com",
        "bucket": "models",
        "prefix": "team/flowmap",
        "region": "eu-central-1",
        "proxies": {"https-proxy": "http://proxy.example.com:3128", "no-proxy": ".svc,10.0.0.0/8"},
        "caConfigMap": "authority",
        "secrets": {"steps": "train", "registry": "publish"},
    },
    "image": IMAGE,
    "imagePullSecrets": ["registry"],
    "serviceAccount": {"name": "trainer", "annotations": {"example.com/role": "train"}},
    "networkPolicy": {
        "store": {"cidr": "10.1.2.3/32", "ports": [9000]},
        "apiServer": {"cidr": "10.0.0.1/32"},
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.1.2.4/32"}}], "ports": [{"port": 5000}]}],
    },
    "kfpLauncher": {"enabled": True},
    "resourceQuota": {"enabled": True},
    "localQueue": {"enabled": True, "clusterQueue": "gpus"},
    "metrics": {"enabled": True, "serviceMonitor": True, "dashboard": True},
    "reaper": {"unseen": "30m"},
    "retraining": {
        "enabled": True,
        "timeZone": "Europe/Paris",
        "config": "name: digits\n",
        "images": f"cpu: {IMAGE}\ntrain: {IMAGE}\n",
        "onlyOnChange": True,
    },
    "training": {"enabled": True, "nodeSelector": {"example.com/pool": "gpu"}},
}
RENDERINGS = {"smallest": SMALLEST, "everything": EVERYTHING}
# A helm that was built by itself takes the cluster for an old Kubernetes.
KUBERNETES = ("--kube-version", "1.34.2")


@pytest.fixture(scope="session")
def helm() -> Path:
    return go_program(HELM)


def call(
    helm: Path, folder: Path, values: dict[str, Any], *command: str
) -> subprocess.CompletedProcess[str]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    words = [str(helm), *command, str(CHART), "--values", str(path), *KUBERNETES]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def render(helm: Path, folder: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    done = call(helm, folder, values, "template", "release", "--namespace", "ml")
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@pytest.mark.parametrize("name", RENDERINGS)
def test_it_lints_and_renders_as_its_golden_file(helm: Path, tmp_path: Path, name: str) -> None:
    """FLOWMAP_UPDATE_GOLDEN=1 writes the files anew, for a look at the difference."""
    linted = call(helm, tmp_path, RENDERINGS[name], "lint", "--strict")
    assert linted.returncode == 0, linted.stdout + linted.stderr
    found, golden = render(helm, tmp_path, RENDERINGS[name]), GOLDEN / f"{name}.yaml"
    if os.environ.get("FLOWMAP_UPDATE_GOLDEN"):
        golden.write_text(yaml.safe_dump_all(found))
    assert found == list(yaml.safe_load_all(golden.read_text()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"store": {"endpoint": "minio:9000"}}, "store.endpoint"),
        ({"store": {"endpoint": 9000}}, "store.endpoint"),
        ({"store": {}}, "store.endpoint"),
        ({"store": {**ENDPOINT, "bucket": "Upper"}}, "store.bucket"),
        ({"store": {**ENDPOINT, "accessKey": "x"}}, "accessKey"),
        ({"image": "r.example.com/cpu:latest"}, "image"),
        ({"image": ""}, "image"),
        ({"localQueue": {"enabled": True}}, "localQueue.clusterQueue"),
        ({"networkPolicy": {"store": {"ports": [0]}}}, "networkPolicy.store.ports"),
        ({"resourcequota": {}}, "resourcequota"),
        ({"retraining": {"enabled": True}}, "retraining.config"),
        ({"retraining": {"schedule": "0 0 3 * * *"}}, "retraining.schedule"),
        ({"reaper": {"unseen": "soon"}}, "reaper.unseen"),
        ({"training": {"scratch": "much"}}, "training.scratch"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    helm: Path, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    done = call(helm, tmp_path, {**SMALLEST, **change}, "template", "release")
    assert done.returncode != 0
    assert told in re.sub(r"\bat '/([^']*)'", lambda found: found[1].replace("/", "."), done.stderr)


def test_no_object_holds_a_secret(helm: Path, tmp_path: Path) -> None:
    assert "Secret" not in {each["kind"] for each in render(helm, tmp_path, EVERYTHING)}


def test_profiles_name_what_the_chart_makes(helm: Path, tmp_path: Path) -> None:
    rendered = render(helm, tmp_path, SMALLEST)
    made = {(each["kind"], each["metadata"]["name"]) for each in rendered}
    keys = {each["metadata"]["name"]: each["data"] for each in rendered if each["kind"] == "ConfigMap"}
    secrets = yaml.safe_load((CHART / "values.yaml").read_text())["store"]["secrets"].values()
    for name in shipped_profiles():
        profile = load_profile(name)
        assert ("ConfigMap", profile.store_config_map) in made
        assert keys[profile.store_config_map]["url"].startswith(
            "s3://flowmap?endpoint=http://minio.storage:9000"
        )
        assert {step.store_secret for step in profile.steps.values()} == set(secrets)


def pod_specs(rendered: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of everything that runs pods, by kind and name."""
    found = {}
    for each in rendered:
        name = f"{each['kind']} {each['metadata']['name']}"
        if each["kind"] == "Pod":
            found[name] = each["spec"]
        elif each["kind"] == "Deployment":
            found[name] = each["spec"]["template"]["spec"]
        elif each["kind"] == "CronJob":
            found[name] = each["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif each["kind"] == "TrainingRuntime":
            (job,) = each["spec"]["template"]["spec"]["replicatedJobs"]
            found[name] = job["template"]["spec"]["template"]["spec"]
    return found


def test_everything_that_runs_is_unprivileged(helm: Path, tmp_path: Path) -> None:
    pods = pod_specs(render(helm, tmp_path, EVERYTHING))
    assert len(pods) == 7
    for name, pod in pods.items():
        context = pod["containers"][0]["securityContext"]
        assert pod["imagePullSecrets"] == [{"name": "registry"}], name
        assert pod["securityContext"]["runAsNonRoot"], name
        assert context["readOnlyRootFilesystem"], name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert not context["allowPrivilegeEscalation"], name


IDENTITY: dict[str, Any] = {
    "store": {**ENDPOINT, "secrets": {"steps": "", "registry": ""}, "caConfigMap": "authority"},
    "image": IMAGE,
    "runAsUser": None,
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/train"}},
    "kfpLauncher": {"enabled": True},
    "metrics": {"enabled": True},
    "training": {"enabled": True, "serviceAccount": "flowmap"},
}


def test_without_keys_pods_have_their_identity_and_no_secret(helm: Path, tmp_path: Path) -> None:
    rendered = render(helm, tmp_path, IDENTITY)
    for name, pod in pod_specs(rendered).items():
        assert "runAsUser" not in pod["securityContext"], name  # OpenShift gives each namespace its own
        container = pod["containers"][0]
        variables = {each["name"]: each for each in container.get("env", [])}
        assert "AWS_ACCESS_KEY_ID" not in variables, name
        if "AWS_REGION" in variables:  # all that ask the store
            assert variables["AWS_CA_BUNDLE"]["value"] == "/etc/flowmap/authority/ca.crt"
            assert variables["AWS_REGION"]["valueFrom"]["configMapKeyRef"]["optional"] is True
            mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
            assert mounts["authority"] == "/etc/flowmap/authority"
            assert {"name": "authority", "configMap": {"name": "authority"}} in pod["volumes"]
    assert pod_specs(rendered)["TrainingRuntime flowmap-training"]["serviceAccountName"] == "flowmap"
    (launcher,) = (each for each in rendered if each["metadata"]["name"] == "kfp-launcher")
    assert yaml.safe_load(launcher["data"]["providers"])["minio"]["default"]["credentials"] == {
        "fromEnv": True
    }
    assert not [rule for rule in roles(helm, tmp_path, IDENTITY)["flowmap"] if rule[0] == "secrets"]


def roles(helm: Path, tmp_path: Path, values: dict[str, Any]) -> dict[str, dict[Any, Any]]:
    """What each Role allows, by its name."""
    return {
        each["metadata"]["name"]: {
            (rule["resources"][0], *rule["verbs"]): rule.get("resourceNames") for rule in each["rules"]
        }
        for each in render(helm, tmp_path, values)
        if each["kind"] == "Role"
    }


def test_the_accounts_may_do_what_they_must_and_no_more(helm: Path, tmp_path: Path) -> None:
    """The registry's credentials reach its step as environment; no account can read them by itself."""
    assert roles(helm, tmp_path, EVERYTHING) == {
        "trainer": {
            ("workflowtaskresults", "create", "patch"): None,
            ("configmaps", "get"): ["kfp-launcher"],
            ("secrets", "get"): ["train"],
            ("trainjobs", "create", "get", "list", "patch", "delete"): None,
            ("pods", "get", "list"): None,
            ("pods/log", "get"): None,
            ("events", "list"): None,
        },
        "trainer-reaper": {("trainjobs", "list", "delete"): None, ("pods", "list", "delete"): None},
    }


def test_the_launcher_reads_kubeflows_own_secret_where_the_chart_does_not_set_it_up(
    helm: Path, tmp_path: Path
) -> None:
    assert roles(helm, tmp_path, SMALLEST)["flowmap"] == {
        ("workflowtaskresults", "create", "patch"): None,
        ("configmaps", "get"): ["kfp-launcher"],
        ("secrets", "get"): ["mlpipeline-minio-artifact"],
    }


def test_retraining_submits_what_it_was_given(helm: Path, tmp_path: Path) -> None:
    rendered = render(helm, tmp_path, EVERYTHING)
    (job,) = [each["spec"] for each in rendered if each["kind"] == "CronJob" and "timeZone" in each["spec"]]
    command = job["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert job["timeZone"] == "Europe/Paris"
    assert command[:3] == ["flowmap", "submit", "/config/flowmap.yaml"]
    assert {"--profile=cluster-gpu", "--namespace=ml", "--service-account=trainer", "--on-change"} <= set(
        command
    )
    files = next(each["data"] for each in rendered if each["metadata"]["name"] == "release-retraining")
    assert files == {"flowmap.yaml": "name: digits\n", "images.lock": f"cpu: {IMAGE}\ntrain: {IMAGE}\n"}


def test_the_dashboard_asks_for_metrics_that_there_are(tmp_path: Path) -> None:
    """Those of flowmap itself; queue times are kube-state-metrics'."""
    board = json.loads((CHART / "dashboard.json").read_text())
    asked = {
        name for panel in board["panels"] for name in re.findall(r"flowmap_\w+", panel["targets"][0]["expr"])
    }
    served = generate_latest(registry_of(LocalStore(tmp_path))).decode()
    known = {line.split()[2] for line in served.splitlines() if line.startswith("# TYPE")}
    assert asked - known == set()
    assert len({panel["title"] for panel in board["panels"]}) == 7


def test_the_notes_name_every_secret_that_pods_look_for() -> None:
    """With its key: the chart makes none, and one of another name is not found."""
    golden = Path(__file__).parents[1] / "pipeline" / "golden" / "local.yaml"
    asked = {
        (secret["secretName"], pair["secretKey"])
        for step in yaml.safe_load(golden.read_text()).values()
        for secret in step["pod"].get("secretAsEnv", [])
        for pair in secret["keyToEnv"]
        if secret["optional"] and secret["secretName"] != "flowmap-store"
    }
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    named = set(re.findall(r"secret generic (\S+) --from-(?:literal|file)=([a-z.-]+)=", notes))
    assert len(asked) >= 4
    assert named == asked
