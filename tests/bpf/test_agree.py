# SPDX-License-Identifier: GPL-2.0-or-later
"""The BPF side and the tool's verifier object to the same events. No array, nothing attached."""
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def agree():
    subprocess.run(["make", "-s", "-C", TOP, "build/bpf/agree"], check=True)
    return TOP / "build/bpf/agree"


def run_agree(agree, *arguments):
    run = subprocess.run([agree, *arguments], capture_output=True, text=True)
    if run.returncode == 77:
        pytest.skip("this user or kernel cannot load BPF programs")
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def test_end(agree):
    """What is not seen any more is judged by nothing; numbers that came twice are known then."""
    run_agree(agree, "end")


@pytest.mark.parametrize("seed", range(8))
def test_both_verifiers_agree(agree, seed):
    run = run_agree(agree, str(seed), "8000")
    # Events of every kind were among them.
    counts = dict(line.split() for line in run.stdout.splitlines())
    assert int(counts["ok"]) > 500 and int(counts["continuity"]) > 100
    for rule in ("drained-clean", "whole-discard", "suspended-page", "durable-first",
                 "bitmap-write"):
        assert int(counts[rule]), rule
