//! What is measured: one table of truth.

use self::Held::{Before, Elsewhere, Nothing, OtherFiles, Processes, WholeFiles};
use self::Kind::{Apart, AtOdds, One};
use self::Ranges::{
    Files, HalfStripe, OneStripe, OwnFile, Random, Same, Stripes, Whole, WholeOrShort,
};
use self::Who::{Intervals, Locked, Ofd, Ours, Rwlock};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    Locked,
    Ours,
    Ofd,
    Rwlock,
    Intervals,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One process takes free ranges.
    One,
    /// Two, each alone and then both at once, with ranges of their own.
    Apart,
    /// Two that want the same.
    AtOdds,
}

/// Which ranges are taken one after the other.
#[derive(Clone, Copy)]
pub enum Ranges {
    /// The pages of one stripe.
    OneStripe,
    /// A page in each stripe after the other.
    Stripes,
    /// A page in a stripe by chance.
    Random,
    /// All of the file.
    Whole,
    /// A page in each of so many files, in turn.
    Files(u64),
    /// The pages of this process's half of one stripe.
    HalfStripe,
    /// The pages of one stripe of this process's own file.
    OwnFile,
    /// One page, always the same.
    Same,
    /// The first process takes all of the file, the second one page after the other.
    WholeOrShort,
}

/// What is held meanwhile, a page in a stripe each.
#[derive(Clone, Copy)]
pub enum Held {
    Nothing,
    /// So many ranges, far away in the same file, in other slots of the same process (OFD: of another description).
    Elsewhere(u64),
    /// The same, by so many other processes.
    Processes(u64, usize),
    /// Each in another file.
    OtherFiles(u64),
    /// So many other files, whole.
    WholeFiles(u64),
    /// None now, but so many were held before.
    Before(u64),
}

pub struct Figure {
    pub name: &'static str,
    pub says: &'static str,
    pub kind: Kind,
    pub who: Who,
    pub ranges: Ranges,
    pub held: Held,
}

impl Figure {
    /// How many processes are measured.
    pub fn measured(&self) -> usize {
        match self.kind {
            One => 1,
            Apart | AtOdds => 2,
        }
    }

    /// How many others hold ranges meanwhile.
    pub fn holders(&self) -> usize {
        match self.held {
            Processes(_, holders) => holders,
            _ => 0,
        }
    }
}

macro_rules! figures {
    ($($name:literal $says:literal $kind:ident $who:ident $ranges:expr, $held:expr;)*) => {
        pub const FIGURES: &[Figure] = &[$(Figure {
            name: $name,
            says: $says,
            kind: $kind,
            who: $who,
            ranges: $ranges,
            held: $held,
        }),*];
    };
}

#[rustfmt::skip]
figures! {
    "two-locked"          "two locked instructions, uncontended"          One    Locked    OneStripe,    Nothing;
    "pair"                "a pair, in one stripe"                         One    Ours      OneStripe,    Nothing;
    "stripes"             "from stripe to stripe"                         One    Ours      Stripes,      Nothing;
    "random"              "stripes by chance"                             One    Ours      Random,       Nothing;
    "whole-file"          "all of the file"                               One    Ours      Whole,        Nothing;
    "held-1"              "1 held elsewhere in the file"                  One    Ours      OneStripe,    Elsewhere(1);
    "held-31"             "31 held"                                       One    Ours      OneStripe,    Elsewhere(31);
    "held-1000"           "1,000 held"                                    One    Ours      OneStripe,    Elsewhere(1000);
    "held-1000-stripes"   "1,000 held, from stripe to stripe"             One    Ours      Stripes,      Elsewhere(1000);
    "held-1000-processes" "1,000 held by 8 other processes"               One    Ours      OneStripe,    Processes(1000, 8);
    "held-1000-files"     "1,000 held, each in another file"              One    Ours      OneStripe,    OtherFiles(1000);
    "held-31-whole"       "31 other files held whole"                     One    Ours      OneStripe,    WholeFiles(31);
    "held-1000-whole"     "1,000 other files held whole"                  One    Ours      OneStripe,    WholeFiles(1000);
    "held-1000-before"    "1,000 were held before"                        One    Ours      OneStripe,    Before(1000);
    "files-100"           "100 files in turn"                             One    Ours      Files(100),   Nothing;
    "files-1000"          "1,000 files in turn"                           One    Ours      Files(1000),  Nothing;
    "files-10000"         "10,000 files in turn"                          One    Ours      Files(10_000), Nothing;
    "rwlock"              "pthread_rwlock for the whole file"             One    Rwlock    OneStripe,    Nothing;
    "tree"                "pthread_mutex and an interval tree"            One    Intervals OneStripe,    Nothing;
    "tree-held-1000"      "the tree, 1,000 held elsewhere"                One    Intervals OneStripe,    Elsewhere(1000);
    "ofd"                 "fcntl, F_OFD_SETLKW"                           One    Ofd       OneStripe,    Nothing;
    "ofd-held-1000"       "fcntl, 1,000 held elsewhere"                   One    Ofd       OneStripe,    Elsewhere(1000);
    "apart-locked"        "two locked instructions: the machine's noise"  Apart  Locked    OneStripe,    Nothing;
    "apart-stripes"       "lock table, different stripes of one file"     Apart  Ours      OneStripe,    Nothing;
    "apart-one-stripe"    "lock table, different ranges in one stripe"    Apart  Ours      HalfStripe,   Nothing;
    "apart-files"         "lock table, different files"                   Apart  Ours      OwnFile,      Nothing;
    "apart-rwlock"        "pthread_rwlock for the whole file"             Apart  Rwlock    OneStripe,    Nothing;
    "apart-tree"          "pthread_mutex and an interval tree"            Apart  Intervals OneStripe,    Nothing;
    "apart-ofd"           "fcntl, F_OFD_SETLKW"                           Apart  Ofd       OneStripe,    Nothing;
    "same"                "the same range: lock table"                    AtOdds Ours      Same,         Nothing;
    "same-rwlock"         "the same range: pthread_rwlock"                AtOdds Rwlock    Same,         Nothing;
    "same-tree"           "the same range: mutex and tree"                AtOdds Intervals Same,         Nothing;
    "same-ofd"            "the same range: fcntl"                         AtOdds Ofd       Same,         Nothing;
    "whole-short"         "whole file against short: lock table"          AtOdds Ours      WholeOrShort, Nothing;
    "whole-short-tree"    "whole file against short: mutex and tree"      AtOdds Intervals WholeOrShort, Nothing;
    "whole-short-ofd"     "whole file against short: fcntl"               AtOdds Ofd       WholeOrShort, Nothing;
}

/// Those with the given names, or all.
pub fn chosen(names: &[String]) -> Vec<&'static Figure> {
    let wanted = |f: &&Figure| names.is_empty() || names.iter().any(|n| n == f.name);
    FIGURES.iter().filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_name() {
        let names: std::collections::HashSet<_> = FIGURES.iter().map(|f| f.name).collect();
        assert_eq!(names.len(), FIGURES.len(), "a name twice");
        assert_eq!(chosen(&[]).len(), FIGURES.len());
        let two = chosen(&["ofd".to_owned(), "pair".to_owned()]);
        assert_eq!(
            two.iter().map(|f| f.name).collect::<Vec<_>>(),
            ["pair", "ofd"]
        );
    }
}
