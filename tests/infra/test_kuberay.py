"""The Kubernetes manifests: against the API's schemas, with every overlay's patches applied."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.infra.files import INFRA, documents, patched, pins, schema

BASE = INFRA / "kuberay" / "base"
OVERLAYS = sorted((INFRA / "kuberay" / "overlays").iterdir())
EACH = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
API = "1.33"
KUBECTL = shutil.which("kubectl")


def kustomization(folder: Path) -> dict[str, Any]:
    (found,) = documents(folder / "kustomization.yaml")
    return found


def resources(folder: Path) -> list[dict[str, Any]]:
    """The documents of a kustomization and of those below it, patched."""
    found: list[dict[str, Any]] = []
    for name in kustomization(folder)["resources"]:
        path = (folder / name).resolve()
        found += resources(path) if path.is_dir() else documents(path)
    for patch in kustomization(folder).get("patches", ()):
        text = patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text()
        where = [i for i, one in enumerate(found) if fits(one, patch["target"])]
        assert len(where) == 1, f"{patch['target']} names {len(where)} resources"
        found[where[0]] = patched(found[where[0]], yaml.safe_load(text))
    return found


def fits(document: dict[str, Any], target: dict[str, str]) -> bool:
    versions = {f"{target['group']}/{target['version']}"}
    return (document["apiVersion"] in versions and document["kind"] == target["kind"]) and document[
        "metadata"
    ]["name"] == target["name"]


def one(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (match,) = [document for document in found if document["kind"] == kind]
    return match


def pods(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every pod template, by what makes it."""
    cluster = one(found, "RayJob")["spec"]["rayClusterSpec"]
    cron = one(found, "CronJob")["spec"]["jobTemplate"]["spec"]
    workers = {f"worker {g['groupName']}": g["template"] for g in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]["template"], "start": cron["template"], **workers}


