"""What importing costs and pulls in, each time in a process of its own; public names."""

import inspect
import re
from pathlib import Path

import pytest
from helpers import python

import fastnn as fn
import fastnn_kernels

EXPENSIVE = ["matplotlib", "pyarrow", "sklearn", "onnx", "rich", "typer", "torch", "pandas", "fastnn.cli"]


def imported(statement):
    """The names of all modules that a fresh interpreter holds after a statement."""
    return set(python(f"import sys\n{statement}\nprint(*sys.modules)").stdout.split())


def test_kernels_import_without_the_api():
    modules = imported("from fastnn_kernels import epoch, finite, reference")
    assert "fastnn_kernels.epoch" in modules
    assert "fastnn" not in modules


def test_kernels_never_name_the_api():
    sources = list(Path(fastnn_kernels.__path__[0]).rglob("*.py"))
    assert len(sources) > 10
    for path in sources:
        assert not re.search(r"^\s*(from|import)\s+fastnn\b", path.read_text(), re.MULTILINE), path


def test_import_brings_nothing_that_is_only_sometimes_needed():
    modules = imported("import fastnn")
    assert "fastnn.network" in modules
    assert [name for name in EXPENSIVE if name in modules] == []


@pytest.mark.parametrize("name", fn.__all__)
def test_public_names_have_docstrings(name):
    value = getattr(fn, name)
    assert value.__doc__
    assert value.__doc__.strip()
    if inspect.isclass(value) and value.__module__.startswith("fastnn"):
        own = [member for key, member in vars(value).items() if not key.startswith("_")]
        functions = [m for m in own if inspect.isfunction(m) or isinstance(m, property | classmethod)]
        missing = [str(m) for m in functions if not m.__doc__ and not overrides(value, m)]
        assert not missing


def overrides(owner, member):
    """Whether a base class documents the member."""
    name = getattr(member, "__name__", None) or member.fget.__name__
    return any(getattr(base, name, None) is not None for base in owner.__mro__[1:])


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", fn.__version__)
