"""A stock SQLite application for the chaos test: Python's own sqlite3 module, nothing of longshore.

Usage: sqlite_writer.py DATABASE SEED STOP_FILE

Money is moved between accounts, so the sum of all balances is always 0; every transaction that commits
also raises the one row of `ticks` by one. Rolls back, changes the schema, vacuums, deletes in masses and
checkpoints by itself, as applications do.
"""
import os
import random
import sqlite3
import sys

path, seed, stop = sys.argv[1], int(sys.argv[2]), sys.argv[3]
rng = random.Random(seed)
db = sqlite3.connect(path, timeout=30, isolation_level=None)
db.execute("PRAGMA journal_mode=wal")
db.execute("PRAGMA synchronous=%s" % rng.choice(["normal", "full"]))
db.executescript("""
    CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note TEXT);
    CREATE INDEX IF NOT EXISTS by_balance ON accounts (balance);
    CREATE TABLE IF NOT EXISTS ticks (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS heap (id INTEGER PRIMARY KEY, body BLOB);
    INSERT OR IGNORE INTO ticks VALUES (1, 0);
""")
print("ready", flush=True)


def transfer():
    amount = rng.randrange(1000)
    for sign in (1, -1):
        account = rng.randrange(2000)
        db.execute("INSERT INTO accounts VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET balance = balance + ?, note = ?",
                   (account, sign * amount, "n" * rng.randrange(200), sign * amount, "m" * rng.randrange(200)))


def fill():
    for _ in range(rng.randrange(1, 60)):
        db.execute("INSERT INTO heap (body) VALUES (?)", (rng.randbytes(rng.randrange(6000)),))


def empty():
    db.execute("DELETE FROM heap WHERE id % ? = 0", (rng.randrange(1, 4),))


def schema():
    name = "extra%d" % rng.randrange(4)
    db.execute("DROP TABLE IF EXISTS %s" % name)
    if rng.random() < 0.7:
        db.execute("CREATE TABLE %s (a, b)" % name)
        db.execute("CREATE INDEX %s_a ON %s (a)" % (name, name))
        db.execute("INSERT INTO %s VALUES (1, 2), (3, 4)" % name)


def retry(work):
    """Busy is an ordinary answer where another writer is at it."""
    try:
        work()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error) and "busy" not in str(error):
            raise


while not os.path.exists(stop):
    dice = rng.random()
    if dice < 0.004:
        retry(lambda: db.execute("VACUUM"))
    elif dice < 0.02:
        retry(lambda: db.execute("PRAGMA wal_checkpoint(%s)" % rng.choice(["PASSIVE", "FULL", "RESTART", "TRUNCATE"])).fetchall())
    else:
        work = rng.choices([transfer, fill, empty, schema], [80, 10, 3, 3])[0]
        retry(lambda: db.execute("BEGIN IMMEDIATE"))
        if not db.in_transaction:
            continue
        work()
        db.execute("UPDATE ticks SET n = n + 1")
        db.execute("ROLLBACK" if rng.random() < 0.1 else "COMMIT")
