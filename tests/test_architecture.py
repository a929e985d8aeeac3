"""The house's rules, read from the source with `ast`: who imports whom, what lies where.

Each rule is also held against made sources that break it, so that it is known to be able to fail.
"""

import ast
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Room -> the rooms that it may import beside itself.
ROOMS: dict[str, set[str]] = {
    "playground": set(),
    "agents": {"playground"},
    "generators": {"playground"},
    "scripts": {"playground", "agents", "generators"},
}
# Library -> the folders and files of the rooms that may import it.
HOMES: dict[str, tuple[str, ...]] = {
    "gymnasium": ("agents/", "scripts/benchmarks/"),
    "ale_py": ("agents/", "scripts/benchmarks/"),
    "stable_baselines3": ("agents/", "scripts/benchmarks/"),
    "pygame": ("playground/window.py",),
    "imageio": ("playground/media.py",),
    "imageio_ffmpeg": ("playground/media.py",),
    "PIL": ("playground/media.py",),
    "kornia": ("playground/augment.py",),
    "torchmetrics": ("generators/gan_scores.py",),
}
# Libraries that a module must not need before one of its functions does.
LAZY = {"pygame", "imageio", "imageio_ffmpeg", "PIL", "kornia", "torchmetrics"}

# The rooms and documents that the user fixed, then what tools need.
ROOT_ENTRIES = {"README.md", "pyproject.toml", "tests", *ROOMS} | {
    "LICENSE",
    "Makefile",
    "constraints.txt",
    ".ci",
    ".gitattributes",
    ".gitignore",
    ".pre-commit-config.yaml",
}
DOCUMENTS = (
    "playground/README.md",
    "playground/CHANGELOG.md",
    "playground/SCALING.md",
    "scripts/benchmarks/RESULTS.md",
)


class Import(NamedTuple):
    """One imported module: its full dotted name, its line, whether importing the file runs it."""

    name: str
    line: int
    at_import: bool


def imports(path: str, source: str) -> list[Import]:
    """All imports of the file `path` ("room/module.py"), relative and `import_module("…")` too."""
    package = Path(path).parent.parts
    found: list[Import] = []

    def visit(node: ast.AST, at_import: bool) -> None:
        names: list[str] = []
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0):
                names = [node.module or ""]
            case ast.ImportFrom():
                base = ".".join(package[: len(package) - node.level + 1])
                within = [node.module] if node.module else [alias.name for alias in node.names]
                names = [f"{base}.{name}".lstrip(".") for name in within]
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str() as name), *_],
            ):
                names = [name]
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                at_import = False
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                for child in node.body:
                    visit(child, False)
                for child in node.orelse:
                    visit(child, at_import)
                return
        found.extend(Import(name, node.lineno, at_import) for name in names)  # type: ignore[attr-defined]
        for child in ast.iter_child_nodes(node):
            visit(child, at_import)

    visit(ast.parse(source), True)
    return found


def import_violations(path: str, source: str) -> list[str]:
    """One sentence for each import in the file `path` ("room/module.py") that the house forbids."""
    room = path.split("/")[0]
    wrong = []
    for name, line, at_import in imports(path, source):
        top = name.split(".")[0]
        if top in ROOMS and top != room and top not in ROOMS[room]:
            wrong.append(f"{path}:{line}: {room} must not import {name}")
        if top in HOMES and not path.startswith(HOMES[top]):
            wrong.append(f"{path}:{line}: {top} belongs only in {', '.join(HOMES[top])}")
        elif top in LAZY and at_import:
            wrong.append(f"{path}:{line}: import {top} inside the function that needs it")
    return wrong


def lacks_docstring(path: str, source: str) -> bool:
    """Whether `path` is a public module (`__init__` is one, `_other` is not) without docstring."""
    name = Path(path).stem
    public = name == "__init__" or not name.startswith("_")
    return public and not ast.get_docstring(ast.parse(source))


def needs_installing(source: str) -> bool:
    """Whether a script that is run would not find its rooms in a checkout that is not installed."""
    found = False  # the root is on the path
    for node in ast.parse(source).body:
        if ast.unparse(node).startswith("sys.path.insert("):
            found = True
        names = [name.split(".")[0] for name, *_ in imports("scripts/a.py", ast.unparse(node))]
        if not found and ROOMS.keys() & set(names):
            return "__main__" in source
    return False


def foreign_root_entries(tracked: list[str]) -> set[str]:
    """What the tracked paths put into the root that the house does not know."""
    return {path.split("/")[0] for path in tracked} - ROOT_ENTRIES


def room_files() -> list[str]:
    """All Python files of the rooms, as "room/module.py"."""
    return sorted(
        path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")
    )


@pytest.mark.parametrize("path", room_files())
def test_imports_follow_the_house(path: str) -> None:
    assert import_violations(path, (ROOT / path).read_text("utf-8")) == []


