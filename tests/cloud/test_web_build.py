"""How the console gets into the package: cloud/web_build.py and the lock it builds from."""

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

CLOUD = Path(__file__).parents[2] / "cloud"


@pytest.fixture
def web_build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as hatch loads it, with the environment's own wish put aside."""
    monkeypatch.delenv("GREENHAUL_WEB", raising=False)
    spec = importlib.util.spec_from_file_location("web_build", CLOUD / "web_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def built_tree(
    web_build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """A small tree of sources whose console counts as built."""
    web, console = tmp_path / "web", tmp_path / "console"
    (web / "src").mkdir(parents=True)
    console.mkdir()
    (web / "src" / "main.ts").write_text("one")
    (console / "index.html").write_text("page")
    monkeypatch.setattr(web_build, "WEB", web)
    monkeypatch.setattr(web_build, "CONSOLE", console)
    monkeypatch.setattr(web_build, "STAMP", console / "sources.sha256")
    web_build.STAMP.write_text(web_build.sources_hash() + "\n")
    return SimpleNamespace(web=web, console=console, build=web_build)


def test_what_was_built_from_these_sources_is_not_built_again(built_tree: SimpleNamespace) -> None:
    assert built_tree.build.is_built()
    (built_tree.web / "node_modules").mkdir()
    (built_tree.web / "node_modules" / "anything.js").write_text("not a source")
    assert built_tree.build.is_built()
    assert built_tree.build.main([]) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree.web / "src" / "main.ts").write_text("two"),
        lambda tree: (tree.web / "src" / "more.ts").write_text(""),
        lambda tree: (tree.web / "src" / "main.ts").rename(tree.web / "src" / "other.ts"),
        lambda tree: (tree.console / "index.html").unlink(),
        lambda tree: (tree.console / "sources.sha256").unlink(),
    ],
    ids=["changed", "added", "renamed", "page gone", "stamp gone"],
)
def test_any_change_of_the_sources_asks_for_a_build(
    built_tree: SimpleNamespace, change: Callable[[SimpleNamespace], object]
) -> None:
    change(built_tree)
    assert not built_tree.build.is_built()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v18.20.4", False),
        ("v20.18.3", False),
        ("v20.19.0\n", True),
        ("v21.7.3", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v23.0.0", True),
        ("v24.19.0", True),
        ("", False),
        ("not a version", False),
    ],
)
def test_node_is_taken_only_where_vite_runs(
    web_build: ModuleType, version: str, expected: bool
) -> None:
    assert web_build.is_new_enough(version) is expected


def test_an_editable_install_neither_builds_nor_packs_the_console(
    built_tree: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing is to be built")

    monkeypatch.setattr(built_tree.build, "build", refuse)
    hook = built_tree.build.ConsoleBuildHook(str(CLOUD.parent), {}, None, None, "", "wheel")
    build_data: dict[str, list[str]] = {"artifacts": []}
    built_tree.build.STAMP.unlink()
    hook.initialize("editable", build_data)
    monkeypatch.setenv("GREENHAUL_WEB", "0")
    hook.initialize("standard", build_data)
    assert hook.dependencies() == []
    assert build_data["artifacts"] == []


def test_a_wheel_packs_what_is_built(built_tree: SimpleNamespace) -> None:
    hook = built_tree.build.ConsoleBuildHook(str(CLOUD.parent), {}, None, None, "", "wheel")
    build_data: dict[str, list[str]] = {"artifacts": []}
    hook.initialize("standard", build_data)
    assert build_data["artifacts"] == ["/cloud/greenhaul_cloud/console/"]


def test_node_is_required_only_where_none_is_found(
    built_tree: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = built_tree.build.ConsoleBuildHook(str(CLOUD.parent), {}, None, None, "", "wheel")
    monkeypatch.setattr(built_tree.build, "find_node", lambda: None)
    assert hook.dependencies() == []
    built_tree.build.STAMP.unlink()
    assert hook.dependencies() == [built_tree.build.NODE_REQUIREMENT]


def test_the_lock_names_no_registry() -> None:
    """Whoever builds asks the registry they configured, not the one the lock was written with."""
    packages = json.loads((CLOUD / "web" / "package-lock.json").read_text())["packages"]
    assert len(packages) > 50
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert all("integrity" in entry for name, entry in packages.items() if name)


def test_every_text_of_the_console_stands_in_both_languages() -> None:
    catalogue = (CLOUD / "web" / "src" / "text" / "catalogue.ts").read_text(encoding="utf-8")
    entries = re.findall(r'^  "([\w.]+)": \{(.*?)\},?$', catalogue, re.DOTALL | re.MULTILINE)
    assert len(entries) > 100
    for key, body in entries:
        chinese, english = (re.search(rf'{name}: "([^"]+)"', body) for name in ("zh", "en"))
        assert chinese, key
        assert english, key
        names = [set(re.findall(r"\{(\w+)\}", text.group(1))) for text in (chinese, english)]
        assert names[0] == names[1], key
