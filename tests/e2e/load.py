"""Load for the fault tests: clients whose every request carries a token that its reply repeats, and
the books that tell, at the end, which writes must, may and must not be in Redis."""
import threading
import time

from harness import held, in_time
from resp import Client, Closed, Push, RespError, encode

APPEND = "redis.call('RPUSH', KEYS[1], ARGV[1]) return ARGV[1]"
# Refused by these, a command was not executed.
REFUSED = ("CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "BUSY", "NOREPLICAS", "TRYAGAIN", "EXECABORT")


class LoadClient(threading.Thread):
    """One connection in a loop of writes and reads, `depth` requests at a time."""

    def __init__(self, number, front, depth, resp, rng, reconnect):
        super().__init__(daemon=True)
        self.number, self.front, self.depth = number, front, depth
        self.reconnect = reconnect
        self.resp = resp
        self.rng = rng
        self.client = front.connect(timeout=60, resp=resp)
        self.over = threading.Event()
        self.serial = 0
        self.done = 0  # requests answered with their token
        self.acknowledged = []  # tokens of writes in the order of their replies
        self.uncertain = []
        self.refused = []
        self.errors = {}
        self.trouble = None
        self.worst = 0.0
        self.key = f"list{number}"
        self.last_set = None

    def token(self):
        self.serial += 1
        return f"{self.number}-{self.serial}"

    def run(self):
        try:
            while not self.over.is_set():
                requests = [self.request() for _ in range(self.depth)]
                start = time.monotonic()
                self.play(requests)
                self.worst = max(self.worst, time.monotonic() - start)
        except Exception as error:  # the test's own thread looks at it
            self.trouble = error

    def request(self):
        """(kind, token, commands): each kind knows the right reply."""
        token = self.token()
        luck = self.rng.random()
        if luck < 0.4:
            return "write", token, [["EVAL", APPEND, "1", self.key, token]]
        if luck < 0.6:
            return "read", token, [["EVAL_RO", "return ARGV[1]", "0", token]]
        if luck < 0.75:
            return "get", token, [["MGET", f"fixed{self.number}", f"fixed{self.number}"]]
        if luck < 0.9:
            return "echo", token, [["ECHO", token]]
        return "transaction", token, [["MULTI"], ["RPUSH", self.key, token], ["ECHO", token], ["EXEC"]]

    def play(self, requests):
        self.batch = requests
        try:
            self.client.send_raw(
                b"".join(encode(command) for _, _, commands in requests for command in commands)
            )
        except OSError:
            self.lost(requests)
            return
        for index, (kind, token, commands) in enumerate(requests):
            try:
                replies = [self.client.reply() for _ in commands]
            except Closed:
                self.lost(requests[index:])
                return
            self.judge(kind, token, replies)

    def lost(self, requests):
        """The connection itself is gone: only redis-server alone may do that to a client."""
        if not self.reconnect:
            raise AssertionError(f"client {self.number} was disconnected")
        self.uncertain += [token for kind, token, _ in requests if kind in ("write", "transaction")]
        while not self.over.is_set():
            try:
                self.client.close()
                self.client = self.front.connect(timeout=60, resp=self.resp)
                return
            except (OSError, Closed):
                time.sleep(0.002)

    def judge(self, kind, token, replies):
        value = replies[-1]
        if isinstance(value, RespError):
            prefix = value.split(" ")[0]
            self.errors[(kind, prefix)] = self.errors.get((kind, prefix), 0) + 1
            if prefix in REFUSED:
                self.refused.append(token)
            elif prefix == "UNCERTAIN" and kind in ("write", "transaction"):
                self.uncertain.append(token)
            elif prefix == "UNCERTAIN" and kind != "echo" and written_behind(token, self.batch):
                pass  # sent again it would be shown what that write did
            else:
                raise AssertionError(f"client {self.number}: a {kind} was answered {value!r}")
            return
        if kind == "get":
            right = value == [b"fixed", b"fixed"]
        elif kind == "transaction":
            right = isinstance(value, list) and isinstance(value[0], int) and value[1] == token.encode()
        else:
            right = value == token.encode()
        if not right:
            raise AssertionError(f"client {self.number}: {kind} {token} was answered {replies!r}")
        if kind in ("write", "transaction"):
            self.acknowledged.append(token)
        self.done += 1


def written_behind(token, requests):
    """A write stands behind the request of this token."""
    tokens = [each for _, each, _ in requests]
    return any(kind in ("write", "transaction") for kind, _, _ in requests[tokens.index(token) + 1:])


class Load:
    """Several LoadClients, started and stopped together."""

    def __init__(self, stage, front, redis, count=6):
        self.redis = redis
        with redis.connect() as admin:
            admin.pipeline(*[["SET", f"fixed{number}", "fixed"] for number in range(count)])
        self.clients = [
            LoadClient(
                number,
                front,
                (1, 1, 4, 16, 32, 8)[number % 6],
                2 + number % 2,
                type(stage.random)(stage.random.random()),
                stage.direct,
            )
            for number in range(count)
        ]
        for client in self.clients:
            client.start()

    def done(self):
        return [client.done for client in self.clients]

    def trouble(self):
        for client in self.clients:
            if client.trouble:
                raise client.trouble

    def progress(self, more, seconds=60):
        """Waits until every client has had `more` right answers from now on."""
        before = self.done()
        deadline = time.monotonic() + seconds
        while True:
            self.trouble()
            behind = [
                client.number for client, start in zip(self.clients, before) if client.done < start + more
            ]
            if not behind:
                return
            in_time(time.monotonic() < deadline, f"clients {behind} do not get on")
            time.sleep(0.001)

    def stop(self):
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(90)
            assert not client.is_alive(), f"client {client.number} hangs"
        self.trouble()

    def audit(self):
        """Every acknowledged write once and in order, no refused one, an uncertain one at most once."""
        with self.redis.connect() as admin:
            for client in self.clients:
                kept = [token.decode() for token in admin.cmd("LRANGE", client.key, 0, -1)]
                seen = set(kept)
                held(len(seen) == len(kept), f"client {client.number}: executed twice: {twice(kept)}")
                missing = [token for token in client.acknowledged if token not in seen]
                held(not missing, f"client {client.number}: acknowledged and lost: {missing[:10]}")
                ghosts = [token for token in client.refused if token in seen]
                held(not ghosts, f"client {client.number}: refused yet executed: {ghosts[:10]}")
                strangers = seen - set(client.acknowledged) - set(client.uncertain)
                held(not strangers, f"client {client.number}: not asked for: {sorted(strangers)[:10]}")
                order = [token for token in kept if token not in set(client.uncertain)]
                held(order == client.acknowledged, f"client {client.number}: out of order")

    def summary(self):
        errors = {}
        for client in self.clients:
            for (kind, prefix), count in client.errors.items():
                errors[f"{kind} {prefix}"] = errors.get(f"{kind} {prefix}", 0) + count
        return (
            f"{sum(self.done())} answered, {sum(len(c.acknowledged) for c in self.clients)} writes, "
            f"{sum(len(c.uncertain) for c in self.clients)} uncertain, worst wait "
            f"{max(c.worst for c in self.clients) * 1000:.0f} ms, errors {errors}"
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(5)
            client.client.close()


def twice(items):
    seen = set()
    return [item for item in items if item in seen or seen.add(item)][:10]


__all__ = ["Client", "Load", "LoadClient", "Push"]