@pytest.mark.parametrize("path", room_files())
def test_public_module_has_a_docstring(path: str) -> None:
    assert not lacks_docstring(path, (ROOT / path).read_text("utf-8"))


@pytest.mark.parametrize("path", [path for path in room_files() if path.startswith("scripts/")])
def test_scripts_run_where_nothing_is_installed(path: str) -> None:
    assert not needs_installing((ROOT / path).read_text("utf-8"))


@pytest.mark.parametrize("room", ["playground", "agents", "generators"])
def test_room_is_a_package(room: str) -> None:
    assert (ROOT / room / "__init__.py").is_file()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_document_lies_in_its_room(path: str) -> None:
    assert (ROOT / path).is_file()


def test_root_holds_only_what_the_house_knows() -> None:
    if not (shutil.which("git") and (ROOT / ".git").exists()):
        pytest.skip("no git checkout: what is tracked is not known")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert foreign_root_entries(listed.stdout.split("\0")[:-1]) == set()


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("playground/trainer.py", "import agents"),
        ("playground/trainer.py", "def f():\n    from agents.dqn import Agent"),
        ("playground/trainer.py", "from generators import style"),
        ("playground/trainer.py", "import scripts.play"),
        ("playground/trainer.py", "from .. import agents"),
        ("playground/trainer.py", "from ..agents import dqn"),
        ("playground/backbones/nature.py", "from ...agents.dqn import Agent"),
        ("playground/trainer.py", "import importlib\nimportlib.import_module('agents.dqn')"),
        ("playground/trainer.py", "if TYPE_CHECKING:\n    import agents"),
        ("agents/dqn.py", "import generators.dcgan"),
        ("agents/dqn.py", "from scripts import play"),
        ("generators/caption.py", "from agents import load"),
        ("generators/caption.py", "import torch, scripts"),
        ("playground/frames.py", "import gymnasium as gym"),
        ("generators/dcgan.py", "def f():\n    import ale_py"),
        ("scripts/play.py", "from stable_baselines3 import DQN"),
        ("agents/screen.py", "def f():\n    import pygame"),
        ("playground/window.py", "import pygame"),
        ("playground/window.py", "try:\n    import pygame.display\nexcept ImportError:\n    pass"),
        ("playground/window.py", "class Window:\n    import pygame"),
        ("playground/gallery.py", "def f():\n    import imageio.v3"),
        ("playground/media.py", "from PIL import Image"),
        ("generators/gan_scores.py", "from torchmetrics.image.fid import FrechetInceptionDistance"),
        ("generators/dcgan.py", "def f():\n    import torchmetrics"),
        ("playground/media.py", "if not TYPE_CHECKING:\n    import imageio_ffmpeg"),
    ],
)
def test_import_rule_can_fail(path: str, source: str) -> None:
    assert len(import_violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("playground/trainer.py", "import torch\nfrom playground import run\nfrom . import config"),
        ("playground/backbones/nature.py", "from ..errors import UserError"),
        ("agents/atari.py", "import gymnasium\nimport ale_py\nfrom playground.frames import Frame"),
        ("agents/sb3.py", "def f():\n    import stable_baselines3"),
        ("generators/gan_scores.py", "def f():\n    import torchmetrics.image.fid"),
        ("generators/style.py", "from playground.backbone import create\nfrom .dcgan import load"),
        ("scripts/play.py", "import agents, generators.style, playground"),
        ("scripts/benchmarks/speed.py", "import gymnasium, stable_baselines3"),
        ("playground/window.py", "def f():\n    import pygame"),
        ("playground/window.py", "if TYPE_CHECKING:\n    import pygame"),
        ("playground/media.py", "def f():\n    import imageio_ffmpeg\n    from PIL import Image"),
        ("agents/dqn.py", "import pygame_like, agents_of_others"),
    ],
)
def test_import_rule_lets_the_allowed_pass(path: str, source: str) -> None:
    assert import_violations(path, source) == []


def test_docstring_rule_can_fail() -> None:
    assert lacks_docstring("agents/dqn.py", "x = 1")
    assert lacks_docstring("agents/__init__.py", "")
    assert not lacks_docstring("agents/dqn.py", '"""The task."""')
    assert not lacks_docstring("agents/_private.py", "x = 1")


def test_script_rule_can_fail() -> None:
    ends = 'if __name__ == "__main__":\n    main()'
    path = "sys.path.insert(0, '.')"
    assert needs_installing(f"import sys\nimport agents\n{path}\n{ends}")
    assert needs_installing(f"from scripts.play import main\n{ends}")
    assert not needs_installing(f"import sys\n{path}\nimport agents\n{ends}")
    assert not needs_installing("import agents")  # it is only imported


def test_root_rule_can_fail() -> None:
    assert foreign_root_entries(["README.md", "RESULTS.md", "notes/a.md", "agents/dqn.py"]) == {
        "RESULTS.md",
        "notes",
    }
