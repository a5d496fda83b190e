//! What a text shows about the inputs of matrices, and how the codes of each are therefore chosen.

use std::collections::BTreeMap;

use whit::error::Result;
use whit::format::Bytes;
use whit::format::writer::Draft;
use whit::model::{Model, Observer, Point};
use whit::os::Mapping;

use super::attended::Attended;
use super::calibrate::{Moments, Reader};
use super::dtypes::in_groups;
use super::feedback::Factors;
use super::matrix::Choice;
use super::pairs::{self, Pairs, Site, site};
use super::planned::Planned;
use super::smooth::{Samples, wanted};

/// A text for the model to read, and what for.
#[derive(Clone, Copy)]
pub(super) struct Calibration<'c> {
    pub(super) text: &'c str,
    /// Tokens of each window of it that are read, at most.
    pub(super) length: usize,
    /// Where weights are to make up for each other: see [`Texts::pairs`](super::Texts::pairs).
    pub(super) pairs: Option<&'c dyn Fn(&str)>,
}

/// What a text shows of the inputs of matrices.
pub(super) struct Evidence {
    moments: Moments,
    pairs: Option<PairsOfInputs>,
    /// Bytes of the draft: what a reading is said to be.
    bytes: u64,
}

/// The sums of pairs of inputs, for which the text is read again, as many sites at a time as memory is given to.
struct PairsOfInputs {
    reader: Reader,
    attended: Attended,
    readings: Vec<Vec<(Site, usize)>>,
    /// The sums of one of the readings.
    sums: BTreeMap<Site, Vec<f32>>,
    /// Of the site that was asked for last.
    factors: Option<(Site, Option<Factors>)>,
}

/// Looks at all that the first reading shows.
struct First {
    moments: Moments,
    samples: Samples,
    attended: Option<Attended>,
}

impl Observer for First {
    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        self.moments.see(layer, point, values);
        self.samples.see(layer, point, values);
        if let Some(attended) = &mut self.attended {
            attended.see(layer, point, values);
        }
    }
}

impl Evidence {
    /// Has the model in `draft`, of `bytes` bytes, read the text of `calibration`, for the tensors `planned`, which are not smoothed
    /// yet: samples for that, too. `progress` is told how much of a reading is done, in these bytes.
    pub(super) fn of(
        draft: Draft,
        bytes: u64,
        calibration: &Calibration<'_>,
        planned: &[Planned],
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<(Self, Samples)> {
        let progress = &mut |share| progress((share * bytes as f64) as u64);
        let model = Model::open(Bytes::new(Mapping::open(draft.path())?))?;
        let mut reader = Reader::new(model, calibration.text, calibration.length)?;
        let config = reader.config();
        let attended = calibration.pairs.map(|_| Attended::new(reader.model()));
        let mut first = First { moments: Moments::new(config), samples: wanted(config, planned), attended };
        let readings = readings(calibration, planned);
        if let Some(tell) = calibration.pairs {
            beforehand(&reader, planned, &readings, tell);
        }
        reader.read(&mut first, |first, _| first.attended.iter_mut().for_each(Attended::begin), progress)?;
        let First { moments, samples, attended } = first;
        let (sums, factors) = (BTreeMap::new(), None);
        let pairs = attended.map(|attended| PairsOfInputs { reader, attended, readings, sums, factors });
        Ok((Evidence { moments, pairs, bytes }, samples))
    }

    /// How the codes of a matrix are chosen. The text may have to be read for that: `progress` is told what was done
    /// since it was last told.
    pub(super) fn choice(&mut self, p: &Planned, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<Choice<'_>> {
        let (bytes, mut told) = (self.bytes, 0);
        let progress = &mut |share| {
            let done = (share * bytes as f64) as u64;
            progress(done - std::mem::replace(&mut told, done))
        };
        if let Some(pairs) = &mut self.pairs
            && in_groups(p.dtype)
            && let Some(factors) = pairs.factors(p, progress)?
        {
            return Ok(Choice::Outputs(factors));
        }
        Ok(Choice::Weights(self.moments.importance(p)))
    }
}

impl PairsOfInputs {
    /// The factors of the inputs of a matrix; `None` where they have none.
    fn factors(&mut self, p: &Planned, progress: &mut dyn FnMut(f64) -> Result<()>) -> Result<Option<&Factors>> {
        let Some((site, cols)) = site(&p.spec) else { return Ok(None) };
        if self.factors.as_ref().is_none_or(|(known, _)| *known != site) {
            self.factors = None;
            if !self.sums.contains_key(&site) {
                let mut readings = self.readings.iter();
                let Some(reading) = readings.find(|reading| reading.contains(&(site, cols))) else { return Ok(None) };
                self.sums.clear();
                let mut pairs = Pairs::new(reading, &self.attended);
                self.reader.read(&mut pairs, |pairs, window| pairs.window = window, progress)?;
                self.sums = pairs.sums;
            }
            self.factors = self.sums.get(&site).map(|sums| (site, Factors::of(sums, cols, &p.scales.cols)));
        }
        Ok(self.factors.as_ref().and_then(|(_, factors)| factors.as_ref()))
    }
}

/// The readings that the sums for `planned` need: which sites are summed in each.
pub(super) fn readings(calibration: &Calibration<'_>, planned: &[Planned]) -> Vec<Vec<(Site, usize)>> {
    if calibration.pairs.is_none() {
        return Vec::new();
    }
    let sites = planned.iter().filter(|p| in_groups(p.dtype)).filter_map(|p| site(&p.spec));
    pairs::readings(&sites.collect::<Vec<_>>())
}

/// Says what the readings take, and for what they are not enough.
fn beforehand(reader: &Reader, planned: &[Planned], readings: &[Vec<(Site, usize)>], tell: &dyn Fn(&str)) {
    let most = readings.iter().map(|reading| pairs::taken(reading)).max().unwrap_or(0);
    let times = readings.len() + 1;
    tell(&format!(
        "the text is read {times} times; pairs of inputs take up to {} MiB of memory",
        most.div_ceil(1 << 20)
    ));
    let (n, wanted) = (reader.n_tokens(), reader.most_tokens());
    if n < wanted {
        tell(&format!("the calibration text has {n} tokens; up to {wanted} would show more (--calibrate)"));
    }
    let too_large = |p: &&Planned| {
        in_groups(p.dtype) && site(&p.spec).is_some_and(|place| !readings.iter().flatten().any(|known| *known == place))
    };
    for p in planned.iter().filter(too_large) {
        tell(&format!("{} has too many columns for pairs of them: it is chosen as by --effort good", p.spec.name));
    }
}
