//! One file by several names, for which the policy says different things.

use kernel::path_of;
use kernel::text::Text;
use policy::Escaped;

use crate::tell::events::{self, Event};
use crate::what::file::{File, NAMES_TOLD};
use crate::what::names::Said;
use crate::what::{changes, descriptions, files};
use crate::who::scratch;

impl Said {
    /// The number's file has a record: does that hold what is said here?
    pub fn compare(&self, description: u32, fd: i32) {
        let index = descriptions::description(description).map_or(0, |d| d.file_index());
        let Some(file) = files::get(index) else {
            return;
        };
        let same = self.settings.is_some_and(|s| file.has_settings(&s));
        if !same && !file.mark(NAMES_TOLD) {
            tell_difference(index, fd);
        }
    }
}

#[cold]
fn tell_difference(index: u32, fd: i32) {
    scratch::roomy_or_not_at_all(|| {
        let mut buffer = [0u8; 1024];
        let first = changes::another_number(index, fd);
        let first = first.map_or(&[] as &[u8], |fd| path_of(fd, &mut buffer));
        let reason = Text::<1200>::of(format_args!(
            "the policy says something else by this name than by the file's other name {}: write rules that say the \
             same by all its names",
            Escaped(first)
        ));
        events::emit(&Event {
            fd,
            done: "what holds by the other name holds",
            ..Event::uncovered(files::get(index).map(File::id), reason.as_str())
        });
    });
}
