//! J: faults and lifecycle.

mod disk;
mod kill;
mod stop;
mod upstream;
