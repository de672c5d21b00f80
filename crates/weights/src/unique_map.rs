//! A JSON object read in file order, in which a repeated key is an error.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::printable::printable;

/// The pairs of a JSON object, sorted by key.
///
/// `serde_json` lets the last of two equal keys win, so two readers of one file may see different
/// tensors under one name.
#[derive(Debug)]
pub(crate) struct UniqueMap<V>(pub(crate) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairVisitor(PhantomData))
    }
}

struct PairVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for PairVisitor<V> {
    type Value = UniqueMap<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map
                .next_value()
                .map_err(|e| A::Error::custom(format_args!("{}: {e}", printable(&key))))?;
            pairs.push((key, value));
        }
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let key = printable(&pair[0].0);
            return Err(A::Error::custom(format_args!("{key} occurs twice")));
        }
        Ok(UniqueMap(pairs))
    }
}
