# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules with a bug planted: a patch of tests/vm/bugs, or a break of tests/vm/breaks."""
import importlib.machinery
import importlib.util

from vmtest import Environment
from vmtest.environment import VM_DIR, build_dir, run_tool


def breaks():
    """tests/vm/breaks, as a module."""
    loader = importlib.machinery.SourceFileLoader("breaks", str(VM_DIR / "breaks"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("breaks", loader))
    loader.exec_module(module)
    return module


def is_planted(name):
    return (VM_DIR / "bugs" / f"{name}.patch").exists() or name in breaks().BREAKS


def modules(name):
    """The directory with them; the stock kernel's headers are needed, and half a minute."""
    patch = VM_DIR / "bugs" / f"{name}.patch"
    if patch.exists():
        return run_tool(VM_DIR / "bugs" / "build", patch)
    tool = breaks()
    work = build_dir() / "stateful"
    made_from = work / name / "made-from"
    source, headers = tool.patched_source(), Environment().kernel["headers"]
    wanted = repr((str(source), headers, tool.edits(name)))
    if not made_from.exists() or made_from.read_text() != wanted:
        work.mkdir(parents=True, exist_ok=True)
        tool.build(source, work, name, headers)
        made_from.write_text(wanted)
    return str(work / name)
