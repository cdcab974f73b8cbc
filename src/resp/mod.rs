//! RESP2, RESP3 and inline commands: pure bytes in, bytes out.
