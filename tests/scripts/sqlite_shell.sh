#!/bin/sh
# The sqlite3 shell as a second stock writer: prints its path, installing Debian's package where it may.
# Fails where it is not to be had; the test then goes on without it and says so.
set -eu
command -v sqlite3 && exit 0
command -v apt-get >/dev/null
[ "$(id -u)" = 0 ]
{ apt-get install -y --no-install-recommends sqlite3 || { apt-get update && apt-get install -y --no-install-recommends sqlite3; }; } >&2
command -v sqlite3
