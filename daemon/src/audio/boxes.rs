//! The boxes of ISO media: each begins with its size and its name (ISO/IEC 14496-12, 4.2).

/// The size of a box and of its header, in bytes, by its first 16 bytes. `rest`: the bytes from its begin to the end of what it is in, which
/// is its size where it states none. `None`: the header breaks off, or the box is smaller than its header.
pub(super) fn size(head: &[u8], rest: u64) -> Option<(u64, u64)> {
    let (size, header) = match u32::from_be_bytes(*head.first_chunk()?) {
        0 => (rest, 8),
        1 => (u64::from_be_bytes(*head.get(8..)?.first_chunk()?), 16),
        size => (u64::from(size), 8),
    };
    (size >= header).then_some((size, header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_has_its_size_in_four_bytes_in_eight_or_is_the_rest() {
        let head = |size: u32, long: u64| [&size.to_be_bytes()[..], b"moov", &long.to_be_bytes()].concat();
        assert_eq!(size(&head(24, 0), 100), Some((24, 8)));
        assert_eq!(size(&head(1, 1 << 40), 100), Some((1 << 40, 16)));
        assert_eq!(size(&head(0, 0), 100), Some((100, 8)));
        assert_eq!(size(&head(8, 0)[..8], 8), Some((8, 8)));
        for (head, rest) in
            [(head(7, 0), 100), (head(1, 15), 100), (head(0, 0), 7), (head(1, 99)[..12].to_vec(), 100)]
        {
            assert_eq!(size(&head, rest), None);
        }
        assert_eq!(size(&[0; 3], 3), None);
    }
}
