"""RESP2 and RESP3 for the tests: frames as raw bytes, their values, and a plain socket client.

Nothing is hidden from a test: a client hands out the very bytes of a reply, or its value, and a
push is a reply like any other. No retry, no pool, no reconnect.
"""
import socket
import time


class Status(str):
    """+OK and the like. Equal to the same text as str."""


class RespError(str):
    """-ERR ... as a value; never raised."""


class Push(list):
    """A RESP3 push (>), out of band."""


class Closed(Exception):
    """The peer closed the connection."""


class ProtocolFault(Exception):
    """The peer sent bytes that are no RESP."""


LINES = frozenset(b"+-:_#,(")
BULKS = frozenset(b"$=!")
ARRAYS = frozenset(b"*~>")


def frame_end(buf, pos):
    """The position after the reply that starts at pos, or -1 if it is not all there yet."""
    outstanding = 1
    size = len(buf)
    while outstanding:
        newline = buf.find(b"\r\n", pos)
        if newline < 0:
            if pos < size and buf[pos] not in b"+-:_#,($=!*~>%|":
                raise ProtocolFault(f"no RESP type: {bytes(buf[pos:pos + 60])!r}")
            return -1
        kind = buf[pos]
        if kind in LINES:
            pos = newline + 2
            outstanding -= 1
        elif kind in BULKS:
            length = int(buf[pos + 1 : newline])
            pos = newline + 2 + (length + 2 if length >= 0 else 0)
            if pos > size:
                return -1
            outstanding -= 1
        elif kind in ARRAYS:
            outstanding += max(int(buf[pos + 1 : newline]), 0) - 1
            pos = newline + 2
        elif kind == 0x25:  # %: a map of pairs
            outstanding += 2 * int(buf[pos + 1 : newline]) - 1
            pos = newline + 2
        elif kind == 0x7C:  # |: attributes, then the reply itself
            outstanding += 2 * int(buf[pos + 1 : newline])
            pos = newline + 2
        else:
            raise ProtocolFault(f"no RESP type: {bytes(buf[pos:pos + 60])!r}")
    return pos


def split_frames(buf, pos=0):
    """All whole replies of buf from pos on, as a list of byte strings."""
    frames = []
    while pos < len(buf):
        end = frame_end(buf, pos)
        if end < 0:
            break
        frames.append(bytes(buf[pos:end]))
        pos = end
    return frames


def hashable(value):
    return tuple(map(hashable, value)) if isinstance(value, list) else value


def parse(buf, pos=0):
    """The value of the whole reply at pos, and the position after it."""
    newline = buf.find(b"\r\n", pos)
    kind, line, after = chr(buf[pos]), bytes(buf[pos + 1 : newline]), newline + 2
    if kind == "+":
        return Status(line.decode("latin-1")), after
    if kind == "-":
        return RespError(line.decode("latin-1")), after
    if kind == ":" or kind == "(":
        return int(line), after
    if kind == ",":
        return float(line), after
    if kind == "#":
        return line == b"t", after
    if kind == "_":
        return None, after
    if kind in "$=!":
        length = int(line)
        if length < 0:
            return None, after
        body = bytes(buf[after : after + length])
        after += length + 2
        if kind == "!":
            return RespError(body.decode("latin-1")), after
        return (body[4:] if kind == "=" else body), after
    count = int(line)
    if kind in "%|":
        pairs = {}
        for _ in range(count):
            key, after = parse(buf, after)
            pairs[hashable(key)], after = parse(buf, after)
        return (pairs, after) if kind == "%" else parse(buf, after)
    if count < 0:
        return None, after
    items = Push() if kind == ">" else []
    for _ in range(count):
        item, after = parse(buf, after)
        items.append(item)
    return items, after


def to_bytes(value):
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return str(value).encode()


def encode(args):
    """One request as a multibulk."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = to_bytes(arg)
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


def open_socket(address, timeout):
    """address: (host, port) or the path of a UNIX socket."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect(address)
        return sock
    sock = socket.create_connection(address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Client:
    """One connection. Every read has a deadline."""

    def __init__(self, address, timeout=20.0, resp=2):
        self.address = address
        self.timeout = timeout
        self.sock = open_socket(address, timeout)
        self.buf = bytearray()
        self.pushes = []
        if resp == 3:
            self.cmd("HELLO", 3)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send_raw(self, data):
        self.sock.sendall(data)

    def send(self, *args):
        self.sock.sendall(encode(args))

    def fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no reply in time; have {bytes(self.buf[:200])!r}")
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(1 << 18)
        except socket.timeout:
            raise TimeoutError(f"no reply in time; have {bytes(self.buf[:200])!r}") from None
        except (ConnectionResetError, BrokenPipeError) as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed("closed by the peer")
        self.buf += data

    def read_raw(self, timeout=None):
        """The bytes of the next reply, pushes included."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            end = frame_end(self.buf, 0) if self.buf else -1
            if end >= 0:
                frame = bytes(self.buf[:end])
                del self.buf[:end]
                return frame
            self.fill(deadline)

    def read(self, timeout=None):
        return parse(self.read_raw(timeout))[0]

    def read_n(self, count, timeout=None):
        return [self.read(timeout) for _ in range(count)]

    def cmd(self, *args, timeout=None):
        """Sends one command and returns its reply; pushes on the way go to self.pushes."""
        self.send(*args)
        return self.reply(timeout)

    def reply(self, timeout=None):
        while True:
            value = self.read(timeout)
            if not isinstance(value, Push):
                return value
            self.pushes.append(value)

    def raw(self, *args, timeout=None):
        """The bytes of the reply to one command."""
        self.send(*args)
        return self.read_raw(timeout)

    def pipeline(self, *commands, timeout=None):
        """Commands in one packet; one value each."""
        self.send_raw(b"".join(encode(command) for command in commands))
        return [self.reply(timeout) for _ in commands]

    def push(self, timeout=None):
        """The next push, waiting for it."""
        if self.pushes:
            return self.pushes.pop(0)
        value = self.read(timeout)
        if not isinstance(value, Push):
            raise AssertionError(f"expected a push, got {value!r}")
        return value

    def read_to_end(self, timeout=None):
        """All bytes until the peer closes."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            while True:
                self.fill(deadline)
        except Closed:
            data = bytes(self.buf)
            self.buf.clear()
            return data

    def silent(self, seconds):
        """True when nothing comes in that time (for proving an absence only)."""
        try:
            self.buf or self.fill(time.monotonic() + seconds)
        except TimeoutError:
            return True
        except Closed:
            return False
        return not self.buf
