//! Bad input of every kind, over gRPC and on the command line: a refusal that names the field, the value and what would
//! be right, and a store that is as it was.

mod checkpoint;
mod dataset;
mod file;
mod guard;
mod inference;
mod network;
mod run;
mod store;
mod stream;
mod surface;
mod upload;
