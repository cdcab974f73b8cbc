"""Reads a log that was written as JSON, then as text, then as JSON again."""

import datetime
import json
import re
import sys

with open(sys.argv[1], "rb") as file:
    lines = file.read().decode().splitlines()
records, plain = [], []
for line in lines:
    if line.startswith("{"):
        records.append(json.loads(line))
    else:
        plain.append(line)
for record in records:
    assert list(record) == ["time", "level", "pid", "module", "message"], record
    assert record["time"].endswith("Z"), record
    at = datetime.datetime.fromisoformat(record["time"].replace("Z", "+00:00"))
    assert abs((datetime.datetime.now(datetime.timezone.utc) - at).total_seconds()) < 600, record
    assert record["module"].startswith("torc") or record["module"] == "script", record
    assert isinstance(record["pid"], int), record
said = [(record["level"], record["message"]) for record in records]
hostile = "quotes \" and \\ and \n lines \r \t \x01 \x7f \u2028 and é 𝄞"
assert ("warning", hostile) in said, said
assert ("verbose", "seen") in said and ("warning", "before text") in said and ("debug", "the end") in said, said
assert not any("below the level" in message for _, message in said), said
# The server may have said something, too, in the meantime.
assert any(line.endswith(" # as text") for line in plain), plain
assert all(re.match(r"\d+:M \d\d [A-Z][a-z]{2} \d{4} [\d:.]+ [.*#-] ", line) for line in plain), plain
print(f"passed: {len(records)} objects")
