//! A model of the protocol (`steps`, `state`, `acts`) against a model of the kernel (`linux`), explored in every order of their
//! steps, for every program of a list (`programs`), and judged by the guarantees (`story`).
//!
//! What is the code's own: what excludes what, how ranges are rounded, which range a call holds, what a fall back and a
//! repair hold beside, when a mapping is in the way. The model calls these functions, at real offsets. What is the
//! model's: the order of the steps. It stands in `steps`, one line a call, and cites the rules of the argument at the
//! head of this crate.
//!
//! Two processes make one to three calls each, one of them with a second thread, on a file of four pages in two units. A
//! page has two cells, the smallest that direct I/O and stores can tell apart. Everything that a real file has more of
//! is the same once more.
//!
//! Not modelled: waiting itself (the lock table's models), files of one mode, isolation `atomic`, `lock_timeout`, death
//! in the middle of a call, errors of the device, filesystems that are never direct.
//!
//! `mutants.toml` lists deliberate defects, in that code and in the steps. `scripts/test models` shows that each breaks a
//! guarantee, and with what shortest story.

mod acts;
mod linux;
mod programs;
mod state;
mod steps;
mod story;

use stateright::{Checker, HasDiscoveries, Model, Path, Property};
use std::time::Instant;

use state::{State, THREADS};
use story::Broken;

struct Stories(Vec<State>);

#[derive(Clone, Copy, PartialEq, Debug)]
enum Action {
    Thread(usize),
    /// The kernel writes a dirty folio back, when it likes.
    WriteBack(usize),
}

impl Model for Stories {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.0.clone()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.story.broken.is_some() || state.is_over() {
            return;
        }
        let threads = (0..THREADS).filter(|t| state.may_step(*t));
        actions.extend(threads.map(Action::Thread));
        if !state.kernel.kind.rests {
            actions.extend(state.kernel.dirty_folios().map(Action::WriteBack));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Thread(t) => state.take_step(t),
            Action::WriteBack(folio) => state.kernel.write_back(folio),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Stories>> {
        fn isnt(s: &State, how: Broken) -> bool {
            s.story.broken != Some(how)
        }
        vec![
            Property::always("G1 fresh", |_, s| isnt(s, Broken::Fresh)),
            Property::always("G2 nothing lost", |_, s| isnt(s, Broken::Lost)),
            Property::always("G3 layout", |_, s| isnt(s, Broken::Layout)),
            Property::always("G5 live", |_, s: &State| {
                let over = s.story.broken.is_some() || s.is_over();
                over || (0..THREADS).any(|t| s.may_step(t))
            }),
            Property::always("G7 honest", |_, s| isnt(s, Broken::Silent)),
        ]
    }
}

/// Which guarantee is broken, and the shortest story in which it does.
fn broken(stories: Vec<State>) -> Option<String> {
    let (begun, programs) = (Instant::now(), stories.len());
    let checker = Stories(stories)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{programs} programs, {} states, at most {} steps, {:.1} s",
        checker.unique_state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64()
    );
    let (name, path) = checker.discoveries().into_iter().next()?;
    Some(format!("{name}, {}", told(path)))
}

fn told(path: Path<State, Action>) -> String {
    let steps = path.into_vec();
    let (first, _) = &steps[0];
    let mut text = format!(
        "in {} steps of {:?} on a file of {} cells, {:?}",
        steps.len() - 1,
        first.program.0,
        first.kernel.size,
        first.kernel.kind
    );
    for (state, action) in &steps {
        text += &match action {
            Some(Action::WriteBack(folio)) => format!("\n    the kernel writes folio {folio} back"),
            Some(Action::Thread(t)) => {
                let who = ["process 1", "process 2", "its other thread"][*t];
                let (op, step) = state.step(*t).expect("it took a step");
                format!("\n    {who}: {op:?}: {step:?}")
            }
            None => String::new(),
        };
    }
    text
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimization")]
fn the_guarantees_hold() {
    if let Some(story) = broken(programs::all()) {
        panic!("\nbroken: {story}");
    }
}

/// The argument names what it doesn't cover. Here it is, so that it is known when it is covered.
#[test]
fn known() {
    for stories in [
        programs::with_an_unfenced_store(),
        programs::on_old_large_folios(),
    ] {
        let story = broken(stories).expect("a limit that the argument names is none");
        println!("{story}");
        assert!(story.contains("G2 nothing lost"), "{story}");
    }
}
