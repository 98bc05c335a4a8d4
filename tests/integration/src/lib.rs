//! Behaviour of the platform as a whole
