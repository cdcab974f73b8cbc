// Writes through ioredis's Sentinel client until that has found another primary than the first.
const Redis = require("ioredis");

const [port, name] = process.argv.slice(2);
const sentinels = [{ host: "127.0.0.1", port: Number(port) }];
const client = new Redis({ sentinels, name, maxRetriesPerRequest: null, reconnectOnError: () => 2 });
client.on("error", () => {});

const runId = async () => /run_id:(\w+)/.exec(await client.info("server"))[1];

async function main() {
    await client.set("ioredis", "1");
    const first = await runId();
    console.log("ready");
    const end = Date.now() + 60000;
    for (;;) {
        if (Date.now() > end) {
            throw new Error("no other primary was found");
        }
        try {
            await client.incr("ioredis");
            if ((await runId()) !== first) {
                break;
            }
        } catch (error) {
            if (!/READONLY|UNBLOCKED|closed/.test(error.message)) {
                throw error;
            }
        }
    }
    console.log("passed");
    client.disconnect();
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
