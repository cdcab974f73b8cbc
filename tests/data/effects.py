#!/usr/bin/env python3
"""What commands change, as Redis 8.2 sees it: fills effects.tsv from a running server.

usage: tests/data/effects.py        (tests/run has installed tests/.cache/newest/redis-server)

Every line of effects.tsv is a case: a command, or several that are run one after the other, on a database that the commands of
`setup` have filled. To add one, write its first two columns and run this; it writes the others, of all lines, anew.

  setup    commands that go before, separated by " ; ", words quoted as at redis-cli; "-" for none
  command  the commands of the case, likewise
  dirty    by how much rdb_changes_since_last_save grows
  effects  what goes to the append-only file, separated by " | "; instead of SELECT, "@db" stands behind what other databases
           than 0 get; "-" for nothing
  events   keyspace events in their order, "name key", with "@db" likewise; "-" for none

Some steps are no commands: "<B> BLPOP k 0" has another client (B or C) send the command, and goes on once it waits for a key;
"<until expired_keys 1>" goes on once that number of INFO has grown by so much since the case began. "<many 2000> SADD s" is the command
with 2000 words more, m0, m1 and so on.

A time of the clock is written as <now+N>, N in ms, rounded up to seconds. Each case runs several times: a word of an effect that
differs from run to run is written as <any>, several as <any*N>.
"""
import pathlib
import re
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).parent
REDIS = HERE.parent / ".cache" / "newest" / "redis-server"
COLUMNS = ("setup", "command", "dirty", "effects", "events")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
RESETS = (
    "RESET",
    "FLUSHALL",
    "FUNCTION FLUSH",
    "DEBUG SET-ACTIVE-EXPIRE 1",
    "CONFIG SET maxmemory 0 maxmemory-policy noeviction list-max-listpack-size -2 hash-max-listpack-entries 512 stream-node-max-entries 100",
    "CONFIG SET lazyfree-lazy-eviction no",
    "CONFIG SET lazyfree-lazy-expire no lazyfree-lazy-server-del no lazyfree-lazy-user-del no lazyfree-lazy-user-flush no",
)
RUNS = 6
DIRTY = "rdb_changes_since_last_save"
WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def split(text):
    """The words of a command, as redis-cli reads them."""

    def unescape(match):
        code = match.group(1)
        return chr(int(code[1:], 16)) if code[0] == "x" and len(code) == 3 else ESCAPES.get(code, code)

    for quoted, plain in WORD.findall(text):
        word = plain or re.sub(r"\\(x[0-9a-fA-F]{2}|.)", unescape, quoted)
        yield word.encode("latin-1")


def quote(word):
    """A word as it stands in the file."""
    text = word.decode("latin-1")
    if text and all("!" <= char <= "~" and char not in "\"'\\;|" for char in text):
        return text
    escaped = "".join(c if " " <= c <= "~" and c not in '"\\' else f"\\x{ord(c):02x}" for c in text)
    return f'"{escaped}"'


