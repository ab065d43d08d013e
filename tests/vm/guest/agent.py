# SPDX-License-Identifier: GPL-2.0-or-later
"""The VM's end of the command channel.

Requests and answers are JSON, one per line, on the virtio-serial port "llbitmap.agent":

    {"op": "run", "id": N, "argv": [...], "cwd": PATH, "stdin": BASE64, "timeout": SECONDS}
    {"op": "file", "id": N, "do": "read" | "write" | "stat", "path": PATH, "data": BASE64,
     "timeout": SECONDS}                           as a command would, without a process
    {"op": "signal", "id": N, "signal": NUMBER}    to the whole session of command N
    {"op": "output", "id": N}                      what it wrote so far
    {"op": "ping", "id": N}

    {"event": "hello"}                             once, at start
    {"event": "exit", "id": N, "rc": N, "stdout": BASE64, "stderr": BASE64, "timed_out": BOOL,
     "stuck": TEXT}
    {"event": "output", "id": N, "stdout": BASE64, "stderr": BASE64}
    {"event": "pong", "id": N}

A file gives an exit, too: rc 1 and the reason on stderr if it failed. Commands write to files, not pipes: nothing blocks on a slow reader, and a command is done when
it ends, not when the last child that inherited its pipe does.
"""
import binascii
import ctypes
import json
import os
import select
import signal
import subprocess
import threading

PORTS = "/sys/class/virtio-ports"
NAME = "llbitmap.agent"
KILL_GRACE = 10

UNKILLABLE = -1000
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4


def find_port():
    for port in os.listdir(PORTS):
        with open(f"{PORTS}/{port}/name", encoding="ascii") as name:
            if name.read().strip() == NAME:
                return f"/dev/{port}"
    raise SystemExit("agent: no virtio port of that name")


def session_stacks(sid):
    """Where the processes of session `sid` are in the kernel, for the report of a stuck one."""
    text = ""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) != sid:
                continue
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                text += f"{pid} {file.read().strip()}:\n"
            with open(f"/proc/{pid}/stack", encoding="utf-8") as file:
                text += file.read()
        except OSError:
            pass
    return text


def dump():
    """The kernel log gets who is blocked, and where memory went; kernel_log.py knows the marks."""
    for path, text in (("/dev/kmsg", "llbitmap-test: dump begins\n"), ("/proc/sysrq-trigger", "w"),
                       ("/proc/sysrq-trigger", "m"), ("/dev/kmsg", "llbitmap-test: dump ends\n")):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)


def protect():
    """The agent stays in memory and alive when both are short; its commands do not inherit that."""
    libc = ctypes.CDLL(None, use_errno=True)
    # current pages now, later ones when they are touched: a thread's stack is large
    if libc.mlockall(MCL_CURRENT) or libc.mlockall(MCL_FUTURE | MCL_ONFAULT):
        raise OSError(ctypes.get_errno(), "mlockall")
    set_oom_score(UNKILLABLE)


def set_oom_score(score):
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))


def encode(data):
    return binascii.b2a_base64(data, newline=False).decode()


def ending(number, rc, stuck=None):
    """The answer when a command has ended, or its time has: then stuck says where it is."""
    return {"event": "exit", "id": number, "rc": rc, "timed_out": stuck is not None,
            "stuck": stuck or ""}


