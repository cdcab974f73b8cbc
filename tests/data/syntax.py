#!/usr/bin/env python3
"""The arguments of commands, in the notation of the rows, as Redis 8.2 documents them.

usage: tests/data/syntax.py NAME...     prints the syntax of these commands ("set", "client kill")
       tests/data/syntax.py --write     gives every row of src/command its own
       (tests/run has installed tests/.cache/newest/redis-server)

The notation is explained in src/command/introspect/syntax.rs.
"""
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
REDIS = HERE.parent / ".cache" / "newest" / "redis-server"
# Folders that are not named after their container.
FOLDERS = {"introspect": "command"}
# What is newer in their syntax would be lost.
NEWER = {"set", "xreadgroup"}
TYPES = {
    "key": "key key1 key2 keys newkey source sourcekey destination destkey dst src storekey storedistkey".split(),
    "integer": "bit bits client-id cluster-bus-port config-epoch count cursor db decrement destination-db end end-slot "
    "entries-added entriesread frequency index index1 index2 len limit maxage milliseconds min-match-len ms num-matches "
    "numfields numids numkeys numlocal numreplicas offset port protover rank seconds slot start start-slot stop ttl "
    "version weight".split(),
    "double": "height latitude longitude radius score timeout width".split(),
    "pattern": "pattern by-pattern get-pattern".split(),
    "unix-time": "unix-time-seconds unix-time-milliseconds".split(),
}


def documentation():
    """What COMMAND DOCS says."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        args = [REDIS, "--port", "0", "--unixsocket", path, "--save", ""]
        server = subprocess.Popen(args, stdout=subprocess.DEVNULL)
        try:
            client = socket.socket(socket.AF_UNIX)
            while client.connect_ex(path) != 0:
                time.sleep(0.01)
            client.sendall(b"HELLO 3\r\nCOMMAND DOCS\r\n")
            file = client.makefile("rb")
            read(file)
            return read(file)
        finally:
            server.kill()


def read(file):
    line = file.readline()[:-2]
    kind, rest = line[:1], line[1:].decode()
    if kind == b"$":
        return file.read(int(rest) + 2)[:-2].decode()
    if kind in b"*~":
        return [read(file) for _ in range(int(rest))]
    if kind == b"%":
        return {read(file): read(file) for _ in range(int(rest))}
    return int(rest) if kind == b":" else rest


def implied(name):
    return next((kind for kind, names in TYPES.items() if name in names), "string")


def notation(arguments, specs):
    texts = [one(argument, specs) for argument in arguments]
    for index, argument in enumerate(arguments[:-1]):
        # A word behind a token is its value.
        if argument["type"] == "pure-token" and re.match("[a-z]", texts[index + 1]) and texts[index][0] != "[":
            texts[index] = one(argument, specs, is_named=True)
    return " ".join(texts)


def one(argument, specs, is_named=False):
    name, kind, token = argument["name"], argument["type"], argument.get("token")
    flags = argument.get("flags", [])
    optional, multiple, repeats_token = (flag in flags for flag in ("optional", "multiple", "multiple_token"))
    marks = (("@", "since"), ("~", "deprecated_since"))
    since = "".join(mark + argument[of] for mark, of in marks if of in argument)
    brackets = "[]" if optional and token is None else "<>"
    if kind == "pure-token":
        follows = token.lower() == name and re.search("[A-Z]", token) and not is_named
        text = token if follows else f"{name}={token}"
    elif kind in ("oneof", "block"):
        children = argument["arguments"]
        if kind == "block":
            inner = notation(children, specs)
        else:
            # A choice of one would look like a block.
            inner = " | ".join(one(child, specs) for child in children) + (" |" if len(children) == 1 else "")
        text = f"{name}:{brackets[0]}{inner}{brackets[1]}"
    else:
        text = name if kind == implied(name) else f"{name}:{kind}"
        if argument["display_text"] != name:
            text += f"/{argument['display_text']}"
        if "key_spec_index" in argument:
            spec = argument["key_spec_index"]
            if spec != specs[0] or kind != "key":
                text += f"#{spec}"
            specs[0] = spec
        elif kind == "key":
            text += "#"
    text += since
    if kind == "pure-token":
        pass
    elif token is not None:
        text = f"{token} {text}"
    if multiple and not repeats_token:
        text += "..."
    is_bracketed = kind in ("oneof", "block") and token is None
    if optional and not is_bracketed:
        text = f"[{text}]"
    elif repeats_token:
        text = f"<{text}>"
    return text + ("..." if repeats_token else "")


def commands(docs):
    for name, facts in docs.items():
        yield name, facts
        yield from commands(facts.get("subcommands", {}))


def main(names):
    known = dict(commands(documentation()))
    syntax = {name: notation(facts.get("arguments", []), [0]) for name, facts in known.items()}
    if names != ["--write"]:
        for name in names:
            print(f"{name}: {syntax[name.lower().replace(' ', '|')]}")
        return
    for path in sorted((ROOT / "src" / "command").rglob("*.rs")):
        text = path.read_text()
        # Subcommands stand inside of their container's row, or in files named after it.
        container = next((part for part in (path.stem, FOLDERS.get(path.parent.name, path.parent.name)) if any(n.startswith(f"{part}|") for n in syntax)), None)
        out, end = "", 0
        for row in re.finditer(r'name: "([^"]+)",((?:(?!name: ").)*)', text, re.S):
            name, body = row.groups()
            if container and f"{container}|{name}" in syntax:
                name = f"{container}|{name}"
            elif "subcommands: &[" in body:
                container = name
            found = re.search(r'syntax: "((?:[^"\\]|\\.)*)"', body, re.S)
            if name in syntax and found and name not in NEWER:
                at = row.start(2)
                out += text[end : at + found.start(1)] + syntax[name].replace('"', '\\"')
                end = at + found.end(1)
        if out:
            path.write_text(out + text[end:])


main(sys.argv[1:])
