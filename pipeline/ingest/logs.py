"""The files of decision logs: finished ones, and those that are still written or that a dead process left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from features.errors import InputError, TraceError
from pipeline.ingest.layouts import LOG
from pipeline.ingest.lines import Block, blocks
from pipeline.reading import Chunk, read
from pipeline.runtime.rotation import DAMAGED, FINISHED, OPEN
from pipeline.schema import Layout

LINES = (".jsonl", ".ndjson")
SUFFIXES = (".jsonl", ".parquet")
# A file that was finished between the listing and the reading is looked for again so often.
ATTEMPTS = 2
AS_IT_STANDS = "it is taken as it stands, and no * or ? in it is a pattern"


@dataclass(frozen=True, slots=True)
class Found:
    """What some places hold.

    Attributes:
        files: of logs, in the order of their names.
        damaged: files that a log set aside, because they could not be read.
        others: files of a log's folder that do not have a log's name.
    """

    files: tuple[Path, ...]
    damaged: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()


def find(places: Sequence[Path]) -> Found:
    """The files of folders of logs, and files.

    Raises:
        InputError: there is no log.
    """
    files, damaged, others = set[Path](), set[Path](), set[Path]()
    for place in places:
        if not there(place) or not place.is_dir():
            files.add(_file(place))
            continue
        inside = _inside(place)
        of_log = [path for path in inside if FINISHED.fullmatch(finished(path).name)]
        if not of_log:
            raise InputError(f"{place}: there is no decision log in it: name the folder that the service logs to")
        files.update(path for path in of_log if path.suffix != DAMAGED)
        damaged.update(path for path in inside if path.suffix == DAMAGED)
        others.update(path for path in inside if path.suffix in SUFFIXES and path not in of_log)
    named = {path.resolve(): path for path in sorted(files, key=lambda path: (finished(path).name, str(path)))}
    left = {path.resolve() for path in others} - set(named)
    return Found(
        tuple(named.values()), tuple(sorted(damaged)), tuple(path for path in sorted(others) if path.resolve() in left)
    )


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _file(path: Path) -> Path:
    if not there(path):
        raise InputError(f"{path}: there is no such file or folder: correct the name; {AS_IT_STANDS}")
    if finished(path).suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a folder of decision logs, or a file that ends in {' or '.join(SUFFIXES)}")
    return path


def there(path: Path) -> bool:
    """Whether there is a file or a folder.

    Raises:
        InputError: nobody can tell: a folder on the way has no permission, or the name is too long.
    """
    try:
        return path.exists()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def finished(path: Path) -> Path:
    """What a log's file is called in the end."""
    return path.with_name(path.name.removeprefix(".").removesuffix(OPEN)) if path.suffix == OPEN else path


def pieces(path: Path, layout: Layout = LOG) -> Iterator[Block | Chunk]:
    """The rows of a file: lines that are not read yet, or rows.

    Raises:
        TraceError: the file cannot be read; names what is wrong, and where.
    """
    for left in reversed(range(ATTEMPTS)):
        try:
            yield from _pieces(path, layout)
        except FileNotFoundError:
            if not left or not (path := finished(path)).exists():
                raise TraceError(
                    f"{path}: it is gone: give the log more time until its oldest files are removed"
                ) from None
        except OSError as error:
            raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
        else:
            return


def _pieces(path: Path, layout: Layout) -> Iterable[Block | Chunk]:
    growing = path.suffix == OPEN
    return blocks(path, growing=growing) if growing or path.suffix.lower() in LINES else read(path, layout)
