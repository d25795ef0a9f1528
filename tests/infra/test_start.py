"""The script that starts a night, run as written by a real kubectl against an API server of this test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.infra.files import INFRA, documents

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
BASE = INFRA / "kuberay" / "base"
VERBS = ["create", "get"]
GROUP = {"groupVersion": "ray.io/v1", "version": "v1"}
DISCOVERY: dict[str, Any] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
        {"name": "ray.io", "versions": [GROUP], "preferredVersion": GROUP}]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    "/apis/ray.io/v1": {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "ray.io/v1", "resources": [
        {"name": "rayjobs", "singularName": "rayjob", "namespaced": True, "kind": "RayJob", "verbs": VERBS}]},
    "/openapi/v3": {"paths": {"apis/ray.io/v1": {"serverRelativeURL": "/openapi/v3/apis/ray.io/v1"}}},
    "/openapi/v3/apis/ray.io/v1": {"openapi": "3.0.0", "info": {"title": "x", "version": "1"}, "paths": {
        "/apis/ray.io/v1/namespaces/{namespace}/rayjobs/{name}": {"patch": {
            "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
            "x-kubernetes-group-version-kind": {"group": "ray.io", "kind": "RayJob", "version": "v1"}}}}},
}  # fmt: skip
JOBS = "/apis/ray.io/v1/namespaces/default/rayjobs"


class Cluster(ThreadingHTTPServer):
    """Holds RayJobs; one that is started is running when first looked at, then it has ended."""

    def __init__(self, end: str) -> None:
        super().__init__(("127.0.0.1", 0), Api)
        (template,) = documents(BASE / "rayjob.yaml")
        template["metadata"] |= {"uid": "u1", "resourceVersion": "7", "namespace": "default", "generation": 2}
        template["status"] = {"jobDeploymentStatus": "Suspended"}
        self.jobs = {template["metadata"]["name"]: template}
        self.end = end


class Api(BaseHTTPRequestHandler):
    server: Cluster

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        name = path.removeprefix(f"{JOBS}/")
        if path in DISCOVERY:
            return self.answer(200, DISCOVERY[path])
        if name not in self.server.jobs:
            return self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})
        job = json.loads(json.dumps(self.server.jobs[name]))
        if not self.server.jobs[name]["spec"]["suspend"]:
            status = {"jobDeploymentStatus": self.server.end, "message": "the driver ended with 7"}
            self.server.jobs[name]["status"] = status
        return self.answer(200, job)

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert job["metadata"].get("resourceVersion") is None, "the real server refuses that"
        job["metadata"]["namespace"] = "default"
        self.server.jobs[job["metadata"]["name"]] = {**job, "status": {"jobDeploymentStatus": "Running"}}
        self.answer(201, job)

    def answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture(params=["Complete", "Failed"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(request.param) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_night_is_a_running_copy_of_the_template_and_the_script_ends_as_it_does(
    cluster: Cluster, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "config"
    where = {"server": f"http://127.0.0.1:{cluster.server_port}"}
    kubeconfig.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": where}], "contexts": [{"name": "x", "context": {"cluster": "x"}}],
    }))  # fmt: skip
    script = tmp_path / "start.sh"
    script.write_text((BASE / "start.sh").read_text().replace("/tmp/", f"{tmp_path}/"))
    own = {
        "KUBECONFIG": str(kubeconfig),
        "HOME": str(tmp_path),
        "POLL_SECONDS": "0.1",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        ["sh", script],
        env={**os.environ, **own, "TEMPLATE": "embedlake-nightly"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert len(cluster.jobs) == 2, done.stderr
    (name,) = set(cluster.jobs) - {"embedlake-nightly"}
    assert name.startswith("embedlake-nightly-2")
    template, night = cluster.jobs["embedlake-nightly"], cluster.jobs[name]
    assert night["spec"] == {**template["spec"], "suspend": False}
    assert template["spec"]["suspend"], "the template stays one"
    assert done.returncode == (0 if cluster.end == "Complete" else 1), done.stderr
    assert ("the driver ended with 7" in done.stderr) == (cluster.end == "Failed")
