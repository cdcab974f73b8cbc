//! Resident memory: what values, lists and large requests took goes back to the system.

use crate::harness::{Client, Server, command, until};

/// Above what the server had before it was filled: its threads' own allocations, chunks kept ready, buffers.
const LEFT_BYTES_MAX: u64 = 12 << 20;
const FILL_BYTES: usize = 60 << 20;

/// Sends these commands, pipelined, and awaits as many replies.
fn run(client: &mut Client, commands: impl Iterator<Item = Vec<u8>>) {
    let mut commands = commands.peekable();
    while commands.peek().is_some() {
        let batch: Vec<Vec<u8>> = commands.by_ref().take(50).collect();
        client.send_raw(&batch.concat()).expect("the server reads");
        for _ in &batch {
            let reply = client.read().expect("a reply");
            assert!(!reply.is_error(), "{reply}");
        }
    }
}

/// Fills a server with `FILL_BYTES` by these commands, has them removed, and awaits that its memory goes.
fn gives_back(what: &str, workers: &str, fill: impl Fn(usize) -> Vec<u8>, each_bytes: usize, empty: &str) {
    let server = Server::start(&["--workers", workers]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let before = server.resident_bytes();
    let count = FILL_BYTES / each_bytes;
    // Several clients, so that several workers' memory is filled and each frees what others allocated.
    for (number, client) in clients.iter_mut().enumerate() {
        run(client, (number..count).step_by(4).map(&fill));
    }
    let filled = server.resident_bytes();
    assert!(filled > before + FILL_BYTES as u64 * 9 / 10, "{what}: only {filled} bytes after {before}");
    let reply = clients[0].ask(empty);
    assert!(!reply.is_error(), "{reply}");
    let is_back = until(|| server.resident_bytes() < before + LEFT_BYTES_MAX);
    assert!(is_back, "{what}, {workers} workers: {before} bytes, {filled}, {}", server.resident_bytes());
}

fn set(number: usize, value_bytes: usize) -> Vec<u8> {
    command(&["SET", &format!("key:{number}"), &"x".repeat(value_bytes)])
}

/// What was freed stayed in the allocator for good, and all the more where another worker had allocated it.
#[test]
fn memory_of_values_goes_back_to_the_system() {
    for workers in ["1", "3"] {
        for value_bytes in [300, 4_000, 20_000, 300_000] {
            let what = format!("values of {value_bytes} bytes");
            gives_back(&what, workers, |number| set(number, value_bytes), value_bytes, "FLUSHALL");
        }
    }
}

#[test]
fn memory_of_lists_goes_back_to_the_system() {
    let value = "x".repeat(1000);
    let push = |number: usize| command(&["RPUSH", &format!("list:{}", number % 500), &value]);
    for workers in ["1", "3"] {
        gives_back("lists", workers, push, 1000, "FLUSHALL");
    }
}

/// The server need not rest for it: somebody asks all the time.
#[test]
fn memory_goes_back_while_clients_ask() {
    let server = Server::start(&["--workers", "2"]);
    let (mut client, mut other) = (server.client(), server.client());
    let before = server.resident_bytes();
    run(&mut client, (0..FILL_BYTES / 4000).map(|number| set(number, 4000)));
    client.ask("FLUSHALL");
    assert!(until(|| {
        other.ask("GET key");
        server.resident_bytes() < before + LEFT_BYTES_MAX
    }));
}

#[test]
fn memory_of_large_requests_goes_back_to_the_system() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    let before = server.resident_bytes();
    let value = "x".repeat(FILL_BYTES);
    assert_eq!(client.call(&["SET", "key", &value]).string(), "OK");
    assert_eq!(client.ask("GET key").text().len(), FILL_BYTES);
    let words: Vec<String> = (0..100_000).map(|number| format!("word:{number:0100}")).collect();
    let wide: Vec<&str> = ["MGET"].into_iter().chain(words.iter().map(String::as_str)).collect();
    assert_eq!(client.call(&wide).elements().len(), words.len());
    assert_eq!(client.ask("DEL key").int(), Some(1));
    assert_eq!(client.ask("MEMORY PURGE").string(), "OK");
    let is_back = until(|| server.resident_bytes() < before + LEFT_BYTES_MAX);
    assert!(is_back, "{before} bytes, {}", server.resident_bytes());
}

/// What INFO says in this field.
fn info(client: &mut Client, field: &str) -> u64 {
    let all = client.ask("INFO everything").string();
    let line = all.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number {field} in INFO"))
}

/// The limit of the servers whose memory is to be fragmented: large beside the few chunks of 2 MiB that are kept ready.
const LIMIT_BYTES: usize = 64 << 20;

/// Sets values of these sizes, one after the other, each until they alone have filled the limit.
fn fragment(client: &mut Client, sizes: &[usize]) {
    for bytes in sizes {
        let count = LIMIT_BYTES / (bytes + 100);
        run(
            client,
            (0..count).map(|number| command(&["SET", &format!("key:{bytes}:{number}"), &"x".repeat(*bytes)])),
        );
    }
}

fn limited(activedefrag: &str) -> Server {
    let limit = LIMIT_BYTES.to_string();
    let limits = ["--maxmemory", limit.as_str(), "--maxmemory-policy", "allkeys-random"];
    Server::start(
        &[&["--workers", "2", "--shards", "64", "--activedefrag", activedefrag][..], &limits[..]].concat(),
    )
}

/// Where the sizes of values changed, resident memory was several times the limit: the pages of each size stayed, half empty.
#[test]
fn resident_memory_follows_the_limit_when_sizes_change() {
    let server = limited("auto");
    let mut client = server.client();
    let before = server.resident_bytes();
    fragment(&mut client, &[60, 200, 900, 60]);
    let most = before + LIMIT_BYTES as u64 * 13 / 10;
    let keeps_to_it = until(|| server.resident_bytes() < most);
    assert!(keeps_to_it, "{} bytes of {most}", server.resident_bytes());
    assert!(info(&mut client, "active_defrag_hits") > 0);
    assert!(info(&mut client, "total_active_defrag_time") > 0);
    assert!(until(|| info(&mut client, "active_defrag_running") == 0));
}

#[test]
fn defragmentation_is_switched_by_its_directive() {
    let server = limited("no");
    let mut client = server.client();
    fragment(&mut client, &[60, 200, 900]);
    assert_eq!(info(&mut client, "active_defrag_hits"), 0);
    assert_eq!(client.ask("CONFIG SET active-defrag-ignore-bytes 1mb activedefrag yes").string(), "OK");
    assert!(until(|| info(&mut client, "active_defrag_hits") > 1000));
    assert_eq!(client.ask("CONFIG SET activedefrag no").string(), "OK");
    assert!(until(|| info(&mut client, "active_defrag_running") == 0));
}
