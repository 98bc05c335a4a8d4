//! The platform as its users have it: real programs as processes of their own, asked over gRPC.

mod centre;
mod evaluator;
mod figures;
mod grids;
mod health;
mod idempotence;
mod inference;
mod job;
mod memory;
mod numerics;
mod plan;
mod reference;
mod refusals;
mod restart;
mod reuse;
mod s3;
mod surfaces;
mod traces;
mod trajectories;
mod trajectory_memory;
mod waiting;
mod watchers;
