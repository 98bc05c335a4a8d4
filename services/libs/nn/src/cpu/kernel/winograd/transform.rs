//! The transforms of Winograd's minimal filtering, one line of values at a time; in two dimensions they are applied to
//! columns, then to rows.
//!
//! F(m, 3) multiplies polynomials at m + 1 points and at infinity (Toom and Cook): with M the product of x - p over the
//! points, B^T has the coefficients of M / (x - p) for each point and those of M for infinity, G the powers of each point
//! over the value of M / (x - p) there, and A^T the powers of each point. Signs that two of them share are left out.

use crate::cpu::kernel::vector::Vector;

/// The entries of a filter along one axis.
pub(super) const N_TAPS: usize = 3;

/// Minimal filtering of lines of `INPUTS` values, and so of as many frequencies, to lines of `OUTPUTS` values. Frequencies
/// come in pairs: those of the points 0 and infinity, then those of opposite points.
pub(super) trait Transform<const INPUTS: usize, const OUTPUTS: usize> {
    /// G g of a line of a filter.
    fn weights(line: [f64; N_TAPS]) -> [f64; INPUTS];

    /// The frequencies 2 `PAIR` and 2 `PAIR` + 1 of B^T d, where `line` gives the inputs d.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    unsafe fn inputs<V: Vector, const PAIR: usize>(line: impl Fn(usize) -> V) -> [V; 2];

    /// A^T m of a line of products.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    unsafe fn outputs<V: Vector>(line: [V; INPUTS]) -> [V; OUTPUTS];
}

/// F(2, 3) at the points 0, 1 and -1 (Lavin and Gray, 2016): all factors are 0, 1, -1 and 1/2.
pub(super) struct Two;

impl Transform<4, 2> for Two {
    fn weights([a, b, c]: [f64; N_TAPS]) -> [f64; 4] {
        [a, c, 0.5 * (a + b + c), 0.5 * (a - b + c)]
    }

    #[inline(always)]
    unsafe fn inputs<V: Vector, const PAIR: usize>(line: impl Fn(usize) -> V) -> [V; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            match PAIR {
                0 => [line(0).sub(line(2)), line(1).sub(line(3))],
                _ => {
                    let (b, c) = (line(1), line(2));
                    [b.add(c), c.sub(b)]
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn outputs<V: Vector>([a, b, c, d]: [V; 4]) -> [V; 2] {
        // SAFETY: the caller's promise.
        unsafe { [a.add(c.add(d)), c.sub(d).sub(b)] }
    }
}

/// F(4, 3) at the points 0, 11/16, -11/16, 3/2 and -3/2. At the usual ones, 0, 1, -1, 2 and -2, outputs lose twice as
/// much to rounding: what matters is that opposite points come in pairs and that the larger ones are about the inverses of
/// the smaller ones (Barabasz, Anderson, Soodhalter and Gregg, "Error analysis and improving the accuracy of Winograd
/// convolution for deep neural networks", 2020). Of these the powers and products are float32 without rounding.
pub(super) struct Four;

/// The smaller pair of points, and its square and cube.
const A: f64 = 11.0 / 16.0;
const A2: f64 = A * A;
const A3: f64 = A * A2;
/// The larger pair.
const B: f64 = 3.0 / 2.0;
const B2: f64 = B * B;
const B3: f64 = B * B2;

impl Transform<6, 4> for Four {
    fn weights([a, b, c]: [f64; N_TAPS]) -> [f64; 6] {
        let pair = |point: f64, other: f64| {
            let scale = 1.0 / (2.0 * point * point * (point * point - other * other));
            let (even, odd) = (a + point * point * c, point * b);
            [scale * (even + odd), scale * (even - odd)]
        };
        let ([p, q], [r, s]) = (pair(A, B), pair(B, A));
        [a / (A2 * B2), c, p, q, r, s]
    }

    #[inline(always)]
    unsafe fn inputs<V: Vector, const PAIR: usize>(line: impl Fn(usize) -> V) -> [V; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let factor = |factor: f64| V::splat(factor as f32);
            let (b, c, d, e) = (line(1), line(2), line(3), line(4));
            // M / (x - point) = x (x^2 - other^2) (x + point).
            let opposite = |point: f64, other2: f64| {
                let (even, odd) = (c.mul_add(factor(-other2), e), b.mul_add(factor(-other2), d));
                [odd.mul_add(factor(point), even), odd.mul_add(factor(-point), even)]
            };
            match PAIR {
                0 => {
                    let (sum, product) = (factor(-(A2 + B2)), factor(A2 * B2));
                    let (a, f) = (line(0), line(5));
                    [a.mul_add(product, c.mul_add(sum, e)), b.mul_add(product, d.mul_add(sum, f))]
                }
                1 => opposite(A, B2),
                _ => opposite(B, A2),
            }
        }
    }

    #[inline(always)]
    unsafe fn outputs<V: Vector>([a, f, b, c, d, e]: [V; 6]) -> [V; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let factor = |factor: f64| V::splat(factor as f32);
            let (even, odd) = (b.add(c), b.sub(c));
            let (other_even, other_odd) = (d.add(e), d.sub(e));
            [
                a.add(even).add(other_even),
                odd.mul_add(factor(A), other_odd.mul(factor(B))),
                even.mul_add(factor(A2), other_even.mul(factor(B2))),
                odd.mul_add(factor(A3), other_odd.mul_add(factor(B3), f)),
            ]
        }
    }
}

/// G g G^T of a filter of 3 x 3 times `scale`, row by row.
#[inline]
pub(super) fn filter<T: Transform<I, O>, const I: usize, const O: usize>(filter: &[f32], scale: f64) -> [[f64; I]; I] {
    let at = |idx: usize| f64::from(filter[idx]) * scale;
    let columns = [0, 1, 2].map(|column| T::weights([at(column), at(N_TAPS + column), at(2 * N_TAPS + column)]));
    std::array::from_fn(|row| T::weights([columns[0][row], columns[1][row], columns[2][row]]))
}
