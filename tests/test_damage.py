"""A store is damaged at random; whoever reads it gets what was written, or a sentence, and nothing else."""

import io
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
import typer

import unvanish as uv
from unvanish.cli.commands import app
from unvanish.store import sealing
from unvanish.store.chunk import Chunk
from unvanish.store.protocol import DAMAGED
from unvanish.store.verify import damages

PAGE = 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A store with a finished, an unfinished, a failed and a named run, and events."""
    folder = tmp_path_factory.mktemp("damage") / "store"
    shutil.copytree(Path(__file__).parent / "stores" / "version2", folder)
    with uv.Store.writer(folder):  # brings it to this version
        pass
    return folder


# What is done to it


def flip_a_bit(dice: random.Random, folder: Path) -> None:
    file = dice.choice(files(folder))
    content = bytearray(file.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    file.write_bytes(content)


def truncate(dice: random.Random, folder: Path) -> None:
    file = dice.choice(files(folder))
    file.write_bytes(file.read_bytes()[: dice.randrange(file.stat().st_size)])


def zero_a_page(dice: random.Random, folder: Path) -> None:
    file = dice.choice(files(folder))
    content = bytearray(file.read_bytes())
    start = dice.randrange(0, len(content), PAGE)
    content[start : start + PAGE] = bytes(len(content[start : start + PAGE]))
    file.write_bytes(content)


def remove(dice: random.Random, folder: Path) -> None:
    dice.choice(files(folder)).unlink()


def swap(dice: random.Random, folder: Path) -> None:
    one, other = dice.sample(files(folder), 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def edit_a_row(dice: random.Random, folder: Path) -> None:
    """One value of one row is another, or the row is gone."""
    with closing(sqlite3.connect(folder / "unvanish.sqlite")) as database:
        table = dice.choice(["run", "curve", "series", "event", "environments", "total"])
        columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
        keys = [row[1] for row in database.execute(f"pragma table_info({table})") if row[5]] or ["rowid"]
        rows = database.execute(f"select {', '.join(keys)} from {table}").fetchall()
        where = " and ".join(f"{key} = ?" for key in keys)
        row = dice.choice(rows)
        if dice.random() < 0.2:
            database.execute(f"delete from {table} where {where}", row)
        else:
            value = dice.choice([7.5, -1, "x", b"\xff\x00", "{}", "", 2**62, 0])
            with suppress(sqlite3.IntegrityError):
                database.execute(f'update {table} set "{dice.choice(columns)}" = ? where {where}', (value, *row))
        database.commit()


KINDS: tuple[Callable[[random.Random, Path], None], ...] = (
    flip_a_bit, truncate, zero_a_page, remove, swap, edit_a_row,
)  # fmt: skip


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 100)


# What is read from it


def everything(folder: Path) -> dict[str, Any]:
    """All that a reader gets, thing by thing; a sentence in place of what is refused."""
    seen: dict[str, Any] = {}

    def ask(name: str, question: Callable[[], Any]) -> Any:
        try:
            seen[name] = question()
        except uv.StoreError as error:
            seen[name] = error
        return seen[name]

    reader = ask("reader", lambda: uv.Store.reader(folder))
    if isinstance(reader, uv.StoreError):
        return seen
    seen["reader"] = ""
    for digest in DIGESTS:
        ask(f"record {digest[:4]}", lambda digest=digest: plain(reader.record(digest)))
        ask(f"checkpoint {digest[:4]}", lambda digest=digest: reader.checkpoint(digest))
    ask("events", lambda: [(e.kind, e.digest, dict(e.data), e.at) for e in reader.events()])
    ask("list", lambda: [listed(summary) for summary in reader.summaries()])
    ask("verify", lambda: list(damages(reader)))
    return seen


DIGESTS: list[str] = []


def listed(summary: Any) -> Any:
    return summary.digest, repr(summary.recipe), summary.name, repr(summary.outcome), summary.begun


def plain(record: uv.Record) -> Any:
    values = {name: series.values.tobytes() for name, series in record.series.items()}
    weights = {name: weight.numpy().tobytes() for name, weight in (record.weights or {}).items()}
    return repr(record), repr(record.epochs), record.table.layers, record.environment, values, weights


def refused(one: Any) -> bool:
    return isinstance(one, uv.StoreError) and len(str(one)) > 20


def told(name: str, found: Any, want: Any, warned: str) -> bool:
    """Identical, or said: by an error, a warning, a run that is listed as damaged, or the verification."""
    if found == want or refused(found):
        return True
    if name == "verify":
        return bool(found)
    if name == "list":
        return "is damaged" in warned or any(f"state='{DAMAGED}'" in row[3] for row in found)
    return False


def campaign(whole: Path, tmp_path: Path, caplog, seeds: range) -> Counter:
    DIGESTS[:] = [summary.digest for summary in uv.Store.reader(whole).summaries()]
    want = everything(whole)
    assert want["verify"] == []
    outcomes: Counter = Counter()
    for seed in seeds:
        dice = random.Random(seed)
        folder = tmp_path / str(seed)
        shutil.copytree(whole, folder)
        damage = dice.choice(KINDS)
        damage(dice, folder)
        caplog.clear()
        found = everything(folder)
        silent = [name for name in found if not told(name, found[name], want[name], caplog.text)]
        assert not silent, f"seed {seed}, {damage.__name__}: {silent}"
        same = all(found.get(name) == value for name, value in want.items())
        noticed = bool(found.get("verify", True))
        assert same or noticed, f"seed {seed}, {damage.__name__}: verify says nothing"
        outcomes[damage.__name__, "identical" if same else "refused or told"] += 1
        shutil.rmtree(folder)
    return outcomes


def test_damage_is_noticed(whole, tmp_path, caplog):
    campaign(whole, tmp_path, caplog, range(60))


@pytest.mark.slow
def test_damage_is_noticed_a_thousand_times(whole, tmp_path, caplog):
    outcomes = campaign(whole, tmp_path, caplog, range(1000, 2000))
    print(dict(outcomes))
    assert sum(outcomes.values()) == 1000


# The same by every command that reads


def said(words: list[str]) -> tuple[Any, str, str]:
    """A command in this process: its exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            typer.main.get_command(app).main(words, prog_name="unvanish")
            code: Any = 0
        except SystemExit as error:
            code = error.code
    return code, out.getvalue(), err.getvalue()


