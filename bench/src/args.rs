//! The command line.

use std::ffi::OsString;
use std::str::FromStr;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value};
use lexopt::{Parser, ValueExt};

use crate::address::Address;
use crate::compare::{CompareOptions, Format, ServerSpec};
use crate::keys::KEYS_MAX;
use crate::load::LoadOptions;
use crate::model::{Costs, ModelOptions};
use crate::operation::Operation;
use crate::output::Output;
use crate::presets::YCSB_FIELD_BYTES;
use crate::scaling::ScalingOptions;
use crate::tls::TlsOptions;
use crate::values::VALUE_BYTES_MAX;
use crate::{Fatal, fatal};

/// Most connections, and units in a batch.
const COUNT_MAX: usize = 1 << 20;

/// Longest run, in seconds.
const SECONDS_MAX: f64 = 1e6;
/// Most threads.
const THREADS_MAX: usize = 1024;
/// Requests per second of an open loop.
const RATE_MIN: f64 = 0.01;
const RATE_MAX: f64 = 1e9;
/// The highest CPU that can be named.
const CPU_MAX: usize = 1023;

/// Most workers, shards and ns of anything, of a model.
const WORKERS_MAX: usize = 1024;
const SHARDS_MAX: usize = 1 << 20;
const COST_NS_MAX: u64 = 1_000_000;

/// What `--help` prints.
pub const USAGE: &str = include_str!("usage.txt");

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Print the usage.
    Help,
    /// `bench` alone, with an address or without.
    Canonical(Option<Address>),
    /// `bench load`.
    Load(LoadOptions),
    /// `bench compare`.
    Compare(CompareOptions),
    /// `bench scaling`.
    Scaling(ScalingOptions),
    /// `bench model`.
    Model(ModelOptions),
}

impl Request {
    /// Reads the arguments, without the program's name.
    pub fn parse(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Request, Fatal> {
        let mut parser = Parser::from_args(args);
        match parser.next()? {
            Some(Value(mode)) if mode == "load" => parse_load(&mut parser),
            Some(Value(mode)) if mode == "compare" => parse_compare(&mut parser),
            Some(Value(mode)) if mode == "scaling" => parse_scaling(&mut parser),
            Some(Value(mode)) if mode == "model" => parse_model(&mut parser),
            Some(Long("help") | Short('h')) => Ok(Request::Help),
            None => Ok(Request::Canonical(None)),
            Some(Value(address)) => {
                let address = address.string()?;
                match (address.parse(), parser.next()?) {
                    (Ok(address), None) => Ok(Request::Canonical(Some(address))),
                    (Ok(_), Some(_)) => {
                        fatal("options need a mode before them: bench load ADDRESS; see --help")
                    }
                    (Err(error), _) => {
                        fatal(format!("{error}; say load, compare, scaling or model\n\n{USAGE}"))
                    }
                }
            }
            _ => fatal(format!("say load, compare, scaling or model\n\n{USAGE}")),
        }
    }
}

fn parse_load(parser: &mut Parser) -> Result<Request, Fatal> {
    let mut load = LoadOptions::default();
    let mut templates = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("help") | Short('h') => return Ok(Request::Help),
            Short('o') | Long("op") => load.operation = Operation::named(&parser.value()?.string()?)?,
            Short('t') | Long("template") => templates.push(parser.value()?.string()?),
            Long("trace") => load.operation = Operation::Trace(parser.value()?.into()),
            Long("fill") => load.fills = true,
            Short('d') | Long("depth") => load.depth = number(parser, 1, COUNT_MAX)?,
            Long("pid") => load.pids.push(number(parser, 1, i32::MAX as u32)?),
            Value(address) => load.addresses.push(address.string()?.parse()?),
            Short(_) | Long(_) => common(&arg_name(&arg), parser, &mut load)?,
        }
    }
    if !templates.is_empty() {
        load.operation = Operation::templates(&templates)?;
    }
    settle(&mut load);
    if load.addresses.is_empty() {
        return fatal("say where the server is: a port, HOST:PORT, or the path of a Unix socket");
    }
    Ok(Request::Load(load))
}

