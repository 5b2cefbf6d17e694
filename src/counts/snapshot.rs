//! One look at the raw counters, sorted by what they count, where, and for whom.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use jiff::Timestamp;

use super::identity::{self, Doubled, Mixed};
use super::{Dropped, Labels, NAME, Series, Target, host, pod_of};

/// Most groups of series that one rollout may hold.
pub(super) const MOST_GROUPS: usize = 20_000;

/// What a query asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `up` of the targets.
    Up,
    /// Requests by response code.
    Requests,
    /// Buckets of the request duration.
    Latency,
    /// The model's own counter or histogram: index in the plan's list of metrics.
    Own(usize),
    /// What is bad of a ratio, by the index of its metric.
    Bad(usize),
    /// All of a ratio.
    Total(usize),
}

impl Family {
    /// Index of the metric that alone needs it; `None`: the mesh's own.
    pub fn metric(self) -> Option<usize> {
        match self {
            Self::Up | Self::Requests | Self::Latency => None,
            Self::Own(metric) | Self::Bad(metric) | Self::Total(metric) => Some(metric),
        }
    }

    /// Whether a label does not tell its counters apart: it is the target's, the metric's, or a bound.
    fn leaves_out(self, label: &str) -> bool {
        matches!(label, "job" | "instance" | NAME) || (label == "le" && self.has_bounds())
    }

    /// Whether it is a histogram by its label `le`.
    fn has_bounds(self) -> bool {
        matches!(self, Self::Latency | Self::Own(_))
    }
}

/// One of the two arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// What serves.
    Stable,
    /// What is tried.
    Canary,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        })
    }
}

/// A pod of an arm, as the cluster sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its arm.
    pub side: Side,
    /// When it was created.
    pub created: Timestamp,
    /// Since when its endpoint is ready; `None`: not ready.
    pub ready_since: Option<Timestamp>,
}

/// Who is who in the series of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Label of the mesh metrics that tells the arms apart.
    pub label: String,
    /// Its value for stable.
    pub stable: String,
    /// Its value for the canary.
    pub canary: String,
    /// The namespace of both arms.
    pub namespace: String,
    /// Scrape jobs in which every ready pod must have a target: of the mesh metrics where they are counted at the pods, and of the model's own.
    pub pod_jobs: BTreeSet<String>,
    /// Pods of both arms by name.
    pub pods: BTreeMap<String, Pod>,
    /// Mesh metrics are counted at the pods.
    pub by_pod: bool,
    /// Series of the mesh at the pods have the pod's name.
    pub named: bool,
    /// Whether stable takes traffic in this step, and so must be read.
    pub needs_stable: bool,
    /// Nothing of a canary pod is counted for so long after it became ready.
    pub warm_up: std::time::Duration,
    /// Families that only metrics need which decide nothing: what is wrong with them costs no window.
    pub aside: BTreeSet<Family>,
}

/// Raw series of one look, all asked for at the same time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// What was asked for, and what came.
    pub families: Vec<(Family, Vec<Series>)>,
}

impl Reading {
    /// What came for a family.
    pub fn of(&self, family: Family) -> &[Series] {
        self.families.iter().find(|(known, _)| *known == family).map_or(&[], |(_, series)| series)
    }
}

/// Identity of a counter, or of a histogram.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupKey {
    pub(super) family: Family,
    pub(super) target: Target,
    /// A hash of the labels, compared before them: the labels of one target share a long prefix.
    mark: u64,
    /// Labels but job, instance and le.
    pub(super) labels: Labels,
}

/// A counter (no bounds, one value), or a histogram (cumulative values, the last bound is +Inf).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) side: Side,
    /// Name of the pod, or the target's host.
    pub(super) pod: String,
    pub(super) bounds: Vec<f64>,
    /// In order of time; each row is not decreasing.
    pub(super) rows: Vec<(Timestamp, Vec<f64>)>,
}

/// A target in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) newest: Timestamp,
    pub(super) pod: Option<String>,
}

/// One look, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    pub(super) groups: BTreeMap<GroupKey, Group>,
    /// Targets that answered their newest scrape.
    pub(super) read: BTreeMap<Target, Read>,
    /// When each target answered a scrape, where `up` says so.
    pub(super) scrapes: BTreeMap<Target, Vec<Timestamp>>,
    /// Every series is there more than once.
    pub(super) doubled: Option<Doubled>,
    /// Pods that are not ours were left out.
    pub(super) mixed: Option<Mixed>,
}

