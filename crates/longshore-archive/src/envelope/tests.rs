use std::fs;
use std::os::unix::fs::PermissionsExt;

use longshore_format::{ErrorKind, LogId};

use super::{EnvelopeError, Header, Sealing, digest, open, plain_len, seal};
use crate::keys::file::generate_line;
use crate::keys::{Context, DataKey, FileKeys, KeyError, KeyProvider, WrappedKey};

const KIB_64: usize = 64 << 10;

fn context(object: &str) -> Context {
    Context { log: LogId::from_bytes([7; 16]), object: object.into() }
}

fn keys_of(lines: &str) -> FileKeys {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    fs::write(&path, lines).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    FileKeys::open(path).unwrap()
}

fn keys() -> FileKeys {
    keys_of(&generate_line("k1").unwrap())
}

/// Bytes that compress to about a third.
fn text(len: usize) -> Vec<u8> {
    (0u64..).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string().into_bytes()).take(len).collect()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn what_was_sealed_comes_out() {
    let keys = keys();
    let context = context("segments/1");
    for len in [0, 1, KIB_64 - 1, KIB_64, KIB_64 + 1, 1 << 20] {
        for plain in [text(len), noise(len)] {
            for level in [None, Some(3)] {
                for keys in [None, Some(&keys as &dyn KeyProvider)] {
                    let object = seal(&plain, &context, &Sealing { level, keys }).unwrap();
                    assert_eq!(plain_len(&object[..24]).unwrap(), len as u64);
                    assert!(open(&object, &context, keys, len as u64).unwrap() == plain, "{len} {level:?} {keys:?}");
                }
            }
        }
    }
}

#[test]
fn only_what_gets_smaller_is_compressed() {
    let sealed_len = |plain: &[u8]| seal(plain, &context("a"), &Sealing { level: Some(3), keys: None }).unwrap().len();
    assert_eq!(sealed_len(&noise(1000)), 1060);
    assert_eq!(sealed_len(b""), 60);
    assert!(sealed_len(&text(10_000)) < 6000);
}

#[test]
fn every_changed_byte_is_refused() {
    let keys = keys();
    for keys in [None, Some(&keys as &dyn KeyProvider)] {
        for level in [None, Some(3)] {
            let object = seal(text(300), &context("a"), &Sealing { level, keys }).unwrap();
            for at in 0..object.len() {
                for flip in [1, 0x20, 0x80, 0xff] {
                    let mut changed = object.clone();
                    changed[at] ^= flip;
                    match open(&changed, &context("a"), keys, 1 << 20) {
                        Err(_) => {}
                        // zstd has bits that mean nothing. Unless they are encrypted, what counts is
                        // that the same comes out.
                        Ok(plain) => assert!(keys.is_none() && level.is_some() && plain == text(300), "byte {at}"),
                    }
                }
            }
        }
    }
}

#[test]
fn an_object_cut_off_anywhere_is_refused() {
    let keys = keys();
    for keys in [None, Some(&keys as &dyn KeyProvider)] {
        for level in [None, Some(3)] {
            let object = seal(text(300), &context("a"), &Sealing { level, keys }).unwrap();
            for len in 0..object.len() {
                let error = open(&object[..len], &context("a"), keys, 1 << 20).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}: {error}");
            }
            let longer = [object.as_slice(), &[0]].concat();
            assert!(open(&longer, &context("a"), keys, 1 << 20).is_err());
        }
    }
}

#[test]
fn chunks_that_change_places_are_refused() {
    let keys = keys();
    let how = Sealing { level: None, keys: Some(&keys) };
    let mut object = seal(noise(3 * KIB_64), &context("a"), &how).unwrap();
    let body = object.len() - 3 * (KIB_64 + 16);
    let (first, second) = object[body..].split_at_mut(KIB_64 + 16);
    first.swap_with_slice(&mut second[..KIB_64 + 16]);
    let error = open(&object, &context("a"), Some(&keys), 1 << 20).unwrap_err();
    assert!(matches!(error, EnvelopeError::Chunk(0)), "{error}");
}

