"""What Caliber's receipts say: statements, rows and bytes from each source, which a server tells nobody but its operator.

Owns: talking to `caliber-benches receipts`. Never: a time; the answers of this program are counted, not measured.
"""

import json
import signal
import subprocess

import project
from servers import ends_with_us


class Receipts:
    """The engine over a project, in a process that answers each statement with its receipt."""

    def __init__(self, program, folder):
        self.command = [program, "receipts", folder, project.USER]
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=ends_with_us(signal.SIGTERM)
        )
        if json.loads(self.process.stdout.readline() or "null") != "ready":
            raise SystemExit("`caliber-benches receipts` did not start")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def of(self, sql):
        """`{"rows": …, "sources": {name: {"statements": …, "rows": …, "bytes": …}}}`, or `{"error": …}`."""
        self.process.stdin.write(json.dumps(sql) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())
