//! Which of a cluster's 16,384 slots a key lies in (Redis Cluster specification, "Key distribution model" and "Hash tags").

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of `key`: that of its hash tag if it has one.
pub(super) fn of(key: &str) -> u16 {
    crc16(hash_tag(key).as_bytes()) % SLOTS
}

/// What lies between the first `{` and the first `}` after it, when that is not empty; else the whole key.
fn hash_tag(key: &str) -> &str {
    let tagged = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    tagged.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// CRC-16/XMODEM, as the specification's appendix A has it: polynomial 0x1021, begun at 0, nothing reflected.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc: u16, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3, "the specification's own example");
        // Asked of a Redis 7.0.15 by CLUSTER KEYSLOT.
        for (key, slot) in [("foo", 12_182), ("{user1000}.following", 3_443), ("{user1000}.followers", 3_443)] {
            assert_eq!(of(key), slot, "{key}");
        }
        assert_eq!(hash_tag("foo{}{bar}"), "foo{}{bar}");
        assert_eq!(hash_tag("foo{{bar}}zap"), "{bar");
        assert_eq!(hash_tag("foo{bar}{zap}"), "bar");
    }
}