class Command:
    def __init__(self, request):
        self.id = request["id"]
        self.timeout = request["timeout"]
        self.files = [os.memfd_create("stdout"), os.memfd_create("stderr")]
        stdin = os.memfd_create("stdin")
        try:
            os.write(stdin, binascii.a2b_base64(request["stdin"]))
            os.lseek(stdin, 0, os.SEEK_SET)
            set_oom_score(0)        # the command's
            self.process = subprocess.Popen(
                request["argv"], cwd=request["cwd"], stdin=stdin, stdout=self.files[0],
                stderr=self.files[1], start_new_session=True)
            self.files.append(os.pidfd_open(self.process.pid))
            self.pidfd = self.files[2]
        except OSError:
            self.close()
            raise
        finally:
            os.close(stdin)
            set_oom_score(UNKILLABLE)

    def close(self):
        for file in self.files:
            os.close(file)

    def output(self):
        data = {}
        for name, file in zip(("stdout", "stderr"), self.files):
            data[name] = encode(os.pread(file, os.fstat(file).st_size, 0))
        return data

    def send(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def wait(self):
        """Waits for the end or the time-out and gives the answer."""
        stuck = None
        if not self.ended(self.timeout):
            stuck = session_stacks(self.process.pid)
            dump()
            self.send(signal.SIGKILL)
            self.ended(KILL_GRACE)
        return ending(self.id, self.process.poll(), stuck)  # None: in the kernel for good

    def ended(self, seconds):
        """Waits without waking up in between, which measurements would notice."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


class FileAccess:
    """A file read, written in one write, or looked for, by a thread: under emulation a process
    costs a tenth of a second. Nothing can end it while it waits in the kernel."""

    def __init__(self, request):
        self.id = request["id"]
        self.timeout = request["timeout"]
        self.path = request["path"]
        self.data = binascii.a2b_base64(request["data"])
        self.found, self.error, self.rc = b"", b"", None
        self.thread = threading.Thread(target=self.access, args=(request["do"],), daemon=True)
        self.thread.start()

    def access(self, do):
        try:
            if do == "stat":
                os.stat(self.path)
            elif do == "read":
                with open(self.path, "rb", buffering=0) as file:
                    self.found = file.read()
            else:
                with open(self.path, "wb", buffering=0) as file:
                    if self.data and file.write(self.data) != len(self.data):
                        raise OSError(None, "short write")
            self.rc = 0
        except OSError as error:
            self.error = f"{self.path}: {error.strerror}\n".encode()
            self.rc = 1

    def close(self):
        pass

    def send(self, number):
        pass

    def output(self):
        return {"stdout": encode(self.found), "stderr": encode(self.error)}

    def wait(self):
        stuck = None
        self.thread.join(self.timeout)
        if self.thread.is_alive():
            with open(f"/proc/self/task/{self.thread.native_id}/stack", encoding="utf-8") as file:
                stuck = f"{self.path}:\n{file.read()}"
            dump()
        return ending(self.id, self.rc, stuck)


class Agent:
    def __init__(self):
        self.port = os.open(find_port(), os.O_RDWR)
        self.lock = threading.RLock()   # of everything below, and of writing to the port
        self.commands = {}

    def answer(self, message):
        data = json.dumps(message).encode() + b"\n"
        with self.lock:
            while data:
                data = data[os.write(self.port, data):]

    def follow(self, command):
        message = command.wait()
        with self.lock:
            self.answer(message | command.output())
            del self.commands[command.id]
            command.close()

    def run(self, request):
        try:
            command = (Command if request["op"] == "run" else FileAccess)(request)
        except OSError as error:
            self.answer(ending(request["id"], 127) |
                        {"stdout": "", "stderr": encode(f"agent: {error}\n".encode())})
            return
        with self.lock:
            self.commands[command.id] = command
        threading.Thread(target=self.follow, args=(command,), daemon=True).start()

    def handle(self, request):
        op = request["op"]
        if op in ("run", "file"):
            self.run(request)
        elif op == "ping":
            self.answer({"event": "pong", "id": request["id"]})
        else:
            with self.lock:
                self.ask(op, self.commands.get(request["id"]), request)

    def ask(self, op, command, request):
        """About a running command; one that has ended gave its answer already."""
        if command and op == "signal":
            command.send(request["signal"])
        elif command and op == "output":
            self.answer({"event": "output", "id": command.id} | command.output())

    def serve(self):
        self.answer({"event": "hello"})
        rest = b""
        while chunk := os.read(self.port, 65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.handle(json.loads(line))


protect()
Agent().serve()
