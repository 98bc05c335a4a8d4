//! The platform while its parts are killed, suspended, cut off from each other and from their store: every surface ends
//! with the bits of an undisturbed one.
//!
//! `RELIEF_CHAOS_SURFACES` says how many surfaces are computed under kills (5 unless given), `RELIEF_CHAOS_SEED` what is
//! disturbed when, as far as the system's scheduling lets it be said; a failure names the seed.

mod chance;
mod cluster;
mod hedge;
mod kills;
mod lease;
mod network;
mod soak;
mod store;
