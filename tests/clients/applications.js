// What applications do with scripts, by the libraries they do it with: a job queue (BullMQ), a lock of several keys (redlock), a
// rate limiter (rate-limiter-flexible). Arguments: the port.

const assert = require('node:assert');
const Redis = require('ioredis');
const { Queue, QueueEvents, Worker, FlowProducer } = require('bullmq');
const Redlock = require('redlock').default;
const { RateLimiterRedis } = require('rate-limiter-flexible');

const connection = { host: '127.0.0.1', port: Number(process.argv[2]), maxRetriesPerRequest: null };

// Jobs are done once each, in the order of their priority, again after a failure, later where they say so, and children before parents.
async function queue() {
    const queue = new Queue('jobs', { connection });
    const events = new QueueEvents('jobs', { connection });
    await events.waitUntilReady();
    const done = new Map();
    const worker = new Worker(
        'jobs',
        async (job) => {
            done.set(job.name, (done.get(job.name) ?? 0) + 1);
            if (job.name === 'fails-once' && job.attemptsMade === 0) {
                throw new Error('again');
            }
            await job.updateProgress(50);
            return { doubled: 2 * job.data.number };
        },
        { connection, concurrency: 4, autorun: false },
    );
    const plain = await queue.addBulk(
        Array.from({ length: 40 }, (_, number) => ({ name: `job${number}`, data: { number }, opts: { priority: 1 + (number % 5) } })),
    );
    const again = await queue.add('fails-once', { number: 1 }, { attempts: 3, backoff: { type: 'fixed', delay: 20 } });
    const late = await queue.add('late', { number: 2 }, { delay: 100 });
    const twice = await queue.add('same', { number: 3 }, { jobId: 'one' });
    await queue.add('same', { number: 4 }, { jobId: 'one' });
    const counts = await queue.getJobCounts('prioritized', 'wait', 'delayed');
    assert.deepStrictEqual([counts.prioritized, counts.wait, counts.delayed], [40, 2, 1]);
    worker.run();
    const results = await Promise.all([...plain, again, late, twice].map((job) => job.waitUntilFinished(events, 20000)));
    assert.strictEqual(results[7].doubled, 14);
    assert.strictEqual(done.get('fails-once'), 2);
    assert.ok([...done].every(([name, times]) => times === (name === 'fails-once' ? 2 : 1)));
    const flow = new FlowProducer({ connection });
    const tree = await flow.add({
        name: 'parent', queueName: 'jobs', data: { number: 9 },
        children: [1, 2, 3].map((number) => ({ name: `child${number}`, queueName: 'jobs', data: { number } })),
    });
    await tree.job.waitUntilFinished(events, 20000);
    assert.strictEqual(Object.keys(await tree.job.getChildrenValues()).length, 3);
    assert.strictEqual((await queue.getJobCounts('completed')).completed, 47);
    await worker.close();
    await queue.pause();
    await queue.add('waits', { number: 0 });
    await queue.obliterate({ force: true });
    await Promise.all([queue.close(), events.close(), flow.close()]);
}

// While somebody has the lock nobody else gets it; who gives it back lets others have it; it can be had for longer.
async function lock() {
    const clients = [0, 1].map((db) => new Redis({ ...connection, db }));
    const redlock = new Redlock(clients, { retryCount: 0 });
    const held = await redlock.acquire(['{lock}a', '{lock}b'], 5000);
    await assert.rejects(redlock.acquire(['{lock}b'], 1000));
    const longer = await held.extend(8000);
    assert.ok(await clients[0].pttl('{lock}a') > 5000);
    await longer.release();
    const next = await redlock.acquire(['{lock}b'], 1000);
    await next.release();
    assert.strictEqual(await clients[1].exists('{lock}b'), 0);
    clients.forEach((client) => client.disconnect());
}

// Of many that come at once so many pass as may.
async function limiter() {
    const client = new Redis(connection);
    const limiter = new RateLimiterRedis({ storeClient: client, points: 10, duration: 60, inMemoryBlockOnConsumed: 0 });
    const outcomes = await Promise.allSettled(Array.from({ length: 50 }, () => limiter.consume('user')));
    assert.strictEqual(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 10);
    assert.strictEqual((await limiter.get('user')).remainingPoints, 0);
    await limiter.delete('user');
    assert.strictEqual((await limiter.consume('user', 3)).remainingPoints, 7);
    client.disconnect();
}

Promise.all([queue(), lock(), limiter()]).then(
    () => {
        console.log('passed');
        process.exit(0);
    },
    (error) => {
        console.error(error);
        process.exit(1);
    },
);
