"""Append to a longshore log, wait until it is safe, mark it and read it back. See docs/SIDECAR.md.

usage: example.py HOST:PORT TLS_DIR IDENTITY LOG DURABILITY
"""
import pathlib
import sys

import grpc
from longshore.v1 import log_pb2 as pb
from longshore.v1 import log_pb2_grpc as rpc

address, tls_dir, identity, log, durability = sys.argv[1:]
tls = pathlib.Path(tls_dir)
credentials = grpc.ssl_channel_credentials(
    root_certificates=(tls / "ca.pem").read_bytes(),
    private_key=(tls / f"{identity}.key").read_bytes(),
    certificate_chain=(tls / f"{identity}.pem").read_bytes(),
)

with grpc.secure_channel(address, credentials) as channel:
    stub = rpc.LogStub(channel)
    before = stub.Positions(pb.PositionsRequest(log=log))

    # A batch is one transaction: whoever applies it sees both records or neither. `expect` makes
    # the call safe to repeat: a second one finds the log's end moved and writes nothing.
    batch = [pb.RecordDraft(payload=b"debit alice 10"), pb.RecordDraft(payload=b"credit bob 10")]
    done = stub.Append(
        pb.AppendRequest(log=log, records=batch, expect=before.end, wait=durability, timeout_millis=20_000)
    )
    print(f"appended {done.start}..{done.end}, {durability}")

    marked = stub.Mark(pb.MarkRequest(log=log, name="payday"))
    stub.Wait(pb.WaitRequest(log=log, position=marked.position, wait="local"))
    print(f"marked payday at {marked.position}")

    for answer in stub.Read(pb.ReadRequest(log=log, start=str(done.start), end="mark:payday")):
        for record in answer.records:
            if record.kind >= 256:
                print(f"{record.end}: {record.payload.decode()}")

    try:
        stub.Append(pb.AppendRequest(log=log, records=batch, expect=before.end))
    except grpc.RpcError as refused:
        print(f"repeated: {refused.code().name}: {refused.details()}")
