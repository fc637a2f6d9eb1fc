# SPDX-License-Identifier: MIT
"""GNU parallel: two jobs at a time on this computer, each a process, which prints its result.

usage: jobs.py FIGURE      (jobs-single or first-result)
"""
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

JOBS = 400
SAMPLES = 9


def run(folder, count, *command):
    """Seconds until all results are there."""
    start = time.perf_counter()
    ran = subprocess.run(['parallel', '--will-cite', '-j2', *command], text=True, check=True,
                         env={**os.environ, 'HOME': folder, 'TMPDIR': folder}, cwd=folder,
                         input=''.join(f'{i}\n' for i in range(count)), stdout=subprocess.PIPE)
    took = time.perf_counter() - start
    if len(ran.stdout.split()) != count:
        sys.exit('results are missing')
    return took


def main():
    with tempfile.TemporaryDirectory(prefix='asyncoro-bench.') as folder:
        run(folder, 1, 'echo')
        if sys.argv[1] == 'jobs-single':
            value = JOBS / run(folder, JOBS, 'echo')
        else:
            value = statistics.median(run(folder, 1, 'echo') for _ in range(SAMPLES)) * 1e3
        print(f'{value:.3f}')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all is cleaned up
    main()
