# SPDX-License-Identifier: GPL-2.0-or-later
"""One script of the suite, in a VM of its own."""
import re
import shutil
import time

from vmtest import VM, CommandTimeout, HarnessError, VMLost, VMOptions, VMPanic
from vmtest.environment import TOP
from vmtest.errors import TROUBLE
from vmtest.kernel_log import find_trouble

GUEST = TOP / "tests" / "mdadm" / "guest"
RUNS = {"stock": "stock", "ours": "", "lockless": ""}       # name: VMOptions.modules
MEMORY = "2G"                   # the members' files among it
TIMEOUT = 400                   # of a script of which the suite does not say that it takes long
PATIENCE = 2                    # times what the suite says

WORDS = {"succeeded": "pass", "skipping": "skip", "FAILED": "fail"}     # the driver's: ours
NOTHING_LEFT = "llbitmap: nothing left for"                             # guest/nosync.sh


def guest_files(run):
    """Of ours, what the run uses in the guest."""
    names = ["run", "mdadm", "nosync.sh"] if run == "lockless" else ["run"]
    return [GUEST / name for name in names]


def prepare(suite, out, run):
    """Puts the suite where the guest can write to it, changed as README says for this run."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(suite, out / "suite", symlinks=True)
    if run == "lockless":
        shutil.copy(GUEST / "mdadm", out / "suite" / "bin")
        with open(out / "suite" / "tests" / "func.sh", "a", encoding="ascii") as functions:
            functions.write((GUEST / "nosync.sh").read_text(encoding="ascii"))


def driver_says(script, text):
    """pass, skip or fail, from what the suite's driver prints."""
    _, found, rest = text.partition(f"tests/{script}... ")
    said = [ours for word, ours in WORDS.items() if word in rest]
    if not found or len(said) != 1:
        raise HarnessError(f"the suite's driver did not run {script}:\n{text}")
    return said[0]


def failed_commands(log):
    """mdadm's command lines that failed, from a script's traced log. The suite itself does not
    end a script for that (its `set -e` has no effect within an `if`)."""
    failed, command = set(), ""
    for line in log.splitlines():
        if match := re.match(r"\++ mdadm (.*)", line):
            command = match[1]
        elif command and re.match(r"\++ rv=[1-9]", line):
            failed.add(command)
    return sorted(failed)


def last_command(log):
    traced = [line.strip() for line in log.splitlines() if line.startswith("+")]
    return traced[-1] if traced else ""


def reason(log):
    """What a script said last about its failure."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    plain = [line for line in lines if not line.startswith("+") and "FAILED" not in line]
    errors = [line for line in plain if "ERROR" in line]
    return (errors or plain or lines or [""])[-1]


def judge(outcome, said, log, console):
    """The record of a script; said: what is known about a VM or a command that did not end."""
    why = "" if outcome == "pass" else said.strip().partition("\n")[0] or reason(log)
    if outcome == "timeout":
        why += f" of: {last_command(log)}"
    return {"outcome": outcome, "why": why,
            "mdadm": failed_commands(log),
            "nothing_to_sync": sum(line.startswith(NOTHING_LEFT) for line in log.splitlines()),
            "trouble": find_trouble(console)}


def _log(vm, script):
    """The script's log, from the guest's own directory if the driver could not put it away."""
    path = vm.out / "logs" / f"{script}.log"
    if path.exists():
        return path.read_text(errors="replace")
    return vm.run("cat /var/tmp/log", check=False).stdout if vm.usable() else ""


def _carry_out(vm, script, seconds):
    """(outcome, what is to be said about a VM or a command that did not end)"""
    try:
        vm.boot()
        done = vm.run(["/mnt/tests/mdadm/guest/run", "/mnt/out/suite", script, "/mnt/out/logs"],
                      timeout=seconds, check=False)
        return driver_says(script, done.stdout + done.stderr), ""
    except CommandTimeout as error:
        return "timeout", f"no end in time\n{error.stuck}"
    except VMPanic as error:
        return "panic", str(error)
    except VMLost as error:
        return "lost", str(error)


def made(vm):
    """How many arrays guest/mdadm gave a lockless bitmap."""
    path = vm.out / "suite" / "bin" / "made"
    return len(path.read_text().splitlines()) if path.exists() else 0


def run_script(environment, directory, suite, script, run, seconds, logs, machines=None,
               modules=None):
    """Runs it in a new VM in `directory`; gives its record, leaves its logs in `logs`. The VM is
    in the set `machines` meanwhile. modules: others than those of the run."""
    started = time.monotonic()
    vm = VM(environment, directory,
            VMOptions(disks=0, memory=MEMORY, modules=modules or RUNS[run]))
    machines = set() if machines is None else machines
    machines.add(vm)
    try:
        vm.log.path.unlink(missing_ok=True)
        prepare(suite, vm.out, run)
        outcome, said = _carry_out(vm, script, seconds)
        more = {"made": made(vm)} if run == "lockless" else {}
        try:
            log = _log(vm, script)
            console = vm.dmesg()
        except TROUBLE:
            log, console = "", vm.log.text()
    finally:
        machines.discard(vm)
        vm.stop()
        shutil.rmtree(vm.out, ignore_errors=True)
    logs.mkdir(parents=True, exist_ok=True)
    (logs / f"{script}.{run}.log").write_text(f"{log}\n{said}\n", encoding="utf-8")
    (logs / f"{script}.{run}.console").write_text(console, encoding="utf-8")
    return judge(outcome, said, log, console) | more | {
        "seconds": round(time.monotonic() - started)}


def time_for(script, long_ones):
    """Seconds of real hardware that a script gets."""
    return max(TIMEOUT, PATIENCE * long_ones.get(script, 0))
