//! Labels: enums whose variants are a label's values, so that the number of series is fixed.

use crate::auth::Source;
use crate::event::GapReason;

/// An enum whose variants are the values of a label.
pub(super) trait Label: Copy + 'static {
    /// Every variant, in the order of their declaration.
    const ALL: &'static [Self];

    /// The variant as metrics name it.
    fn value(self) -> &'static str;
}

macro_rules! label {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        $vis enum $name { $($(#[$variant_doc])* $variant,)* }

        impl crate::metrics::label::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn value(self) -> &'static str {
                match self { $(Self::$variant => $value,)* }
            }
        }
    };
}
pub(super) use label;

impl Label for GapReason {
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.as_str()
    }
}

impl Label for Source {
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.as_str()
    }
}
