# SPDX-License-Identifier: MIT
"""Dask: a scheduler and two workers of one thread each, processes of their own on 127.0.0.1.

usage: jobs.py FIGURE

Functions are pure=False, as each job is to run. As a map they are a bag with many arguments in a
partition, as its documentation advises for short ones. What else can be turned off for speed is:
dashboard, nannies.
"""
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOBS, MAPPED, PARTITION = 4000, 400_000, 10_000
LATENCIES, LATENCIES_WARM = 200, 20
WAIT_FROM, WAIT_TO = 2000, 22_000


def add_one(x):
    return x + 1


def status_bytes(process, field):
    with open(f'/proc/{process}/status') as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ':'))


class World:
    """The processes, in a folder of their own; they end with it."""

    def __enter__(self):
        self.room = tempfile.TemporaryDirectory(prefix='asyncoro-bench.')
        self.started = []
        folder = self.room.name
        self.env = {**os.environ, 'HOME': folder, 'DASK_CONFIG': folder}
        self.file = f'{folder}/scheduler.json'
        common = ['--no-dashboard', '--scheduler-file', self.file]
        self.scheduler = self.start('dask-scheduler', '--host', '127.0.0.1', '--port', '0', *common)
        while not Path(self.file).exists():
            time.sleep(0.02)
        self.workers = [self.start('dask-worker', '--host', '127.0.0.1', '--nthreads', '1',
                                   '--no-nanny', '--local-directory', folder, *common)
                        for _ in range(2)]
        return self

    def start(self, *command):
        self.started.append(subprocess.Popen(command, env=self.env, cwd=self.room.name,
                                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return self.started[-1].pid

    def __exit__(self, *unused):
        for one in reversed(self.started):
            one.kill()
            one.wait()
        self.room.cleanup()

    def client(self):
        from dask.distributed import Client
        client = Client(scheduler_file=self.file, set_as_default=True)
        client.wait_for_workers(2)
        client.submit(add_one, 1, pure=False).result()
        return client


def jobs_single(world):
    client = world.client()
    client.gather(client.map(add_one, range(JOBS // 4), pure=False))
    start = time.perf_counter()
    client.gather(client.map(add_one, range(JOBS), pure=False))
    return JOBS / (time.perf_counter() - start)


def jobs_map(world):
    import dask.bag
    world.client()

    def run(count):
        return dask.bag.from_sequence(range(count), partition_size=PARTITION).map(add_one).compute()

    run(PARTITION * 2)
    start = time.perf_counter()
    run(MAPPED)
    return MAPPED / (time.perf_counter() - start)


def job_latency(world):
    client = world.client()
    took = []
    for i in range(-LATENCIES_WARM, LATENCIES):
        start = time.perf_counter()
        client.submit(add_one, i, pure=False).result()
        took.append(time.perf_counter() - start)
    return statistics.median(took[LATENCIES_WARM:]) * 1e6


def first_result(world):
    """Of a client that is there already; the function is new to all."""
    client = world.client()
    time.sleep(0.2)
    start = time.perf_counter()
    client.submit(lambda x: x + 2, 1).result()
    return (time.perf_counter() - start) * 1e3


def job_bytes(world):
    client = world.client()

    def have(count):
        held.extend(client.map(add_one, range(len(held), count), pure=False,
                               resources={'nobody': 1}))
        while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) < count:
            time.sleep(0.1)
        return status_bytes(world.scheduler, 'VmRSS')

    held = []
    return (have(WAIT_FROM) - have(WAIT_TO)) / (WAIT_FROM - WAIT_TO)


def worker_kb(world):
    world.client()
    time.sleep(1)
    return status_bytes(world.workers[0], 'VmRSS') / 1024


def worker_own_kb(world):
    world.client()
    time.sleep(1)
    with open(f'/proc/{world.workers[0]}/smaps_rollup') as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith('Private_'))


def scheduler_kb(world):
    world.client()
    time.sleep(1)
    return status_bytes(world.scheduler, 'VmRSS') / 1024


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all is cleaned up
    with World() as the_world:
        value = globals()[sys.argv[1].replace('-', '_')](the_world)
        print(f'{value:.3f}', flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the client complains of those who go
