"""Values such as applications keep in Redis, for what is measured about compression: JSON documents of 300 to 2,000 bytes,
session blobs, counters. The same seed gives the same commands.

Documents have their fields' names in common and little else: names, texts and numbers are drawn, a text's words as in a
language (few often, most seldom). A session is what web frameworks write: JSON in base64 with a signature in front, most of it
random to a compressor. A key is written again and again, and a document then changes in a few fields.
"""
import base64
import json
import random

DOCUMENTS, SESSIONS, COUNTERS = 0.45, 0.25, 0.30  # of all commands
KEYS = 20_000
WORDS = 6_000

SYLLABLES = ("ba be bi bo bu ca ce ci co cu da de di do du fa fe fi fo ga ge gi go ha he hi ho ja jo ka ke ki ko la le li lo lu ma "
             "me mi mo mu na ne ni no nu pa pe pi po pu ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo wa we wi za zo "
             "an en in on un ar er ir or ur al el il ol ul as es is os us tion ment ness ing ly th st nd sh ch").split()
AGENTS = ["Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1{}.0.0.0 Safari/537.36",
          "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/1{}.1 Safari/605.1.15",
          "Mozilla/5.0 (X11; Linux x86_64; rv:1{}.0) Gecko/20100101 Firefox/1{}.0",
          "Mozilla/5.0 (iPhone; CPU iPhone OS 17_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"]


class Values:
    """An endless row of commands, each a tuple of arguments."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)
        self.words = ["".join(self.random.choice(SYLLABLES) for _ in range(self.random.randint(1, 4)))
                      for _ in range(WORDS)]
        self.weights = [0.0]
        for rank in range(1, WORDS + 1):
            self.weights.append(self.weights[-1] + 1 / (rank + 3))
        self.weights.pop(0)
        self.documents = {}
        self.clock_ms = 1_700_000_000_000

    def hex(self, digits):
        return f"{self.random.getrandbits(4 * digits):0{digits}x}"

    def uuid(self):
        return "-".join(self.hex(n) for n in (8, 4, 4, 4, 12))

    def text(self, words):
        return " ".join(self.random.choices(self.words, cum_weights=self.weights, k=words))

    def time(self):
        self.clock_ms += self.random.randint(0, 5)
        return self.clock_ms

    def key(self, kind):
        """Some keys are written more often than others."""
        return f"{kind}:{int(KEYS * self.random.random() ** 2):06d}"

    def order(self):
        draw = self.random
        return {"id": self.uuid(), "created_at": self.time(), "status": draw.choice(["open", "paid", "shipped", "done"]),
                "customer": {"id": draw.randrange(5_000_000), "name": self.text(2).title(),
                             "email": self.text(1) + self.hex(3) + "@" + draw.choice(["example.com", "mail.example.org"])},
                "items": [{"sku": f"{self.hex(6).upper()}-{draw.randrange(100):02d}", "title": self.text(draw.randint(2, 6)),
                           "quantity": draw.randint(1, 9), "price_cents": draw.randrange(100_000)}
                          for _ in range(draw.randint(1, 7))],
                "currency": draw.choice(["EUR", "USD", "GBP"]), "note": self.text(draw.randint(0, 60))}

    def profile(self):
        draw = self.random
        return {"user_id": draw.randrange(5_000_000), "uuid": self.uuid(), "display_name": self.text(2).title(),
                "locale": draw.choice(["en-US", "de-DE", "fr-FR", "pt-BR"]), "verified": draw.random() < 0.7,
                "last_seen": self.time(), "score": round(draw.random() * 1000, 3), "bio": self.text(draw.randint(10, 120)),
                "tags": self.text(draw.randint(1, 12)).split(), "settings": {"theme": draw.choice(["dark", "light"]),
                "notifications": draw.random() < 0.5, "page_size": draw.choice([10, 25, 50, 100])}}

    def document(self):
        key = self.key("doc")
        document = self.documents.get(key)
        if document is None or self.random.random() < 0.5:
            while True:
                document = self.order() if self.random.random() < 0.5 else self.profile()
                if 300 <= len(json.dumps(document, separators=(",", ":"))) <= 2000:
                    break
            self.documents[key] = document
        elif "items" in document:
            document["status"], document["updated_at"] = self.random.choice(["paid", "shipped", "done"]), self.time()
        else:
            document["last_seen"], document["score"] = self.time(), round(self.random.random() * 1000, 3)
        return "SET", key, json.dumps(document, separators=(",", ":"))

    def session(self):
        draw = self.random
        agent = draw.choice(AGENTS).replace("{}", str(draw.randint(0, 30)))
        content = {"user_id": draw.randrange(5_000_000), "csrf": self.hex(64), "agent": agent, "at": self.time(),
                   "cart": [draw.randrange(1_000_000) for _ in range(draw.randrange(8))], "flash": self.text(draw.randrange(20))}
        blob = base64.b64encode(json.dumps(content).encode()).decode()
        return "SETEX", "session:" + self.hex(32), str(draw.choice([1800, 3600, 86400])), self.hex(40) + ":" + blob

    def counter(self):
        draw = self.random
        if draw.random() < 0.6:
            return "INCR", self.key("hits")
        return "HINCRBY", self.key("stats"), draw.choice(["views", "clicks", "errors", "bytes"]), str(draw.randint(1, 5000))

    def __iter__(self):
        while True:
            kind = self.random.random()
            if kind < DOCUMENTS:
                yield self.document()
            elif kind < DOCUMENTS + SESSIONS:
                yield self.session()
            else:
                yield self.counter()


def encoded(arguments):
    out = [b"*%d\r\n" % len(arguments)]
    for each in arguments:
        data = each if isinstance(each, bytes) else each.encode()
        out.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(out)
