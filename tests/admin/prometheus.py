"""Has a real Prometheus scrape a server, evaluate the dashboard and the alert rules, and fire every alert.

Arguments: host:port of the admin port, its password, the Unix sockets of the server and of its primary, the folder of the dashboard, a
directory. The configuration is the one that the folder's README names. What Prometheus itself is for takes a quarter of a minute, and is done
with TORC_PROMETHEUS=1; otherwise promtool looks at names and rules and fires the alerts, where there is one.
"""

import base64
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import redis
import yaml

target, password, path, primary_path, folder, directory = sys.argv[1:]
folder, directory = pathlib.Path(folder), pathlib.Path(directory)

# What promtool has to say of names that are redis_exporter's: dashboards know them, so they stay as they are.
LINT = {
    "redis_aof_current_rewrite_duration_sec", "redis_aof_last_rewrite_duration_sec", "redis_current_eviction_exceeded_time_ms",
    "redis_instantaneous_ops_per_sec", "redis_migrate_cached_sockets_total", "redis_rdb_current_bgsave_duration_sec",
    "redis_rdb_last_bgsave_duration_sec",
}  # fmt: skip

# Each alert: series with which it fires, one sample a minute, and with which it does not; the labels that it then has besides `instance`.
LATENCY = 'torc_command_duration_seconds_bucket{le="%s"}'
ALERTS = {
    "TorcDown": ({'up{job="torc"}': "1 1 0x20"}, {"redis_up": "1x20", 'up{job="torc"}': "1x20", 'up{job="other"}': "0x20"}, {"job": "torc"}),
    "TorcWorkerHangs": (
        {'torc_worker_alive_timestamp_seconds{worker="1"}': "0x20"},
        {'torc_worker_alive_timestamp_seconds{worker="1"}': "0+60x20"},
        {"worker": "1"},
    ),
    "TorcMemoryNearLimit": (
        {"redis_memory_max_bytes": "1000x20", "redis_memory_used_bytes": "960x20"},
        {"redis_memory_max_bytes": "0x20", "redis_memory_used_bytes": "960x20"},
        {},
    ),
    "TorcMemoryNearHost": (
        {"redis_memory_used_rss_bytes": "910x20", "redis_total_system_memory_bytes": "1000x20"},
        {"redis_memory_used_rss_bytes": "890x20", "redis_total_system_memory_bytes": "1000x20"},
        {},
    ),
    "TorcClientsNearLimit": (
        {"redis_connected_clients": "91x20", "redis_max_clients": "100x20"},
        {"redis_connected_clients": "90x20", "redis_max_clients": "100x20"},
        {},
    ),
    "TorcConnectionsRejected": ({"redis_rejected_connections_total": "0+1x20"}, {"redis_rejected_connections_total": "5x20"}, {}),
    "TorcSnapshotFailed": ({"redis_rdb_last_bgsave_status": "0x20"}, {"redis_rdb_last_bgsave_status": "1x20"}, {}),
    "TorcAppendFailed": ({"redis_aof_last_write_status": "0x20"}, {"redis_aof_last_write_status": "1x20"}, {}),
    "TorcBackupFailed": ({"torc_backup_last_status": "0x20"}, {"torc_backup_last_status": "1x20"}, {}),
    "TorcPrimaryLinkDown": (
        {'redis_master_link_up{master_host="h",master_port="1"}': "0x20"},
        {'redis_master_link_up{master_host="h",master_port="1"}': "1 0 0x0 1x20"},
        {"master_host": "h", "master_port": "1"},
    ),
    "TorcReplicaSilent": (
        {'redis_connected_slave_lag_seconds{slave_ip="i",slave_port="2"}': "31x20"},
        {'redis_connected_slave_lag_seconds{slave_ip="i",slave_port="2"}': "1x20"},
        {"slave_ip": "i", "slave_port": "2"},
    ),
    "TorcStarvedOfProcessor": (
        {'torc_worker_load_waited_ratio{worker="0"}': "0.3x20"},
        {'torc_worker_load_waited_ratio{worker="0"}': "0.1x20"},
        {"worker": "0"},
    ),
    "TorcLatencyHigh": (
        {LATENCY % "0.01": "0+98x20", LATENCY % "0.02": "0+100x20", LATENCY % "+Inf": "0+100x20"},
        {LATENCY % "0.01": "0+100x20", LATENCY % "0.02": "0+100x20", LATENCY % "+Inf": "0+100x20"},
        {},
    ),
    "TorcErrors": (
        {'redis_errors_total{err="ERR"}': "0+600x20", "redis_commands_processed_total": "0+6000x20"},
        {'redis_errors_total{err="ERR"}': "0+60x20", "redis_commands_processed_total": "0+6000x20"},
        {},
    ),
    "TorcAdminPasswordGuessed": (
        {'torc_admin_responses_total{code="401"}': "0+20x20"},
        {'torc_admin_responses_total{code="401"}': "0+1x20", 'torc_admin_responses_total{code="200"}': "0+60x20"},
        {"code": "401"},
    ),
}


