//! Which backends this CPU can run, and the choice among them.

use super::Kernels;
use super::table::{BACKENDS, SCALAR, elsewhere};
use crate::error::{Error, Kind, Result, printable};
use alloc::{borrow::ToOwned, vec::Vec};

/// The name of this architecture, for messages.
const HERE: &str = if cfg!(target_arch = "x86_64") {
    "x86_64"
} else if cfg!(target_arch = "aarch64") {
    "aarch64"
} else if cfg!(target_arch = "arm") {
    "arm"
} else if cfg!(target_arch = "wasm32") {
    "wasm32"
} else if cfg!(target_arch = "x86") {
    "x86"
} else if cfg!(target_arch = "riscv64") {
    "riscv64"
} else {
    "another architecture"
};

/// Every backend that this CPU can run, `scalar` first; [`detect`] says which is the best.
pub fn available() -> impl Iterator<Item = &'static Kernels> {
    BACKENDS.iter().filter(|backend| backend.missing().next().is_none()).map(|backend| backend.kernels)
}

/// The backends of this architecture that this CPU cannot run, each with the features it lacks.
pub fn unavailable() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let lacking = BACKENDS.iter().map(|backend| (backend.kernels.name, backend.missing().collect::<Vec<_>>()));
    lacking.filter(|(_, missing)| !missing.is_empty())
}

/// The CPU features that a backend of this architecture asks for and this CPU has, each once.
pub fn features() -> Vec<&'static str> {
    let mut features = Vec::new();
    for name in BACKENDS.iter().flat_map(|backend| backend.found()) {
        if !features.contains(&name) {
            features.push(name);
        }
    }
    features
}

/// The backend to compute with where nobody names one: the best that this CPU can run of those whose speed was measured.
pub fn detect() -> &'static Kernels {
    let best = BACKENDS.iter().rfind(|backend| backend.by_itself && backend.missing().next().is_none());
    best.map_or(&SCALAR, |backend| backend.kernels)
}

/// The backend called `name`; an error where this CPU cannot run it or there is none of that name.
pub fn by_name(name: &str) -> Result<&'static Kernels> {
    let names = || available().map(|kernels| kernels.name).collect::<Vec<_>>().join(", ");
    if let Some(backend) = BACKENDS.iter().find(|backend| backend.kernels.name == name) {
        let missing: Vec<_> = backend.missing().collect();
        if missing.is_empty() {
            return Ok(backend.kernels);
        }
        let found: Vec<_> = backend.found().collect();
        let found = if found.is_empty() { "none of them".to_owned() } else { found.join(", ") };
        let message = format!("kernels {name:?} need {}, this CPU has {found}", backend.needed().join(", "));
        return Err(Error::new(Kind::Unavailable, message).hint(format!("it can run: {}", names())));
    }
    if let Some((_, architecture)) = elsewhere().find(|(elsewhere, _)| *elsewhere == name) {
        let message = format!("kernels {name:?} need {architecture}, this is {HERE}");
        return Err(Error::new(Kind::Unavailable, message).hint(format!("this CPU can run: {}", names())));
    }
    let message = format!("no kernels are called {:?}", printable(name));
    Err(Error::usage(message).hint(format!("this CPU can run: {}", names())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_comes_first_and_every_name_finds_its_table() {
        let names: Vec<_> = available().map(|kernels| kernels.name).collect();
        assert_eq!(names[0], "scalar");
        let last = names.iter().rfind(|name| **name != "amx").expect("scalar");
        assert_eq!(detect().name, *last, "amx is for those who name it");
        for name in names {
            assert_eq!(by_name(name).expect("available").name, name);
        }
    }

    #[test]
    fn peaks_count_the_same_work_every_round() {
        for kernels in available() {
            for peak in [kernels.peaks.quantized, kernels.peaks.floats] {
                assert_eq!(peak(0), 0);
                assert!(peak(1) > 0 && peak(10) == 10 * peak(1), "{}", kernels.name);
            }
        }
    }

    #[test]
    fn a_wrong_name_and_a_missing_feature_are_different_errors() {
        let error = by_name("mmx").err().expect("no such backend");
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains("scalar"), "{error}");
        for (name, _) in elsewhere() {
            let error = by_name(name).err().expect("another architecture");
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(error.to_string().contains(std::env::consts::ARCH), "{error}");
        }
    }
}
