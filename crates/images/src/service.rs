//! CRI's `ImageService` on the store.