def commands(page: Path, digests: list[str]) -> list[list[str]]:
    shown = [["show", digest] for digest in digests]
    written = [["export", "--to", "-"], ["export", "--layers", "--to", "-"], ["report", "--to", str(page)]]
    return [["runs"], ["runs", "--verify"], *shown, *written]


@pytest.mark.slow
def test_every_command_tells_damage_or_shows_what_was_written(whole, tmp_path, caplog):
    digests = [summary.digest for summary in uv.Store.reader(whole).summaries()]
    page = tmp_path / "page.md"
    store = tmp_path / "store"
    shutil.copytree(whole, store)
    want = {}
    for words in commands(page, digests):
        want[tuple(words)] = (*said([*words, "--store", str(store)])[:2], page.read_text() if page.exists() else "")
    for seed in range(150):
        dice = random.Random(seed)
        shutil.rmtree(store)
        shutil.copytree(whole, store)
        dice.choice(KINDS)(dice, store)
        for words, (code, out, text) in want.items():
            page.unlink(missing_ok=True)
            caplog.clear()
            found = said([*words, "--store", str(store)])
            same = found[:2] == (code, out) and (page.read_text() if page.exists() else "") == text
            spoken = found[1] + found[2] + caplog.text
            assert same or "damaged" in spoken or (found[0] == 1 and len(spoken) > 20), (seed, words, found)
            assert "Traceback" not in spoken


# What was found by hand: each stands for its kind


@pytest.fixture
def store(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store"))


def edit(store: Path, statement: str) -> None:
    with closing(sqlite3.connect(store / "unvanish.sqlite")) as database:
        assert database.execute(statement).rowcount
        database.commit()


def test_a_number_of_a_checkpoint_that_is_a_path_leads_nowhere(store):
    """SQLite keeps a text in a column of integers."""
    (unfinished,) = [s.digest for s in uv.Store.reader(store).summaries() if s.outcome.state == "unfinished"]
    victim = store.parent / "victim" / "model-1.safetensors"
    victim.parent.mkdir()
    victim.write_text("mine")
    (store / "checkpoints" / f"{unfinished[:16]}-").mkdir()
    edit(store, f"update run set checkpoint_stage = '/../../../victim/model' where digest = '{unfinished}'")
    with uv.Store.writer(store) as writer:
        with writer.backend.writing() as session:
            sealing.seal_all(session.connection, session.files)  # and were its checksum right
        with pytest.raises(uv.DamagedError):
            writer.checkpoint(unfinished)
        with pytest.raises(uv.DamagedError):
            writer.add(unfinished, Chunk("diverged"))
    assert victim.read_text() == "mine"


def test_a_database_of_another_program_is_left_as_it_is(tmp_path):
    file = tmp_path / "unvanish.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table notes (text)")
        database.commit()
    before = file.read_bytes()
    with pytest.raises(uv.StoreError, match="is not a store of unvanish"), uv.Store.writer(tmp_path):
        pass
    with pytest.raises(uv.StoreError, match="is not a store of unvanish"):
        uv.Store.reader(tmp_path)
    assert file.read_bytes() == before


def test_a_newer_store_is_not_written_to(store):
    edit(store, "update schema set version = 9")
    with closing(sqlite3.connect(store / "unvanish.sqlite")) as database:
        database.execute("drop table total")
    before = (store / "unvanish.sqlite").read_bytes()
    with pytest.raises(uv.StoreError, match="schema version 9"), uv.Store.writer(store):
        pass
    assert (store / "unvanish.sqlite").read_bytes() == before


