//! objects.
mod chunker;
