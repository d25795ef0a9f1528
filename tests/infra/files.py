"""What the suites of `infra/` share: its files, the pins, JSON patches, schemas."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).resolve().parents[2]
INFRA = REPO / "infra"
SCHEMAS = Path(__file__).parent / "schemas"


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return list(yaml.safe_load_all(path.read_text()))


def schema(name: str) -> dict[str, Any]:
    """A schema that lies beside the tests."""
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text())
    return found


def pins() -> dict[str, str]:
    """Every pinned package of the image, by normal name."""
    found: dict[str, str] = {}
    for path in (REPO / "constraints.txt", INFRA / "constraints-cluster.txt"):
        for line in path.read_text().splitlines():
            name, _, version = line.partition("==")
            key = re.sub(r"[-_.]+", "-", name).lower()
            assert version, f"{path.name}: '{line}' pins no version"
            assert key not in found, f"{path.name}: {name} is pinned twice"
            found[key] = version
    return found


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """A copy with JSON patch operations applied; a path that is not there is a KeyError or IndexError."""
    made = copy.deepcopy(document)
    for operation in operations:
        *parents, last = [part.replace("~1", "/") for part in operation["path"].strip("/").split("/")]
        node = made
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node[part]
        if isinstance(node, list):
            node[int(last)] = operation["value"]
        elif operation["op"] == "add":
            assert last not in node, f"{operation['path']} is there: replace it"
            node[last] = operation["value"]
        else:
            assert operation["op"] == "replace"
            assert last in node, operation["path"]
            node[last] = operation["value"]
    return made
