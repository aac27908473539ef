"""What the READMEs, sample configurations and helps promise is what the code does."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READMES = [
    ROOT / name
    for name in (
        "README.md",
        "README.zh-CN.md",
        "protocols/README.md",
        "edge/README.md",
        "edge/README.zh-CN.md",
        "cloud/README.md",
        "cloud/README.zh-CN.md",
        "firmware-sim/README.md",
    )
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = sorted(PROJECT["scripts"])
MAKEFILE = (ROOT / "Makefile").read_text()


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of our commands, as installed beside this Python."""
    return subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(readme: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", readme.read_text())
    assert all((readme.parent / link).exists() for link in links if "://" not in link), links


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_named_exists(readme: Path) -> None:
    for target in re.findall(r"(?m)(?:^|`)make ([a-z-]+)", readme.read_text()):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_extra_named_exists(readme: Path) -> None:
    extras = re.findall(r"(?:greenhaul|\.)\[([a-z,]+)\]", readme.read_text())
    named = {extra for group in extras for extra in group.split(",")}
    assert named <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_in_backticks_exists(readme: Path) -> None:
    for path in re.findall(
        r"`((?:protocols|edge|cloud|firmware-sim|tests)/[^`*{ ]*)`", readme.read_text()
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("folder", ["", "edge"])
def test_both_languages_have_the_same_shape(folder: str) -> None:
    english, chinese = (
        (ROOT / folder / name).read_text() for name in ("README.md", "README.zh-CN.md")
    )
    for shape in (r"^#+ ", r"^\|", r"^\* ", r"^```", r"\]\("):
        counts = [len(re.findall(shape, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1], shape


def test_the_readme_shows_a_picture() -> None:
    picture = ROOT / "cloud/console.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("program", SCRIPTS)
def test_help_has_an_example_for_every_command(program: str) -> None:
    top = run(program, "--help")
    assert top.returncode == 0, top.stderr
    commands = re.search(r"\{([a-z,-]+)\}", top.stdout)
    for command in commands[1].split(",") if commands else []:
        done = run(program, command, "--help")
        assert done.returncode == 0, done.stderr
        nested = re.search(r"\{([a-z,-]+)\}", done.stdout.partition("positional arguments")[2])
        if nested and "example" not in done.stdout.lower():
            for verb in nested[1].split(","):
                assert "example" in run(program, command, verb, "--help").stdout.lower()
        else:
            assert "example" in done.stdout.lower(), f"{program} {command}"
    if not commands:
        assert "example" in top.stdout.lower()


@pytest.mark.parametrize("program", SCRIPTS)
def test_wrong_arguments_end_with_2(program: str) -> None:
    assert run(program, "--no-such-option").returncode == 2


@pytest.mark.parametrize(
    ("program", "sample"),
    [("greenhaul-edge", "edge/edge.sample.toml"), ("greenhaul-cloud", "cloud/cloud.sample.toml")],
)
def test_sample_configurations_are_accepted(program: str, sample: str) -> None:
    done = run(program, "check", "-c", str(ROOT / sample))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("program", "sample"),
    [("greenhaul-edge", "edge/edge.sample.toml"), ("greenhaul-cloud", "cloud/cloud.sample.toml")],
)
def test_a_misspelt_key_is_named_with_its_nearest(
    program: str, sample: str, tmp_path: Path
) -> None:
    section, key, misspelt = {
        "greenhaul-edge": ("gateway", "timezone", "timezne"),
        "greenhaul-cloud": ("broker", "port", "prot"),
    }[program]
    config = tmp_path / "wrong.toml"
    text = (ROOT / sample).read_text()
    config.write_text(text.replace(f"[{section}]", f'[{section}]\n{misspelt} = "x"', 1))
    done = run(program, "check", "-c", str(config))
    assert done.returncode == 2
    for part in ("wrong.toml", misspelt, key):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_ci_runs_what_the_readme_says() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
