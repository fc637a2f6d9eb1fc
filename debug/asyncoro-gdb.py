# SPDX-License-Identifier: MIT
"""Coroutines of asyncoro for C in gdb, in a live process and in a core file.

    (gdb) source asyncoro-gdb.py
    (gdb) asyncoro coroutines              all coroutines of all loops, and what each waits for
    (gdb) asyncoro backtrace 17            the stack of coroutine #17; 1.17: of that of loop 1
    (gdb) asyncoro backtrace all

The records are found through the list of all loops (asyncoro_loops in src/coro/watchdog.c) and read
by the names of their fields, so the library needs its debug information. A parked coroutine has its
registers on its stack (src/sys/switch_*.S): an unwinder hands them to gdb as those of the caller of
the innermost frame, and what gdb then shows from frame 1 on is the coroutine.
"""
import re

import gdb
import gdb.unwinder

# What sys_context_switch leaves on the stack, by the register: its place above the saved stack
# pointer; and how many bytes that are in all.
X86_64 = {
    "sp": "rsp", "pc": "rip", "bytes": 56,
    "saved": {"r15": 0, "r14": 8, "r13": 16, "r12": 24, "rbx": 32, "rbp": 40, "rip": 48},
}
AARCH64 = {
    "sp": "sp", "pc": "pc", "bytes": 160,
    "saved": {f"x{19 + i}": 8 * i for i in range(12)} | {"pc": 88},
}
ALIVE = 1                 # CORO_ALIVE
FOREVER = 2**63 - 1
STACK_BYTES = [2 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 8 << 20]


def fail(text):
    raise gdb.GdbError("asyncoro: " + text)


# ---- records ----


def offset_of(type_, *path):
    """Where a field lies in a structure, in bytes."""
    offset = 0
    for name in path:
        field = type_[name]
        offset += field.bitpos // 8
        type_ = field.type
    return offset


def loops():
    """All loops of the process."""
    found = gdb.lookup_static_symbol("asyncoro_loops")
    if found is None:
        fail("no list of loops here: the program does not use the library, is not loaded yet, or "
             "the library has no debug information")
    head = found.value()
    type_ = gdb.lookup_type("struct loop")
    offset = offset_of(type_, "watchdog", "link")
    byte = gdb.lookup_type("char").pointer()
    link = head["next"]
    while link != head.address:
        yield (link.cast(byte) - offset).cast(type_.pointer()).dereference()
        link = link["next"]


def text_of(value):
    return value.string(errors="replace") if int(value) else ""


class Coroutine:
    """One that has not ended."""

    def __init__(self, loop, record):
        self.loop = loop
        self.record = record
        self.index = (int(record["id"]) >> 8) & 0xffffff
        self.sp = int(record["context"]["sp"])
        self.stack = int(record["stack"])
        self.stack_bytes = STACK_BYTES[int(record["stack_class"])]
        self.runs = int(loop["running"]) == int(record.address)

    def __str__(self):
        record, loop = self.record, self.loop
        name, where = text_of(record["name"]), text_of(record["where"])
        line = f"#{self.index}"
        if name:
            line += f" '{name}'"
        if where:
            line += f" ({where})"
        parts = [self.state()]
        timers = loop["timers"]
        at = int(timers["places"][self.index]) if self.index < int(timers["ids"]) else 0
        if at:
            left = int(timers["entries"][at - 1]["deadline"]) - int(loop["now"])
            parts.append(f"at most {left * 1e-9:.3f} s more")
        mail = int(record["mail_count"])
        if mail:
            parts.append(f"{mail} message{'' if mail == 1 else 's'}")
        parts.append(f"stack of {self.stack_bytes >> 10} KiB" if self.stack else "has not run yet")
        if record["daemon"]:
            parts.append("daemon")
        if record["cancel_asked"]:
            parts.append("cancelled")
        if record["internal"]:
            parts.append("the library's own")
        return line + ": " + ", ".join(parts)

    def state(self):
        """What it waits for, and since when by the loop's last look at the clock."""
        if int(self.record["wait"]):
            ms = (int(self.loop["mark"]) - int(self.record["context"]["mark"])) % 2**32
            return f"{text_of(self.record['wait']['name'])} for {ms * 1e-3:.3f} s"
        return "running" if self.runs else "ready"


def coroutines(loop):
    for i in range(int(loop["coro_count"])):
        record = loop["coros"][i]
        if int(record["state"]) == ALIVE:
            yield Coroutine(loop, record)


def head_of(loop):
    own = " (the library's own)" if int(loop["in"]) else ""
    return f"loop {int(loop['number'])}{own}"