fn parse_compare(parser: &mut Parser) -> Result<Request, Fatal> {
    let mut compare = CompareOptions::default();
    let mut templates = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("help") | Short('h') => return Ok(Request::Help),
            Short('o') | Long("ops") => {
                let names = parser.value()?.string()?;
                let names = names.split([',', ' ']).filter(|name| !name.is_empty());
                compare.operations = names.map(Operation::named).collect::<Result<_, _>>()?;
            }
            Short('t') | Long("template") => templates.push(Operation::Template(parser.value()?.string()?)),
            Short('d') | Long("depths") => {
                compare.depths = list(&parser.value()?.string()?, |depth| bounded(depth, 1, COUNT_MAX))?;
            }
            Short('r') | Long("rounds") => compare.rounds = number(parser, 1, COUNT_MAX)?,
            Long("server-cpus") => compare.server_cpus = cpus(&parser.value()?.string()?)?,
            Long("markdown") => compare.format = Format::Markdown,
            Value(spec) => compare.servers.push(ServerSpec::parse(&spec.string()?)?),
            Short(_) | Long(_) => common(&arg_name(&arg), parser, &mut compare.load)?,
        }
    }
    if compare.load.outputs.iter().any(|output| !output.holds_several()) {
        return fatal("a .hgrm file holds one run: a comparison writes .html, .json or .csv");
    }
    if compare.operations.contains(&Operation::Fill) {
        return fatal("every server is filled anyway: fill cannot be compared");
    }
    compare.operations.extend(templates);
    if compare.operations.is_empty() {
        return fatal("nothing to compare: name operations or templates");
    }
    let names: std::collections::BTreeSet<_> = compare.servers.iter().map(|server| &server.name).collect();
    if names.is_empty() || names.len() < compare.servers.len() {
        return fatal("name the servers to compare, each differently: NAME='COMMAND with {port}'");
    }
    Ok(Request::Compare(compare))
}

fn parse_scaling(parser: &mut Parser) -> Result<Request, Fatal> {
    let mut scaling = ScalingOptions::default();
    let compare = &mut scaling.compare;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("help") | Short('h') => return Ok(Request::Help),
            Short('w') | Long("workers") => {
                scaling.workers = list(&parser.value()?.string()?, |count| bounded(count, 1, WORKERS_MAX))?;
            }
            Short('d') | Long("depths") => {
                compare.depths = list(&parser.value()?.string()?, |depth| bounded(depth, 1, COUNT_MAX))?;
            }
            Short('r') | Long("rounds") => compare.rounds = number(parser, 1, COUNT_MAX)?,
            Long("server-cpus") => compare.server_cpus = cpus(&parser.value()?.string()?)?,
            Value(command) if scaling.command.is_empty() => scaling.command = command.string()?,
            Value(_) => return fatal("say one command, with the places of {port} and {workers}"),
            Short(_) | Long(_) => common(&arg_name(&arg), parser, &mut compare.load)?,
        }
    }
    if scaling.command.is_empty() {
        return fatal("say the server's command, with the places of {port} and {workers}");
    }
    Ok(Request::Scaling(scaling))
}

fn parse_model(parser: &mut Parser) -> Result<Request, Fatal> {
    let mut model = ModelOptions::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("help") | Short('h') => return Ok(Request::Help),
            Short('w') | Long("workers") => {
                model.workers = list(&parser.value()?.string()?, |count| bounded(count, 1, WORKERS_MAX))?;
            }
            Long("shards") => model.shards = Some(number(parser, 1, SHARDS_MAX)?),
            Long("reads") => model.reads_percent = number(parser, 0, 100)?,
            Long("zipf") => model.zipf = Some(number(parser, 0.0, 10.0)?).filter(|zipf| *zipf > 0.0),
            Short('k') | Long("keys") => model.keys = number(parser, 1, KEYS_MAX)?,
            Short('d') | Long("depth") => model.depth = number(parser, 1, COUNT_MAX)?,
            Long("under-way") => model.under_way = number(parser, 1, COUNT_MAX)?,
            Long("costs") => {
                let costs = list(&parser.value()?.string()?, |ns| bounded(ns, 0, COST_NS_MAX))?;
                let [run_ns, group_ns, outside_ns, lease_ns] = costs[..] else {
                    return fatal("say four costs: of a command, of a group, outside, of a lease");
                };
                model.costs = Costs { run_ns, group_ns, outside_ns, lease_ns };
            }
            Short(_) | Long(_) | Value(_) => {
                return fatal(format!("unknown option {}; see --help", arg_name(&arg)));
            }
        }
    }
    Ok(Request::Model(model))
}

