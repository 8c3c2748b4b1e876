//! Objects in JSON, and nothing else where an object belongs. Serde also reads a struct from an array of its members in
//! order, which no schema says and nobody means: `[]` would be a refund of everything. These readers refuse that.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A struct read from an object only. What is inside it needs a reader of its own.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A member that is an object.
pub fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|object| object.0)
}

/// A member that is an object or null.
pub fn object_or_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// A member that is a list of objects.
pub fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(bare(Vec::deserialize(deserializer)?))
}

/// A member that is a list of objects or null.
pub fn objects_or_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    Ok(Option::<Vec<Object<T>>>::deserialize(deserializer)?.map(bare))
}

fn bare<T>(objects: Vec<Object<T>>) -> Vec<T> {
    objects.into_iter().map(|object| object.0).collect()
}

#[cfg(test)]
mod tests {
    use crate::http::call::parse;
    use crate::http::wire::buyer::Buyer;
    use crate::http::wire::order::{Fulfilment, NewOrder, RefundOrder};
    use crate::http::wire::product::ProductInput;

    fn field_refused<T: serde::de::DeserializeOwned>(body: &str) -> String {
        let problem = parse::<T>(body.as_bytes()).err().unwrap_or_else(|| panic!("{body} is taken"));
        problem.document("r")["field"].as_str().unwrap().to_owned()
    }

    #[test]
    fn an_array_is_no_object_however_deep() {
        assert_eq!(field_refused::<RefundOrder>("[]"), "");
        assert_eq!(field_refused::<RefundOrder>("[null,null]"), "");
        assert_eq!(field_refused::<Fulfilment>(r#"{"lines":[["TEA",1]]}"#), "lines[0]");
        let payment = r#"{"cart_id":"00ff10203040506070809010a0b0c0d0","payment":["simulated","tok_ok"]}"#;
        assert_eq!(field_refused::<NewOrder>(payment), "payment");
        let holds = r#"{"cart_id":"00ff10203040506070809010a0b0c0d0","holds":[["TEA","00"]]}"#;
        assert_eq!(field_refused::<NewOrder>(holds), "holds[0]");
        let address = r#"{"email":"a@b","billing_address":[null,"1 High St",null,"X",null,null,"GB"]}"#;
        assert_eq!(field_refused::<Buyer>(address), "billing_address");
        assert_eq!(field_refused::<ProductInput>(r#"{"title":"Tea","variants":[["TEA"]]}"#), "variants[0]");
    }
}
