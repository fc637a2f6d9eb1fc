# SPDX-License-Identifier: MIT
"""Celery with Redis, which carries jobs and results, through a socket in a folder of its own; one
worker with two processes, which fetch as many jobs ahead as its documentation advises for short
ones.

usage: jobs.py FIGURE
"""
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery, group

JOBS, MAPPED, CHUNK = 2000, 200_000, 5000
LATENCIES, LATENCIES_WARM = 200, 20
FOLDER = os.environ.get('JOBS_FOLDER', '')

REDIS = f'redis+socket://{FOLDER}/redis'
MODULE = Path(__file__).stem  # under which the worker knows it

app = Celery(MODULE, broker=REDIS, backend=REDIS)
app.conf.update(worker_prefetch_multiplier=128, worker_send_task_events=False,
                task_send_sent_event=False)


@app.task(name='add_one')
def add_one(x):
    return x + 1


def jobs_single():
    def run(count):
        group(add_one.s(i) for i in range(count)).apply_async().join_native(timeout=40)

    run(JOBS // 4)
    start = time.perf_counter()
    run(JOBS)
    return JOBS / (time.perf_counter() - start)


def jobs_map():
    def run(count):
        add_one.chunks(((i,) for i in range(count)), CHUNK).group().apply_async().join_native(
            timeout=40)

    run(CHUNK * 2)
    start = time.perf_counter()
    run(MAPPED)
    return MAPPED / (time.perf_counter() - start)


def job_latency():
    took = []
    for i in range(-LATENCIES_WARM, LATENCIES):
        start = time.perf_counter()
        add_one.delay(i).get(timeout=10)
        took.append(time.perf_counter() - start)
    return statistics.median(took[LATENCIES_WARM:]) * 1e6


def main():
    with tempfile.TemporaryDirectory(prefix='asyncoro-bench.') as folder:
        started = []
        env = {**os.environ, 'JOBS_FOLDER': folder, 'TMPDIR': folder,
               'PYTHONPATH': str(Path(__file__).parent),
               'PYTHONDONTWRITEBYTECODE': '1'}

        def start(*command):
            started.append(subprocess.Popen(
                command, cwd=folder, env=env, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL))

        try:
            start('redis-server', '--port', '0', '--unixsocket', f'{folder}/redis', '--save', '',
                  '--appendonly', 'no', '--dir', folder)
            while not Path(folder, 'redis').exists():
                time.sleep(0.02)
            start(sys.executable, '-m', 'celery', '-A', MODULE, 'worker', '-c', '2',
                  '--without-gossip', '--without-mingle', '--without-heartbeat', '-l', 'ERROR')
            return subprocess.run([sys.executable, __file__, sys.argv[1], 'client'], env=env,
                                  timeout=55).returncode
        finally:
            for one in reversed(started):
                one.terminate()
                try:
                    one.wait(3)
                except subprocess.TimeoutExpired:
                    one.kill()  # bench/run ends what it leaves behind
                    one.wait()


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all is cleaned up
    if len(sys.argv) < 3:
        sys.exit(main())
    print(f"{globals()[sys.argv[1].replace('-', '_')]():.3f}")