/// The name of an option: its letter or its word.
fn arg_name(arg: &lexopt::Arg<'_>) -> String {
    match arg {
        Short(letter) => letter.to_string(),
        Long(word) => (*word).to_owned(),
        Value(value) => value.to_string_lossy().into_owned(),
    }
}

/// Options that both modes have.
fn common(name: &str, parser: &mut Parser, load: &mut LoadOptions) -> Result<(), Fatal> {
    match name {
        "c" | "connections" => load.connections = number(parser, 1, COUNT_MAX)?,
        "v" | "value-bytes" => load.value_bytes = number(parser, 0, VALUE_BYTES_MAX)?,
        "k" | "keys" => load.keys = number(parser, 1, KEYS_MAX)?,
        "cpus" => load.cpus = cpus(&parser.value()?.string()?)?,
        "threads" => load.threads = Some(number(parser, 1, THREADS_MAX)?),
        "rate" => load.rate = Some(number(parser, RATE_MIN, RATE_MAX)?),
        "out" => load.outputs.push(Output::parse(&parser.value()?.string()?)?),
        "arrivals" => load.arrivals = parser.value()?.string()?.parse()?,
        "distribution" => load.distribution = Some(parser.value()?.string()?.parse()?),
        "value-sizes" => load.sizes = Some(parser.value()?.string()?.parse()?),
        "ttl" => load.ttl = Some(parser.value()?.string()?.parse()?),
        "verify" => load.is_verified = true,
        "churn" => load.churn = Some(number(parser, 1, u64::MAX)?),
        "subscribers" => load.subscribers = number(parser, 1, COUNT_MAX)?,
        "channels" => load.keys = number(parser, 1, KEYS_MAX)?,
        "resp3" => load.greeting.is_resp3 = true,
        "user" => load.greeting.user = Some(parser.value()?.string()?),
        "a" | "password" => load.greeting.password = Some(parser.value()?.string()?),
        "n" | "database" => load.greeting.database = Some(number(parser, 0, u32::MAX)?),
        "zipf" => load.zipf = Some(number(parser, 0.01, 10.0)?),
        "tls" => _ = tls(load),
        "cacert" => tls(load).authorities = Some(parser.value()?.into()),
        "cert" => tls(load).certificate = Some(parser.value()?.into()),
        "key" => tls(load).key = Some(parser.value()?.into()),
        "insecure" => tls(load).is_insecure = true,
        "s" | "seconds" => load.duration = Duration::from_secs_f64(number(parser, 0.001, SECONDS_MAX)?),
        _ => return fatal(format!("unknown option {name}; see --help")),
    }
    Ok(())
}

/// What follows from an operation where nothing else was said: YCSB's fields, one channel.
fn settle(load: &mut LoadOptions) {
    let defaults = LoadOptions::default();
    if let Operation::Mixed { name, .. } = &load.operation {
        if name.starts_with("ycsb-") && load.sizes.is_none() && load.value_bytes == defaults.value_bytes {
            load.value_bytes = YCSB_FIELD_BYTES;
        }
        if name == "publish" && load.keys == defaults.keys {
            load.keys = 1;
        }
    }
}

/// Connections are encrypted: how. Whatever is said of that says so.
fn tls(load: &mut LoadOptions) -> &mut TlsOptions {
    load.tls.get_or_insert_default()
}

/// Numbers of options.
trait Bound: Copy + FromStr + PartialOrd + std::fmt::Display {}

impl<T: Copy + FromStr + PartialOrd + std::fmt::Display> Bound for T {}

/// The option's value, a number within bounds.
fn number<T: Bound>(parser: &mut Parser, min: T, max: T) -> Result<T, Fatal> {
    bounded(&parser.value()?.string()?, min, max)
}

fn bounded<T: Bound>(text: &str, min: T, max: T) -> Result<T, Fatal> {
    let number = text.parse().ok().filter(|number| *number >= min && *number <= max);
    number.ok_or_else(|| Fatal(format!("'{text}' is not between {min} and {max}")))
}

