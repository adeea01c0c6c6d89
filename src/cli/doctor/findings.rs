//! What was found, said as it is found.

use crate::cli::say;

/// Counts of what was said.
#[derive(Default)]
pub(super) struct Findings {
    good: usize,
    doubtful: usize,
    failed: usize,
}

impl Findings {
    pub(super) fn good(&mut self, what: impl AsRef<str>) {
        self.good += 1;
        say(format!("  ok    {}\n", what.as_ref()));
    }

    /// Something to look at, which need not be wrong.
    pub(super) fn doubt(&mut self, what: impl AsRef<str>, advice: impl AsRef<str>) {
        self.doubtful += 1;
        say(format!("  look  {}\n        {}\n", what.as_ref(), advice.as_ref()));
    }

    /// Something that costs clients events, or streams.
    pub(super) fn fail(&mut self, what: impl AsRef<str>, advice: impl AsRef<str>) {
        self.failed += 1;
        say(format!("  FAIL  {}\n        {}\n", what.as_ref(), advice.as_ref()));
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed > 0
    }

    pub(super) fn summary(&self) -> String {
        format!("\n{} ok, {} to look at, {} failed\n", self.good, self.doubtful, self.failed)
    }
}
