//! An answer as it nearly always is, read in one go and without a copy of its text. Whatever is special about another one, or wrong with
//! it, is found out by reading it once more.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Kind, tells_of_loss, timestamp};
use crate::counts::{Label, Labels, NAME, Series, Words};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a, R> {
    #[serde(borrow)]
    status: Text<'a>,
    error_type: Option<IgnoredAny>,
    #[serde(borrow)]
    error: Option<Text<'a>>,
    warnings: Option<Vec<IgnoredAny>>,
    infos: Option<Vec<String>>,
    is_partial: Option<bool>,
    #[serde(borrow)]
    data: Data<'a, R>,
}

#[derive(Deserialize)]
struct Data<'a, R> {
    #[serde(rename = "resultType", borrow)]
    result_type: Text<'a>,
    result: R,
}

/// The series of a matrix (`RANGE`) or of a vector. Those of several metrics keep their names as labels (`NAMED`).
struct Rows<const RANGE: bool, const NAMED: bool>(Vec<Series>);

/// What the rows of one answer share while they are read.
#[derive(Default)]
struct Desk<'a> {
    words: Words<'a>,
    labels: Vec<Label>,
    samples: Vec<(Timestamp, f64)>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Metric,
    Values,
    Value,
    Histograms,
    Histogram,
    #[serde(other)]
    Other,
}

/// A text that is borrowed where nothing in it is escaped.
struct Text<'a>(Cow<'a, str>);

/// A time in seconds, and a number that is written as a text.
struct Sample(f64, f64);

/// Adds a sample to those of its series, in order of time; one that is absent is left out. False where there is something wrong with it:
/// whoever reads thoroughly says what.
fn take(samples: &mut Vec<(Timestamp, f64)>, Sample(at, value): Sample) -> bool {
    if value.is_nan() {
        return timestamp(at).is_some();
    }
    let Some(at) = timestamp(at).filter(|_| value.is_finite()) else { return false };
    let ordered = samples.last().is_none_or(|(before, _)| *before <= at);
    samples.push((at, value));
    ordered
}

/// The series of an answer that has nothing else in it.
pub(super) fn read(body: &[u8], kind: Kind) -> Option<Vec<Series>> {
    let text = std::str::from_utf8(body).ok()?;
    match kind {
        Kind::Matrix => rows::<true, false>(text, kind),
        Kind::Named => rows::<true, true>(text, kind),
        Kind::Vector => rows::<false, false>(text, kind),
    }
}

fn rows<const RANGE: bool, const NAMED: bool>(text: &str, kind: Kind) -> Option<Vec<Series>> {
    let body: Body<'_, Rows<RANGE, NAMED>> = serde_json::from_str(text).ok()?;
    let whole = body.error_type.is_none()
        && body.error.is_none()
        && body.warnings.is_none_or(|warnings| warnings.is_empty())
        && body.infos.is_none_or(|infos| !infos.iter().any(|info| tells_of_loss(info)))
        && body.is_partial != Some(true);
    let Rows(series) = body.data.result;
    (whole && body.status.0 == "success" && body.data.result_type.0 == kind.name()).then_some(series)
}

impl<'de, const RANGE: bool, const NAMED: bool> Deserialize<'de> for Rows<RANGE, NAMED> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reads<const RANGE: bool, const NAMED: bool>;
        impl<'de, const RANGE: bool, const NAMED: bool> Visitor<'de> for Reads<RANGE, NAMED> {
            type Value = Vec<Series>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("series")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Vec<Series>, A::Error> {
                let (mut desk, mut all) = (Desk::default(), Vec::new());
                while let Some(series) = rows.next_element_seed(Row::<RANGE, NAMED>(&mut desk))? {
                    if !series.samples.is_empty() {
                        all.push(series);
                    }
                }
                Ok(all)
            }
        }
        from.deserialize_seq(Reads::<RANGE, NAMED>).map(Self)
    }
}

/// One series.
struct Row<'d, 'a, const RANGE: bool, const NAMED: bool>(&'d mut Desk<'a>);

