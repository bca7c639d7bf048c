"""The page for the night in docs/launch.md: the messages it explains are those that are said."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Said by JAX.
OF_OTHERS = ("stopped sending heartbeats", "another task died")


def explained():
    text = (ROOT / "docs" / "launch.md").read_text("utf-8")
    section = text.split("## At three in the morning")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.M)
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)]


@pytest.fixture(scope="module")
def said():
    """All that package and launchers say, with the parts of a text that stand on lines joined."""
    files = [*(ROOT / "videojam_jax").rglob("*.py"), *(ROOT / "launch").iterdir()]
    text = "\n".join(path.read_text("utf-8") for path in files if path.is_file())
    return re.sub(r'"(?: \\)?\n\s*f?"', lambda found: " " if "\\" in found[0] else "", text)


@pytest.mark.parametrize("message", [m for m in explained() if m not in OF_OTHERS])
def test_a_message_that_is_explained_is_one_that_is_said(message, said):
    # What stands between names and numbers, which are others each time.
    parts = re.split(r"\.\.\.|[(){}:/]|\b(?:[A-Z]+(?:_[A-Z]+)?|\d+)\b", message)
    missing = [part.strip() for part in parts if part.strip() and part.strip() not in said]
    assert not missing


def test_the_page_is_found():
    assert len(explained()) > 20