def promtool(*args, text=None):
    """Status and what was said."""
    done = subprocess.run(["promtool", *map(str, args)], input=text, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def check_metrics():
    request = urllib.request.Request(f"http://{target}/metrics")
    request.add_header("Authorization", "Basic " + base64.b64encode(f"prometheus:{password}".encode()).decode())
    with urllib.request.urlopen(request) as response:
        text = response.read().decode()
    _, said = promtool("check", "metrics", text=text)
    named = {line.split()[0] for line in said.splitlines()}
    assert named == LINT, f"{named ^ LINT}: {said}"
    status, said = promtool("check", "metrics", text="# HELP torc_wrong_ms W.\n# TYPE torc_wrong_ms gauge\ntorc_wrong_ms 1\n")
    assert status != 0 and "torc_wrong_ms" in said, f"a wrong name is not found: {said}"


def with_instance(series):
    name, brace, labels = series.partition("{")
    return name + '{instance="a"' + ("," + labels if brace else "}")


def check_alerts(rules):
    """Each alert fires with one set of series, with its texts filled in, and not with the other."""
    rules = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}
    assert set(rules) == set(ALERTS), set(rules) ^ set(ALERTS)
    tests = []
    for name, (bad, good, labels) in ALERTS.items():
        labels = {"instance": "a", **labels}
        texts = {}
        for kind, text in rules[name]["annotations"].items():
            text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)
            texts[kind] = text.replace("{{ $value }}", "31")
        alert = {"exp_labels": {**labels, **rules[name]["labels"]}, "exp_annotations": texts}
        for series, expected in ((bad, [alert]), (good, [])):
            series = [{"series": with_instance(one), "values": values} for one, values in series.items()]
            when = [{"eval_time": "16m", "alertname": name, "exp_alerts": expected}]
            tests.append({"interval": "1m", "input_series": series, "alert_rule_test": when})
    file = directory / "alerts_test.yml"
    document = {"rule_files": [str(folder / "alerts.yml")], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(document))
    status, said = promtool("test", "rules", file)
    assert status == 0, said
    # One that cannot be right.
    document["tests"] = [{**tests[0], "alert_rule_test": tests[1]["alert_rule_test"]}]
    file.write_text(yaml.safe_dump(document))
    assert promtool("test", "rules", file)[0] != 0, "a wrong expectation is not found"


def configuration():
    """That of the README, for this server and with samples every second."""
    block = re.search(r"```yaml\n(.*?)```", (folder / "README.md").read_text(), re.S)
    config = yaml.safe_load(block[1])
    (job,) = config["scrape_configs"]
    (directory / "torc-password").write_text(password)
    assert job["job_name"] == "torc" and job["static_configs"] == [{"targets": ["127.0.0.1:9121"]}], job
    assert config["rule_files"] == ["/usr/share/torc/dashboards/alerts.yml"], config
    job["scrape_interval"] = "1s"
    job["basic_auth"]["password_file"] = str(directory / "torc-password")
    job["static_configs"] = [{"targets": [target]}]
    config["rule_files"] = [str(folder / "alerts.yml")]
    config["global"] = {"evaluation_interval": "1s"}
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    status, said = promtool("check", "config", file)
    assert status == 0 and "15 rules" in said, said
    return file


