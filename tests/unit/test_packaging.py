import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


@pytest.fixture(scope="module")
def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def test_changelog_names_the_version(project: dict[str, Any]) -> None:
    released = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == project["version"]


def test_constraints_are_exact_pins_without_addresses(pins: dict[str, Requirement]) -> None:
    for pin in pins.values():
        assert pin.url is None
        assert [clause.operator for clause in pin.specifier] == ["=="], pin
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"://|@ file|--hash|--find-links", text)


def test_constraints_cover_what_is_declared(project: dict[str, Any], pins: dict[str, Requirement]) -> None:
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *extras["test"], *extras["dev"]]:
        declared = Requirement(line)
        if declared.name == project["name"]:
            continue
        (pin,) = pins[canonicalize_name(declared.name)].specifier
        assert declared.specifier.contains(pin.version), f"{declared} does not allow the pinned {pin.version}"


def test_neither_install_needs_torch(pins: dict[str, Requirement]) -> None:
    assert "torch" not in pins


def test_make_help_lists_every_target() -> None:
    phony = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert " ".join(phony).split() == re.findall(r"^ +make ([a-z-]+) ", shown, re.MULTILINE)
