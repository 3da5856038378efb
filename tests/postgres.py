"""A PostgreSQL server of the tests' own, in a temporary folder."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

USER = "tester"


def program(name: str) -> Path | None:
    """Of the newest version that is installed; Debian keeps most of them out of the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    found = shutil.which(name)
    return places[-1] if places else Path(found) if found else None


class Server:
    """Made by `server()`. It can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.process = folder, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.account = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
            self.account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def url(self, database: str, user: str = USER, password: str = "") -> str:
        name = f"{user}:{password}" if password else user
        return f"postgresql+psycopg://{name}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        words = ["-D", self.folder / "data", "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        self._run("initdb", *words)
        hba = self.folder / "data" / "pg_hba.conf"
        hba.write_text(f"host all secretive 127.0.0.1/32 scram-sha-256\n{hba.read_text()}")

    def start(self) -> None:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "max_connections": 200,
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program("postgres"), "-D", self.folder / "data", *words],
                stdout=log, stderr=log, cwd=self.folder, **self.account,
            )  # fmt: skip
        until = time.monotonic() + 30
        while self._ask("select 1").returncode:
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.1)

    def stop(self, how: int = signal.SIGINT) -> None:
        """At once: SIGINT disconnects everybody, SIGQUIT is as a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"db{uuid.uuid4().hex[:12]}"
        self.ask(f'create database "{name}"')
        return self.url(name)

    def ask(self, statement: str, database: str = "postgres") -> str:
        done = self._ask(statement, database)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _ask(self, statement: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        words = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database, "-v", "ON_ERROR_STOP=1", "-qAt"]
        return subprocess.run(
            [program("psql"), *words, "-c", statement], capture_output=True, text=True, check=False, cwd=self.folder
        )

    def _run(self, name: str, *words: object) -> None:
        done = subprocess.run(
            [program(name), *words], capture_output=True, text=True, check=False, cwd=self.folder, **self.account
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="unvanish-postgres-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        running = Server(Path(name))
        running.make()
        running.start()
        try:
            yield running
        finally:
            running.stop()


def why_not() -> str | None:
    """Why no server can be started here, if none can."""
    if program("postgres") is None or program("initdb") is None:
        return "the programs of PostgreSQL are missing: apt-get install postgresql"
    if find_spec("psycopg") is None:
        return "its driver is missing: pip install 'unvanish[postgres]'"
    return None
