"""Scenarios: one conversation played against redis-server and against azimuth before a twin.

A scenario is a function of a Site marked @both. It asserts what it knows, and notes what came
back; the notes must be the same on redis-server, behind azimuth, and behind azimuth with two
workers.
"""
import difflib
import functools
import re

import harness
from harness import wait_until
from resp import Client, Push, parse


class Site:
    """A redis-server, what clients talk to in front of it, and the notes of a conversation."""

    def __init__(self, redis, front, seed):
        self.redis = redis
        self.front = front
        self.direct = front is redis or getattr(front, "direct", False)
        self.notes = []
        self.random = harness.random.Random(seed)
        self._clients = []
        self._admin = None

    @property
    def address(self):
        return self.front.address

    def connect(self, resp=2, **options):
        client = NotedClient(self, self.front.address, resp=resp, **options)
        self._clients.append(client)
        return client

    @property
    def admin(self):
        """A connection to the redis-server itself."""
        if self._admin is None:
            self._admin = self.redis.connect()
            self._clients.append(self._admin)
        return self._admin

    def info(self, field):
        text = self.admin.cmd("INFO", "everything").decode()
        return re.search(rf"^{field}:(.*)\r$", text, re.M).group(1)

    def wait_blocked(self, count):
        """Until Redis itself says that so many clients are blocked."""
        wait_until(lambda: self.info("blocked_clients") == str(count), what=f"{count} blocked clients")

    def note(self, *what):
        self.notes.append(" ".join(item if isinstance(item, str) else repr(item) for item in what))

    def close(self):
        for client in self._clients:
            client.close()


class NotedClient(Client):
    """A client whose say() writes the bytes of the reply into the site's notes."""

    def __init__(self, site, address, **options):
        self.site = site
        super().__init__(address, **options)

    def say(self, *args, timeout=None):
        frame = self.raw(*args, timeout=timeout)
        self.site.note(repr(args), "->", frame)
        return parse(frame)[0]

    def hear(self, timeout=None):
        """The next reply or push, noted."""
        frame = self.read_raw(timeout)
        self.site.note("heard", frame)
        return parse(frame)[0]

    def id(self):
        return self.cmd("CLIENT", "ID")


def play(function, redis, front, seed):
    site = Site(redis, front, seed)
    try:
        function(site)
    finally:
        site.close()
    return site.notes


def both(function=None, *, redis=(), settings=()):
    """Marks a scenario; `redis` are options of the redis-server, `settings` of azimuth."""
    if function is None:
        return functools.partial(both, redis=redis, settings=settings)

    @functools.wraps(function)
    def wrapper(stage):
        server = stage.redis(*redis)
        expected = play(function, server, server, stage.seed)
        counts = (stage.options.workers,) if stage.options.workers else (1, 2)
        for workers in counts[:1] if stage.direct else counts:
            server = stage.redis(*redis)
            front = stage.azimuth(server, workers=workers, settings=settings)
            try:
                got = play(function, server, front, stage.seed)
            except Exception:
                print(f"       with {workers} worker(s):", flush=True)
                raise
            assert got == expected, f"not as redis-server, with {workers} worker(s):\n" + "\n".join(
                list(difflib.unified_diff(expected, got, "redis", "azimuth", n=2, lineterm=""))[:60]
            )
            stage.close(failed=False)

    return harness.test(wrapper)


__all__ = ["Push", "Site", "both", "play"]
