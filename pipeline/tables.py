"""Tables of TOML files as typed models, with complaints that name the file, the key, the value and the remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from features.errors import InputError

# How like a known name an unknown one has to be to be taken for it, as a ratio of difflib.
LIKENESS = 0.6
SHOWN_CHARACTERS = 100

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A frozen table of a TOML file; an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, table: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in table if isinstance(table, Mapping) else ():
            if key not in known:
                context = {"key": key, "known": ", ".join(nearest(key, known) or known)}
                raise PydanticCustomError("unknown_key", "unknown key; use {known}, or drop it", context)
        return table


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The known names that an unknown one was probably meant to be, the likeliest first; at most three."""
    plain = {name.lower(): name for name in known}
    return [plain[found] for found in get_close_matches(name.lower(), plain, cutoff=LIKENESS)]


def validated(model: type[Model], table: Any, place: str) -> Model:
    """A table of a file as a model.

    Args:
        model: what the table should be.
        table: as `tomllib` returns it.
        place: the file and where in it the table stands, such as "prices.toml: price 3".

    Raises:
        InputError: names the place, the key, the value and what was expected.
    """
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise input_error(error, place) from None


def input_error(error: ValidationError, place: str) -> InputError:
    """The first thing that pydantic found wrong, in this project's words; see `validated`."""
    found = error.errors()[0]
    context = found.get("ctx", {})
    path = [*found["loc"], *([context["key"]] if found["type"] == "unknown_key" else [])]
    key = ".".join(str(part) for part in path) or "the table"
    message = found["msg"].replace("Input should be", "expected").removeprefix("Value error, ")
    if found["type"] == "unknown_key":
        return InputError(f"{place}: {key}: {message}")
    if found["type"] in ("model_type", "dict_type"):
        return InputError(f"{place}: {key} = {_shown(found['input'])}: expected a table")
    if found["type"] == "tuple_type":
        given = _shown(found["input"])
        example = f", as [{given}]" if isinstance(found["input"], str) else ""
        return InputError(f"{place}: {key} = {given}: expected a list{example}")
    if found["type"] == "missing":
        return InputError(f"{place}: {key} is missing: add it")
    return InputError(f"{place}: {key} = {_shown(found['input'])}: {message}")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{...}"
    shown = repr(value) if isinstance(value, str | bool | int | float | list | tuple) else str(value)
    return shown if len(shown) <= SHOWN_CHARACTERS else shown[:SHOWN_CHARACTERS] + "..."


def loaded(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        InputError: no such file, or not TOML: names the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give the path of a TOML file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start:,} is not UTF-8; save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}; mend that line") from None
