# SPDX-License-Identifier: GPL-2.0-or-later
"""What the short forms of the proofs take, by proof, in pytest's summary.

It is told and not asserted: the same tests take several times as long where something else runs. A test
says what is to be told with the seconds by record_property("short form", text).
"""
import os

BUDGET = 600            # seconds for all of them, on an idle machine
# what a proof's tests begin with, as pytest names them
PROOFS = {"model": "unit/test_model.py", "crash": "crash/", "stateful": "stateful/",
          "faults": "faults/", "mdadm": "mdadm/", "races": "races/"}


def proof_of(report):
    """The proof of whose short form it is, or None."""
    if "long" in report.keywords:
        return None
    return next((proof for proof, begin in PROOFS.items() if report.nodeid.startswith(begin)), None)


def told(reports):
    """What is to be said of these reports, as lines; none if no short form is among them."""
    seconds, remarks = {}, {}
    for report in reports:
        proof = proof_of(report)
        if proof:
            seconds[proof] = seconds.get(proof, 0) + report.duration
            remarks.setdefault(proof, {}).update(
                (text, None) for name, text in report.user_properties if name == "short form")
    for proof in PROOFS:
        if proof in seconds:
            yield f"{proof:9}{seconds[proof]:6.0f} s  {'; '.join(remarks[proof])}".rstrip()
    if seconds:
        total = sum(seconds.values())
        missing = [proof for proof in PROOFS if proof not in seconds]
        yield (f"{'all':9}{total:6.0f} s  of {BUDGET} s{', over the budget' * (total > BUDGET)}"
               + (f"; nothing was run of {', '.join(missing)}" if missing else ""))


def pytest_terminal_summary(terminalreporter, config):
    reports = [report for reports in terminalreporter.stats.values() for report in reports
               if hasattr(report, "duration") and hasattr(report, "nodeid")]
    lines = list(told(reports))
    if lines:
        terminalreporter.write_sep("=", "short forms")
        for line in lines:
            terminalreporter.write_line(line)
        side = getattr(config.option, "numprocesses", None) or 1
        terminalreporter.write_line(
            f"(each test's own time; {side} side by side on {os.cpu_count()} CPUs, load now "
            f"{os.getloadavg()[0]:.1f}. The budget is for an idle machine, and fails nothing.)")
