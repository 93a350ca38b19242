"""How do both sides of the gate speak HTTP/1.1, as far as the soak needs it?"""

import asyncio


class Broken(Exception):
    """The other side ended the connection."""


async def read_head(reader):
    """The first line, and the headers by lower-case name."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Broken from error
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return first, {name.lower(): value.strip() for name, value in pairs}


async def pieces(reader, headers):
    """The body, piece by piece."""
    try:
        if headers.get("transfer-encoding") != "chunked":
            length = int(headers.get("content-length", 0))
            if length:
                yield await reader.readexactly(length)
            return
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Broken from error


async def read_body(reader, headers):
    return b"".join([piece async for piece in pieces(reader, headers)])


def trace_of(headers):
    """The trace id in a `traceparent`."""
    return headers.get("traceparent", "--").split("-")[1]
