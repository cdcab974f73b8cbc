"""redis-py against the server at argv[1] (a port), over TLS with the certificates in the directory argv[2]: strings, keys, pipelines, RESP2 and RESP3, pools, scanning, pub/sub."""

import sys
import threading

import redis

port = int(sys.argv[1])
tls, pool_tls = {}, {}
if len(sys.argv) > 2:
    files = {"ssl_ca_certs": "ca.crt", "ssl_certfile": "client.crt", "ssl_keyfile": "client.key"}
    files = {name: f"{sys.argv[2]}/{file}" for name, file in files.items()}
    tls, pool_tls = {"ssl": True, **files}, {"connection_class": redis.SSLConnection, **files}
for protocol in (2, 3):
    r = redis.Redis(port=port, protocol=protocol, client_name="py", **tls)
    assert r.ping()
    r.flushall()
    assert r.set("a", b"\x00\xff\r\n") and r.get("a") == b"\x00\xff\r\n"
    assert r.set("a", 1, nx=True) is None
    assert r.set("n", 10, ex=100, get=True) is None
    assert r.incrby("n", 5) == 15 and 0 < r.ttl("n") <= 100
    assert r.incrbyfloat("f", 1.5) == 1.5
    assert r.mset({"x": 1, "y": 2}) and r.mget("x", "y", "z") == [b"1", b"2", None]
    assert r.getex("x", px=100000) == b"1" and r.pttl("x") > 0
    assert r.exists("x", "y", "z") == 2 and r.delete("x", "y", "z") == 2
    assert r.type("n") == b"string" and r.object("encoding", "n") == b"int"
    assert r.copy("n", "m") and r.rename("m", "o") and r.randomkey()
    assert r.append("s", "hello") == 5 and r.getrange("s", 1, 3) == b"ell" and r.strlen("s") == 5
    pipe = r.pipeline(transaction=False)
    for i in range(1000):
        pipe.set(f"key:{i}", i)
    assert all(pipe.execute())
    assert len(set(r.scan_iter("key:*", count=50))) == 1000
    assert len(r.keys("key:*")) == 1000 and r.dbsize() == 1005
    info = r.info()
    assert info["redis_version"] == "8.2.3" and info["torc_version"], info
    assert info["db0"]["keys"] == 1005, info["db0"]
    assert r.config_get("maxmemory") == {"maxmemory": "0"}
    assert r.config_set("slowlog-log-slower-than", 10000)
    assert r.client_getname() in ("py", b"py")
    assert isinstance(r.client_id(), int) and len(r.client_list()) >= 1
    assert r.command_count() > 50 and "get" in r.command()
    assert r.slowlog_len() >= 0 and r.time()[0] > 0 and isinstance(r.memory_usage("n"), int)
    try:
        r.incr("s")
        raise SystemExit("INCR of a word succeeded")
    except redis.ResponseError as error:
        assert str(error) == "value is not an integer or out of range", error
    listener = r.pubsub()
    listener.subscribe("news", "other")
    listener.psubscribe("n*")
    kinds = [listener.get_message(timeout=5)["type"] for _ in range(3)]
    assert kinds == ["subscribe", "subscribe", "psubscribe"], kinds
    assert r.publish("news", "hello") == 2 and r.pubsub_numsub("news", "none") == [(b"news", 1), (b"none", 0)]
    first, second = listener.get_message(timeout=5), listener.get_message(timeout=5)
    assert first == {"type": "message", "pattern": None, "channel": b"news", "data": b"hello"}, first
    assert second == {"type": "pmessage", "pattern": b"n*", "channel": b"news", "data": b"hello"}, second
    listener.ssubscribe("shard")
    assert listener.get_message(timeout=5)["type"] == "ssubscribe"
    assert r.spublish("shard", "x") == 1 and listener.get_message(timeout=5)["type"] == "smessage"
    assert listener.ping() or True
    listener.unsubscribe()
    listener.punsubscribe()
    listener.sunsubscribe()
    while listener.subscribed:
        assert listener.get_message(timeout=5), "no confirmation"
    assert r.publish("news", "x") == 0 and r.pubsub_channels() == [] and r.pubsub_numpat() == 0
    listener.close()
    big = "v" * (5 << 20)
    assert r.set("big", big) and r.get("big") == big.encode()
    assert r.flushdb() and r.dbsize() == 0

pool = redis.ConnectionPool(port=port, max_connections=50, **pool_tls)


def work(number):
    client = redis.Redis(connection_pool=pool)
    for i in range(100):
        client.set(f"{number}:{i}", i)
        assert client.get(f"{number}:{i}") == str(i).encode()
        client.incr("shared")


threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert redis.Redis(connection_pool=pool).get("shared") == b"1600"

# Users: what one of them may do, and what the library makes of a refusal.
for protocol in (2, 3):
    admin = redis.Redis(port=port, protocol=protocol, decode_responses=True, **tls)
    assert admin.acl_whoami() == "default" and "default" in admin.acl_users()
    assert admin.acl_setuser("py", enabled=True, passwords=["+secret"], keys=["py:*"], channels=["py"],
                             commands=["+@read", "+set", "-keys", "+config|get", "+acl|whoami"], reset=True)
    user = admin.acl_getuser("py")
    assert user["enabled"] and "on" in user["flags"] and user["keys"][:1] in (["py:*"], ["~py:*"]), user
    assert "string" in admin.acl_cat() and "get" in admin.acl_cat("string")
    assert len(admin.acl_genpass()) == 64 and len(admin.acl_genpass(128)) == 32
    assert admin.acl_dryrun("py", "get", "py:1") == "OK"
    py = redis.Redis(port=port, protocol=protocol, username="py", password="secret", decode_responses=True, **tls)
    assert py.acl_whoami() == "py" and py.set("py:1", "x") and py.get("py:1") == "x"
    for refused in (lambda: py.get("other"), lambda: py.delete("py:1"), lambda: py.keys()):
        try:
            refused()
            assert False, "it is refused"
        except redis.exceptions.NoPermissionError:
            pass
    try:
        redis.Redis(port=port, protocol=protocol, username="py", password="wrong", **tls).ping()
        assert False, "it is no password"
    except redis.exceptions.AuthenticationError:
        pass
    reasons = [entry["reason"] for entry in admin.acl_log()]
    assert {"auth", "key", "command"} <= set(reasons), reasons
    assert admin.acl_log_reset() and admin.acl_log() == []
    assert admin.acl_deluser("py") == 1
print("redis-py", redis.__version__, "passed")
