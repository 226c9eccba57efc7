//! Faults that were found from outside, each by its kind: a program that breaks on the bare kernel or broke under an
//! earlier Pagefence, and the right value. A test says in its head what went wrong and which kind that was an example
//! of; most of the programs lie in `programs/`.

mod alone;
mod by_itself;
mod copied;
mod descriptors;
mod direct;
mod doors;
mod dropped;
mod environment;
mod go;
mod join;
mod launched;
mod modes;
mod names;
mod next_program;
mod no_rings;
mod other_stacks;
mod raw;
mod rings;
mod sandbox;
mod stack;
mod states;
mod supervised;
mod uncovered;
mod unseen;
