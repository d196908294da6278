#!/usr/bin/env bash
# Makes a Python environment with gRPC stubs generated from proto/ in DIR. Exits with 77, and says
# why on stderr, where that cannot be done (no python3, no package index): callers skip then.
set -euo pipefail
dir=${1:?usage: python_stubs.sh DIR}
top=$(cd "$(dirname "$0")/../.." && pwd)

command -v python3 >/dev/null || { echo "python3 is not installed" >&2; exit 77; }
if [ ! -x "$dir/venv/bin/python" ] || ! "$dir/venv/bin/python" -c 'import grpc, grpc_tools' 2>/dev/null; then
  python3 -m venv "$dir/venv" || { echo "python3 cannot make a venv (python3-venv missing?)" >&2; exit 77; }
  "$dir/venv/bin/pip" install --quiet --disable-pip-version-check 'grpcio>=1.66' 'grpcio-tools>=1.66' \
    || { echo "grpcio and grpcio-tools cannot be installed from the package index" >&2; exit 77; }
fi
mkdir -p "$dir/stubs"
"$dir/venv/bin/python" -m grpc_tools.protoc -I "$top/proto" \
  --python_out="$dir/stubs" --grpc_python_out="$dir/stubs" "$top"/proto/longshore/v1/*.proto
