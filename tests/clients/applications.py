"""What applications do with scripts, by the libraries they do it with: a job queue (rq), locks and scripts of redis-py.
Arguments: the port."""

import math
import sys
import threading

import redis
from redis.lock import Lock
from rq import Queue, SimpleWorker
from rq.job import JobStatus

client = redis.Redis(port=int(sys.argv[1]))


def jobs():
    """Jobs run once each, one depends on another, one fails and is found among the failed."""
    queue = Queue(connection=client)
    first = queue.enqueue(divmod, 17, 5)
    behind = queue.enqueue(len, "abc", depends_on=first)
    failing = queue.enqueue(math.sqrt, -1)
    many = queue.enqueue_many([Queue.prepare_data(abs, (-number,)) for number in range(20)])
    worker = SimpleWorker([queue], connection=client)
    worker.log.setLevel("CRITICAL")
    assert worker.work(burst=True)
    assert first.return_value() == (3, 2)
    assert behind.return_value() == 3
    assert failing.get_status(refresh=True) == JobStatus.FAILED
    assert failing.id in queue.failed_job_registry
    assert [job.return_value() for job in many] == list(range(20))
    assert len(queue) == 0


def locks():
    """One at a time, by scripts that compare a token before they give back or prolong."""
    count = [0]

    def work():
        own = redis.Redis(port=int(sys.argv[1]))
        for _ in range(25):
            with Lock(own, "lock", timeout=10, sleep=0.001) as lock:
                lock.extend(5)
                seen = count[0]
                own.ping()
                count[0] = seen + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count[0] == 100, count


def limiter():
    """A window that slides: a sorted set of times."""
    allow = client.register_script(
        """
        local now = tonumber(ARGV[1])
        redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - tonumber(ARGV[2]))
        if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
        redis.call('ZADD', KEYS[1], now, ARGV[4])
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        return 1
        """
    )
    allowed = [allow(keys=["window"], args=[1000 + number, 1000, 5, number]) for number in range(20)]
    assert sum(allowed) == 5
    assert allow(keys=["window"], args=[3000, 1000, 5, "later"]) == 1


def functions():
    """A library, called as redis-py calls it."""
    client.function_load(
        "#!lua name=counts\n"
        "redis.register_function('add', function(keys, args) return redis.call('INCRBY', keys[1], args[1]) end)",
        replace=True,
    )
    assert [client.fcall("add", 1, "counter", 3) for _ in range(3)] == [3, 6, 9]
    assert client.function_list(library="counts")
    dump = client.function_dump()
    client.function_flush()
    client.function_restore(dump)
    assert client.fcall("add", 1, "counter", 1) == 10


for part in (jobs, locks, limiter, functions):
    part()
print("passed")
