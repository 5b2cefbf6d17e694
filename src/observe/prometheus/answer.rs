//! What Prometheus answers, told apart: data, or one of the many things that are not.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::QueryError;
use super::native::{self, Grids, Native};
use super::words::clip;
use crate::counts::{Labels, NAME, Series};

mod usual;

/// The kind of answer that a query must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Matrix,
    /// A matrix of several metrics, whose series keep their names as labels.
    Named,
    Vector,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Matrix | Self::Named => "matrix",
            Self::Vector => "vector",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    status: Option<String>,
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<Vec<String>>,
    infos: Option<Vec<String>>,
    /// VictoriaMetrics: a storage node did not answer, so series or samples are missing.
    is_partial: Option<bool>,
    data: Option<HeadData>,
}

impl Head {
    /// What the server says of data that it has left out.
    fn incomplete(self) -> Option<String> {
        if self.is_partial == Some(true) {
            return Some("isPartial: true (a storage node did not answer)".into());
        }
        let warnings = self.warnings.unwrap_or_default();
        let infos = self.infos.unwrap_or_default().into_iter().filter(|info| tells_of_loss(info));
        let told: Vec<String> = warnings.into_iter().chain(infos).collect();
        (!told.is_empty()).then(|| clip(&told.join("; ")))
    }
}

/// Remarks on the query ("metric might not be a counter") are harmless; a result that was cut is not a result.
pub(super) fn tells_of_loss(info: &str) -> bool {
    const LOSS: [&str; 8] = ["stale", "truncat", "partial", "incomplete", "limit", "missing", "shortened", "not all"];
    let info = info.to_lowercase();
    !info.starts_with("promql info") && LOSS.iter().any(|word| info.contains(word))
}

