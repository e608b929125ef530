//! A live view of a server: `helios top`.
//!
//! [`figures`] makes figures of two samples of its metrics, [`frame`] makes lines of figures, [`sampler`] takes the samples and
//! [`screen`] is the terminal. Figures and frames are functions of what they are given and nothing else.
//!
//! Nothing is counted for this view: samples are the page of metrics, asked for over the control socket.
//! Rejected: a library for terminal interfaces (what is needed of one is a redraw and a key).

pub mod figures;
pub mod frame;
pub mod sampler;
pub mod screen;
