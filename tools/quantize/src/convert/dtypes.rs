//! What the user wants each matrix stored as, and what is true of a type.

use std::collections::BTreeMap;

use whit::model::spec::Role;
use whit::quant::{Dtype, Encoding};

/// Which dtype each role gets.
#[derive(Debug, Clone)]
pub struct Dtypes {
    /// For every matrix without a word of its own.
    pub weights: Dtype,
    /// Per role.
    pub keep: BTreeMap<&'static str, Dtype>,
}

impl Dtypes {
    /// The dtype of a role: what was asked for, or the smallest the role allows where that is too small.
    pub fn of(&self, role: Role) -> Dtype {
        let wanted = *self.keep.get(role.name()).unwrap_or(&self.weights);
        if role.allows(wanted) { wanted } else { role.min_dtype() }
    }
}

/// Whether weights of a type can make up for each other: they have scales to share.
pub(super) fn in_groups(dtype: Dtype) -> bool {
    matches!(dtype.format().encoding, Encoding::Groups(_))
}
