//! What the checks found, printed as it is found.

use crate::cli::print_out;

/// Counts what was reported.
#[derive(Default)]
pub(super) struct Report {
    passed: usize,
    warnings: usize,
    failed: usize,
}

impl Report {
    pub(super) fn pass(&mut self, what: impl AsRef<str>) {
        self.passed += 1;
        print_out(format!("  ok    {}\n", what.as_ref()));
    }

    /// Something to look into, which may be intended.
    pub(super) fn warn(&mut self, what: impl AsRef<str>, advice: impl AsRef<str>) {
        self.warnings += 1;
        print_out(format!("  warn  {}\n        {}\n", what.as_ref(), advice.as_ref()));
    }

    /// Something that costs clients events or streams.
    pub(super) fn fail(&mut self, what: impl AsRef<str>, advice: impl AsRef<str>) {
        self.failed += 1;
        print_out(format!("  FAIL  {}\n        {}\n", what.as_ref(), advice.as_ref()));
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed > 0
    }

    pub(super) fn summary(&self) -> String {
        let plural = if self.warnings == 1 { "" } else { "s" };
        format!("\n{} passed, {} warning{plural}, {} failed\n", self.passed, self.warnings, self.failed)
    }
}
