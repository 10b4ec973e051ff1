"""How many connections the server keeps open: fewer than the system lets it open files.

Every connection is an open file. Where they run out, asyncio writes a traceback for each one that
waits, and the page cannot be read from the disk. So the longest idle connection makes room for a new one.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 512
ACCEPTED_AT_ONCE = 16  # asyncio accepts this many before it looks after any of them
WAITING = 512  # connections that the system keeps until they are accepted
_OTHER_FILES = 128  # the program's own, and connections that are accepted or closed at this moment
_FEWEST_CONNECTIONS = 16


def most_connections() -> int:
    """Raise the system's limit on open files as far as needed and allowed, and return how many connections fit."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST_CONNECTIONS
    wanted = MOST_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_CONNECTIONS
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(_FEWEST_CONNECTIONS, limit - _OTHER_FILES)


def limited_protocol(most: int) -> type[H11Protocol]:
    """Return uvicorn's protocol for HTTP, of which at most `most` connections are open at once.

    A new connection takes the place of the one that has been idle longest. Where none is idle, the
    new one is closed.
    """

    class LimitedProtocol(H11Protocol):
        last_active = 0.0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self.last_active = self.loop.time()
            super().connection_made(transport)
            if len(self.connections) > most:
                others = (c for c in self.connections if c is not self and isinstance(c, LimitedProtocol))
                idle = [c for c in others if c.is_idle]
                closed = min(idle, key=lambda connection: connection.last_active, default=self)
                self.connections.discard(closed)
                closed.transport.abort()

        def data_received(self, data: bytes) -> None:
            self.last_active = self.loop.time()
            super().data_received(data)

        @property
        def is_idle(self) -> bool:
            """Whether no request is being answered; one whose headers are not complete counts for nothing."""
            return self.cycle is None or self.cycle.response_complete

    return LimitedProtocol
