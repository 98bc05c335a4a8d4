//! Trajectories: the path of an optimiser, projected into a plane through parameter space (Li et al. 2018, section 7).
//!
//! The rows of a trajectory are the differences of its checkpoints from the last one, theta_i - theta_n. All that there
//! is to say about them follows from their inner products, the Gram matrix ([`gram_tile`], [`Gram`]), from which
//! [`project`] finds the axes and the coordinates, and [`fitted_grid`] the part of the plane to draw.

mod gram;
mod projection;
mod spec;
#[cfg(test)]
mod tests;

pub use gram::{Gram, GramBand, GramError, GramPlan, GramReduction, GramRow, GramTile, gram_tile};
pub use projection::{AxisSource, ProjectedStop, Projection, ProjectionError, fitted_grid, project};
pub use spec::{PathSpec, Stop, TrajectoryAxes, TrajectorySpec, TrajectorySpecError};