class Client:
    """A connection to the server."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def send(self, words):
        parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self.socket.sendall(b"*%d\r\n%s" % (len(words), parts))

    def call(self, words):
        self.send(words)
        return self.reply()

    def reply(self):
        line = self.file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def run(self, text):
        """Runs steps; returns the other clients that were needed."""
        others, before = [], self.call([b"INFO"])
        for one in text.split(" ; ") if text != "-" else []:
            if one.startswith("<until "):
                _, name, count = one.strip("<>").split()
                wanted = number(before, name) + int(count)
                self.until(lambda: self.info(name) >= wanted, one)
            elif one.startswith("<many "):
                count, one = one.removeprefix("<many ").split("> ")
                self.call([*split(one), *(b"m%d" % number for number in range(int(count)))])
            elif one.startswith("<"):
                blocked = self.info("blocked_clients")
                others.append(Client(self.path))
                others[-1].send(list(split(one[4:])))
                self.until(lambda: self.info("blocked_clients") > blocked, one)
            else:
                self.call(list(split(one)))
        return others

    def info(self, name):
        return number(self.call([b"INFO"]), name)

    def until(self, met, what):
        end = time.monotonic() + 10
        while not met():
            assert time.monotonic() < end, f"not met: {what}"
            time.sleep(0.001)


def number(info, name):
    return int(re.search(rb"\b%s:(\d+)" % name.encode(), info).group(1))


def parse(log):
    """The commands in a piece of an append-only file."""
    at = 0
    while at < len(log):
        if log[at : at + 1] == b"#":  # an annotation
            at = log.index(b"\n", at) + 1
            continue
        end = log.index(b"\r\n", at)
        count, at, words = int(log[at + 1 : end]), end + 2, []
        for _ in range(count):
            end = log.index(b"\r\n", at)
            start = end + 2
            at = start + int(log[at + 1 : end]) + 2
            words.append(log[start : at - 2])
        yield words


def effects(log):
    """The effects in a piece of an append-only file that begins in database 0."""
    at = ""
    for words in parse(log):
        if words[0].upper() == b"SELECT":
            at = "" if words[1] == b"0" else f"@{words[1].decode()}"
        else:
            yield effect(words) + at


def effect(words):
    def shown(word):
        away = int(word) - int(time.time() * 1000) if re.fullmatch(rb"\d{13}", word) else None
        if away is not None and abs(away) < 10**9:
            return f"<now+{-(-away // 1000) * 1000}>"
        return quote(word)

    return " ".join(shown(word) for word in words)


def event(message):
    """`__keyevent@0__:set k` as it stands in the file."""
    db, name = re.fullmatch(rb"__keyevent@(\d+)__:(.*)", message[2]).groups()
    at = "" if db == b"0" else f"@{db.decode()}"
    return f"{name.decode()} {quote(message[3])}{at}"


def observe(client, other, listener, log, setup, command):
    """The other columns of a case."""
    for reset in RESETS:
        client.run(reset)
    client.run(setup)
    other.call([b"SET", b"", b""])  # the log is in database 0 then
    other.call([b"DEL", b""])
    listener.call([b"PING"])  # what is still on its way comes before the reply
    while listener.pending:
        listener.pending.pop()
    before, size = client.info(DIRTY), log.stat().st_size
    waiting = client.run(command)
    dirty = client.info(DIRTY) - before
    listener.call([b"PING"])
    events = [event(message) for message in listener.pending]
    logged = list(effects(log.read_bytes()[size:]))
    for one in waiting:
        one.socket.shutdown(socket.SHUT_RDWR)
    client.until(lambda: client.info("blocked_clients") == 0, "nobody waits")
    return str(dirty), logged, " ; ".join(events) or "-"


def observe_often(*case):
    """As `observe`, with <any> for words that differ."""
    runs = [observe(*case) for _ in range(RUNS)]
    dirty, _, events = runs[0]
    if any((run[0], run[2], len(run[1])) != (dirty, events, len(runs[0][1])) for run in runs):
        print("differs from run to run:", *case[-2:], *runs, sep="\n  ")
    return dirty, " | ".join(map(merged, zip(*(run[1] for run in runs)))) or "-", events


def merged(effects):
    """What several runs have in common of an effect. Of members drawn at random none is kept, whatever chance has it."""
    words = [column[0] if len(set(column)) == 1 else "<any>" for column in zip(*(one.split(" ") for one in effects))]
    if words[0] == "SREM" and "<any>" in words:
        words[2:] = ["<any>"] * len(words[2:])
    return re.sub(r"<any>( <any>)+", lambda found: f"<any*{found.group().count('<')}>", " ".join(words))


class Listener(Client):
    """A connection that receives events."""

    def __init__(self, path):
        super().__init__(path)
        self.pending = []
        self.call([b"PSUBSCRIBE", b"__keyevent@*"])

    def call(self, words):
        reply = super().call(words)
        while reply[0] == b"pmessage":
            self.pending.append(reply)
            reply = self.reply()
        return reply


def main():
    path = HERE / "effects.tsv"
    cases = [line.split("\t")[:2] for line in path.read_text().splitlines()[1:]]
    with tempfile.TemporaryDirectory() as directory:
        unix = f"{directory}/socket"
        arguments = f"--port 0 --unixsocket {unix} --dir {directory} --appendonly yes --appendfsync no --notify-keyspace-events AKEnmoc"
        debug = "--enable-debug-command yes --save".split() + [""]
        server = subprocess.Popen([REDIS, *arguments.split(), *debug], stdout=subprocess.DEVNULL)
        try:
            while not pathlib.Path(unix).exists():
                assert server.poll() is None, "the server does not start"
                time.sleep(0.01)
            client, other, listener = Client(unix), Client(unix), Listener(unix)
            log = next(pathlib.Path(directory).glob("appendonlydir/*.incr.aof"))
            lines = [(*case, *observe_often(client, other, listener, log, *case)) for case in cases]
        finally:
            server.kill()
            server.wait()
    path.write_text("".join("\t".join(line) + "\n" for line in [COLUMNS, *lines]))


if __name__ == "__main__":
    main()