/// A provider whose wrapping is bound to nothing, as that of a careless program may be.
#[derive(Debug)]
struct Careless;

impl KeyProvider for Careless {
    fn describe(&self) -> String {
        "careless".into()
    }

    fn wrap(&self, _: &Context) -> Result<(DataKey, WrappedKey), KeyError> {
        let key = DataKey::random()?;
        let bytes = key.as_bytes().to_vec();
        Ok((key, WrappedKey { provider: "careless".into(), key: "k".into(), bytes }))
    }

    fn unwrap(&self, wrapped: &WrappedKey, _: &Context) -> Result<DataKey, KeyError> {
        Ok(DataKey::from_bytes(&wrapped.bytes).unwrap())
    }
}

#[test]
fn an_object_in_another_place_is_refused() {
    let file = keys();
    for keys in [&file as &dyn KeyProvider, &Careless] {
        for plain in [text(0), text(300)] {
            let object = seal(&plain, &context("a"), &Sealing { level: Some(3), keys: Some(keys) }).unwrap();
            let check = |elsewhere: Context| {
                let error = open(&object, &elsewhere, Some(keys), 1 << 20).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            };
            check(context("b"));
            check(context(""));
            check(Context { log: LogId::from_bytes([8; 16]), ..context("a") });
        }
    }
}

#[test]
fn a_rotated_key_still_opens_what_it_wrapped() {
    let (old, new) = (generate_line("2025").unwrap(), generate_line("2026").unwrap());
    let before = keys_of(&old);
    let object = seal(b"plain", &context("a"), &Sealing { level: None, keys: Some(&before) }).unwrap();
    let after = keys_of(&format!("{new}{old}"));
    assert_eq!(open(&object, &context("a"), Some(&after), 100).unwrap(), b"plain");

    let error = open(&object, &context("a"), Some(&keys_of(&new)), 100).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Preflight);
    assert!(error.to_string().contains("key \"2025\" is not in file:"), "{error}");
}

