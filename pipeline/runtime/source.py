"""Where versions come from: a version folder, a folder of shipped versions, or MLflow's registry."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol

from features.errors import ArtifactError
from pipeline import pointer
from pipeline.artifact import MANIFEST
from pipeline.runtime.opened import Opened

REGISTERED = "models:/"


class Source(Protocol):
    """Names the version to serve now, and opens it."""

    changes: ClassVar[bool]
    shortest_poll_s: ClassVar[float]

    def newest(self) -> str:
        """Name the version to serve now.

        Raises:
            ArtifactError: that cannot be found out.
        """

    def open(self, name: str) -> Opened:
        """Open the version of that name.

        Raises:
            ArtifactError: it cannot be used.
        """


class Fixed:
    """A version folder, which never changes."""

    changes: ClassVar[bool] = False
    shortest_poll_s: ClassVar[float] = 0.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def newest(self) -> str:
        """The folder."""
        return str(self.folder)

    def open(self, name: str) -> Opened:
        """Open the version."""
        return Opened.open(Path(name))


class Shipped:
    """A folder that `tier-router ship` fills."""

    changes: ClassVar[bool] = True
    shortest_poll_s: ClassVar[float] = 0.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def newest(self) -> str:
        """What the pointer names."""
        found = pointer.read(self.folder)
        if found is None:
            raise ArtifactError(f"{self.folder / pointer.POINTER} is gone: ship a version again")
        return found.current

    def open(self, name: str) -> Opened:
        """Open what the pointer named."""
        opened = Opened.open(self.folder / name)
        if opened.name != name:
            raise ArtifactError(f"{self.folder / name} holds {opened.name}: ship it again")
        return opened


class Registered:
    """An address of MLflow's registry, such as `models:/tier-router@champion`."""

    changes: ClassVar[bool] = True
    shortest_poll_s: ClassVar[float] = 30.0  # it is asked over a network, and by every service

    def __init__(self, address: str) -> None:
        self.address = address

    def newest(self) -> str:
        """The run behind the address."""
        from pipeline import registry

        return registry.run_of(self.address)

    def open(self, name: str) -> Opened:
        """Fetch the run's version and open it."""
        from tempfile import TemporaryDirectory

        from pipeline import registry

        with TemporaryDirectory(prefix="tier-router-") as folder:
            registry.fetch(name, Path(folder))
            return Opened.open(Path(folder))


def source(address: str | Path) -> Source:
    """What an address leads to.

    Args:
        address: of a version folder, of a folder of shipped versions, or one that begins with `models:/`.

    Raises:
        ArtifactError: it leads to nothing of these.
    """
    if str(address).startswith(REGISTERED):
        return Registered(str(address))
    folder = Path(address)
    if (folder / pointer.POINTER).exists():
        return Shipped(folder)
    if (folder / MANIFEST).exists():
        return Fixed(folder)
    raise ArtifactError(
        f"{folder} holds neither {MANIFEST} nor {pointer.POINTER}: give a version folder, a folder that "
        f"'tier-router ship' filled, or an address such as {REGISTERED}tier-router@champion"
    )
