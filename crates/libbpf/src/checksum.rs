//! Sums by which two counts of the same events are compared.

use arenaq::KeyValue;

/// What an element adds to a checksum, `ARENAQ_CHECKSUM` in C: two wrapping sums over the same elements are
/// equal in whatever order, and over others as good as surely not.
pub fn checksum(key: u64, value: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ value
}

/// The pair that stands for an element of any size, a whole number of words: a pair stands for itself, and of others two
/// are the same as good as never.
pub(crate) fn fingerprint(element: &[u8]) -> KeyValue {
    let mut words = element.chunks_exact(size_of::<u64>()).map(arenaq::bytemuck::pod_read_unaligned::<u64>);
    let mut pair = KeyValue { key: words.next().unwrap_or(0), value: words.next().unwrap_or(0) };
    for word in words {
        pair.key = pair.key.rotate_left(29) ^ pair.value;
        pair.value = checksum(pair.value.rotate_left(31), word);
    }
    pair
}

/// The same for a record, by its stamp, how many bytes it has, and its words.
pub(crate) fn fingerprint_of_record(stamp: u64, size: usize, words: impl Iterator<Item = u64>) -> KeyValue {
    let first = KeyValue { key: stamp, value: size as u64 };
    words.fold(first, |KeyValue { key, value }, word| KeyValue {
        key: key.rotate_left(29) ^ value,
        value: checksum(value.rotate_left(31), word),
    })
}

#[cfg(test)]
mod tests {
    use arenaq::KeyValue;
    use arenaq::bytemuck::cast_slice;

    use super::fingerprint;

    #[test]
    fn a_pair_stands_for_itself_and_every_word_of_a_longer_element_counts() {
        let of = |words: &[u64]| fingerprint(cast_slice(words));
        assert_eq!(of(&[7]), KeyValue { key: 7, value: 0 });
        assert_eq!(of(&[7, 8]), KeyValue { key: 7, value: 8 });
        let long: Vec<u64> = (0..512).collect();
        for changed in 0..long.len() {
            let mut other = long.clone();
            other[changed] ^= 1 << (changed % 64);
            assert_ne!(of(&other), of(&long), "word {changed}");
        }
    }
}
