"""The private PostgreSQL and MariaDB servers of a benchmark: found, started on loopback, ended with this process.

Owns: their programs, accounts, settings and ports. Never: a row (load.py), or a server that ran before.
"""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psycopg
import pymysql

START_SECONDS_MAX = 120
"""How long a server may take to start, recovery after a kill included."""

PR_SET_PDEATHSIG = 1

POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "1GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "effective_cache_size": "4GB",
    "max_wal_size": "8GB",
    "max_connections": "100",
    # The data can be made again; nothing else may write while a query is measured.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": "20000",
    "pg_stat_statements.track": "top",
}

MARIADB_SETTINGS = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--performance-schema=0",
    # Rows and bytes sent, by account: information_schema.USER_STATISTICS.
    "--userstat=1",
    "--local-infile=1",
    "--character-set-server=utf8mb4",
    "--max-connections=100",
    "--innodb-buffer-pool-size=512M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
]


def program(name):
    """The newest program of that name: in PATH, or where distributions keep servers."""
    versions = Path("/usr/lib/postgresql")
    numbered = [folder for folder in versions.iterdir() if folder.name.isdigit()] if versions.is_dir() else []
    folders = [folder / "bin" for folder in sorted(numbered, key=lambda folder: int(folder.name), reverse=True)]
    folders += [Path("/usr/sbin"), Path("/usr/local/sbin")]
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]))
    if not found:
        raise SystemExit(f"`{name}` is not installed; `cargo xtask bench` installs it on Debian")
    return found


def free_port():
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ends_with_us(signal_number):
    """What a child runs before its program: the kernel signals it once this process is gone, however it went."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ask():
        libc.prctl(PR_SET_PDEATHSIG, signal_number)

    return ask


class Server:
    """A server over `folder`, which is made on first use and kept."""

    accounts = ()
    end_signal = signal.SIGTERM

    def __init__(self, folder, password):
        self.folder = Path(folder)
        self.password = password
        self.port = free_port()
        self.process = None
        # Database servers refuse to run as root.
        self.account = self.unprivileged() if os.geteuid() == 0 else None

    def unprivileged(self):
        for name in (*self.accounts, "nobody"):
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        raise SystemExit("this is root, and there is no account to run a database server as")

    def prepare(self):
        """Makes the folder, owned by the account that the server runs as."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.account:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)
            reached = subprocess.run(
                ["test", "-w", self.folder], user=self.account.pw_uid, group=self.account.pw_gid, extra_groups=[], check=False
            )
            if reached.returncode != 0:
                raise SystemExit(f"{self.account.pw_name} cannot reach {self.folder}: name another folder with --keep")

    def identity(self):
        """How `subprocess` is told whose process it starts."""
        home = {"HOME": str(self.folder), "LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        common = {"cwd": self.folder, "env": home, "stdin": subprocess.DEVNULL}
        if self.account:
            common |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return common

    def run(self, *command):
        """Runs a program to its end, and fails with its words."""
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self.identity())
        if done.returncode != 0:
            raise SystemExit(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")

    def start(self):
        """Starts it, and waits until it answers."""
        log = self.folder / "server.log"
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                self.command(),
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=ends_with_us(self.end_signal),
                start_new_session=True,
                **self.identity(),
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.command()[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def __enter__(self):
        self.prepare()
        self.make()
        self.start()
        return self

    def __exit__(self, *_):
        self.process.send_signal(self.end_signal)
        self.process.wait()


class Postgres(Server):
    """A PostgreSQL cluster whose owner is `bench`."""

    accounts = ("postgres",)
    # Fast shutdown: clients are sent away, nothing is lost.
    end_signal = signal.SIGINT

    def make(self):
        data = self.folder / "data"
        if (data / "PG_VERSION").exists():
            return
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o600)
        if self.account:
            os.chown(secret, self.account.pw_uid, self.account.pw_gid)
        self.run(
            program("initdb"), "--pgdata", str(data), "--username", "bench", "--pwfile", str(secret),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync",
        )
        secret.unlink()

    def command(self):
        settings = [word for name, value in POSTGRES_SETTINGS.items() for word in ("-c", f"{name}={value}")]
        return [program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *settings]

    def answers(self):
        try:
            self.connect("bench", "postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, user="bench", database="bench", **options):
        """A connection that commits each statement."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, password=self.password, dbname=database, autocommit=True, **options
        )


class MariaDb(Server):
    """A MariaDB server whose owner is `bench`."""

    accounts = ("mysql",)

    def make(self):
        if (self.folder / "data" / "mysql").is_dir():
            return
        self.run(
            program("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
        )

    def command(self):
        first = self.folder / "first.sql"
        first.write_text(
            f"CREATE USER IF NOT EXISTS 'bench'@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL PRIVILEGES ON *.* TO 'bench'@'127.0.0.1' WITH GRANT OPTION;\n"
            "ALTER USER 'root'@'localhost' ACCOUNT LOCK;\n"
        )
        first.chmod(0o600)
        if self.account:
            os.chown(first, self.account.pw_uid, self.account.pw_gid)
        return [
            program("mariadbd"), "--no-defaults", f"--datadir={self.folder / 'data'}", f"--port={self.port}",
            f"--socket={self.folder / 's'}", f"--pid-file={self.folder / 'pid'}", f"--tmpdir={self.folder}",
            f"--init-file={first}", *MARIADB_SETTINGS,
        ]

    def answers(self):
        try:
            self.connect("bench", None).close()
        except pymysql.OperationalError:
            return False
        return True

    def connect(self, user="bench", database="crm", **options):
        """A connection that commits each statement."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=self.password, database=database, autocommit=True,
            charset="utf8mb4", **options,
        )