def test_no_file_is_removed_on_the_word_of_a_damaged_row(store):
    before = files(store)
    edit(store, "update run set weights = 0")
    with uv.Store.writer(store):
        pass
    assert files(store) == before


@pytest.mark.parametrize(
    "statement",
    [
        "update run set checksum = null",
        "update run set checksum = 'zz' where state = 'finished'",
        "update run set digest = substr(digest, 1, 60) || 'ZZZZ' where state = 'finished'",
        "update run set digest = X'00ff41' where state = 'failed'",
        "update total set checksum = 'zz'",
        "update total set runs = 'abc'",
        "delete from total",
        "update event set checksum = 1",
        "delete from event where id = 1",
    ],
)
def test_after_any_damage_the_user_can_go_on(statement, store):
    """With `forget_lost_runs`, which is --restart-damaged, and `fresh`."""
    runs = [s.recipe for s in uv.Store.reader(store).summaries() if s.recipe is not None]
    edit(store, statement)
    assert list(damages(uv.Store.reader(store)))
    with uv.Store.writer(store) as writer:
        writer.forget_lost_runs()
    for recipe in runs:
        uv.run(recipe, store=store, fresh=True)
    uv.run(uv.baseline(hidden=(4,), samples=256, epochs=1), store=store)
    left = [s for s in uv.Store.reader(store).summaries() if s.outcome.state == DAMAGED]
    assert all(s.name is None and s.recipe is None for s in left)
    assert len(left) <= 1  # the run of a setup of one's own, which only its name can restart
    assert len(list(damages(uv.Store.reader(store)))) == len(left)


def test_a_damaged_digest_does_not_keep_the_others_from_a_report(store, tmp_path, caplog):
    edit(store, "update run set digest = X'00ff41' where state = 'failed'")
    code, _, err = said(["report", "--store", str(store), "--to", str(tmp_path / "page.MD")])
    assert code == 1
    assert "left out" in err
    assert (tmp_path / "page.MD").read_text().count("| recipe of your own") == 2


def test_a_pipe_in_place_of_weights_is_told(store):
    (weights, *_) = (store / "weights").iterdir()
    weights.unlink()
    os.mkfifo(weights)
    assert any("is not an ordinary file" in sentence for sentence in damages(uv.Store.reader(store)))


@pytest.mark.parametrize(
    "statement",
    [
        """update run set recipe = '{"x": 1}' where state = 'finished'""",
        "update run set recipe = 'garbage' where state = 'failed'",
        "update run set layers = '5' where state = 'finished'",
        "update run set begun = 'abc' where state = 'failed'",
        "update run set epochs = 'abc' where state = 'unfinished'",
        "update run set last_val_acc = 'abc' where state = 'finished'",
        "update run set state = 'zzz' where state = 'failed'",
        "update curve set val_acc = 'abc'",
        """update series set "values" = X'0000000000000000'""",
        "update environments set facts = '{' where id = 1",
    ],
)
def test_what_was_damaged_before_there_were_checksums_is_not_believed(statement, tmp_path):
    store = Path(shutil.copytree(Path(__file__).parent / "stores" / "version2", tmp_path / "old"))
    edit(store, statement)
    for opened in (uv.Store.reader, lambda store: uv.Store.writer(store).__enter__()):
        reader = opened(store)
        assert any(s.outcome.state == DAMAGED for s in reader.summaries())
        assert list(damages(reader))


def test_files_that_were_cut_before_there_were_checksums_are_told(tmp_path):
    store = Path(shutil.copytree(Path(__file__).parent / "stores" / "version2", tmp_path / "old"))
    cut = [file for file in files(store) if file.suffix == ".safetensors"]
    for file in cut:
        file.write_bytes(file.read_bytes()[:100])
    assert len(list(damages(uv.Store.reader(store)))) == len(cut) == 3


def test_an_event_that_was_damaged_before_is_told(tmp_path):
    store = Path(shutil.copytree(Path(__file__).parent / "stores" / "version2", tmp_path / "old"))
    edit(store, "update event set data = 'x' where id = 1")
    with pytest.raises(uv.DamagedError, match="event 1"):
        uv.Store.reader(store).events()


@pytest.mark.parametrize(
    "statement", ["update runs set recipe = '{}'", "update runs set recipe = 'x'", "update runs set layers = '[1]'"]
)
def test_a_damaged_store_of_version_1_is_told(statement, tmp_path):
    store = Path(shutil.copytree(Path(__file__).parent / "stores" / "version1", tmp_path / "old"))
    edit(store, statement)
    assert list(damages(uv.Store.reader(store)))


def test_questions_that_no_store_can_answer_are_refused(store):
    reader = uv.Store.reader(store)
    for after in (None, "x", -5, 10**30):
        with pytest.raises(uv.RecipeError):
            reader.events(after)
    for digest in (None, 5, "\udc80", [1]):
        with pytest.raises(uv.RecipeError):
            reader.record(digest)
    with pytest.raises(uv.StoreError, match="is not in"):
        reader.checkpoint("nope")
