"""Two ICE agents of aioice that may only use the relay connect and exchange messages.

usage: aioice_relay.py SERVER PORT USERNAME PASSWORD udp|tcp|tls MESSAGES

Writes one JSON object: the selected candidates' types and how many messages came back unchanged. The relay's
certificate is verified against $SSL_CERT_FILE.
"""

import asyncio
import json
import os
import sys

import aioice


def agent(controlling, server, port, username, password, transport):
    return aioice.Connection(
        ice_controlling=controlling,
        turn_server=(server, port),
        turn_username=username,
        turn_password=password,
        turn_ssl=transport == "tls",
        turn_transport="udp" if transport == "udp" else "tcp",
        transport_policy=aioice.TransportPolicy.RELAY,
    )


async def main(server, port, username, password, transport, messages):
    a, b = (agent(first, server, int(port), username, password, transport) for first in (True, False))
    for here, there in ((a, b), (b, a)):
        await here.gather_candidates()
        for candidate in here.local_candidates:
            await there.add_remote_candidate(candidate)
        await there.add_remote_candidate(None)
        there.remote_username, there.remote_password = here.local_username, here.local_password
    await asyncio.gather(a.connect(), b.connect())
    whole = 0
    for i in range(int(messages)):
        message = os.urandom(1 + i % 1200)
        await a.send(message)
        await b.send(await b.recv())
        whole += await a.recv() == message
    types = sorted({c.type for here in (a, b) for c in here.local_candidates})
    await asyncio.gather(a.close(), b.close())
    print(json.dumps({"types": types, "whole": whole}))


asyncio.run(main(*sys.argv[1:]))
