//! The shape of a network's input.

use std::fmt;
use std::str::FromStr;

/// The shape of one input sample, written `CHANNELSxHEIGHTxWIDTH` as in `3x32x32`. No dimension is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InputShape {
    channels: usize,
    height: usize,
    width: usize,
}

/// Why an input shape is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form CHANNELSxHEIGHTxWIDTH with dimensions from 1 to {MAX_DIMENSION}, as in 3x32x32")]
pub struct InputShapeError(String);

const MAX_DIMENSION: usize = 1 << 16;

impl InputShape {
    /// Returns the shape of `channels` planes of `height` rows and `width` columns.
    ///
    /// # Errors
    /// When a dimension is 0 or above 65536.
    pub fn new(channels: usize, height: usize, width: usize) -> Result<Self, InputShapeError> {
        if [channels, height, width].iter().all(|dim| (1..=MAX_DIMENSION).contains(dim)) {
            Ok(Self { channels, height, width })
        } else {
            Err(InputShapeError(format!("{channels}x{height}x{width}")))
        }
    }

    /// The number of planes.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The number of rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// The number of columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Channels, height and width.
    #[must_use]
    pub fn dims(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// The number of values of one sample.
    #[must_use]
    pub fn n_values(&self) -> usize {
        self.channels * self.height * self.width
    }
}

impl fmt::Display for InputShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

impl FromStr for InputShape {
    type Err = InputShapeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || InputShapeError(text.to_owned());
        let dims = text.split('x').map(str::parse).collect::<Result<Vec<usize>, _>>().map_err(|_| refuse())?;
        let [channels, height, width] = dims[..] else { return Err(refuse()) };
        Self::new(channels, height, width).map_err(|_| refuse())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_written_channels_height_width() {
        let shape: InputShape = "3x32x16".parse().expect("a good shape");
        assert_eq!(shape.dims(), [3, 32, 16]);
        assert_eq!(shape.to_string(), "3x32x16");
        assert_eq!(shape.n_values(), 1536);
        for bad in ["3x32", "3x0x32", "3x32x32x1", "axbxc", "3x32x-1", "3x99999999x1"] {
            assert!(bad.parse::<InputShape>().is_err(), "{bad}");
        }
    }
}
