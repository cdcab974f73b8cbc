//! DEBUG OBJECT, LISTPACK, SDSLEN, HTSTATS, STRUCTSIZE: how keys lie in memory.

use super::{Args, Context, Outcome, Reply};
use crate::command::CommandError;
use crate::command::help;
use crate::persist::rdb;
use crate::resp::number::parse_i64;
use crate::store::{Encoding, Entry, Shard, Str, Type, View};

const CLOCK_MASK: u64 = 0xFF_FFFF;
const NO_LISTPACK: CommandError = CommandError::Text("ERR Not a listpack encoded object.");
const NO_STRING: CommandError = CommandError::Text("ERR Not an sds encoded string.");
const NO_DB: CommandError = CommandError::Text("ERR Out of range database");

/// The entry of argument 2, untouched; also one whose deadline has come.
fn entry<'a>(ctx: &'a mut Context<'_>, args: &Args<'_>) -> Result<Entry<'a>, CommandError> {
    let hash = ctx.shared.keyspace.hash(args.at(2));
    let shard: &Shard = ctx.leases.shard(ctx.shared.keyspace.shard_of(hash));
    shard.peek(ctx.session.db, hash, args.at(2)).ok_or(CommandError::NoSuchKey)
}

pub fn object(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let fast = args.len() == 4;
    if fast && !args.is(3, "FAST") {
        return help::subcommand_syntax(args, reply);
    }
    let now_s = (ctx.now_ms / 1000) & CLOCK_MASK;
    let (compress, limits) = (ctx.config.rdbcompression, ctx.limits());
    let entry = entry(ctx, args)?;
    let clock = u64::from(entry.clock());
    let idle_s = now_s.wrapping_sub(clock) & CLOCK_MASK;
    let serialized =
        if fast { String::new() } else { format!(" serializedlength:{}", serialized_bytes(entry, compress)) };
    let report = View::of(entry).as_value().report(&limits);
    reply.simple(&format!(
        "Value at:{entry:p} refcount:1 encoding:{}{serialized} lru:{clock} lru_seconds_idle:{idle_s}{report}",
        entry.encoding().name()
    ));
    Ok(())
}

/// Bytes of the value in an RDB file; a string counts uncompressed, and as an integer what that format stores as one.
fn serialized_bytes(entry: Entry<'_>, compress: bool) -> usize {
    if entry.ty() != Type::String {
        let (mut out, view) = (Vec::new(), View::of(entry));
        let (value_type, _) = rdb::value::form(&view, rdb::VERSION_MAX);
        rdb::value::write(&mut out, &view, value_type, compress, &mut rdb::encode::Whole);
        return out.len();
    }
    let string = entry.string();
    let number = match string {
        Str::Int(number) => Some(number),
        Str::Bytes(bytes) if bytes.len() <= 11 => crate::store::parse_int(bytes),
        Str::Bytes(_) => None,
    };
    match number {
        Some(number) if i8::try_from(number).is_ok() => 2,
        Some(number) if i16::try_from(number).is_ok() => 3,
        Some(number) if i32::try_from(number).is_ok() => 5,
        _ => {
            let len = string.len();
            let header = if len < 1 << 6 {
                1
            } else if len < 1 << 14 {
                2
            } else {
                5
            };
            header + len
        }
    }
}

pub fn listpack(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let entry = entry(ctx, args)?;
    if entry.encoding() != Encoding::Listpack {
        return Err(NO_LISTPACK);
    }
    reply.simple(&format!("Listpack of {} bytes", entry.bytes_allocated()));
    Ok(())
}

/// Lengths and free room. Torc has no room to spare in keys; a value's is what its block has beyond it.
pub fn lengths(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let entry = entry(ctx, args)?;
    if entry.ty() != Type::String || entry.encoding() == Encoding::Int {
        return Err(NO_STRING);
    }
    let (key, value, block) = (entry.key().len(), entry.string().len(), entry.bytes_allocated());
    reply.simple(&format!(
        "key_sds_len:{key}, key_sds_avail:0, key_zmalloc: {key}, val_sds_len:{value}, val_sds_avail:{}, val_zmalloc: {block}",
        block.saturating_sub(key + value + size_of::<Entry>())
    ));
    Ok(())
}

pub fn table_statistics(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    let db = ctx.db_index(args.at(2)).map_err(|_| NO_DB)?;
    let (mut shards, mut segments, mut slots, mut keys, mut expires) = (0, 0, 0, 0, 0);
    ctx.each_shard(|shard| {
        let (these_segments, these_slots) = shard.table_capacity(db);
        shards += u64::from(shard.len(db) > 0);
        segments += these_segments;
        slots += these_slots;
        keys += shard.len(db);
        expires += shard.expires(db);
    });
    let load = keys as f64 * 100.0 / (slots as f64).max(1.0);
    let text = format!(
        "[Dictionary HT]\n shards in use: {shards}\n segments: {segments}\n table size: {slots}\n number of elements: {keys}\n \
         load: {load:.2}%\n[Expires HT]\n number of elements: {expires} (deadlines lie in the entries)\n"
    );
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

pub fn sizes(_: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.bulk_fmt(format_args!(
        "bits:{} entry:{} shard:{} session:{}",
        usize::BITS,
        size_of::<Entry>(),
        size_of::<Shard>(),
        size_of::<crate::command::Session>()
    ));
    Ok(())
}