/// What stands between commas or spaces; at least one.
fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, Fatal>) -> Result<Vec<T>, Fatal> {
    let words = text.split([',', ' ']).filter(|word| !word.is_empty());
    let values: Vec<T> = words.map(parse).collect::<Result<_, _>>()?;
    if values.is_empty() { fatal("an empty list") } else { Ok(values) }
}

/// CPUs such as `0`, `1-3` or `0,2-4`.
fn cpus(text: &str) -> Result<Vec<usize>, Fatal> {
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let first = bounded(first, 0, CPU_MAX)?;
        Ok((first..=bounded(last, first, CPU_MAX)?).collect::<Vec<_>>())
    };
    Ok(list(text, range)?.concat())
}

impl From<lexopt::Error> for Fatal {
    fn from(error: lexopt::Error) -> Fatal {
        Fatal(format!("{error}; see --help"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::greeting::GreetingOptions;
    use crate::keys::Distribution;
    use crate::load::Arrivals;
    use crate::values::Sizes;

    fn parse(line: &str) -> Result<Request, Fatal> {
        Request::parse(line.split('|').filter(|word| !word.is_empty()))
    }

    #[test]
    fn load_options_are_read() {
        let line = "load|7000|-o|mix|-c|8|--depth=4|-s|0.5|-v|100|-k|9|--zipf|0.99|--cpus|1,3-4|--threads|2|--rate|1e4|\
                    --arrivals|poisson|--out|a.csv|--distribution|hot:10:90|--value-sizes|1-9|--ttl|60|--verify|--fill|\
                    --churn|5|--subscribers|6|--resp3|--user|u|-a|p|-n|2|--pid|7|/s";
        let expected = LoadOptions {
            addresses: vec![Address::local(7000), Address::Unix("/s".into())],
            pids: vec![7],
            operation: Operation::Mix,
            connections: 8,
            depth: 4,
            duration: Duration::from_millis(500),
            value_bytes: 100,
            keys: 9,
            zipf: Some(0.99),
            threads: Some(2),
            cpus: vec![1, 3, 4],
            rate: Some(10_000.0),
            arrivals: Arrivals::Poisson,
            distribution: Some(Distribution::Hot(0.1, 0.9)),
            sizes: Some(Sizes::Range(1, 9)),
            ttl: Some("60".parse().expect("seconds")),
            is_verified: true,
            fills: true,
            churn: Some(5),
            subscribers: 6,
            greeting: GreetingOptions {
                is_resp3: true,
                user: Some("u".into()),
                password: Some("p".into()),
                database: Some(2),
            },
            outputs: vec![Output::parse("a.csv").expect("it ends in .csv")],
            tls: None,
        };
        assert_eq!(parse(line), Ok(Request::Load(expected)));
    }

    #[test]
    fn options_of_tls_are_read() {
        let Ok(Request::Load(load)) = parse("load|--tls|--cacert|a|--cert|b|--key|c|1") else { panic!() };
        let files = [Some("a".into()), Some("b".into()), Some("c".into())];
        let tls = load.tls.expect("it was said");
        assert_eq!((&tls.authorities, &tls.certificate, &tls.key), (&files[0], &files[1], &files[2]));
        assert!(!tls.is_insecure && tls.load().is_err_and(|error| error.0.starts_with("a: ")));
        let Ok(Request::Load(load)) = parse("load|--insecure|1") else { panic!() };
        assert!(load.tls.is_some_and(|tls| tls.load().is_ok()));
        for line in ["load|--tls|1", "load|--insecure|--cert|a|1"] {
            let Ok(Request::Load(load)) = parse(line) else { panic!() };
            assert!(load.tls.is_some_and(|tls| tls.load().is_err()), "{line}");
        }
    }

    #[test]
    fn compare_options_are_read() {
        let line = "compare|-o|get|-t|PING|-d|1 8|-r|2|--server-cpus|2|--cpus|3|--markdown|-k|5|a=b {port}";
        let Ok(Request::Compare(compare)) = parse(line) else { panic!("{:?}", parse(line)) };
        assert_eq!(compare.operations, [Operation::Get, Operation::Template("PING".into())]);
        assert_eq!((compare.depths, compare.rounds), (vec![1, 8], 2));
        assert_eq!((compare.server_cpus, compare.load.cpus, compare.load.keys), (vec![2], vec![3], 5));
        assert_eq!(compare.format, Format::Markdown);
        assert_eq!(compare.servers[0].name, "a");
    }

    #[test]
    fn operations_may_be_templates_alone() {
        let Ok(Request::Compare(compare)) = parse("compare|--ops=|-t|PING|a=b {port}") else { panic!() };
        assert_eq!(compare.operations, [Operation::Template("PING".into())]);
    }

    #[test]
    fn scaling_options_are_read() {
        let line = "scaling|-w|1,2 4|-d|8|-r|2|--server-cpus|0-3|-k|9|b {port} {workers}";
        let Ok(Request::Scaling(scaling)) = parse(line) else { panic!("{:?}", parse(line)) };
        assert_eq!((scaling.workers, scaling.command.as_str()), (vec![1, 2, 4], "b {port} {workers}"));
        assert_eq!((scaling.compare.depths, scaling.compare.rounds), (vec![8], 2));
        assert_eq!((scaling.compare.server_cpus, scaling.compare.load.keys), (vec![0, 1, 2, 3], 9));
    }

    #[test]
    fn model_options_are_read() {
        let line = "model|-w|1 3|--shards|64|--reads|50|--zipf|0|-k|9|-d|2|--under-way|7|--costs|1,2,3,4";
        let expected = ModelOptions {
            workers: vec![1, 3],
            shards: Some(64),
            reads_percent: 50,
            keys: 9,
            zipf: None,
            depth: 2,
            under_way: 7,
            costs: Costs { run_ns: 1, group_ns: 2, outside_ns: 3, lease_ns: 4 },
            ..ModelOptions::default()
        };
        assert_eq!(parse(line), Ok(Request::Model(expected)));
    }

    #[test]
    fn help_is_given_anywhere() {
        for line in ["-h", "--help", "load|-h", "compare|--rounds|1|--help"] {
            assert_eq!(parse(line), Ok(Request::Help), "{line}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        assert_eq!(parse(""), Ok(Request::Canonical(None)));
        assert_eq!(parse("./s"), Ok(Request::Canonical(Some(Address::Unix("./s".into())))));
        for line in [
            "lod",
            "7000|-c",
            "7000|7001",
            "load",
            "load|1|-c|0",
            "load|1|-k|0",
            "load|1|-s|x",
            "load|1|-s|NaN",
            "load|1|--what",
            "load|1|-o|gte",
            "load|1|--cpus|3-1",
            "load|1|--cpus|",
            "load|1|--depth",
            "load|1|--rate|0",
            "load|1|--arrivals|now",
            "load|1|--threads|0",
            "load|1|--distribution|even",
            "load|1|--value-sizes|9-1",
            "load|1|--ttl|0",
            "load|1|--churn|0",
            "load|1|-t|PING|-t|0:PING",
            "load|1|--out|a.txt",
            "compare|--out|a.hgrm|a=b {port}",
            "compare",
            "compare|a",
            "compare|a=b",
            "compare|a=b {port}|a=c {port}",
            "compare|-o|fill|a=b {port}",
            "compare|--ops=|a=b {port}",
            "compare|-d|0|a=b {port}",
            "scaling",
            "scaling|-w|0|b {port} {workers}",
            "scaling|b {port} {workers}|c",
            "model|--costs|1,2",
            "model|--reads|101",
            "model|what",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn usage_names_every_option() {
        let source = include_str!("args.rs");
        let words = source.split("Long(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let common = source.split(" => load.").filter_map(|before| before.rsplit('"').nth(1));
        let mut count = 0;
        for option in words
            .chain(common)
            .filter(|option| option.len() > 1 && option.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        {
            assert!(option == "help" || USAGE.contains(&format!("--{option} ")), "{option}");
            count += 1;
        }
        assert!(count > 40, "{count}");
        for name in crate::presets::names() {
            assert!(
                USAGE.split_whitespace().any(|word| word == name || word == format!("{name},")),
                "{name}"
            );
        }
        assert!(USAGE.lines().all(|line| line.len() <= 130));
    }
}