def find(name):
    """The coroutines that "17", "1.17" or "all" names."""
    match = re.fullmatch(r"(?:(\d+)\.)?#?(\d+)|all", name)
    if not match:
        fail('which one? INDEX, LOOP.INDEX or "all", as `asyncoro coroutines` shows them')
    loop_number, index = match.groups()
    found = [it for loop in loops()
             if loop_number is None or int(loop["number"]) == int(loop_number)
             for it in coroutines(loop) if index is None or it.index == int(index)]
    if not found:
        fail(f"no coroutine {name}")
    return found


# ---- backtraces ----


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class Unwinder(gdb.unwinder.Unwinder):
    """While `parked` is set, the caller of the innermost frame is that context."""

    def __init__(self):
        super().__init__("asyncoro")
        self.parked = None  # its stack pointer
        self.innermost = 0  # the stack pointer of the thread

    def __call__(self, frame):
        if self.parked is None:
            return None
        machine = machine_of(frame.architecture())
        if int(frame.read_register(machine["sp"])) != self.innermost:
            return None
        # A frame's caller must lie above it.
        identity = FrameId(gdb.Value(self.parked - 64), frame.read_register(machine["pc"]))
        unwind = frame.create_unwind_info(identity)
        word = gdb.lookup_type("unsigned long")
        for register, offset in machine["saved"].items():
            at = gdb.Value(self.parked + offset).cast(word.pointer())
            unwind.add_saved_register(register, at.dereference())
        unwind.add_saved_register(
            machine["sp"], gdb.Value(self.parked + machine["bytes"]).cast(word))
        return unwind


unwinder = Unwinder()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)


def machine_of(architecture):
    name = architecture.name()
    if name.startswith("i386:x86-64"):
        return X86_64
    if name.startswith("aarch64"):
        return AARCH64
    return fail(f"the stacks of {name} are not known here")


def backtrace_of_parked(sp):
    """What gdb says of the stack, its frames numbered from 0."""
    gdb.newest_frame().select()
    machine = machine_of(gdb.newest_frame().architecture())
    unwinder.innermost = int(gdb.newest_frame().read_register(machine["sp"]))
    unwinder.parked = sp
    gdb.invalidate_cached_frames()
    try:
        text = gdb.execute("backtrace", to_string=True)
    finally:
        unwinder.parked = None
        gdb.invalidate_cached_frames()
    at = text.find("\n#1 ")
    if at < 0:
        return "(gdb finds no frame)\n"
    return re.sub(r"^#(\d+) ?", lambda it: f"#{int(it[1]) - 1:<2d}", text[at + 1:],
                  flags=re.MULTILINE)


def backtrace_of_running(coroutine):
    """Of the thread whose stack pointer lies in its stack."""
    low = (coroutine.stack & ~(coroutine.stack_bytes - 1))
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        frame = gdb.newest_frame()
        sp = int(frame.read_register(machine_of(frame.architecture())["sp"]))
        if low <= sp <= coroutine.stack:
            return gdb.execute("backtrace", to_string=True)
    return "(no thread is on its stack: maybe in a signal handler)\n"


def backtrace_of(coroutine):
    if coroutine.runs:
        return backtrace_of_running(coroutine)
    if coroutine.sp == 0:
        return ""
    return backtrace_of_parked(coroutine.sp)


# ---- commands ----


class Asyncoro(gdb.Command):
    """Coroutines: `asyncoro coroutines`, `asyncoro backtrace INDEX|LOOP.INDEX|all`."""

    def __init__(self):
        super().__init__("asyncoro", gdb.COMMAND_STACK, prefix=True)


class AsyncoroCoroutines(gdb.Command):
    """Lists the coroutines of all loops, and what each waits for."""

    def __init__(self):
        super().__init__("asyncoro coroutines", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        for loop in loops():
            found = list(coroutines(loop))
            print(f"{head_of(loop)}: {len(found)} coroutine{'' if len(found) == 1 else 's'}")
            for it in found:
                print(f"  {it}")


class AsyncoroBacktrace(gdb.Command):
    """Shows the stack of one coroutine, INDEX or LOOP.INDEX, or of all."""

    def __init__(self):
        super().__init__("asyncoro backtrace", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        thread = gdb.selected_thread()
        if thread is None:
            fail("there is neither a process nor a core file")
        frame = gdb.selected_frame()
        level = frame.level()
        try:
            for it in find(argument.strip()):
                print(f"{head_of(it.loop)} {it}")
                print(backtrace_of(it))
        finally:
            thread.switch()
            gdb.execute(f"frame {level}", to_string=True)


Asyncoro()
AsyncoroCoroutines()
AsyncoroBacktrace()
