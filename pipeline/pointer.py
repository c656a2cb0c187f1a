"""Which version a folder of shipped versions serves. Written by `ship`, read by whoever serves, in any language.

`current.json`, schema 1: `{"schema": 1, "current": NAME, "earlier": [NAME, ...], "at": TIME}`. Names are those of
folders beside it, the latest of the earlier first. A new key may be added; another meaning raises the schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from features.errors import ArtifactError

POINTER = "current.json"
SCHEMA = 1
DIGITS = 12
SHIPPED_NAME = re.compile(rf"v[1-9][0-9]*-[0-9a-f]{{{DIGITS}}}")


class Pointer(NamedTuple):
    """What is served, and what was before.

    Attributes:
        current: name of the folder of the served version.
        earlier: names of those that can be gone back to, the latest first.
        at: when it became so, ISO 8601.
    """

    current: str
    earlier: tuple[str, ...]
    at: str


def name_of(manifest: Mapping[str, Any]) -> str:
    """The name of a version that no other version has: its number, and the beginning of its file's digest.

    >>> name_of({"version": "v3", "onnx": {"router": {"sha256": "0123456789abcdef"}}})
    'v3-0123456789ab'
    """
    return f"{manifest['version']}-{manifest['onnx']['router']['sha256'][:DIGITS]}"


def read(folder: Path) -> Pointer | None:
    """The pointer of a folder of shipped versions; None where it has none.

    Raises:
        ArtifactError: it cannot be read, or is none.
    """
    path = folder / POINTER
    try:
        table = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): ship a version again") from error
    if not isinstance(table, dict) or table.get("schema") != SCHEMA:
        raise ArtifactError(f"{path}: expected a pointer of schema {SCHEMA}: ship a version again")
    current, earlier = table.get("current"), table.get("earlier")
    names = [current, *(earlier if isinstance(earlier, list) else [None])]
    if not all(isinstance(name, str) and SHIPPED_NAME.fullmatch(name) for name in names):
        raise ArtifactError(f"{path} is damaged: ship a version again")
    return Pointer(names[0], tuple(names[1:]), str(table.get("at", "")))
