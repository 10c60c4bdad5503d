"""What left the sources: rows and statements as their servers count them by account, bytes as they pass a forwarder.

Owns: the counters of PostgreSQL and MariaDB, the forwarder. Never: what a measured system says of itself (receipts.py does).
"""

import contextlib
import selectors
import socket
import threading
import time

OURS = r"\m(orders|lineitem)\M|^\s*FETCH\M"
"""PostgreSQL's statements that count: those that name a table of the data, and the next rows of a cursor. Catalog queries and
BEGIN do not."""

SETTLE_SECONDS_MAX = 30
"""How long a server may take to close what a client has read to its end."""

BLOCK_BYTES = 1 << 18


class Counters:
    """Rows and statements by account, since a mark."""

    def __init__(self, postgres, mariadb):
        self.postgres = postgres.connect()
        self.mariadb = mariadb.connect(database=None)

    def close(self):
        self.postgres.close()
        self.mariadb.close()

    def reset(self):
        """Forgets what was counted."""
        self.postgres.execute("SELECT pg_stat_statements_reset()")
        with self.mariadb.cursor() as cursor:
            cursor.execute("FLUSH USER_STATISTICS")

    def settle(self, account):
        """Waits until neither server works for `account`: a statement is counted once it is closed."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while self.working(account):
            if time.monotonic() > deadline:
                raise SystemExit(f"a statement of {account} is still open after {SETTLE_SECONDS_MAX} s")
            time.sleep(0.01)

    def working(self, account):
        """How many statements or transactions of `account` are open."""
        found = self.postgres.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state NOT IN ('idle', 'disabled')", (account,)
        )
        (sales,) = found.fetchone()
        with self.mariadb.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER = %s AND COMMAND NOT IN ('Sleep', 'Daemon')",
                (account,),
            )
            (crm,) = cursor.fetchone()
        return sales + crm

    def sales(self, account):
        """(statements, rows) that PostgreSQL ran for `account` over the tables of the data."""
        self.settle(account)
        found = self.postgres.execute(
            "SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(rows), 0)::bigint FROM pg_stat_statements"
            " JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = %s AND query ~* %s",
            (account, OURS),
        )
        return found.fetchone()

    def crm(self, account):
        """(statements, rows) that MariaDB ran for `account`, its questions about the schema included."""
        self.settle(account)
        with self.mariadb.cursor() as cursor:
            cursor.execute(
                "SELECT SELECT_COMMANDS, ROWS_SENT FROM information_schema.USER_STATISTICS WHERE USER = %s", (account,)
            )
            return cursor.fetchone() or (0, 0)


class Forwarder:
    """A port of this machine behind which another lies; counts the bytes that come back."""

    def __init__(self, port):
        self.target = port
        self.received = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # A thread that waits in `accept` wakes up when the socket is shut, not when it is closed.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self.pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pairs += [client, server]
            threading.Thread(target=self.forward, args=(client, server), daemon=True).start()

    def forward(self, client, server):
        """Passes blocks on, both ways, until one end closes."""
        other = {client: server, server: client}
        with selectors.DefaultSelector() as ready, client, server:
            for end in other:
                ready.register(end, selectors.EVENT_READ)
            with contextlib.suppress(OSError):
                while True:
                    for key, _ in ready.select():
                        block = key.fileobj.recv(BLOCK_BYTES)
                        if not block:
                            return
                        if key.fileobj is server:
                            self.received += len(block)
                        other[key.fileobj].sendall(block)
