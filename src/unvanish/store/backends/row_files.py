"""Files in rows of the database, where there is no folder: they come and go with the rows that name them."""

from sqlalchemy import Connection, delete, insert, select

from unvanish.store.files import SHORT, short
from unvanish.store.tables import blobs

PART = 2**26  # bytes: SQLite and PostgreSQL keep at most 1 GB in a row, and a client holds several copies of one


class FilesInRows:
    """`Files` in the table of blobs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, name: str, content: bytes) -> None:
        self.remove(name)
        for part, start in enumerate(range(0, max(1, len(content)), PART)):
            row = {"run": _run_of(name), "name": name, "part": part, "content": content[start : start + PART]}
            self._connection.execute(insert(blobs), row)

    def read(self, name: str) -> bytes:
        this = (blobs.c.run == _run_of(name)) & (blobs.c.name == name)
        parts = self._connection.execute(select(blobs.c.content).where(this).order_by(blobs.c.part)).scalars().all()
        if not parts:
            raise KeyError(name)
        return b"".join(parts)

    def remove(self, name: str) -> None:
        self._connection.execute(delete(blobs).where(blobs.c.run == _run_of(name), blobs.c.name == name))

    def of_run(self, digest: str) -> list[str]:
        names = select(blobs.c.name).where(blobs.c.run == short(digest)).distinct()
        return list(self._connection.execute(names).scalars())


def _run_of(name: str) -> str:
    return name.rpartition("/")[2][:SHORT]
