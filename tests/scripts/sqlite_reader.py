"""Reads a replica's database while it is applied to, and checks what must hold of every snapshot.

Usage: sqlite_reader.py DATABASE STOP_FILE

Prints one line at the end: `reads N`. Exits with 1 and says why as soon as a snapshot is inconsistent or
older than one that was seen before.
"""
import os
import sqlite3
import sys
import time

path, stop = sys.argv[1], sys.argv[2]
reads, before = 0, 0
db = None
while not os.path.exists(stop):
    try:
        if db is None:
            db = sqlite3.connect("file:%s?mode=ro" % path, uri=True, timeout=10, isolation_level=None)
        db.execute("BEGIN")
        ticks = db.execute("SELECT n FROM ticks").fetchone()
        total = db.execute("SELECT coalesce(sum(balance), 0), count(*) FROM accounts NOT INDEXED").fetchone()
        indexed = db.execute("SELECT coalesce(sum(balance), 0), count(*) FROM accounts INDEXED BY by_balance").fetchone()
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        # Not there yet, or being recovered after a kill. Anything else is what this test is for.
        text = str(error)
        if not any(word in text for word in ("unable to open", "no such table", "locked", "busy")):
            print("failed:", text)
            sys.exit(1)
        db = None
        time.sleep(0.02)
        continue
    if total != indexed or total[0] != 0:
        print("inconsistent: the table has", total, "its index", indexed)
        sys.exit(1)
    if ticks[0] < before:
        print("went back: from tick", before, "to", ticks[0])
        sys.exit(1)
    reads, before = reads + 1, ticks[0]
print("reads", reads)
