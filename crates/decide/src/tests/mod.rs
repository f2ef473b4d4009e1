//! Tests of the whole crate through its public questions. `stories` reads like a play: what happens, what is done.

mod stories;
mod world;
