# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM is made from (kernel, modules, user space) and how fast it will be."""
import contextlib
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from .errors import HarnessError

TOP = pathlib.Path(__file__).resolve().parents[3]
VM_DIR = TOP / "tests" / "vm"
UNUSED = 3 * 86400      # seconds after which the cache may forget something


def build_dir():
    return TOP / "build"


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(os.environ.get("CACHE") or f"{base}/llbitmap")


def build_helper(name, source, *options):
    """Compiles a C program that the guest finds in its PATH, and gives its name; safe for several
    at a time."""
    with tempfile.TemporaryDirectory(dir=build_dir()) as directory:
        program = pathlib.Path(directory) / name
        subprocess.run(["cc", "-O2", *options, "-o", program, source], check=True)
        program.replace(build_dir() / name)
    return name


def run_tool(*argv):
    """Runs one of our own scripts; its progress goes to stderr, its answer is returned."""
    done = subprocess.run([str(arg) for arg in argv], stdout=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode:
        raise HarnessError(f"{argv[0]} failed with status {done.returncode}")
    return done.stdout.strip()


@functools.cache
def stock_kernel():
    """What kernel-env says; which kernel is the newest it asks apt, and that is once per process."""
    return run_tool(TOP / "kernel-patch" / "kernel-env")


def kvm_usable():
    """/dev/kvm of a machine without vmx or svm does not run ordinary kernels."""
    flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    if "vmx" not in flags and "svm" not in flags:
        return False
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError:
        return False
    return True


def forget_unused(trees):
    """Each build of the modules leaves a tree in the cache; those of old builds go."""
    for tree in trees:
        with contextlib.suppress(FileNotFoundError):    # another process was faster
            if tree.stat().st_mtime < time.time() - UNUSED:
                shutil.rmtree(tree, ignore_errors=True)


class Environment:
    """Kernel image, modules, user space and accelerator, found (or made) once per process."""

    @functools.cached_property
    def accelerator(self):
        return "kvm" if kvm_usable() else "tcg"

    @property
    def time_scale(self):
        """Time-outs in tests are for real hardware; emulation gets this many times more, and so do
        debug kernels."""
        return (1 if self.accelerator == "kvm" else 4) * float(self.kernel.get("slower", 1))

    @functools.cached_property
    def kernel(self):
        """Dictionary: version, image, modules (the kernel's own); headers, unless md is built in;
        slower, of a debug kernel. The stock one, or that of the directory in LLBITMAP_KERNEL."""
        directory = os.environ.get("LLBITMAP_KERNEL")
        if directory:
            text = (pathlib.Path(directory) / "env").read_text(encoding="ascii")
        else:
            text = stock_kernel()
        return dict(line.split("=", 1) for line in text.splitlines())

    @property
    def md_built_in(self):
        """A kernel that `make kernel-image` built: no modules can replace its md."""
        return "headers" not in self.kernel

    @functools.cached_property
    def root(self):
        return pathlib.Path(run_tool(VM_DIR / "guest-root"))

    @functools.cached_property
    def initramfs(self):
        return pathlib.Path(run_tool(VM_DIR / "guest-initramfs", self.kernel["modules"]))

    def modules(self, choice=""):
        """Directory to lay over the stock kernel's modules directory.

        choice: a directory with .ko files, "stock" for none of ours, or "" for what
        LLBITMAP_MODULES says, else for what `make modules` built. A whole kernel takes none.
        """
        choice = choice or os.environ.get("LLBITMAP_MODULES")
        if self.md_built_in and choice:
            raise HarnessError("this kernel has md built in: no modules can replace it")
        if self.md_built_in or choice == "stock":
            return self._module_tree([])
        where = pathlib.Path(choice or build_dir() / "modules" / self.kernel["version"])
        files = sorted(where.glob("*.ko"))
        if not files:
            raise HarnessError(f"no modules in {where}; run `make modules`")
        return self._module_tree(files)

    def tested(self, choice=""):
        """What results on this kernel, with these modules, depend on: both by content."""
        return f"{self.kernel['version']} {self.modules(choice).name}"

    def _module_tree(self, files):
        """updates/ with these files and depmod's lists, in the cache, by content."""
        stock = pathlib.Path(self.kernel["modules"])
        key = hashlib.sha256(str(stock).encode())
        for file in files:
            key.update(file.name.encode() + b"\0" + file.read_bytes())
        where = cache_dir() / "guest" / f"modules-{key.hexdigest()[:16]}"
        if where.exists():
            os.utime(where)
            return where
        where.parent.mkdir(parents=True, exist_ok=True)
        forget_unused(where.parent.glob("modules-*"))
        with tempfile.TemporaryDirectory(dir=where.parent) as temporary:
            version = self.kernel["version"]
            tree = pathlib.Path(temporary) / "lib" / "modules" / version
            (tree / "updates").mkdir(parents=True)
            for file in files:
                shutil.copy(file, tree / "updates")
            for file in stock.iterdir():
                (tree / file.name).symlink_to(file)
            subprocess.run([shutil.which("depmod", path="/usr/sbin:/sbin"), "-b", temporary,
                            version], check=True)
            for file in tree.iterdir():
                if file.is_symlink():
                    file.unlink()
            try:
                tree.rename(where)
            except OSError:  # another process was faster
                if not where.exists():
                    raise
        return where