/// Label sets that are compared to find what distinguishes foreign pods from ours.
const SOME: usize = 50;

/// Samples in order of time.
type Samples = [(Timestamp, f64)];

/// Samples of each bucket, by the bits of its bound. They are the answer's own, unless two series are one bucket.
type Columns<'a> = Vec<(u64, Cow<'a, Samples>)>;

/// What tells a counter or a histogram from all others in one look. Hundreds of buckets make one histogram, and nothing of them is copied.
struct Name<'a> {
    family: Family,
    target: (&'a str, &'a str),
    labels: &'a Labels,
}

impl<'a> Name<'a> {
    fn words(&self) -> impl Iterator<Item = (Word<'a>, Word<'a>)> + use<'a> {
        let family = self.family;
        let labels = self.labels.iter().filter(move |(name, _)| !family.leaves_out(name));
        labels.map(|(name, value)| (Word(name), Word(value)))
    }

    /// The same for the same labels, in every look and every process.
    fn mark(&self) -> u64 {
        self.words().fold(0, |mark, (_, value)| fold(mark, digest(0, value.0.as_bytes())))
    }
}

/// Another one in each process: labels come from whoever exports them, and nobody can choose such as have the same digest.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("labels"));

fn fold(sum: u64, word: u64) -> u64 {
    (sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// Eight bytes of a value after the other. Hundreds of series have twenty labels each in every look, so this is quick before anything else; who
/// has the same is compared as a whole.
fn digest(seed: u64, value: &[u8]) -> u64 {
    let (whole, rest) = value.as_chunks();
    let last = rest.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let words = whole.iter().map(|bytes| u64::from_le_bytes(*bytes)).chain([last, value.len() as u64]);
    words.fold(seed, fold)
}

/// A text that is often the very same one as another, and then need not be read to be compared.
struct Word<'a>(&'a str);

impl PartialEq for Word<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0) || self.0 == other.0
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.family == other.family && self.target == other.target && self.words().eq(other.words())
    }
}

impl Eq for Name<'_> {}

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.family.hash(hasher);
        let target = [self.target.0, self.target.1].into_iter();
        let values = target.chain(self.words().map(|(_, value)| value.0));
        hasher.write_u64(values.fold(*SEED, |sum, value| fold(sum, digest(*SEED, value.as_bytes()))));
    }
}

