//! Black box: the real binary, real sockets. One binary, so that it links once.

mod cli;
mod corpus;
mod layers;
