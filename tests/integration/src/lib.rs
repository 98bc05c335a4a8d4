//! Behaviour of the platform as a whole, and what its tests of numbers share: networks whose weights have something to
//! say, samples, and planes through them.

mod settled;

pub use settled::{Landscape, noise, settled, value};
