"""CLIENT LIST and CLIENT INFO as values."""

FIELDS = (
    "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem "
    "rbs rbp obl oll omem tot-mem events cmd user redir resp"
).split()


def line(text):
    """A line of CLIENT LIST as a dict."""
    return dict(item.split("=", 1) for item in text.strip().split(" "))


def listing(client, *args):
    return [line(row) for row in client.cmd("CLIENT", "LIST", *args).decode().splitlines()]


def own(client):
    text = client.cmd("CLIENT", "INFO").decode()
    assert text.endswith("\n") and text.count("\n") == 1, text
    assert [item.split("=")[0] for item in text.strip().split(" ")] == FIELDS, text
    return line(text)


def own_id(asker, client):
    """The id of a client that may not be asked now: found by its port."""
    port = client.sock.getsockname()[1]
    return [row["id"] for row in listing(asker) if row["addr"].endswith(":%d" % port)][0]
