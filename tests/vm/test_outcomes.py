# SPDX-License-Identifier: GPL-2.0-or-later
"""Outcomes are told apart, and none of the bad ones can be taken for a pass."""
import pathlib
import re
import subprocess
import sys

import pytest

SAMPLE = pathlib.Path(__file__).parent / "outcomes" / "sample.py"
EXPECTED = {
    "test_passes": "PASSED",
    "test_fails": "FAILED",
    "test_skips": "SKIPPED",
    "test_misses_an_expected_message": "FAILED",
    "test_expects_another_warning": "FAILED",
    "test_gets_a_vm_after_trouble": "PASSED",
    "test_hangs_in_the_kernel": "TIMEOUT",
    "test_panics": "PANIC",
    "test_loses_the_vm": "LOST",
    "test_loses_a_hanging_vm": "LOST",
    "test_loses_a_vm_whose_kernel_lives": "LOST",
}


@pytest.fixture(scope="module")
def report():
    done = subprocess.run([sys.executable, "-m", "pytest", "-v", "--color=no", SAMPLE],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout)
    return done


@pytest.mark.parametrize("name", EXPECTED)
def test_outcome(report, name):
    words = re.findall(rf"::{name} (\w+)", report.stdout)
    assert words and words[0] == EXPECTED[name]


def test_bad_outcomes_fail_the_run(report):
    assert report.returncode == 1
    last = report.stdout.strip().splitlines()[-1]
    for count in ("3 failed", "2 passed", "1 skipped", "1 panic", "3 lost", "1 timeout"):
        assert count in last


def test_report_shows_the_reason(report):
    for reason in ("sysrq triggered crash",         # end of the console log after the panic
                   "QEMU ended with status -9",
                   "no answer from the VM for",
                   "WARNING: two",                  # excerpt of the kernel log
                   "but not there: ['never said']",
                   "submit_bio_wait",               # where the stuck command was in the kernel
                   "QEMU's monitor does not answer"):
        assert reason in report.stdout


def test_report_says_where_the_kernel_hangs(report):
    """What a VM that does not answer says when it is asked over its keyboard."""
    _, _, text = report.stdout.partition("LOST: vm/outcomes/sample.py::test_loses_a_vm_whose_kernel")
    assert "RIP=" in text
    blocked = text.partition("Show Blocked State")[2].partition("Show Memory")[0]
    assert "task:dd" in blocked and "blkdev" in blocked
    assert "Swap:" not in blocked and "Free swap" in text
