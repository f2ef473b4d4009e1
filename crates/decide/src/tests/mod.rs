//! Tests of the whole crate through its public questions. `stories` reads like a play: what happens, what is done.

mod quiet;
mod statuses;
mod stories;
mod world;
