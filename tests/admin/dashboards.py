"""Checks the Grafana dashboard and the alert rules against what /metrics of a server has.

Arguments: the URL, the folder. Of the dashboard: its structure, that panels do not overlap, that each expression names metrics and labels
that there are. Of the rules: their structure, the same of their expressions, that each says what is wrong and what to do.
"""

import json
import pathlib
import re
import sys
import urllib.request

import yaml
from prometheus_client.parser import text_string_to_metric_families

url, folder = sys.argv[1:]
folder = pathlib.Path(folder)
with urllib.request.urlopen(url) as response:
    text = response.read().decode()
known = {}
for family in text_string_to_metric_families(text):
    # A family that has no value now (no replica, say) is there all the same.
    known.setdefault(family.name, set())
    if family.type == "counter":
        known.setdefault(family.name + "_total", set())
    for sample in family.samples:
        known.setdefault(sample.name, set()).update(sample.labels)
# Metrics that Prometheus itself makes of each target.
known |= {"up": set()}
# What is there only while there are replicas, a slow event or a second database: names and labels as the server writes them.
OPTIONAL = {
    "redis_connected_slave_lag_seconds": {"slave_ip", "slave_port", "slave_state"},
    "redis_connected_slave_offset_bytes": {"slave_ip", "slave_port", "slave_state"},
}
for name, labels in OPTIONAL.items():
    assert name in known, name
    known[name] |= labels

WORDS = {
    "sum", "rate", "irate", "increase", "by", "without", "on", "ignoring", "group_left", "group_right", "histogram_quantile", "max",
    "min", "avg", "topk", "clamp_min", "time", "and", "or", "unless", "bool", "label_values", "deriv", "delta", "changes", "count",
}  # fmt: skip
TARGET_LABELS = {"instance", "job", "le"}
used = set()


def check_expression(where, expression):
    assert expression.count("(") == expression.count(")"), f"{where}: {expression}"
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    bare = re.sub(r"\$[a-z_]+", "", bare)
    labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"\"", bare))
    for grouped in re.findall(r"(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)", bare):
        labels |= {label.strip() for label in grouped.split(",") if label.strip()}
    rest = re.sub(r"\{[^}]*\}", "", bare)
    rest = re.sub(r"(?:by|on|without|ignoring|group_left)\s*\([^)]*\)", "", rest)
    names = set(re.findall(r"[a-z_][a-z0-9_]*", rest)) - WORDS
    assert names, f"{where}: {expression} names no metric"
    unknown = names - set(known)
    assert not unknown, f"{where}: there is no {unknown} in {expression}"
    used.update(names)
    allowed = TARGET_LABELS.union(*(known[name] for name in names))
    assert labels <= allowed, f"{where}: no label {labels - allowed} in {expression}"


def check_dashboard(board):
    assert board["schemaVersion"] >= 36 and board["title"] and board["uid"] and board["refresh"], "the head of the dashboard"
    assert {"list"} <= set(board["templating"]) and "from" in board["time"]
    names = {variable["name"] for variable in board["templating"]["list"]}
    assert {"datasource", "instance"} <= names, names
    ids, places = set(), set()
    for panel in board["panels"]:
        where = panel["title"]
        assert panel["id"] not in ids, f"{where}: the id is another's"
        ids.add(panel["id"])
        place = panel["gridPos"]
        assert 0 <= place["x"] and place["x"] + place["w"] <= 24, f"{where}: {place}"
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & places, f"{where} lies on another panel"
        places |= cells
        if panel["type"] == "row":
            continue
        assert panel["type"] in {"timeseries", "stat", "heatmap", "bargauge", "table"}, f"{where}: {panel['type']}"
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, where
        assert panel["fieldConfig"]["defaults"].get("unit"), f"{where} has no unit"
        assert panel["description"].endswith("."), f"{where} does not say what it shows"
        refs = [target["refId"] for target in panel["targets"]]
        assert refs and len(refs) == len(set(refs)), f"{where}: {refs}"
        for target in panel["targets"]:
            assert 'instance=~"$instance"' in target["expr"], f"{where}: {target['expr']} is of all instances"
            check_expression(where, target["expr"])
    return len(ids)


def check_rules(rules):
    alerts = set()
    for group in rules["groups"]:
        assert set(group) <= {"name", "interval", "rules"}, group["name"]
        for rule in group["rules"]:
            name = rule["alert"]
            assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, name
            assert name not in alerts and re.fullmatch(r"Torc[A-Za-z]+", name), name
            alerts.add(name)
            assert re.fullmatch(r"\d+[smh]", rule["for"]), name
            assert rule["labels"]["severity"] in ("critical", "warning"), name
            assert set(rule["annotations"]) == {"summary", "description"}, name
            assert "{{ $labels.instance }}" in rule["annotations"]["summary"], name
            check_expression(name, rule["expr"])
    return len(alerts)


panels = check_dashboard(json.loads((folder / "torc.json").read_text()))
alerts = check_rules(yaml.safe_load((folder / "alerts.yml").read_text()))
assert panels > 15 and alerts > 8 and len(used) > 30, (panels, alerts, len(used))
# A check that cannot fail is none.
for wrong in ("rate(redis_nothing_total[1m])", 'redis_up{nolabel="x"}', "sum(redis_up"):
    try:
        check_expression("wrong", wrong)
    except AssertionError:
        continue
    raise SystemExit(f"{wrong} was not found to be wrong")
print(f"passed: {panels} panels, {alerts} alerts, {len(used)} metrics")
