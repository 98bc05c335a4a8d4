//! Networks as data: the one form of a network, its ONNX files, the networks generated here, and their first weights.
//!
//! What holds: a [`Graph`] is always valid. Its nodes are in order, every value has a known shape, every parameter has
//! one kind and the shape its nodes need; whoever holds one checks nothing again. Reading a file that is malformed or
//! beyond what is supported is an error, never a panic.
//!
//! What it does not do: it executes nothing (see `relief-nn`), reads and writes no files (see `relief-store`), and has
//! no values of parameters but those it is given or draws.

pub mod builtin;
mod checkpoint;
mod graph;
mod inference;
mod initialization;
mod onnx;
mod op;
mod parameter;
mod shape;
mod value_shape;

pub use checkpoint::{CheckpointMismatch, MisshapenTensor};
pub use graph::{Graph, Node};
pub use inference::GraphError;
pub use initialization::initialize;
pub use onnx::{OnnxError, OnnxModel, UnsupportedNode};
pub use op::{BatchNormalization, Conv, GeluForm, Gemm, LayerNormalization, Op, Pool, Range};
pub use parameter::{Parameter, ParameterKind};
pub use shape::{InputShape, InputShapeError};
pub use value_shape::ValueShape;