impl<'de: 'a, 'a, const RANGE: bool, const NAMED: bool> DeserializeSeed<'de> for Row<'_, 'a, RANGE, NAMED> {
    type Value = Series;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Series, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de: 'a, 'a, const RANGE: bool, const NAMED: bool> Visitor<'de> for Row<'_, 'a, RANGE, NAMED> {
    type Value = Series;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Series, A::Error> {
        let Desk { words, labels, samples } = self.0;
        labels.clear();
        samples.clear();
        let (mut named, mut sampled) = (false, false);
        while let Some(field) = fields.next_key()? {
            match field {
                Field::Metric if !named => {
                    words.restart();
                    fields.next_value_seed(Metric::<NAMED>(words, labels))?;
                    named = true;
                }
                Field::Values if RANGE && !sampled => {
                    fields.next_value_seed(Samples(samples))?;
                    sampled = true;
                }
                Field::Value if !RANGE && !sampled => {
                    if !take(samples, fields.next_value()?) {
                        return Err(A::Error::custom("a sample that cannot be used"));
                    }
                    sampled = true;
                }
                Field::Other => drop(fields.next_value::<IgnoredAny>()?),
                _ => return Err(A::Error::custom("a row of another kind, or a field that is there twice")),
            }
        }
        if !named || !sampled {
            return Err(A::Error::custom("a series is a metric and its samples"));
        }
        Ok(Series { labels: Labels::take(labels), samples: samples.as_slice().into() })
    }
}

/// Names and values of labels.
struct Metric<'d, 'a, const NAMED: bool>(&'d mut Words<'a>, &'d mut Vec<Label>);

impl<'de: 'a, 'a, const NAMED: bool> DeserializeSeed<'de> for Metric<'_, 'a, NAMED> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de: 'a, 'a, const NAMED: bool> Visitor<'de> for Metric<'_, 'a, NAMED> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        let Self(words, labels) = self;
        while let Some((Text(name), Text(value))) = pairs.next_entry::<Text<'de>, Text<'de>>()? {
            if NAMED || name != NAME {
                labels.push((words.keep(name), words.keep(value)));
            }
        }
        Ok(())
    }
}

/// Samples of one series.
struct Samples<'d>(&'d mut Vec<(Timestamp, f64)>);

impl<'de> DeserializeSeed<'de> for Samples<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Samples<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        while let Some(sample) = all.next_element()? {
            if !take(self.0, sample) {
                return Err(A::Error::custom("a sample that cannot be used"));
            }
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Reads)
    }
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Sample;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time and a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Sample, A::Error> {
                let missing = || A::Error::custom("a sample is a time and a value");
                let at: f64 = pair.next_element()?.ok_or_else(missing)?;
                let value: Text<'de> = pair.next_element()?.ok_or_else(missing)?;
                let value: f64 = value.0.parse().map_err(|_| A::Error::custom("a value is not a number"))?;
                match pair.next_element::<IgnoredAny>()? {
                    None => Ok(Sample(at, value)),
                    Some(_) => Err(missing()),
                }
            }
        }
        from.deserialize_seq(Reads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(result: &str) -> Option<Vec<Series>> {
        read(format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}}}}"#).as_bytes(), Kind::Matrix)
    }

    #[test]
    fn labels_with_escapes_and_samples_that_are_absent_are_read() {
        let found = series(r#"{"metric":{"__name__":"a","path":"\"x\"","job":"j"},"values":[[1.5,"1"],[2,"NaN"],[3,"2.5e1"]]}"#).unwrap();
        assert_eq!(found[0].labels.iter().collect::<Vec<_>>(), [("job", "j"), ("path", "\"x\"")]);
        assert_eq!(
            found[0].samples.iter().map(|(at, value)| (at.as_millisecond(), *value)).collect::<Vec<_>>(),
            [(1500, 1.0), (3000, 25.0)]
        );
        assert_eq!(series(r#"{"metric":{},"values":[[1,"NaN"]]}"#), Some(Vec::new()));
    }

    #[test]
    fn what_is_special_is_left_to_whoever_reads_thoroughly() {
        for row in [
            r#"{"metric":{},"histograms":[[1,{"count":"1"}]]}"#,
            r#"{"metric":{},"value":[1,"1"]}"#,
            r#"{"metric":{},"values":[[1,"+Inf"]]}"#,
            r#"{"metric":{},"values":[[1,"one"]]}"#,
            r#"{"metric":{},"values":[[1,"1",2]]}"#,
            r#"{"metric":{},"values":[[2,"1"],[1,"1"]]}"#,
        ] {
            assert_eq!(series(row), None, "{row}");
        }
        for body in [
            r#"{"status":"error","errorType":"timeout","data":{"resultType":"matrix","result":[]}}"#,
            r#"{"status":"success","error":"timeout","data":{"resultType":"matrix","result":[]}}"#,
            r#"{"status":"success","error":5,"data":{"resultType":"matrix","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"]],"values":[[2,"1"]]}]}}"#,
            r#"{"status":"success","warnings":["partial"],"data":{"resultType":"matrix","result":[]}}"#,
            r#"{"status":"success","infos":["results truncated"],"data":{"resultType":"matrix","result":[]}}"#,
            r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
        ] {
            assert_eq!(read(body.as_bytes(), Kind::Matrix), None, "{body}");
        }
    }
}
