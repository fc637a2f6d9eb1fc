# SPDX-License-Identifier: MIT
#
# What the tests of nodes on existing engines share: a world of their own, so that no process, port
# or file is left whatever becomes of a test, the waiting for what is to come about, and TAP.

import json
import os
import select
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

SECONDS_MAX = 120
TOP = Path(__file__).resolve().parent.parent.parent
APART = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child",
         "--mount-proc"]

# What all of it runs in. It is in a network, because who looks for the addresses of a computer that
# is in none finds none.
SETTING = """set -e
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add ac0 type veth peer name ac1
ip address add 10.77.0.1/24 dev ac0
ip link set ac0 up
ip link set ac1 up
hostname vm"""


class Failed(Exception):
    """What is said in place of a traceback."""


def skip(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)


def go_apart(programs, package):
    """Goes on in namespaces of our own, as root; elsewhere the test is skipped. The folder of the
    test is a file system that goes with them."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        skip(f"no {', '.join(missing)} here; package {package}?")
    if os.environ.get("ENGINES_APART") == "1":
        return
    if os.getuid() != 0:
        skip("only root can make the namespaces that it runs in")
    tried = subprocess.run([*APART, "sh", "-c", SETTING], stderr=subprocess.PIPE, text=True)
    if tried.returncode:
        skip(f"no namespaces here: {tried.stderr.strip()}")
    os.execvpe("unshare", [*APART, sys.executable, *sys.argv],
               os.environ | {"ENGINES_APART": "1"})


class Talk:
    """A program that says what it does while it does it, because it talks to a terminal."""

    def __init__(self, process, terminal):
        self.process = process
        self.terminal = terminal
        self.said = ""

    def read_until(self, enough):
        """All that it has said until that is enough, or it has ended."""
        until = time.monotonic() + SECONDS_MAX
        while not enough(self.said):
            left = until - time.monotonic()
            if left < 0 or not select.select([self.terminal], [], [], left)[0]:
                raise Failed(f"a program says no more than {self.said}")
            try:
                self.said += os.read(self.terminal, 4096).decode().replace("\r", "")
            except OSError: # the other end is closed
                break
        return self.said


class World:
    """A folder that nobody else sees, an environment, and what was started in it."""

    def __init__(self, build):
        self.build = Path(build).resolve()
        self.folder = Path("/tmp/engines")
        if inside(self.build, "/tmp") or inside(TOP, "/tmp"):
            self.folder = Path("/mnt/engines")
        run("mount", "-t", "tmpfs", "tmpfs", str(self.folder.parent))
        run("sh", "-c", SETTING)
        self.folder.mkdir(exist_ok=True)
        self.environment = {
            "PATH": f"{self.build / 'src'}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "HOME": str(self.folder), "TMPDIR": str(self.folder), "LANG": "C.UTF-8",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "ASYNCORO_KEY_FILE": str(self.folder / "key"),
        }

    def start(self, *command, log):
        return subprocess.Popen([str(word) for word in command], env=self.environment,
                                cwd=self.folder, stdin=subprocess.DEVNULL,
                                stdout=open(self.folder / log, "ab"), stderr=subprocess.STDOUT)

    def start_talking(self, *command):
        terminal, other = os.openpty()
        process = subprocess.Popen([str(word) for word in command], env=self.environment,
                                   cwd=self.folder, stdin=subprocess.DEVNULL, stdout=other,
                                   stderr=other)
        os.close(other)
        return Talk(process, terminal)

    def run(self, *command, expect=0):
        done = subprocess.run([str(word) for word in command], cwd=self.folder,
                              env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=SECONDS_MAX)
        if expect is not None and done.returncode != expect:
            raise Failed(f"{command} gave {done.returncode}: {done.stdout}")
        return done.stdout

    def nodes(self):
        """The nodes that are found, as `asyncoro nodes --json` tells them."""
        said = self.run("asyncoro", "nodes", "--loopback", "--json", expect=None)
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    def show_logs(self):
        for path in sorted(self.folder.glob("*.log")):
            text = path.read_text(errors="replace").splitlines()[-30:]
            print(f"# ---- {path.name}", *[f"# {line}" for line in text], sep="\n",
                  file=sys.stderr)


def inside(path, folder):
    return Path(folder) in path.parents


def run(*command):
    subprocess.run(command, check=True)


def wait_for(what, look, seconds=SECONDS_MAX):
    """Calls `look` until it gives something, which is returned."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise Failed(f"{what} did not come about")
        time.sleep(0.05)


def equal(found, wanted, what):
    if found != wanted:
        raise Failed(f"{what}: {found!r}, not {wanted!r}")


def tap(cases, world):
    """Runs the cases in their order, which build on each other; ends the program."""
    print(f"1..{len(cases)}", flush=True)
    bad = False
    for number, case in enumerate(cases, 1):
        name = case.__name__.replace("_", " ")
        try:
            if bad:
                raise Failed("an earlier case has failed")
            case(world)
            print(f"ok {number} - {name}", flush=True)
        except Exception as problem:
            if not isinstance(problem, Failed):
                traceback.print_exc()
            if not bad:
                world.show_logs()
            print(f"not ok {number} - {name}\n# {problem}", flush=True)
            bad = True
    sys.exit(1 if bad else 0)
