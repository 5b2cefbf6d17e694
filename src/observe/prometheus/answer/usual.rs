//! An answer as it nearly always is, read in one go and without a copy of its text. Whatever is special about another one, or wrong with
//! it, is found out by reading it once more.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Kind, tells_of_loss, timestamp};
use crate::counts::{NAME, Series, Words};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    status: Text<'a>,
    error_type: Option<IgnoredAny>,
    warnings: Option<Vec<IgnoredAny>>,
    infos: Option<Vec<String>>,
    is_partial: Option<bool>,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType", borrow)]
    result_type: Text<'a>,
    #[serde(borrow)]
    result: Vec<Row<'a>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    metric: Pairs<'a>,
    values: Option<Samples>,
    value: Option<Sample>,
    histograms: Option<IgnoredAny>,
    histogram: Option<IgnoredAny>,
}

/// So many samples of a series are worth giving back the room that was not needed.
const MANY: usize = 64;

/// A text that is borrowed where nothing in it is escaped.
struct Text<'a>(Cow<'a, str>);

/// Names and values, in the order in which they come.
struct Pairs<'a>(Vec<(Text<'a>, Text<'a>)>);

/// A time in seconds, and a number that is written as a text.
struct Sample(f64, f64);

/// Samples of one series in order of time, as they are kept: there may be very many, and they are held once.
struct Samples(Vec<(Timestamp, f64)>);

impl Samples {
    /// Adds one; those that are absent are left out. False where there is something wrong with it: whoever reads thoroughly says what.
    fn take(&mut self, Sample(at, value): Sample) -> bool {
        if value.is_nan() {
            return timestamp(at).is_some();
        }
        let Some(at) = timestamp(at).filter(|_| value.is_finite()) else { return false };
        let ordered = self.0.last().is_none_or(|(before, _)| *before <= at);
        self.0.push((at, value));
        ordered
    }
}

/// The series of an answer that has nothing else in it.
pub(super) fn read(body: &[u8], kind: Kind) -> Option<Vec<Series>> {
    let body: Body<'_> = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
    let whole = body.error_type.is_none()
        && body.warnings.is_none_or(|warnings| warnings.is_empty())
        && body.infos.is_none_or(|infos| !infos.iter().any(|info| tells_of_loss(info)))
        && body.is_partial != Some(true);
    if !whole || body.status.0 != "success" || body.data.result_type.0 != kind.name() {
        return None;
    }
    let mut words = Words::default();
    let mut all = Vec::with_capacity(body.data.result.len());
    for row in body.data.result {
        if row.histogram.is_some() || row.histograms.is_some() {
            return None;
        }
        let Samples(samples) = match kind {
            Kind::Matrix | Kind::Named => row.values?,
            Kind::Vector => {
                let mut one = Samples(Vec::new());
                one.take(row.value?).then_some(one)?
            }
        };
        if samples.is_empty() {
            continue;
        }
        words.restart();
        let named = row.metric.0.into_iter().filter(|(name, _)| kind == Kind::Named || name.0 != NAME);
        let labels = named.map(|(name, value)| (words.keep(name.0), words.keep(value.0))).collect();
        all.push(Series { labels, samples });
    }
    Some(all)
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

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut labels: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::with_capacity(24);
                while let Some(pair) = labels.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Reads)
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
                use serde::de::Error;
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

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Samples;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("samples")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Samples, A::Error> {
                use serde::de::Error;
                let mut samples = Samples(Vec::new());
                while let Some(sample) = all.next_element()? {
                    if !samples.take(sample) {
                        return Err(A::Error::custom("a sample that cannot be used"));
                    }
                }
                if samples.0.len() > MANY {
                    samples.0.shrink_to_fit();
                }
                Ok(samples)
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
            r#"{"status":"success","warnings":["partial"],"data":{"resultType":"matrix","result":[]}}"#,
            r#"{"status":"success","infos":["results truncated"],"data":{"resultType":"matrix","result":[]}}"#,
            r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
        ] {
            assert_eq!(read(body.as_bytes(), Kind::Matrix), None, "{body}");
        }
    }
}
