//! Tests of `entry`: round trips over all shapes.

use super::*;

/// A block of exactly the size that the slab would give.
fn with_entry(parts: Parts<'_>, extra: usize, check: impl FnOnce(Entry<'_>)) {
    // SAFETY: not freed or changed while checked.
    with_pointer(parts, extra, |pointer| check(unsafe { pointer.entry() }));
}

fn with_pointer(parts: Parts<'_>, extra: usize, check: impl FnOnce(EntryPtr)) {
    let mut slab = Slab::new();
    let bytes = Slab::rounded(parts.bytes() + extra);
    let block = slab.alloc(bytes);
    // SAFETY: the block is fresh and of this size.
    unsafe { parts.write(block, bytes) };
    // SAFETY: written just above.
    let entry = unsafe { EntryPtr::new(block) };
    check(entry);
    // SAFETY: the entry is not used any more.
    let large = unsafe { entry.entry() }.is_large();
    // SAFETY: not looked at again.
    drop(unsafe { entry.take_external() });
    // SAFETY: allocated above, freed once.
    unsafe { slab.free(block, large) };
    assert_eq!(slab.bytes_used(), 0);
}

#[test]
fn entries_of_all_shapes_round_trip() {
    for klen in [0, 1, 7, 16, 100, 254, 255, 256, 1000, 70_000] {
        for vlen in [0, 1, 8, 44, 45, 64, 500, 1000, 1024, 5000, BLOB_BYTES_MIN - 1] {
            if cfg!(miri) && klen + vlen > 2000 {
                continue;
            }
            for deadline in [None, Some(0), Some(u64::MAX)] {
                for extra in [0, 100] {
                    let key: Vec<u8> = (0..klen).map(|i| i as u8).collect();
                    let value: Vec<u8> = (0..vlen).map(|i| (i * 7) as u8).collect();
                    let parts = Parts {
                        ty: Type::String,
                        encoding: Encoding::Raw,
                        clock: 0x00ab_cdef,
                        deadline,
                        key: &key,
                        value: Value::Inline(&value),
                    };
                    let bytes = Slab::rounded(parts.bytes() + extra);
                    with_entry(parts, extra, |entry| {
                        assert_eq!(entry.key(), key);
                        assert_eq!(entry.string(), Str::Bytes(&value));
                        assert_eq!(entry.deadline(), deadline);
                        assert_eq!(entry.clock(), 0x00ab_cdef);
                        assert_eq!(entry.encoding(), Encoding::Raw);
                        assert_eq!(entry.bytes_allocated(), bytes);
                    });
                }
            }
        }
    }
}

#[test]
fn the_usual_entry_takes_88_bytes_and_96_with_a_deadline() {
    for (deadline, bytes) in [(None, 88), (Some(1), 96)] {
        let parts = Parts {
            ty: Type::String,
            encoding: Encoding::Raw,
            clock: 0,
            deadline,
            key: &[1; 16],
            value: Value::Inline(&[2; 64]),
        };
        assert_eq!(parts.bytes(), bytes);
        assert_eq!(Slab::rounded(bytes), bytes);
    }
}

#[test]
fn integers_and_blobs_round_trip() {
    for klen in [0usize, 3, 8, 300] {
        for deadline in [None, Some(5)] {
            let key = vec![b'k'; klen];
            let int = Parts {
                ty: Type::String,
                encoding: Encoding::Int,
                clock: 0,
                deadline,
                key: &key,
                value: Value::Int(i64::MIN),
            };
            with_entry(int, 0, |entry| {
                assert_eq!(entry.string(), Str::Int(i64::MIN));
                assert_eq!(entry.key(), key);
            });
            let bytes = Bytes::from(vec![9; BLOB_BYTES_MIN]);
            let blob = Blob { bytes: bytes.clone(), allocated: BLOB_BYTES_MIN as u64 };
            let value = Value::External(External::Blob(blob));
            let blob =
                Parts { ty: Type::String, encoding: Encoding::Raw, clock: 0, deadline, key: &key, value };
            with_entry(blob, 0, |entry| {
                assert_eq!(entry.string(), Str::Bytes(&bytes));
                assert_eq!(entry.blob().map(|blob| blob.as_ptr()), Some(bytes.as_ptr()));
                assert_eq!(entry.key(), key);
                assert!(entry.bytes_allocated() > BLOB_BYTES_MIN);
            });
            assert!(bytes.is_unique());
        }
    }
}

#[test]
fn only_canonical_integers_parse() {
    for value in [0, 1, -1, 9, 10, 12345, i64::MAX, i64::MIN, i64::MAX - 1] {
        assert_eq!(parse_int(value.to_string().as_bytes()), Some(value));
    }
    for text in [
        "",
        "-",
        "+1",
        "-0",
        "00",
        "01",
        "-01",
        " 1",
        "1 ",
        "1.0",
        "0x1",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "99999999999999999999",
        "100000000000000000000",
    ] {
        assert_eq!(parse_int(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_key_is_told_from_all_that_differ_in_one_byte_or_in_length() {
    for klen in 0..40 {
        let key: Vec<u8> = (0..klen).map(|i| i as u8).collect();
        let parts = Parts {
            ty: Type::String,
            encoding: Encoding::Raw,
            clock: 0,
            deadline: None,
            key: &key,
            value: Value::Inline(b"value"),
        };
        with_entry(parts, 0, |entry| {
            assert!(entry.has_key(&key));
            let longer = [&key[..], b"v"].concat();
            assert!(!entry.has_key(&longer));
            assert!(klen == 0 || !entry.has_key(&key[1..]));
            for i in 0..klen {
                let mut other = key.clone();
                other[i] ^= 1;
                assert!(!entry.has_key(&other));
            }
        });
    }
}

#[test]
fn only_a_value_of_the_same_shape_is_overwritten() {
    let old = |encoding, deadline| Parts {
        ty: Type::String,
        encoding,
        clock: 7,
        deadline,
        key: b"key",
        value: Value::Inline(b"old value"),
    };
    let overwritten = |parts: Parts<'_>, encoding, new: &[u8]| {
        let mut after = None;
        with_pointer(parts, 0, |pointer| {
            // SAFETY: nobody has a reference; the bytes lie elsewhere.
            let done = unsafe { pointer.overwrite_alike(encoding, new) };
            // SAFETY: nobody changes the entry now.
            let entry = unsafe { pointer.entry() };
            assert_eq!((entry.key(), entry.clock()), (&b"key"[..], 7));
            let value = entry.string_inline().expect("it is short").to_vec();
            after = Some((done, value));
        });
        after.expect("it was looked at")
    };
    let (raw, embstr) = (Encoding::Raw, Encoding::Embstr);
    assert_eq!(overwritten(old(embstr, None), embstr, b"new value"), (true, b"new value".to_vec()));
    assert_eq!(overwritten(old(raw, None), raw, b"new value"), (true, b"new value".to_vec()));
    assert_eq!(overwritten(old(raw, None), embstr, b"new value"), (false, b"old value".to_vec()));
    assert_eq!(overwritten(old(embstr, None), embstr, b"new values"), (false, b"old value".to_vec()));
    assert_eq!(overwritten(old(embstr, Some(1)), embstr, b"new value"), (false, b"old value".to_vec()));
}
