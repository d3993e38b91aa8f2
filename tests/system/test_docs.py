"""The documents are held to the code: links lead somewhere, commands exist, examples compile."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.paths import ROOT

import handlens
from handlens.cli import main as handlens_cli
from handlens_conversion.cli import main as convert_cli
from handlens_server.cli import main as server_cli

DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "models/**/*.md", "demo/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)  # fmt: skip
PROGRAMS = {"handlens": handlens_cli, "handlens-server": server_cli, "handlens-convert": convert_cli}
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_python_example_compiles_and_imports_public_names(document: Path) -> None:
    for block in blocks(document, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "handlens":
                assert {alias.name for alias in node.names} <= set(handlens.__all__)


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_command_shown_exists_with_its_options(document: Path) -> None:
    for line in (line for block in blocks(document, "") for line in block.splitlines()):
        words = line.split("#")[0].split()
        if words and words[0] in PROGRAMS:
            check_command(words)


def check_command(words: list[str]) -> None:
    command: click.Command = PROGRAMS[words[0]]
    for word in words[1:]:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(click.Context(command), word)
            assert found is not None, f"{' '.join(words)}: there is no command {word}"
            command = found
        elif word.startswith("--"):
            known = {option for parameter in command.params for option in parameter.opts}
            assert word in known, f"{' '.join(words)}: there is no option {word}"


def commands() -> Iterator[tuple[str, click.Command]]:
    waiting = list(PROGRAMS.items())
    while waiting:
        name, command = waiting.pop()
        if isinstance(command, click.Group):
            context = click.Context(command)
            below = {child: command.get_command(context, child) for child in command.list_commands(context)}
            waiting += [(f"{name} {child}", found) for child, found in below.items() if found is not None]
        else:
            yield name, command


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_command_has_help_and_stands_in_a_document(name: str, command: click.Command) -> None:
    assert command.help
    assert any(name in document.read_text("utf-8") for document in DOCUMENTS), f"{name} is documented nowhere"


def test_nothing_names_a_machine() -> None:
    told = re.compile(r"/(?:work|root|home)/|pypi\.org/simple|registry\.npmjs")
    for path in ROOT.rglob("*"):
        is_text = path.suffix in {".py", ".md", ".cfg", ".toml", ".txt", ".json", ".jsonl", ""} and path.is_file()
        if is_text and not any(part.startswith(".") and part != ".ci" for part in path.relative_to(ROOT).parts):
            assert not told.search(path.read_text("utf-8", errors="ignore")) or path == Path(__file__), path


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^\s*```{language}\n(.*?)^\s*```", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
