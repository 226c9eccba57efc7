//! The book is whole: its links lead somewhere, its contents list its pages, and what it shows is what is seen.

mod console;
mod errors;
mod links;
mod made;
mod pages;
mod recipes;
mod shell;
