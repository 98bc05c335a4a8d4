//! Every reader of foreign files on thousands of damaged ones, and on some that are made to do harm: reading ends, in a
//! result or in an error, without panic, with a bounded stack and a bounded amount of memory.

mod hostile;
mod measure;
mod random;