def check(found: list[dict[str, Any]]) -> None:
    for document in found:
        if document["kind"] == "RayJob":
            jsonschema.Draft7Validator(schema("rayjob")).validate(document)
        else:
            kubernetes_validate.validate(document, API, strict=True)
    for name, template in pods(found).items():
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
        try:
            kubernetes_validate.validate(pod, API, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise AssertionError(f"{name}: {error.message}") from error


def test_the_base_is_valid() -> None:
    check(resources(BASE))


@EACH
def test_an_overlay_s_patches_fit_and_leave_it_valid(overlay: Path) -> None:
    check(resources(overlay))


def test_the_patches_for_a_cluster_that_grows_fit_every_overlay() -> None:
    (block,) = re.findall(
        r"^```yaml\n(- \{op: .*?)^```$", (INFRA / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    for folder in (BASE, *OVERLAYS):
        found = resources(folder)
        grown = patched(one(found, "RayJob"), yaml.safe_load(block))
        check([grown, *(document for document in found if document["kind"] != "RayJob")])
        (group,) = grown["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        assert group["minReplicas"] == group["replicas"] < group["maxReplicas"]


def test_the_schemas_would_refuse_a_typo() -> None:
    job = one(resources(BASE), "RayJob")
    with pytest.raises(jsonschema.ValidationError, match="suspended"):
        jsonschema.Draft7Validator(schema("rayjob")).validate(
            patched(job, [{"op": "add", "path": "/spec/suspended", "value": True}])
        )
    head = "/spec/rayClusterSpec/headGroupSpec/template/spec/containers/0"
    wrong = patched(job, [{"op": "add", "path": f"{head}/imgae", "value": "x"}])
    with pytest.raises(AssertionError, match="imgae"):
        check([wrong, one(resources(BASE), "CronJob")])
    with pytest.raises(KeyError):
        patched(job, [{"op": "replace", "path": "/spec/rayCluster/rayVersion", "value": "1"}])


@EACH
@pytest.mark.skipif(KUBECTL is None, reason="kustomize comes with kubectl, which is not installed")
def test_kustomize_renders_what_the_suite_checked(overlay: Path) -> None:
    assert KUBECTL is not None
    done = subprocess.run([KUBECTL, "kustomize", overlay], capture_output=True, text=True, check=True)
    rendered = list(yaml.safe_load_all(done.stdout))
    check(rendered)
    images = {
        image["name"]: f"{image['newName']}:{image['newTag']}" for image in kustomization(overlay)["images"]
    }
    own = one(resources(overlay), "RayJob")
    for template in pods([own, one(resources(overlay), "CronJob")]).values():
        for container in template["spec"]["containers"]:
            container["image"] = images.get(container["image"], container["image"])
    assert one(rendered, "RayJob")["spec"] == own["spec"]
    maps = {m["metadata"]["name"]: m["data"] for m in rendered if m["kind"] == "ConfigMap"}
    assert maps["embedlake-corpus"] == {"corpus.yaml": (overlay / "corpus.yaml").read_text()}
    namespaces = {document["metadata"]["namespace"] for document in rendered}
    assert namespaces == {kustomization(overlay)["namespace"]}


@EACH
def test_every_reference_of_a_pod_is_there(overlay: Path) -> None:
    found = resources(overlay)
    generated = {g["name"]: g["files"] for g in kustomization(BASE)["configMapGenerator"]}
    for files in generated.values():
        assert all((BASE / name).is_file() for name in files)
    claims = {d["metadata"]["name"] for d in found if d["kind"] == "PersistentVolumeClaim"}
    accounts = {d["metadata"]["name"] for d in found if d["kind"] == "ServiceAccount"}
    for template in pods(found).values():
        spec = template["spec"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for volume in volumes.values():
            assert volume.get("configMap", {}).get("name", "embedlake-corpus") in generated
            assert volume.get("persistentVolumeClaim", {}).get("claimName", "x") in {*claims, "x"}
        for container in spec["containers"]:
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= set(volumes)
        assert spec.get("serviceAccountName") in {*accounts, None}


@EACH
def test_secrets_are_named_and_never_held(overlay: Path) -> None:
    found = resources(overlay)
    assert not [document for document in found if document["kind"] == "Secret"]
    for name, template in pods(found).items():
        sources = [s for c in template["spec"]["containers"] for s in c.get("envFrom", ())]
        assert sources == ([] if name == "start" else [{"secretRef": {"name": "embedlake-s3"}}])
    assert "kubectl -n embedlake create secret generic embedlake-s3" in (INFRA / "README.md").read_text()


@EACH
def test_every_container_is_bounded_unprivileged_and_watched(overlay: Path) -> None:
    for name, template in pods(resources(overlay)).items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            if name != "start":
                assert {"readinessProbe", "livenessProbe"} <= set(container)


@EACH
def test_the_run_finds_its_config_and_all_its_workers(overlay: Path) -> None:
    found = resources(overlay)
    job = one(found, "RayJob")["spec"]
    config = job["entrypoint"].split("--config ")[1].split()[0]
    (head,) = pods(found)["head"]["spec"]["containers"]
    mount = next(m for m in head["volumeMounts"] if m["name"] == "corpus")
    assert config == f"{mount['mountPath']}/corpus.yaml"
    cluster = job["rayClusterSpec"]
    assert cluster["rayVersion"] == pins()["ray"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] > 0


@EACH
def test_the_cron_job_starts_the_suspended_template_and_outlives_it(overlay: Path) -> None:
    found = resources(overlay)
    job, cron = one(found, "RayJob"), one(found, "CronJob")["spec"]
    assert job["spec"]["suspend"], "a template holds no pods"
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["jobTemplate"]["spec"]["activeDeadlineSeconds"] > job["spec"]["activeDeadlineSeconds"]
    (container,) = pods(found)["start"]["spec"]["containers"]
    assert {"name": "TEMPLATE", "value": job["metadata"]["name"]} in container["env"]
    script = BASE / Path(container["command"][1]).name
    subprocess.run(["sh", "-n", script], check=True)
    role = one(found, "Role")["rules"]
    assert role == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]}]


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
def test_a_started_night_is_the_template_with_a_name_of_its_own(tmp_path: Path) -> None:
    """The script's own patch, by kubectl, on a template as a cluster returns it."""
    template = one(resources(BASE), "RayJob")
    template["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 3, "annotations": {"a": "b"}}
    template["status"] = {"jobDeploymentStatus": "Suspended"}
    (tmp_path / "template.json").write_text(json.dumps(template))
    lines = (BASE / "start.sh").read_text().split("kubectl patch")[1].split(">/tmp/night.json")[0]
    script = f"set -eu; night=embedlake-nightly-1; kubectl patch{lines}"
    done = subprocess.run(
        ["sh", "-c", script.replace("/tmp/template.json", str(tmp_path / "template.json"))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    night = json.loads(done.stdout)
    assert night["metadata"] == {"name": "embedlake-nightly-1"}
    assert "status" not in night
    assert night["spec"] == {**template["spec"], "suspend": False}
