//! What every object has: its metadata. Names, labels, annotations, owners, finalizers, and what may change of them.
//! The strategies of all kinds go through here; what only one kind wants is with that kind.

pub mod names;
pub mod place;
pub mod validation;
