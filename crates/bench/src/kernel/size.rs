//! How large elements are.

/// The bytes of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All have so many.
    Bytes(usize),
    /// They differ, from one to the next, as a fixed table says.
    Mixed,
}

impl Size {
    /// One turn of the mix, in the order in which its sizes come. Its twin in C is `mix` in bpf/loop.h.
    const MIX: [usize; 16] = [16, 32, 64, 16, 128, 64, 16, 256, 32, 512, 64, 16, 256, 32, 128, 1024];

    /// Of so many elements. Of the mix that is a whole number of turns, at least one.
    pub fn bytes_of(self, elements: u64) -> u64 {
        match self {
            Size::Bytes(bytes) => elements * bytes as u64,
            Size::Mixed => {
                let turn = Size::MIX.iter().sum::<usize>() as u64;
                elements.div_ceil(Size::MIX.len() as u64) * turn
            }
        }
    }

    /// So many elements, each with a header of so many bytes.
    pub fn bytes_with(self, header: u64, elements: u64) -> u64 {
        self.bytes_of(elements) + elements * header
    }

    /// The bytes that each has, if it is the same for all.
    pub fn fixed(self) -> Option<usize> {
        match self {
            Size::Bytes(bytes) => Some(bytes),
            Size::Mixed => None,
        }
    }

    /// How many elements a way from BPF holds where somebody reads: 65,536, and fewer of those that would take more
    /// than 4 MB.
    pub fn capacity(self) -> u32 {
        const MOST: u64 = 1 << 16;
        const MEMORY: u64 = 1 << 22;
        let fit = MEMORY * MOST / self.bytes_of(MOST);
        // The powers of two below 2^16 fit.
        (1 << fit.clamp(1, MOST).ilog2()) as u32
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Size::Bytes(bytes) => write!(f, "{bytes}"),
            Size::Mixed => f.write_str("mixed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn a_turn_of_the_mix_has_2656_bytes() {
        assert_eq!(Size::Mixed.bytes_of(16), 2656);
        assert_eq!(Size::Mixed.bytes_of(17), 2 * 2656);
        assert_eq!(Size::Mixed.bytes_with(8, 16), 2656 + 128);
        assert_eq!(Size::Bytes(64).bytes_with(16, 10), 800);
    }

    #[test]
    fn large_elements_are_fewer() {
        let capacities = [
            Size::Bytes(8),
            Size::Bytes(16),
            Size::Bytes(64),
            Size::Bytes(256),
            Size::Bytes(1024),
            Size::Mixed,
        ];
        assert_eq!(capacities.map(Size::capacity), [65_536, 65_536, 65_536, 16_384, 4096, 16_384]);
    }
}
