//! Shards, leases, tables, entries and slabs.
