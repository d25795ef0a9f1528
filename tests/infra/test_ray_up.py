"""The `ray up` file, by Ray's own validator."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from tests.infra.files import INFRA, documents

(CLUSTER,) = documents(INFRA / "ray-cluster.yaml")


def changed(**keys: Any) -> dict[str, Any]:
    return {**copy.deepcopy(CLUSTER), **keys}


def test_ray_takes_it_and_would_refuse_a_typo() -> None:
    ready = prepare_config(changed())
    validate_config(ready)
    assert ready["available_node_types"]["gpu-worker"]["min_workers"] == CLUSTER["max_workers"]
    with pytest.raises(jsonschema.ValidationError, match="max_wrokers"):
        validate_config(prepare_config(changed(max_wrokers=1)))


def test_its_start_commands_are_ones_that_ray_knows() -> None:
    for commands in (CLUSTER["head_start_ray_commands"], CLUSTER["worker_start_ray_commands"]):
        assert commands[0] == "ray stop"
        start.make_context("start", commands[1].split()[2:])


def test_the_head_runs_no_tasks_and_every_node_asks_for_the_token() -> None:
    assert CLUSTER["available_node_types"][CLUSTER["head_node_type"]]["resources"] == {"CPU": 0}
    assert "--env=RAY_AUTH_MODE=token" in CLUSTER["docker"]["run_options"]
    assert "~/.ray/auth_token" in CLUSTER["file_mounts"]


def test_no_key_is_in_it() -> None:
    text = (INFRA / "ray-cluster.yaml").read_text()
    assert "AKIA" not in text
    assert "SECRET" not in text
    assert all("IamInstanceProfile" in t["node_config"] for t in CLUSTER["available_node_types"].values())
