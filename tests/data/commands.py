#!/usr/bin/env python3
"""Makes commands.tsv from what a Redis server says of its commands: commands.py SOCKET > commands.tsv

The server's modules are left out. The notation of key specifications: `i1|r0/1/0` begins at argument 1 and reaches to the
last (0 behind it), in steps of 1, without limit; `kw:KEYS@-2|n0/1/1` begins behind a keyword and counts its keys.
"""

import sys

import redis


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def pairs(values):
    return {text(values[at]): values[at + 1] for at in range(0, len(values), 2)}


def specification(values):
    spec = pairs(values)
    begin, find = pairs(spec["begin_search"]), pairs(spec["find_keys"])
    kind, more = text(begin["type"]), pairs(begin["spec"])
    if kind == "index":
        shown = f"i{more['index']}"
    elif kind == "keyword":
        shown = f"kw:{text(more['keyword'])}@{more['startfrom']}"
    else:
        shown = "unknown"
    kind, more = text(find["type"]), pairs(find["spec"])
    if kind == "range":
        shown += f"|r{more['lastkey']}/{more['keystep']}/{more['limit']}"
    elif kind == "keynum":
        shown += f"|n{more['keynumidx']}/{more['firstkey']}/{more['keystep']}"
    else:
        shown += "|unknown"
    return shown


def rows(commands):
    for info in commands:
        name = text(info[0])
        if "module" in map(text, info[2]):
            continue
        flags = ",".join(text(flag) for flag in info[2])
        categories = ",".join(text(category).lstrip("@") for category in info[6])
        tips = ",".join(text(tip) for tip in info[7])
        specs = ";".join(specification(spec) for spec in info[8])
        yield [name, str(info[1]), flags, specs, f"{info[3]}/{info[4]}/{info[5]}", categories, tips]
        yield from rows(info[9])


class Plain(redis.Redis):
    """Replies as they come."""

    def __init__(self, **options):
        super().__init__(**options)
        self.response_callbacks.clear()


def main():
    server = Plain(unix_socket_path=sys.argv[1])
    print("name\tarity\tflags\tkey_specs\trange\tcategories\ttips")
    for row in sorted(rows(server.execute_command("COMMAND"))):
        print("\t".join(row))


main()
