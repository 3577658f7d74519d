//! The number of a node from its address.

/// Divides what is a multiple, and shows what is not, with one multiplication (H. S. Warren, *Hacker's
/// Delight*, 2nd edition, 10-17).
///
/// The divisor is `odd << shift`. Multiplication by the inverse of `odd` modulo 2^64 permutes the numbers, and
/// takes each multiple of `odd` to its quotient; the rotation does the same for the power of two. So the
/// quotients up to `u64::MAX / divisor` are taken by the multiples, and everything else is sent above them.
#[derive(Clone, Copy)]
pub(super) struct ExactDivisor {
    inverse: u64,
    shift: u32,
}

impl ExactDivisor {
    /// `divisor` is from 1 to 2^32, so that the quotients of its multiples are above every number of a node.
    ///
    /// In a straight line: where the divisor is known when this is compiled, nothing of it is left.
    #[inline(always)]
    pub(super) const fn new(divisor: u64) -> Self {
        let shift = divisor.trailing_zeros();
        let odd = divisor.wrapping_shr(shift);
        // An odd number is its own inverse modulo 8; each of Newton's steps doubles the 3 bits that are right.
        let inverse = newton(odd, odd);
        let inverse = newton(odd, inverse);
        let inverse = newton(odd, inverse);
        let inverse = newton(odd, inverse);
        let inverse = newton(odd, inverse);
        ExactDivisor { inverse, shift }
    }

    /// The quotient if `number` is a multiple of the divisor, and at least [`MAX_NODES`](super::MAX_NODES) if it is not.
    #[inline(always)]
    pub(super) const fn quotient(self, number: u64) -> u64 {
        number.wrapping_mul(self.inverse).rotate_right(self.shift)
    }
}

/// One of Newton's steps towards the inverse of `odd` modulo 2^64.
#[inline(always)]
const fn newton(odd: u64, inverse: u64) -> u64 {
    inverse.wrapping_mul(2u64.wrapping_sub(inverse.wrapping_mul(odd)))
}

#[cfg(test)]
mod tests {
    use super::super::MAX_NODES;
    use super::ExactDivisor;

    #[test]
    fn a_multiple_has_its_quotient_and_nothing_else_has_one_that_a_node_could_have() {
        for divisor in (1..=if cfg!(miri) { 20 } else { 200 }).chain([1 << 20, (1 << 32) - 1, 1 << 32]) {
            let exact = ExactDivisor::new(divisor);
            for quotient in [0, 1, 2, 3, 1000, MAX_NODES - 1] {
                let multiple = quotient * divisor;
                assert_eq!(exact.quotient(multiple), quotient, "{multiple} / {divisor}");
                for off in [1, divisor / 2, divisor - 1] {
                    let number = multiple.wrapping_add(off);
                    if number % divisor != 0 {
                        assert!(exact.quotient(number) >= MAX_NODES, "{number} / {divisor}");
                    }
                }
            }
            // Before the first node, as an address of another pool may be.
            for below in (1..=1000u64).step_by(if cfg!(miri) { 100 } else { 1 }) {
                let number = below.wrapping_neg();
                assert!(exact.quotient(number) >= MAX_NODES, "{number} / {divisor}");
            }
        }
    }
}