impl Snapshot {
    /// `known` are the pods that were ours at any time.
    pub(super) fn of(reading: &Reading, scope: &Scope, known: &BTreeSet<String>, at: Timestamp) -> Result<Self, Dropped> {
        let mut scrapes: BTreeMap<(&str, &str), Vec<Timestamp>> = BTreeMap::new();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut read: BTreeMap<(&str, &str), (Timestamp, Option<&str>)> = BTreeMap::new();
        let mut down = BTreeSet::new();
        let mut raw: HashMap<Name<'_>, (Side, &str, Columns<'_>)> = HashMap::new();
        for (family, all) in &reading.families {
            for series in all {
                let Some((newest, value)) = series.samples.iter().rev().find(|(time, _)| *time <= at) else { continue };
                let target = (series.label("job"), series.label("instance"));
                let pod = pod_of(&series.labels);
                if series.labels.get("namespace").is_some_and(|ns| *family == Family::Up && !ns.is_empty() && *ns != scope.namespace) {
                    continue;
                }
                let mut note = || {
                    let known = read.entry(target).or_insert((*newest, pod));
                    *known = (known.0.max(*newest), known.1.or(pod));
                };
                if *family == Family::Up {
                    if *value < 1.0 {
                        down.insert(target);
                    }
                    note();
                    let answered = series.samples.iter().filter(|(time, up)| *time <= at && *up >= 1.0).map(|(time, _)| *time);
                    scrapes.entry(target).or_default().extend(answered);
                    continue;
                }
                let Some(side) = scope.side(*family, series) else { continue };
                if family.metric().is_none() && scope.by_pod && scope.named {
                    // The same namespace and workload may exist in another cluster of the same store.
                    let foreign = pod.is_none_or(|pod| !known.contains(pod));
                    let labels = if foreign { &mut theirs } else { &mut ours };
                    if labels.len() < SOME {
                        labels.push(&series.labels);
                    }
                    if foreign {
                        continue;
                    }
                }
                note();
                let bound = match le(*family, series) {
                    Bound::None => f64::INFINITY,
                    Bound::At(bound) => bound,
                    Bound::Unreadable => continue,
                };
                let pod = pod.unwrap_or_else(|| host(target.1));
                let name = Name { family: *family, target, labels: &series.labels };
                let (.., columns) = raw.entry(name).or_insert_with(|| (side, pod, Columns::new()));
                let samples = series.samples.get(..series.samples.partition_point(|(time, _)| *time <= at)).unwrap_or_default();
                columns.push((ordered(bound), Cow::Borrowed(samples)));
                if raw.len() > MOST_GROUPS {
                    return Err(Dropped::TooManySeries { most: MOST_GROUPS });
                }
            }
        }
        read.retain(|target, _| !down.contains(target));
        let owned = |(job, instance): (&str, &str)| Target { job: job.into(), instance: instance.into() };
        let read = read.into_iter().map(|(target, (newest, pod))| (owned(target), Read { newest, pod: pod.map(str::to_owned) })).collect();
        let groups = raw.into_iter().filter_map(|(name, (side, pod, columns))| {
            let (family, target, mark) = (name.family, Target::of(name.labels), name.mark());
            let labels = name.labels.without(|label| family.leaves_out(label));
            Some((GroupKey { family, target, mark, labels }, group(side, pod.to_owned(), merged(columns))?))
        });
        let groups = groups.collect();
        let doubled = identity::doubled(&groups);
        let foreign = theirs.first().and_then(|labels| pod_of(labels));
        let mixed = foreign.filter(|_| !ours.is_empty()).map(|pod| identity::mixed(pod, &ours, &theirs));
        let scrapes = scrapes.into_iter().map(|(target, mut times)| {
            times.sort_unstable();
            times.dedup();
            (owned(target), times)
        });
        Ok(Self { groups, read, scrapes: scrapes.collect(), doubled, mixed })
    }
}

impl Snapshot {
    /// The target was scraped since the newest sample of this series.
    pub(super) fn ended(&self, key: &GroupKey) -> bool {
        let Some((last, _)) = self.groups.get(key).and_then(|group| group.rows.last()) else { return true };
        match self.scrapes.get(&key.target) {
            Some(scrapes) => scrapes.last().is_some_and(|scrape| scrape > last),
            None => self.read.get(&key.target).is_some_and(|read| read.newest > *last),
        }
    }

    /// The answer has a scrape of the target before that time: a series that begins then was not there at it.
    pub(super) fn read_before(&self, target: &Target, at: Timestamp) -> bool {
        match self.scrapes.get(target) {
            Some(scrapes) => scrapes.first().is_some_and(|scrape| *scrape < at),
            None => {
                let mut of = self.groups.iter().filter(|(key, _)| key.target == *target);
                of.any(|(_, group)| group.rows.first().is_some_and(|(first, _)| *first < at))
            }
        }
    }
}

/// The buckets in order of their bounds, each once.
fn merged(mut columns: Columns<'_>) -> Columns<'_> {
    columns.sort_by_key(|(bound, _)| *bound);
    columns.dedup_by(|(later, samples), (earlier, column)| {
        let same = later == earlier;
        if same {
            if column.is_empty() { *column = std::mem::take(samples) } else { add(column.to_mut(), samples) }
        }
        same
    });
    columns
}

/// Two series may be one bucket, written in two ways: of the same moment the later one counts.
fn add(column: &mut Vec<(Timestamp, f64)>, samples: &Samples) {
    column.extend_from_slice(samples);
    column.sort_by_key(|(time, _)| *time);
    column.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = later.1;
        }
        same
    });
}

impl Scope {
    pub(super) fn side(&self, family: Family, series: &Series) -> Option<Side> {
        if family.metric().is_some() {
            return pod_of(&series.labels).and_then(|pod| self.pods.get(pod)).map(|pod| pod.side);
        }
        match series.label(&self.label) {
            value if value == self.stable => Some(Side::Stable),
            value if value == self.canary => Some(Side::Canary),
            _ => None,
        }
    }
}

enum Bound {
    None,
    At(f64),
    Unreadable,
}