#[test]
fn a_readable_object_is_refused_where_keys_are_given() {
    let keys = keys();
    let object = seal(b"plain", &context("a"), &Sealing::default()).unwrap();
    let error = open(&object, &context("a"), Some(&keys), 100).unwrap_err();
    assert!(matches!(error, EnvelopeError::NotEncrypted { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Preflight);
}

#[test]
fn an_encrypted_object_without_keys_names_the_key() {
    let object = seal(b"plain", &context("a"), &Sealing { level: None, keys: Some(&keys()) }).unwrap();
    let error = open(&object, &context("a"), None, 100).unwrap_err();
    assert!(matches!(&error, EnvelopeError::NoKeys { key, .. } if key == "k1"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Preflight);
}

#[test]
fn more_than_may_be_is_refused_before_it_is_allocated() {
    let object = seal(text(300), &context("a"), &Sealing::default()).unwrap();
    let error = open(&object, &context("a"), None, 299).unwrap_err();
    assert!(matches!(error, EnvelopeError::TooLong { plain_len: 300, longest: 299 }), "{error}");
    let error = open(&object_with(u64::MAX, true, b"x"), &context("a"), None, 299).unwrap_err();
    assert!(matches!(error, EnvelopeError::TooLong { plain_len: u64::MAX, .. }), "{error}");
}

/// An object with a good header, and whatever body.
fn object_with(plain_len: u64, compressed: bool, body: &[u8]) -> Vec<u8> {
    let header = Header { compressed, plain_len, digest: digest(b"", None), wrapped_key: None };
    [header.encode().unwrap().as_slice(), body].concat()
}

#[test]
fn a_body_that_decompresses_to_another_length_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    let check = |plain_len, body: &[u8], expected: fn(&EnvelopeError) -> bool| {
        let error = open(&object_with(plain_len, true, body), &context("a"), None, 1 << 30).unwrap_err();
        assert!(expected(&error) && error.kind() == ErrorKind::Corrupt, "{error}");
    };
    check(bomb.len() as u64 + 1, &bomb, |error| matches!(error, EnvelopeError::Decompress(_)));
    // A frame that does not tell its length, and two frames in a row.
    let streamed = zstd::stream::encode_all(&[0; 1 << 20][..], 1).unwrap();
    check(1000, &streamed, |error| matches!(error, EnvelopeError::Decompress(_)));
    check((1 << 20) + 1, &streamed, |error| matches!(error, EnvelopeError::Length { .. }));
    check((1 << 20) + 1, &streamed.repeat(2), |error| matches!(error, EnvelopeError::Decompress(_)));
    check(1 << 20, &streamed, |error| matches!(error, EnvelopeError::Digest));
    // Compressed is always smaller.
    check(bomb.len() as u64, &bomb, |error| matches!(error, EnvelopeError::Length { .. }));
    check(0, b"", |error| matches!(error, EnvelopeError::Length { .. }));
    check(100, b"no zstd", |error| matches!(error, EnvelopeError::Decompress(_)));
}

#[test]
fn headers_that_cannot_be_are_refused_each_with_its_reason() {
    let good = seal(b"plain", &context("a"), &Sealing::default()).unwrap();
    let check = |at: usize, byte: u8, expected: &str, kind| {
        let mut changed = good.clone();
        changed[at] = byte;
        let crc = crc32fast::hash(&changed[..56]);
        changed[56..60].copy_from_slice(&crc.to_le_bytes());
        let error = open(&changed, &context("a"), None, 100).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
    };
    check(0, 0, "no object of a longshore archive", ErrorKind::Corrupt);
    check(8, 2, "format 2", ErrorKind::Preflight);
    check(8, 0, "impossible version", ErrorKind::Corrupt);
    check(10, 4, "impossible flag", ErrorKind::Corrupt);
    check(10, 2, "impossible wrapped key", ErrorKind::Corrupt);
    check(12, 59, "impossible length", ErrorKind::Corrupt);
    check(14, 0xff, "impossible length", ErrorKind::Corrupt);
    check(12, 0xff, "cut off", ErrorKind::Corrupt);
    check(16, 4, "should hold 4 bytes", ErrorKind::Corrupt);
    check(24, 0, "digest", ErrorKind::Corrupt);

    let mut later = good;
    later[8] = 2;
    assert!(matches!(plain_len(&later), Err(EnvelopeError::NewerVersion(2))));
    assert!(matches!(plain_len(&later[..9]), Err(EnvelopeError::HeaderCutOff)));
    assert!(matches!(plain_len(b"GIF89a..."), Err(EnvelopeError::Magic)));
}

#[test]
fn a_wrapped_key_that_fits_in_no_header_is_refused_when_sealing() {
    #[derive(Debug)]
    struct Verbose;
    impl KeyProvider for Verbose {
        fn describe(&self) -> String {
            "verbose".into()
        }
        fn wrap(&self, _: &Context) -> Result<(DataKey, WrappedKey), KeyError> {
            let wrapped = WrappedKey { provider: "verbose".into(), key: "k".into(), bytes: vec![0; 20_000] };
            Ok((DataKey::random()?, wrapped))
        }
        fn unwrap(&self, _: &WrappedKey, _: &Context) -> Result<DataKey, KeyError> {
            Err(KeyError::Random)
        }
    }
    let error = seal(b"plain", &context("a"), &Sealing { level: None, keys: Some(&Verbose) }).unwrap_err();
    assert!(matches!(error, EnvelopeError::WrappedKeyTooLong { .. }), "{error}");
}

#[test]
fn the_digest_of_an_encrypted_object_tells_nothing() {
    let object = seal(b"guess", &context("a"), &Sealing { level: None, keys: Some(&keys()) }).unwrap();
    let plain_digest = blake3::hash(b"guess");
    assert!(!object.windows(32).any(|window| window == plain_digest.as_bytes()));
}
