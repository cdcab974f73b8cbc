"""Writes through redis-py's Sentinel client until that has found another primary than the first."""
import sys
import time

import redis
from redis.sentinel import MasterNotFoundError, Sentinel

port, name = int(sys.argv[1]), sys.argv[2]
sentinel = Sentinel([("127.0.0.1", port)], socket_timeout=1)
primary = sentinel.master_for(name, socket_timeout=1)
replica = sentinel.slave_for(name, socket_timeout=1)

assert primary.set("redis-py", "1")
first = primary.info("server")["run_id"]
end = time.monotonic() + 20
while replica.get("redis-py") != b"1":
    assert time.monotonic() < end
print("ready", flush=True)

end = time.monotonic() + 60
while True:
    assert time.monotonic() < end, "no other primary was found"
    try:
        primary.incr("redis-py")
        if primary.info("server")["run_id"] != first:
            break
    except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, MasterNotFoundError):
        time.sleep(0.02)
print("passed", flush=True)
