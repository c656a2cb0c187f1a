"""Run a command and print, as JSON, what it took: `python -S meter.py COMMAND ...`.

It stands alone and is started by a fresh interpreter, because the peak memory of a child begins at that of the
process it was forked from, and the bench itself is a large one.
"""

import json
import os
import subprocess
import sys
import tempfile
import time


def main() -> None:
    """Print seconds, processor seconds and peak bytes of the command, its exit code and the end of its complaints."""
    with tempfile.TemporaryFile() as complaints:
        started = time.perf_counter()
        child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        complaints.seek(0)
        took = {
            "seconds": seconds,
            "processor_seconds": usage.ru_utime + usage.ru_stime,
            "peak_bytes": usage.ru_maxrss * 1024,
            "code": os.waitstatus_to_exitcode(status),
            "complaints": complaints.read().decode(errors="replace")[-2000:],
        }
    print(json.dumps(took))


if __name__ == "__main__":
    main()
