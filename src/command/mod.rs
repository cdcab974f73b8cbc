//! The command table: one row and one handler per command.
