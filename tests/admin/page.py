"""Has headless Chromium draw the live page of a server under load.

Arguments: the page's URL, the Unix socket of the server, a directory; and, to look at the pictures, `all`. What is checked: figures are
there, whatever a client has chosen is text, the policy of the page refuses nothing that it needs, the picture is not empty, and nothing
is wider than a phone.
"""

import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zlib

import redis

url, path, directory = sys.argv[1:4]
shows_all = sys.argv[4:] == ["all"]
HOSTILE = "<img/src=x/onerror=document.title='taken'>"
SCRIPT = "<script>document.title='taken'</script>"
# The page's clock runs faster than ours: so many ms are over in a few seconds.
VIRTUAL_MS = 90_000 if shows_all else 12_000

client = redis.Redis(unix_socket_path=path)


def fill():
    pipe = client.pipeline(transaction=False)
    for number in range(3000):
        pipe.set(f"session:{number:05d}", os.urandom(60), ex=3600 if number % 3 else None)
    for number in range(12):
        pipe.set(f"page:{number}", os.urandom(20_000 * (number + 1)))
    pipe.rpush("queue:mail", *[f"job {number}" for number in range(4000)])
    pipe.hset("user:42", mapping={f"field{number}": "v" * 40 for number in range(300)})
    pipe.zadd("ranking", {f"player:{number}": number for number in range(2000)})
    pipe.set(SCRIPT, "x" * 900_000)
    pipe.set("line\nbreak\u202eand more", "x" * 500_000)
    pipe.execute()
    client.config_set("slowlog-log-slower-than", 100)
    be_slow(client), client.hgetall("user:42"), client.zrange("ranking", 0, -1), be_slow(client)
    client.config_set("slowlog-log-slower-than", 1_000_000)
    client.config_resetstat()


def be_slow(client):
    client.eval("local i = 0 while i < 1e6 do i = i + 1 end return #ARGV", 0, SCRIPT, "x" * 300)


def work(stop, number):
    mine = redis.Redis(unix_socket_path=path)
    mine.client_setname(HOSTILE if number == 0 else f"worker-{number}")
    round_ = 0
    while not stop.is_set():
        round_ += 1
        pipe = mine.pipeline(transaction=False)
        for step in range(40):
            pipe.get(f"session:{(round_ * 37 + step * 101) % 3600:05d}")
            pipe.get("session:00001" if step % 2 else SCRIPT if step == 4 else "user")
        pipe.hgetall("user:42"), pipe.zrange("ranking", 0, 200), pipe.lrange("queue:mail", 0, 500)
        pipe.set(f"session:{round_ % 3000:05d}", "v" * 60)
        pipe.incr("visits")
        pipe.execute()
        try:
            mine.execute_command("NOSUCH", SCRIPT)
        except redis.ResponseError:
            pass


def chromium(*args, width=1320, height=1900):
    program = shutil.which("chromium")
    assert program, "chromium is not installed: tests/run installs what tests need"
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as profile:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                   "--disable-component-update", "--disable-sync", "--hide-scrollbars", f"--user-data-dir={profile}",
                   f"--window-size={width},{height}", f"--virtual-time-budget={VIRTUAL_MS}", "--enable-logging=stderr", *args, url]  # fmt: skip
        done = subprocess.run(command, capture_output=True, timeout=300)
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, said
    console = [line for line in said.splitlines() if "CONSOLE" in line]
    assert not console, "\n".join(console)
    return done.stdout.decode()


def await_samples():
    """Keys are found by sampling, which takes a moment; somebody watches meanwhile."""
    wanted = {SCRIPT, "line\nbreak\u202eand more"}
    for _ in range(600):
        with urllib.request.urlopen(url + "state.json") as response:
            keys = json.load(response)["keys"]
        hot = {key["key"] for key in keys["hot"] if key["share"] > 0.01}
        if wanted <= {key["key"] for key in keys["big"]} and "session:00001" in hot:
            return
        time.sleep(0.1)
    raise SystemExit(f"the keys were not found: {keys}")


class Page(html.parser.HTMLParser):
    """What the page has: tags by their name, all text, text by the id of what it is in."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.by_id, self.open = [], [], {}, []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(attributes.get("id"))

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)
        for name in filter(None, self.open):
            self.by_id[name] = self.by_id.get(name, "") + data


def check_page(page):
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts == [{"src": "/page.js", "defer": ""}], scripts
    assert not any(tag == "img" for tag, _ in page.tags), "a client's text has become an element"
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes), "a handler has come in"
    text = page.by_id
    assert "taken" not in [data for data in page.text if data == "taken"], "a client's text has run"
    assert SCRIPT in text["big"] and SCRIPT in text["slow"], (text["big"], text["slow"])
    assert HOSTILE in text["clients"], text["clients"]
    assert "line\\x0abreak\\x202eand more" in text["big"], text["big"]
    for name in ("f-rate", "f-p50", "f-p99", "f-hits", "f-memory", "f-keys", "f-clients", "rate-note", "memory-note", "persistence",
                 "replication", "foot"):  # fmt: skip
        assert re.search(r"\d", text[name]), f"{name}: {text.get(name)}"
    assert text["status-text"] == "ready", text["status-text"]
    assert "session:00001" in text["hot"], text["hot"]
    assert "GET" in text["commands"] and "/s" in text["workers"], (text["commands"], text["workers"])


def pixels(file):
    """Width, and how many different rows a PNG has."""
    data = open(file, "rb").read()
    assert data.startswith(b"\x89PNG")
    width, at, packed = int.from_bytes(data[16:20], "big"), 8, b""
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += length + 12
    raw = zlib.decompress(packed)
    size = len(raw) // int.from_bytes(data[20:24], "big")
    return width, len({raw[start : start + size] for start in range(0, len(raw), size)})


def picture(name, *args, **size):
    file = os.path.join(directory, f"{name}.png")
    chromium(f"--screenshot={file}", *args, **size)
    return pixels(file)


fill()
stop = threading.Event()
threads = [threading.Thread(target=work, args=(stop, number)) for number in range(3)]
[thread.start() for thread in threads]
try:
    await_samples()
    check_page(Page(chromium("--dump-dom")))
    dark = "--blink-settings=preferredColorScheme=0"
    pictures = [picture("page", dark)]
    if shows_all:
        pictures += [picture("light"), picture("phone", width=390, height=4200)]
finally:
    stop.set()
    [thread.join() for thread in threads]
for width, rows in pictures:
    assert width in (1320, 390) and rows > 300, pictures
print(f"passed: {pictures}")
