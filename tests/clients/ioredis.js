// ioredis against the server at argv[2] (a port), over TLS with the certificates in the directory argv[3]: its ready check, auto-pipelining, buffers, scanning, pub/sub.

const assert = require("assert");
const fs = require("fs");
const Redis = require("ioredis");

async function main() {
  const [, , port, dir] = process.argv;
  const file = (name) => fs.readFileSync(`${dir}/${name}`);
  const tls = dir && { ca: file("ca.crt"), cert: file("client.crt"), key: file("client.key"), servername: "localhost" };
  const redis = new Redis({ port: Number(port), tls, enableAutoPipelining: true, connectionName: "node" });
  await redis.flushall();
  assert.strictEqual(await redis.set("a", "1", "EX", 100, "NX"), "OK");
  assert.strictEqual(await redis.incr("a"), 2);
  assert.strictEqual(await redis.get("missing"), null);
  const bytes = Buffer.from([0, 255, 13, 10]);
  await redis.set("b", bytes);
  assert.ok(bytes.equals(await redis.getBuffer("b")));
  await Promise.all(Array.from({ length: 5000 }, (_, i) => redis.set("key:" + i, i)));
  const values = await redis.mget(Array.from({ length: 5000 }, (_, i) => "key:" + i));
  values.forEach((value, i) => assert.strictEqual(value, String(i)));
  const seen = new Set();
  for await (const keys of redis.scanStream({ match: "key:*", count: 100 })) keys.forEach((key) => seen.add(key));
  assert.strictEqual(seen.size, 5000);
  const results = await redis.pipeline().set("p", 1).incr("p").get("p").incr("b").exec();
  assert.deepStrictEqual(results.slice(0, 3), [[null, "OK"], [null, 2], [null, "2"]]);
  assert.match(results[3][0].message, /value is not an integer or out of range/);
  assert.match(await redis.info("server"), /redis_version:8\.2\.3/);
  assert.strictEqual(await redis.client("GETNAME"), "node");
  const monitor = await redis.monitor();
  const line = new Promise((resolve) => monitor.once("monitor", (time, args) => resolve(args)));
  await redis.echo("seen");
  assert.deepStrictEqual((await line).map((word) => word.toLowerCase()), ["echo", "seen"]);
  monitor.disconnect();
  const listener = redis.duplicate();
  assert.strictEqual(await listener.subscribe("news", "other"), 2);
  assert.strictEqual(await listener.psubscribe("n*"), 3);
  const message = new Promise((resolve) => listener.once("message", (...args) => resolve(args)));
  const pmessage = new Promise((resolve) => listener.once("pmessage", (...args) => resolve(args)));
  assert.strictEqual(await redis.publish("news", "hello"), 2);
  assert.deepStrictEqual(await message, ["news", "hello"]);
  assert.deepStrictEqual(await pmessage, ["n*", "news", "hello"]);
  assert.deepStrictEqual(await listener.ping(), ["pong", ""]);
  await assert.rejects(listener.get("a"), /subscriber mode|only/);
  await listener.unsubscribe("news", "other");
  await listener.punsubscribe("n*");
  assert.strictEqual(await listener.get("missing"), null);
  assert.strictEqual(await redis.publish("news", "nobody"), 0);
  listener.disconnect();
  await redis.acl("SETUSER", "node", "on", ">secret", "~node:*", "+@read", "+@write", "+@connection", "+@transaction", "+info", "+acl|whoami");
  const user = new Redis({ port: Number(port), tls, username: "node", password: "secret" });
  assert.strictEqual(await user.acl("WHOAMI"), "node");
  assert.strictEqual(await user.set("node:1", "x"), "OK");
  await assert.rejects(user.get("other"), /NOPERM/);
  await assert.rejects(user.config("GET", "port"), /NOPERM/);
  await assert.rejects(user.multi().set("node:1", "y").get("other").exec(), /EXECABORT/);
  const gone = new Promise((resolve) => user.once("close", resolve));
  user.on("error", () => {});
  assert.strictEqual(await redis.acl("DELUSER", "node"), 1);
  await gone;
  user.disconnect();
  await redis.quit();
  console.log("ioredis passed");
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
