//! Small libraries preloaded into the shop: they falsify what the operating system answers, as told by a file.

use std::path::PathBuf;
use std::process::Command;

use crate::shop::Home;

/// The file that tells a preloaded library what to do.
pub struct Orders(PathBuf);

impl Orders {
    /// Makes processes of this home run with `source` (a file beside this one, compiled here with the C compiler that
    /// the build needs anyway), which reads its orders from the file that the environment calls `variable`.
    pub fn of(home: &Home, source: &str, variable: &str) -> Self {
        let (library, file) = (home.root().join(source).with_extension("so"), home.root().join(variable));
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/faults").join(source);
        let mut compiler = Command::new("cc");
        let built = compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status().unwrap();
        assert!(built.success());
        home.set("LD_PRELOAD", library.to_str().unwrap());
        home.set(variable, file.to_str().unwrap());
        Self(file)
    }

    /// Gives orders; they replace the earlier ones at once.
    pub fn give(&self, orders: &str) {
        // Renamed into place: whoever looks sees the old orders or the new ones.
        let new = self.0.with_extension("new");
        std::fs::write(&new, orders).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}
