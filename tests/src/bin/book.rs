//! Writes the pages of the book that are made from the code.

use pagefence_tests::made;
use std::path::Path;

fn main() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for page in made::pages() {
        let path = root.join(page.name);
        std::fs::write(&path, page.text).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{}", page.name);
    }
    Ok(())
}
