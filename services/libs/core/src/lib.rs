//! The pure arithmetic of loss landscapes: grids, tiles, random directions, displaced parameters, projected
//! trajectories, job states and the names and digests that everything is known by.
//!
//! What holds: every function here is a function of its arguments only. No I/O, no clock, no threads, no global state;
//! a direction or a coordinate has the same bits on every machine.
//!
//! What it does not do: it knows no network (see `relief-graph`), no file format (see `relief-store`) and no wire
//! format (see `relief-api`).

mod axis;
mod digest;
mod direction;
mod name;
mod numerics;
mod philox;
mod plane;
mod point;
mod run;
mod spec;
mod state;
mod tensor;
mod tile;
mod trajectory;
mod values;

pub use axis::{Axis, AxisError, Grid};
pub use digest::{Digest, DigestError};
pub use direction::{DirectionAxis, Ignore, Normalization, random_direction};
pub use name::{
    CheckpointId, CheckpointName, ClientId, DatasetId, DirectionName, NameError, NetworkId, RunId, SurfaceId,
    TrajectoryId,
};
pub use numerics::{Engine, NumericRequest, Numerics, OrAuto, Precision};
pub use philox::Philox;
pub use plane::{
    AxisGeometry, BatchNormMode, Direction, PlaneGeometry, TensorNorms, Term, displace, displace_tensor, displacement,
};
pub use point::{PointFlag, PointValue, PointValues};
pub use run::{Recipe, RecipeViolation, RunSpec};
pub use spec::{
    DatasetSlice, DirectionSpec, InferenceSpec, Plane, Scheduling, Split, SurfaceSpec, SurfaceSpecError, UnknownWord,
};
pub use state::{JobState, TransitionError};
pub use tensor::{Tensor, TensorError, TensorMap};
pub use tile::{Tile, TilePlan, TileShape, TileShapeError};
pub use trajectory::{
    AxisSource, Gram, GramBand, GramError, GramPlan, GramReduction, GramRow, GramTile, PathSpec, ProjectedStop,
    Projection, ProjectionError, Stop, TrajectoryAxes, TrajectorySpec, TrajectorySpecError, fitted_grid, gram_tile,
    project,
};
pub use values::{Curvature, SplitValues, SurfaceValues};