#[derive(Deserialize)]
struct HeadData {
    #[serde(rename = "resultType")]
    result_type: Option<String>,
    #[allow(dead_code)]
    result: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Body {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    values: Option<Vec<(f64, String)>>,
    value: Option<(f64, String)>,
    histograms: Option<Vec<(f64, Native)>>,
    histogram: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ScalarBody {
    data: ScalarData,
}

#[derive(Deserialize)]
struct ScalarData {
    result: (f64, String),
}

/// Reads the body of an answer that must be one finite number: a scalar, or a vector of one sample.
pub(crate) fn value(body: &[u8]) -> Result<f64, QueryError> {
    let unnamed = || QueryError::NotFinite("the answer".into());
    if result_type(body)? == "scalar" {
        let (_, text) = serde_json::from_slice::<ScalarBody>(body).map_err(malformed)?.data.result;
        let value: f64 = text.parse().map_err(|_| QueryError::Malformed("a value is not a number".into()))?;
        return if value.is_finite() { Ok(value) } else { Err(unnamed()) };
    }
    let mut found = rows(body, Kind::Vector).map_err(|error| match error {
        QueryError::WrongType { found, .. } => QueryError::WrongType { wanted: "scalar, or vector of one sample", found },
        other => other,
    })?;
    match (found.pop(), found.len()) {
        (None, _) => Err(QueryError::Nothing),
        (Some(row), 0) => {
            // A stale marker is no absence here: the user's query itself gave NaN.
            let nan = row.value.as_ref().is_some_and(|(_, text)| text.parse::<f64>().is_ok_and(f64::is_nan));
            let one = series(row, Kind::Vector).map_err(|error| match error {
                QueryError::NotFinite(name) if name.is_empty() => unnamed(),
                other => other,
            })?;
            let value = one.and_then(|one| one.samples.last().map(|(_, value)| *value));
            value.ok_or_else(|| if nan { unnamed() } else { QueryError::Nothing })
        }
        (Some(_), others) => Err(QueryError::Several(others + 1)),
    }
}

/// Reads a body. Every byte string gives series or an error, never a panic and never a number that was not there.
///
/// Native histograms come as classic ones; `grids` keeps their bounds from answer to answer.
pub(crate) fn read(body: &[u8], kind: Kind, grids: &mut Grids) -> Result<Vec<Series>, QueryError> {
    usual::read(body, kind).map_or_else(|| thoroughly(body, kind, grids), Ok)
}

/// Finds out what is special about an answer, or wrong with it.
fn thoroughly(body: &[u8], kind: Kind, grids: &mut Grids) -> Result<Vec<Series>, QueryError> {
    let (mut all, mut histograms) = (Vec::new(), Vec::new());
    for mut row in rows(body, kind)? {
        match row.histograms.take().filter(|_| kind != Kind::Vector) {
            Some(samples) if row.values.as_ref().is_none_or(Vec::is_empty) => histograms.push(native(row, samples, kind)?),
            Some(_) => return Err(QueryError::WrongType { wanted: "matrix", found: "mix of floats and native histograms".into() }),
            None => all.extend(series(row, kind)?),
        }
    }
    all.extend(grids.classic(histograms));
    Ok(all)
}

/// The labels of each series of a vector, its name among them.
pub(crate) fn labels(body: &[u8]) -> Result<Vec<BTreeMap<String, String>>, QueryError> {
    Ok(rows(body, Kind::Vector)?.into_iter().map(|row| row.metric).collect())
}

fn native(row: Row, samples: Vec<(f64, Native)>, kind: Kind) -> Result<native::Row, QueryError> {
    let (name, labels) = named(row.metric, kind);
    let mut timed = Vec::with_capacity(samples.len());
    for (at, histogram) in samples {
        timed.push((timestamp(at).ok_or_else(|| QueryError::Malformed("a time is out of range".into()))?, histogram));
    }
    if timed.windows(2).any(|pair| matches!(pair, [(before, _), (after, _)] if before > after)) {
        return Err(QueryError::Malformed("samples are out of order".into()));
    }
    native::Row::read(name, labels, timed)
}

/// The metric's name, and the labels without it where it is known which metric was asked for.
fn named(mut labels: BTreeMap<String, String>, kind: Kind) -> (String, Labels) {
    let name = if kind == Kind::Named { labels.get(NAME).cloned() } else { labels.remove(NAME) };
    (name.unwrap_or_default(), labels.into_iter().collect())
}

fn rows(body: &[u8], kind: Kind) -> Result<Vec<Row>, QueryError> {
    let found = result_type(body)?;
    if found != kind.name() {
        return Err(QueryError::WrongType { wanted: kind.name(), found: clip(&found) });
    }
    Ok(serde_json::from_slice::<Body>(body).map_err(malformed)?.data.result)
}

/// The type of the result of an answer that can be trusted.
fn result_type(body: &[u8]) -> Result<String, QueryError> {
    if body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'<') {
        return Err(QueryError::NotJson);
    }
    // Two passes: the first builds nothing, so that a wrong type of 16 MiB costs nothing.
    let head: Head = serde_json::from_slice(body).map_err(malformed)?;
    if head.status.as_deref() != Some("success") || head.error_type.is_some() {
        return Err(QueryError::NotSuccess(said(head.error_type.as_deref(), head.error.as_deref())));
    }
    let kind = head.data.as_ref().and_then(|data| data.result_type.clone());
    if let Some(told) = head.incomplete() {
        return Err(QueryError::Warnings(told));
    }
    kind.ok_or_else(|| QueryError::Malformed("it has no resultType".into()))
}

/// A series without samples is no series.
fn series(row: Row, kind: Kind) -> Result<Option<Series>, QueryError> {
    if row.histogram.is_some() {
        return Err(QueryError::WrongType { wanted: "floats", found: "native histograms".into() });
    }
    let raw = match kind {
        Kind::Matrix | Kind::Named => row.values,
        Kind::Vector => row.value.map(|value| vec![value]),
    };
    let raw = raw.ok_or_else(|| QueryError::Malformed("a series has no samples".into()))?;
    let (name, labels) = named(row.metric, kind);
    let raw =
        raw.into_iter().map(|(at, value)| Ok((at, value.parse().map_err(|_| QueryError::Malformed("a value is not a number".into()))?)));
    let samples = samples(&name, raw)?;
    Ok((!samples.is_empty()).then_some(Series { labels, samples }))
}

/// NaN and stale markers are absent samples, as they are to Prometheus.
fn samples(name: &str, raw: impl ExactSizeIterator<Item = Result<(f64, f64), QueryError>>) -> Result<Vec<(Timestamp, f64)>, QueryError> {
    let mut samples: Vec<(Timestamp, f64)> = Vec::with_capacity(raw.len());
    for sample in raw {
        let (at, value) = sample?;
        let at = timestamp(at).ok_or_else(|| QueryError::Malformed("a time is out of range".into()))?;
        if value.is_nan() {
            continue;
        }
        if value.is_infinite() {
            return Err(QueryError::NotFinite(clip(name)));
        }
        if samples.last().is_some_and(|(before, _)| *before > at) {
            return Err(QueryError::Malformed("samples are out of order".into()));
        }
        samples.push((at, value));
    }
    Ok(samples)
}

/// Prometheus counts in milliseconds and writes seconds.
fn timestamp(seconds: f64) -> Option<Timestamp> {
    let millis = (seconds * 1000.0).round();
    if !millis.is_finite() || millis.abs() > 253_402_207_200_000.0 {
        return None;
    }
    // In range, whole: the cast is exact.
    Timestamp::from_millisecond(millis as i64).ok()
}

fn malformed(error: serde_json::Error) -> QueryError {
    // Only where and what kind: the text of serde_json quotes the body.
    let kind = match error.classify() {
        serde_json::error::Category::Eof if error.column() == 0 && error.line() <= 1 => return QueryError::Malformed("it is empty".into()),
        serde_json::error::Category::Eof => "it is cut off",
        serde_json::error::Category::Syntax => "it is not JSON",
        serde_json::error::Category::Data => "it has not the shape of a query's answer",
        serde_json::error::Category::Io => "it is unreadable",
    };
    QueryError::Malformed(format!("{kind} at line {} column {}", error.line(), error.column()))
}

fn said(error_type: Option<&str>, error: Option<&str>) -> String {
    let mut text = error_type.unwrap_or("an error without errorType").to_owned();
    if let Some(error) = error {
        text.push_str(": ");
        text.push_str(error);
    }
    clip(&text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &[u8], kind: Kind) -> Result<Vec<Series>, QueryError> {
        super::read(body, kind, &mut Grids::default())
    }

    const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"a","job":"j"},"values":[[1700000000.123,"1"],[1700000015.123,"2.5e1"]]}]}}"#;

    #[test]
    fn a_matrix_keeps_labels_and_true_times() {
        let series = read(MATRIX.as_bytes(), Kind::Matrix).unwrap();
        assert_eq!(series.len(), 1);
        assert_eq!(series[0].labels.iter().count(), 1, "the name is not a label");
        assert_eq!(series[0].label("job"), "j");
        assert_eq!(series[0].samples[0].0.as_millisecond(), 1_700_000_000_123);
        assert_eq!(series[0].samples[1].1, 25.0);
    }

    #[test]
    fn an_empty_answer_is_no_error() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        assert_eq!(read(body, Kind::Vector).unwrap(), vec![]);
    }

    #[test]
    fn what_is_not_data_is_told_apart() {
        type Is = fn(&QueryError) -> bool;
        let cases: [(&str, Is); 8] = [
            ("<html><body>Please log in</body></html>", |e| matches!(e, QueryError::NotJson)),
            (
                r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#,
                |e| matches!(e, QueryError::NotSuccess(text) if text == "timeout: query timed out"),
            ),
            (r#"{"hello":1}"#, |e| matches!(e, QueryError::NotSuccess(_))),
            (
                r#"{"status":"success","warnings":["partial data"],"data":{"resultType":"matrix","result":[]}}"#,
                |e| matches!(e, QueryError::Warnings(text) if text == "partial data"),
            ),
            (
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#,
                |e| matches!(e, QueryError::WrongType { wanted: "matrix", found } if found == "scalar"),
            ),
            (r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"+Inf"]]}]}}"#, |e| {
                matches!(e, QueryError::NotFinite(_))
            }),
            (r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[[1,{}]]}]}}"#, |e| {
                matches!(e, QueryError::Malformed(_))
            }),
            (r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[2,"1"],[1,"1"]]}]}}"#, |e| {
                matches!(e, QueryError::Malformed(_))
            }),
        ];
        for (body, expected) in cases {
            let error = read(body.as_bytes(), Kind::Matrix).unwrap_err();
            assert!(expected(&error), "{body}: {error:?}");
        }
    }

    /// An answer with these keys beside `status` and `data`.
    fn beside(keys: &str) -> Result<Vec<Series>, QueryError> {
        read(format!(r#"{{"status":"success",{keys},"data":{{"resultType":"matrix","result":[]}}}}"#).as_bytes(), Kind::Matrix)
    }

    #[test]
    fn victoriametrics_4115_11009_whatever_a_store_calls_it_partial_data_is_no_data() {
        let refused = [
            r#""isPartial":true,"stats":{"seriesFetched":"12"}"#,
            r#""warnings":["receive series from Addr: 10.0.0.1:10901: rpc error: code = Unavailable"]"#,
            r#""infos":["results truncated due to limit"]"#,
            r#""infos":["PromQL info: metric might not be a counter","The query result may contain partial data."]"#,
        ];
        for keys in refused {
            assert!(matches!(beside(keys), Err(QueryError::Warnings(_))), "{keys}: {:?}", beside(keys));
        }
        let taken = [
            r#""isPartial":false,"stats":{"seriesFetched":"12"}"#,
            r#""warnings":null,"infos":null"#,
            r#""warnings":[],"infos":[],"stats":{},"trace":{}"#,
            r#""infos":["PromQL info: metric might not be a counter, name does not end in _total: \"rate_limit_partial\" (1:6)"]"#,
        ];
        for keys in taken {
            assert_eq!(beside(keys), Ok(vec![]), "{keys}");
        }
    }

    #[test]
    fn a_native_histogram_comes_as_classic_series_in_the_shape_of_prometheus_3() {
        let body = include_bytes!("../../../tests/data/stores/native.json");
        let found = read(body, Kind::Matrix).unwrap();
        let at = |pod: &str, le: f64| {
            let fits = |series: &&Series| {
                series.label("pod") == pod && series.label("le").parse::<f64>().is_ok_and(|bound| (bound - le).abs() < 1e-9)
            };
            let series = found.iter().find(fits).unwrap();
            series.samples.iter().map(|(_, value)| *value).collect::<Vec<_>>()
        };
        assert_eq!(at("fraud-v1-a", 0.5), [3.0, 5.0]);
        assert_eq!(at("fraud-v1-a", 1.0), [9.0, 14.0]);
        let whole = found.iter().find(|series| series.label("pod") == "fraud-v1-a" && series.label("le") == "+Inf").unwrap();
        assert_eq!(whole.samples.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [10.0, 15.0]);
        assert!(found.iter().all(|series| series.label("__name__").is_empty() && series.samples.len() == 2));
    }

    #[test]
    fn victoriametrics_5806_5334_stale_markers_are_absent_samples() {
        let rows = r#"{"metric":{"a":"1"},"values":[[1,"5"],[2,"NaN"],[3,"7"]]},{"metric":{"a":"2"},"values":[[1,"NaN"],[2,"nan"]]}"#;
        let body = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{rows}]}}}}"#);
        let found = read(body.as_bytes(), Kind::Matrix).unwrap();
        assert_eq!(found.len(), 1, "a series without samples is no series");
        assert_eq!(found[0].samples.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [5.0, 7.0]);
        let gone = br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}"#;
        assert_eq!(read(gone, Kind::Vector), Ok(vec![]));
        assert_eq!(value(gone), Err(QueryError::NotFinite("the answer".into())), "a user's query that gives NaN gives no value");
    }

    #[test]
    fn an_answer_cut_at_any_byte_is_an_error() {
        for end in 0..MATRIX.len() {
            let error = read(&MATRIX.as_bytes()[..end], Kind::Matrix).unwrap_err();
            assert!(matches!(error, QueryError::Malformed(_)), "cut at {end}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..MATRIX.len(), byte in any::<u8>()) {
            let _ = read(&body, Kind::Matrix);
            let mut changed = MATRIX.as_bytes().to_vec();
            changed[at] = byte;
            let _ = read(&changed, Kind::Matrix);
            let _ = read(&changed, Kind::Vector);
        }

        #[test]
        fn what_is_read_in_one_go_is_what_is_read_thoroughly(at in 0usize..MATRIX.len(), byte in any::<u8>()) {
            let mut changed = MATRIX.as_bytes().to_vec();
            changed[at] = byte;
            if let Some(found) = usual::read(&changed, Kind::Matrix) {
                prop_assert_eq!(thoroughly(&changed, Kind::Matrix, &mut Grids::default()), Ok(found));
            }
        }
    }
}
