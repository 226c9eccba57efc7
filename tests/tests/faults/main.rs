//! Faults that were found from outside, each by its kind: a program that breaks on the bare kernel or broke under an
//! earlier Pagefence, and the right value. A test says in its head what went wrong and which kind that was an example
//! of; most of the programs lie in `programs/`.

mod alone;
mod descriptors;
mod direct;
mod doors;
mod dropped;
mod environment;
mod names;
mod sandbox;
mod stack;
mod states;
mod unseen;