class Prometheus:
    """One that runs until the block ends."""

    def __init__(self, config):
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
        command += ["--web.listen-address=127.0.0.1:0", "--log.level=info"]
        self.log = directory / "prometheus.log"
        self.child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log.open("w"))
        self.address = None

    def __enter__(self):
        self.await_("that it listens", self.listens)
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait(30)

    def listens(self):
        found = re.search(r'msg="Listening on" address=(\S+)', self.log.read_text())
        self.address = found and found[1]
        return self.address

    def await_(self, what, condition):
        end = time.monotonic() + 60
        while True:
            assert self.child.poll() is None, self.log.read_text()
            said = condition()
            if said:
                return said
            assert time.monotonic() < end, f"never: {what}\n{self.log.read_text()}"
            time.sleep(0.1)

    def ask(self, path, **query):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return None  # It has only just begun.
            raise AssertionError(f"{query}: {error.read().decode()}") from error

    def values(self, expression):
        data = self.ask("query", query=expression)
        return [float(sample["value"][1]) for sample in data["result"]] if data else []

    def has_data(self, expression):
        return any(math.isfinite(value) for value in self.values(expression))


def check_scrapes(prometheus):
    prometheus.await_("five scrapes", lambda: prometheus.values('count_over_time(up{job="torc"}[1m])') >= [5])
    (scraped,) = prometheus.ask("targets")["activeTargets"]
    assert scraped["health"] == "up" and not scraped["lastError"], scraped
    assert prometheus.values('min_over_time(up{job="torc"}[1m])') == [1.0], "a scrape has failed"
    # None was dropped because of its time, or of another of the same name.
    one = 'scrape_samples_post_metric_relabeling == scrape_samples_scraped'
    assert prometheus.values(one) and prometheus.values(one)[0] > 400, prometheus.values(one)
    assert "out-of-order" not in prometheus.log.read_text() and "duplicate" not in prometheus.log.read_text()


def check_expressions(prometheus, rules):
    board = json.loads((folder / "torc.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    expressions = [text.replace("$instance", target).replace("$__rate_interval", "10s") for text in expressions]
    # Of a rule, what it compares: the server is well.
    compared = re.compile(r" (?:==|<|>) [0-9.]+")
    expressions += [compared.sub("", rule["expr"]) for group in rules["groups"] for rule in group["rules"]]
    for text in expressions:
        assert not re.search(r"\$|==", text), text
        prometheus.await_(f"data of {text}", lambda: prometheus.has_data(text))
    assert not prometheus.values("redis_nothing"), "an expression without data has some"

    def evaluated():
        groups = prometheus.ask("rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        wrong = [rule for rule in found if rule["health"] == "err" or rule.get("lastError")]
        assert not wrong, wrong
        return len(found) if all(rule["health"] == "ok" for rule in found) else 0

    assert prometheus.await_("that the rules are evaluated", evaluated) == len(ALERTS)
    return len(expressions)


def work(stop):
    """Reads here, writes at the primary, and a mistake now and then."""
    here, primary = redis.Redis(unix_socket_path=path), redis.Redis(unix_socket_path=primary_path)
    listener = here.pubsub()
    listener.subscribe("channel")
    number = 0
    while not stop.is_set():
        number += 1
        primary.set(f"key:{number % 100}", "v", ex=100 if number % 2 else None)
        here.mget(f"key:{number % 200}", "missing")
        here.publish("channel", "message")
        if number % 50 == 1:
            try:
                here.execute_command("NOSUCH")
            except redis.ResponseError:
                pass
        time.sleep(0.002)


is_whole = os.environ.get("TORC_PROMETHEUS") == "1"
if not is_whole and not shutil.which("promtool"):
    print("NOT CHECKED: there is no promtool here; `tests/run prometheus` installs it")
    sys.exit()
rules = yaml.safe_load((folder / "alerts.yml").read_text())
status, said = promtool("check", "rules", folder / "alerts.yml")
assert status == 0 and "15 rules found" in said, said
check_alerts(rules)
check_metrics()
if not is_whole:
    print(f"passed: {len(ALERTS)} alerts; NOT CHECKED: that Prometheus scrapes it, see `tests/run prometheus`")
    sys.exit()
stop = threading.Event()
worker = threading.Thread(target=work, args=(stop,))
worker.start()
try:
    with Prometheus(configuration()) as prometheus:
        check_scrapes(prometheus)
        count = check_expressions(prometheus, rules)
finally:
    stop.set()
    worker.join()
print(f"passed: {count} expressions, {len(ALERTS)} alerts")
