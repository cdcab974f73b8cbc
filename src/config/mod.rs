//! Every directive in one table, in redis.conf syntax.
