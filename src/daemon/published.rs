//! The newest picture for any number of readers: the owner replaces it, a reader gets an `Arc`.
//!
//! The lock is held for the copy of a pointer, never while a picture is made or read.

use std::sync::{Arc, RwLock};

/// A value that is replaced as a whole.
#[derive(Debug)]
pub struct Published<T>(RwLock<Arc<T>>);

impl<T> Published<T> {
    /// Begins with this one.
    #[must_use]
    pub fn new(first: T) -> Published<T> {
        Published(RwLock::new(Arc::new(first)))
    }

    /// The newest.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        // A poisoned lock would mean a panic while a pointer was copied; the value is whole anyway.
        Arc::clone(&self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Replaces it.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(value);
    }
}
