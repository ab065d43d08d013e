# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures for tests without root and kernel: the tool, and recordings made from scripts."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

from measure import measured

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", TOP / "build"))


class Result:
    """How a run of the tool ended."""

    def __init__(self, done):
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr
        assert self.status >= 0, f"killed by signal {-self.status}: {self.err}"

    @property
    def json(self):
        """The one JSON document that was printed."""
        return json.loads(self.out)

    @property
    def documents(self):
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(scope="session")
def tool():
    """Runs llbitmapctl with the arguments given."""

    def run(*args, stdin=None, env=None, timeout=60, **kwargs):
        return Result(subprocess.run(
            [BUILD / "llbitmapctl", *map(str, args)], input=stdin, capture_output=True,
            env={**os.environ, **(env or {})}, timeout=timeout, text=True, errors="replace",
            **kwargs))

    run.path = BUILD / "llbitmapctl"
    run.measured = lambda *args: measured([run.path, *map(str, args)])
    return run


@pytest.fixture
def record(tmp_path):
    """Makes a recording of a script of events (see generate.c); returns its path."""

    def make(script, name="run.llbrec"):
        path = tmp_path / name
        subprocess.run([BUILD / "llb-generate", "-o", path], input=script, text=True, check=True)
        return path

    return make


@pytest.fixture
def audit(tool, record):
    """Audits a script of events; returns the result with the report as .json."""

    def run(script):
        return tool("replay", "--json", record(script))

    return run


@pytest.fixture
def doctor(tmp_path):
    """A doctored twin of a recording."""

    def make(kind, recording):
        path = tmp_path / f"{kind}.llbrec"
        subprocess.run([BUILD / "llb-doctor", kind, recording, path], check=True)
        return path

    return make