/// The number in `le`, never its text: "1", "1.0" and "1e0" are one bound.
fn le(family: Family, series: &Series) -> Bound {
    match series.labels.get("le").filter(|_| family.has_bounds()) {
        None if family == Family::Latency => Bound::Unreadable,
        None => Bound::None,
        Some(text) => match text.parse::<f64>() {
            Ok(bound) if !bound.is_nan() => Bound::At(bound),
            _ => Bound::Unreadable,
        },
    }
}

/// Bits that sort as the numbers do.
fn ordered(bound: f64) -> u64 {
    // -0.0 and 0.0 are one bound.
    let bits = (bound + 0.0).to_bits();
    if bits >> 63 == 0 { bits | (1 << 63) } else { !bits }
}

fn unordered(bits: u64) -> f64 {
    f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
}

/// Rows in which every bucket is there, made not decreasing as Prometheus does. `None` without +Inf: the total is not known then.
fn group(side: Side, pod: String, columns: Columns<'_>) -> Option<Group> {
    let bounds: Vec<f64> = columns.iter().map(|(bits, _)| unordered(*bits)).collect();
    if bounds.last().is_none_or(|last| *last != f64::INFINITY) {
        return None;
    }
    let mut rows = Vec::new();
    for (place, (time, _)) in columns.last()?.1.iter().enumerate() {
        let at = |column: &Cow<'_, Samples>| {
            // Buckets of one histogram are scraped together.
            let same = column.get(place).filter(|(there, _)| there == time);
            let other = || column.binary_search_by_key(time, |(time, _)| *time).ok().and_then(|index| column.get(index));
            same.or_else(other).map(|(_, value)| *value)
        };
        if let Some(row) = columns.iter().map(|(_, column)| at(column)).collect() {
            rows.push((*time, envelope(row)));
        }
    }
    (!rows.is_empty()).then_some(Group { side, pod, bounds, rows })
}

/// Running maximum.
pub(super) fn envelope(mut row: Vec<f64>) -> Vec<f64> {
    let mut most = f64::NEG_INFINITY;
    for value in &mut row {
        most = most.max(*value);
        *value = most;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_anywhere_have_other_digests() {
        let values: BTreeSet<String> =
            (0..4000).flat_map(|n| [format!("/v1/{n:04}/predict/all"), format!("{n}"), format!("canary-{n:08x}")]).collect();
        let digests: BTreeSet<u64> = values.iter().map(|value| digest(0, value.as_bytes())).collect();
        assert_eq!(digests.len(), values.len());
        assert_ne!(digest(0, b"a\0"), digest(0, b"a"));
    }

    #[test]
    fn nobody_can_choose_labels_that_have_the_same_digest_here() {
        // Whatever the first eight bytes are, the next eight take it back, where the seed is known.
        let chosen = |word: u64| [word, fold(0, word).rotate_left(5)].map(u64::to_le_bytes).concat();
        assert_eq!(digest(0, &chosen(1)), digest(0, &chosen(2)));
        assert_ne!(digest(7, &chosen(1)), digest(7, &chosen(2)));
        assert_ne!(*SEED, 0);
    }

    #[test]
    fn bounds_sort_as_numbers() {
        let mut bounds = [f64::INFINITY, 0.5, -1.0, 1000.0, 0.0, -0.5];
        bounds.sort_by_key(|bound| ordered(*bound));
        assert_eq!(bounds, [-1.0, -0.5, 0.0, 0.5, 1000.0, f64::INFINITY]);
        assert!(bounds.iter().all(|bound| unordered(ordered(*bound)) == *bound));
    }

    #[test]
    fn one_bucket_written_in_two_ways_is_one_bucket() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut column = Vec::new();
        add(&mut column, &[(at(1), 1.0), (at(3), 3.0)]);
        add(&mut column, &[(at(2), 2.0), (at(3), 4.0)]);
        assert_eq!(column, [(at(1), 1.0), (at(2), 2.0), (at(3), 4.0)]);
    }

    #[test]
    fn buckets_that_decrease_get_prometheus_envelope() {
        // Golden vector hq-17: 20, 10, 50, 40, 90, 80 gives the median 8.5, which needs these counts.
        assert_eq!(envelope(vec![20.0, 10.0, 50.0, 40.0, 90.0, 80.0]), [20.0, 20.0, 50.0, 50.0, 90.0, 90.0]);
    }
}
